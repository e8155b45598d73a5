"""The published benchmarks: what a protocol fixes, and the page that is made of finished runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from discretevae.config import LatentSpec
from discretevae.data import Dataset, Rows

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def scripts():
    """The modules of ``benchmarks/published``, which are no package."""
    folder = str(ROOT / "benchmarks/published")
    sys.path.insert(0, folder)
    try:
        import protocols
        import table

        yield protocols, table
    finally:
        sys.path.remove(folder)


def finished(
    protocol, seed=0, *, steps=100, elbo=-90.0, bound=None, method="ours", device=None, lr=1.0
):
    """What a run of a protocol leaves."""
    figure = {"value": elbo, "se": 0.5}
    better = {"value": elbo if bound is None else bound, "se": 0.5}
    return {
        "protocol": protocol, "method": method, "about": f"as it is, lr {lr}", "seed": seed,
        "config": {"model": {"prior": "fixed"}, "training": {"lr": lr}},
        "steps": steps, "published_steps": 100, "evaluations": 1, "seconds": 7.0, "device": device,
        "cpu_seconds": 1.0, "best_held_out": {"epoch": 1, "elbo": elbo, "se": 0.5},
        "parts": {
            part: {"elbo": figure, "bound": better} for part in ("train", "validation", "test")
        },
        "curve": [[1, -elbo + 3, elbo - 2], [2, -elbo, elbo]],
    }  # fmt: skip


def put(folder, result):
    run = f"{result['seed']}-{result['steps']}"
    path = folder / result["protocol"] / result["method"] / run / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))


def page_of(table, folder, docs):
    table.main.callback(folder, docs)
    return (docs / "benchmarks.md").read_text()


def rows_of(text, first):
    """The rows of the tables in a text whose first cell is so."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [row for row in rows if row[0] == first]


def overview_of(protocols, page, name):
    """The row of a protocol in the first table, by the names of its columns."""
    title = protocols.PROTOCOLS[name].title
    (names,) = rows_of(page, "protocol")
    (row,) = rows_of(page, title)
    return dict(zip(names, row, strict=True))


def test_a_method_changes_nothing_that_its_protocol_fixes(scripts):
    protocols, _ = scripts
    for protocol in protocols.PROTOCOLS.values():
        configs = [protocol.config(method, 3, None) for method in protocol.methods]
        for config in configs:
            training, model = config.training, config.model
            assert (training.batch_size, training.epochs) == (protocol.batch_size, protocol.epochs)
            assert (training.seed, config.data.binarize) == (3, protocol.binarize)
            assert (str(model.latent), model.hidden) == (protocol.latent, protocol.hidden)
            assert str(model.activation) == protocol.activation
            assert config.data.source == protocol.source
        assert LatentSpec.of(protocol.latent).kind in ("bernoulli", "categorical")
        assert all(method.about for method in protocol.methods.values())
        values = [reported.value for reported in protocol.reported]
        assert values == sorted(values, reverse=True)  # best last


def test_a_control_differs_from_ours_in_what_it_leaves_out_alone(scripts):
    protocols, _ = scripts
    fields = {
        "learned prior": "prior", "start at the mean": "start",
        "falling step size": "lr_schedule", "averaged weights": "average",
    }  # fmt: skip
    for protocol in protocols.PROTOCOLS.values():
        ours = protocol.methods["ours"]
        controls = [method for method in protocol.methods.values() if method.without]
        assert bool(controls) == protocol.name.startswith("a-")
        assert not ours.without
        for control in controls:
            chosen, changed = (
                {**method.training, "prior": method.prior} for method in (ours, control)
            )
            differing = {key for key in chosen if chosen[key] != changed[key]}
            assert differing == {fields[control.without]}


def test_every_published_number_has_a_paper_with_a_date(scripts):
    protocols, _ = scripts
    dates = {
        reported.paper.authors: reported.paper.date
        for protocol in protocols.PROTOCOLS.values()
        for reported in protocol.reported
    }
    assert dates == {
        "Shi et al.": "2022-02", "Grathwohl et al.": "2017-11",
        "Yin et al.": "2019-05", "Liu et al.": "2023-04",
    }  # fmt: skip


@pytest.mark.draws
def test_of_several_seeds_the_page_has_mean_and_standard_error(scripts, tmp_path):
    protocols, table = scripts
    for seed, elbo in enumerate((-97.0, -96.0, -98.0)):
        put(tmp_path / "runs", finished("d-30x10", seed, elbo=elbo, bound=-90.0))
    page = page_of(table, tmp_path / "runs", tmp_path)
    (row,) = rows_of(page, "ours")
    assert row[2:7] == [
        "100", "3 seeds", "**97.00 ± 0.58**", "97.00 ± 0.58", "90.00 ± 0.00",
    ]  # fmt: skip
    assert overview_of(protocols, page, "d-30x10") == {
        "protocol": "D. grey MNIST, 30 × 10 categorical",
        "best reported": "training −ELBO 98.37: ReinMax, [Liu et al., 2023-04]"
        "(https://arxiv.org/abs/2304.08612), reported, unverified",
        "ours: training −ELBO": "**97.00 ± 0.58**",
        "ours: best validation −ELBO": "–",
        "ours: test −ELBO": "97.00 ± 0.58",
        "ours: test −bound, 100 samples": "90.00 ± 0.00",
        "seeds": "3 seeds",
        "ahead of it by the test −bound": "–",
        "steps": "100",
        "seconds": "1",
        "`python benchmarks/published/` …": "`run.py d-30x10`",
    }
    assert "--seed 2" in page
    assert "--epochs" not in page
    assert (tmp_path / "benchmarks/d-30x10.png").stat().st_size > 5000
    missing = page.split("## Not run")[1]
    assert "20 × 10" in missing
    assert "30 × 10" not in missing


@pytest.mark.parametrize(
    ("name", "elbos", "better"),
    [
        ("d-30x10", (-98.3,), True),  # published: 98.37
        ("d-30x10", (-98.4,), False),
        ("d-30x10", (-97.0, -97.4), True),
        ("d-30x10", (-97.0, -99.0), False),  # below by a third of the standard error
        ("c", (-86.5,), True),
    ],
)
def test_only_the_published_quantity_makes_a_figure_bold(scripts, tmp_path, name, elbos, better):
    """Of several seeds by two standard errors; the bound is never published."""
    protocols, table = scripts
    for seed, elbo in enumerate(elbos):
        put(tmp_path / "runs", finished(name, seed, elbo=elbo, bound=-50.0))
    page = page_of(table, tmp_path / "runs", tmp_path)
    row = overview_of(protocols, page, name)
    quantity = f"ours: {protocols.PROTOCOLS[name].quantity}"
    assert {key for key, value in row.items() if "**" in value} == ({quantity} if better else set())
    assert row["seeds"] == ("one seed" if len(elbos) == 1 else "2 seeds")
    (names,) = [row for row in rows_of(page, "") if row]
    (cells,) = rows_of(page, "ours")
    assert [key for key, value in zip(names, cells, strict=True) if "**" in value] == (
        [protocols.PROTOCOLS[name].quantity] if better else []
    )
    said = f"Of 1 rows, {int(better)} are below the best published number."
    assert said in page


def test_a_shorter_run_is_named_as_such(scripts, tmp_path):
    _, table = scripts
    put(tmp_path / "runs", finished("c", steps=40))
    page = page_of(table, tmp_path / "runs", tmp_path)
    (row,) = rows_of(page, "ours")
    assert row[2] == "40 of 100"
    assert "run.py c --method ours --seed 0 --epochs 2\n" in page


def test_runs_of_several_lengths_all_stand_there_and_the_longest_above(scripts, tmp_path):
    """A better one that is shorter does not take the place of the longest."""
    protocols, table = scripts
    put(tmp_path / "first", finished("c", 0, steps=40, elbo=-80.0))
    put(tmp_path / "first", finished("c", 1, steps=40, elbo=-82.0))
    page_of(table, tmp_path / "first", tmp_path)
    put(tmp_path / "then", finished("c", 0, steps=60, elbo=-90.0))
    page = page_of(table, tmp_path / "then", tmp_path)
    above = overview_of(protocols, page, "c")
    assert above["ours: best validation −ELBO"] == "90.00 ± 0.50"
    assert above["steps"] == "60 of 100"
    assert above["ahead of it by the test −bound"] == "`ours`, 40 steps: 81.00"
    assert [row[2:6] for row in rows_of(page, "ours")] == [
        ["60 of 100", "one seed", "90.00 ± 0.50", "90.00 ± 0.50"],
        ["40 of 100", "2 seeds", "81.00 ± 1.00", "**81.00 ± 1.00**"],
    ]
    assert page.count("$ python benchmarks") == 3


def test_what_a_method_is_is_said_of_each_length_whose_options_differ(scripts, tmp_path):
    _, table = scripts
    for steps, lr in ((30, 1.0), (40, 1.0), (60, 2.0)):
        put(tmp_path / "runs", finished("c", steps=steps, lr=lr))
    page = page_of(table, tmp_path / "runs", tmp_path)
    assert "- ours, 60 steps: as it is, lr 2.0.\n- ours, 40 and 30 steps: as it is, lr 1.0." in page
    put(tmp_path / "runs", finished("c", steps=60, lr=1.0))
    assert "- ours: as it is, lr 1.0.\n" in page_of(table, tmp_path / "runs", tmp_path)


def test_controls_stand_beside_ours_of_as_many_steps(scripts, tmp_path, monkeypatch):
    """In a table of their own, and not in the picture, whatever their number."""
    _, table = scripts
    drawn = []
    monkeypatch.setattr(table, "draw", lambda protocol, methods, path: drawn.append([*methods]))
    for steps in (100, 40):
        put(tmp_path / "runs", finished("a-mnist", steps=steps, elbo=-101.0 + steps / 100))
    put(tmp_path / "runs", finished("a-mnist", method="disarm", elbo=-105.0))
    for number, control in enumerate(("uniform", "random-start", "constant-lr", "not-averaged")):
        result = finished("a-mnist", method=control, steps=40, elbo=-110.0 + number, bound=-95.0)
        put(tmp_path / "runs", result)
    put(tmp_path / "runs", finished("a-mnist", method="uniform", steps=60, elbo=-104.0))
    page = page_of(table, tmp_path / "runs", tmp_path)
    before, controls = page.split("### What each change does")
    assert not rows_of(before, "uniform")
    rows = [row for row in controls.splitlines() if row.startswith("|")][2:]
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in rows] == [
        ["learned prior", "uniform", "60 of 100", "one seed", *["104.00 ± 0.50"] * 3],
        ["nothing", "ours", "40 of 100", "one seed",
         "**100.60 ± 0.50**", *["100.60 ± 0.50"] * 2],
        *(
            [left_out, control, "40 of 100", "one seed", *[f"{value} ± 0.50"] * 2, "95.00 ± 0.50"]
            for left_out, control, value in (
                ("learned prior", "uniform", "110.00"),
                ("start at the mean", "random-start", "109.00"),
                ("falling step size", "constant-lr", "108.00"),
                ("averaged weights", "not-averaged", "107.00"),
            )
        ),
    ]  # fmt: skip
    assert "run.py a-mnist --method not-averaged" in controls
    assert drawn == [["ours", "disarm"]]


def test_controls_without_a_run_of_ours_make_a_page(scripts, tmp_path):
    _, table = scripts
    put(tmp_path / "runs", finished("a-mnist", method="uniform"))
    page = page_of(table, tmp_path / "runs", tmp_path)
    assert len(rows_of(page, "learned prior")) == 1
    assert "![A." not in page
    assert "Of 0 rows" in page


def test_runs_of_several_lengths_lie_beside_each_other(scripts, tmp_path):
    """The commands of one page can all be given; the page finds what they leave."""
    protocols, table = scripts
    import run

    protocol = protocols.PROTOCOLS["c"]
    folders = [run.folder_of(tmp_path, protocol, "ours", 1, n) for n in (None, 1000, 300, 160)]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3
    for folder, steps in zip(folders[1:], (100, 30, 16), strict=True):
        folder.mkdir(parents=True)
        (folder / run.RESULT).write_text(json.dumps(finished("c", 1, steps=steps)))
    page = page_of(table, tmp_path, tmp_path)
    assert len(rows_of(page, "ours")) == 3


def test_seconds_of_a_gpu_are_named_as_such_and_so_is_its_command(scripts, tmp_path):
    _, table = scripts
    put(tmp_path / "runs", finished("a-mnist", device="a fast one"))
    put(tmp_path / "runs", finished("a-mnist", method="disarm"))
    page = page_of(table, tmp_path / "runs", tmp_path)
    assert [rows_of(page, method)[0][-1] for method in ("ours", "disarm")] == ["7, a fast one", "1"]
    assert "--method ours --seed 0 --device cuda\n" in page
    assert "--method disarm --seed 0\n" in page


@pytest.mark.parametrize("method", ["disarm", "uniform"])
@pytest.mark.parametrize(("bound", "is_said"), [(-85.0, True), (-89.5, False)])
def test_the_page_says_if_the_bound_ranks_methods_otherwise(
    scripts, tmp_path, bound, is_said, method
):
    """In the row of the first table too, be the other one a control or not."""
    protocols, table = scripts
    put(tmp_path / "runs", finished("a-mnist", elbo=-90.0, bound=-89.0))
    put(tmp_path / "runs", finished("a-mnist", elbo=-91.0, bound=bound, method=method))
    page = page_of(table, tmp_path / "runs", tmp_path)
    assert (
        f"By the bound on the test rows `{method}` of 100 steps is ahead of `ours` of 100 steps, "
        "85.00 to 89.00: 100 samples gain 6.0 nats over its ELBO, and 1.0 over" in page
    ) == is_said
    ahead = overview_of(protocols, page, "a-mnist")["ahead of it by the test −bound"]
    assert ahead == (f"`{method}`, 100 steps: 85.00" if is_said else "–")
    assert f"in {int(is_said)} another run of ours is ahead by the test −bound" in page


def test_what_was_on_the_page_stays_unless_it_was_run_again(scripts, tmp_path):
    _, table = scripts
    put(tmp_path / "first", finished("c", 0, elbo=-80.0))
    put(tmp_path / "first", finished("c", 1, elbo=-82.0))
    page_of(table, tmp_path / "first", tmp_path)
    put(tmp_path / "then", finished("c", 1, elbo=-90.0))
    put(tmp_path / "then", finished("a-mnist", 0))
    page = page_of(table, tmp_path / "then", tmp_path)
    assert page.index("## A. dynamic MNIST") < page.index("## C. threshold MNIST")
    (row,) = rows_of(page.split("## C. ")[1], "ours")
    assert row[3:5] == ["2 seeds", "85.00 ± 5.00"]
    again = (tmp_path / "benchmarks/benchmarks.json").read_bytes()
    assert page_of(table, tmp_path / "none", tmp_path) == page
    assert (tmp_path / "benchmarks/benchmarks.json").read_bytes() == again


@pytest.mark.parametrize("name", ["b-linear", "c", "d-30x10"])
def test_the_parts_are_those_of_the_protocol(scripts, name, monkeypatch):
    """Rows of the training part of the file, or of a validation part where the set has one."""
    protocols, _ = scripts
    import run

    sizes = {"train": 50_000 if name == "b-linear" else 60_000, "test": 10_000}

    def rows(n):
        return Rows.from_array(np.zeros((n, 1), np.uint8), name="none")

    def opened(source, split, data_dir):
        assert (source, split) == ("binarized-mnist", "validation")
        return rows(10_000)

    data = Dataset("none", rows(sizes["train"]), rows(sizes["test"]))
    monkeypatch.setattr(run, "load_data", lambda *_, **__: data)
    monkeypatch.setattr(run, "load_rows", opened)
    protocol = protocols.PROTOCOLS[name]
    parts = run.parts_of(protocol, None)
    expected = {"train": protocol.n_train, "test": 10_000}
    if protocol.metric != "train":
        expected["validation"] = 10_000
    assert {part: len(found) for part, found in parts.items()} == expected
