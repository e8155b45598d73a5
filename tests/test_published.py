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


def finished(protocol, seed=0, *, steps=100, elbo=-90.0, bound=None, method="ours", device=None):
    """What a run of a protocol leaves."""
    figure = {"value": elbo, "se": 0.5}
    better = {"value": elbo if bound is None else bound, "se": 0.5}
    return {
        "protocol": protocol, "method": method, "about": "as it is", "seed": seed,
        "steps": steps, "published_steps": 100, "evaluations": 1, "seconds": 7.0, "device": device,
        "cpu_seconds": 1.0, "best_held_out": {"epoch": 1, "elbo": elbo, "se": 0.5},
        "parts": {
            part: {"elbo": figure, "bound": better} for part in ("train", "validation", "test")
        },
        "curve": [[1, -elbo + 3, elbo - 2], [2, -elbo, elbo]],
    }  # fmt: skip


def put(folder, result):
    path = folder / result["protocol"] / result["method"] / str(result["seed"]) / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))


def page_of(table, folder, docs):
    table.main.callback(folder, docs)
    return (docs / "benchmarks.md").read_text()


def row_of(page, method):
    return next(
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith(f"| **{method}**")
    )


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


@pytest.mark.draws
def test_of_several_seeds_the_page_has_mean_and_standard_error(scripts, tmp_path):
    _, table = scripts
    for seed, elbo in enumerate((-97.0, -96.0, -98.0)):
        put(tmp_path / "runs", finished("d-30x10", seed, elbo=elbo))
    page = page_of(table, tmp_path / "runs", tmp_path)
    row = row_of(page, "ours")
    assert row[2:5] == ["100", "3", "**97.00 ± 0.58**"]
    overview = page[: page.index("## D. grey MNIST, 30 × 10")]
    assert "| 98.37 (ReinMax) | **97.00 ± 0.58** | 3 | 100 | 1 | `run.py d-30x10` |" in overview
    assert "reported, unverified" in page
    assert "--seed 2" in page
    assert "--epochs" not in page
    assert (tmp_path / "benchmarks/d-30x10.png").stat().st_size > 5000
    missing = page.split("## Not run")[1]
    assert "20 × 10" in missing
    assert "30 × 10" not in missing


def test_a_shorter_run_is_named_as_such(scripts, tmp_path):
    _, table = scripts
    put(tmp_path / "runs", finished("c", steps=40))
    page = page_of(table, tmp_path / "runs", tmp_path)
    assert row_of(page, "ours")[2] == "40 of 100"
    assert "run.py c --method ours --seed 0 --epochs 2\n" in page


def test_runs_of_several_lengths_all_stand_there_and_the_longest_above(scripts, tmp_path):
    """A better one that is shorter does not take the place of the longest."""
    _, table = scripts
    put(tmp_path / "first", finished("c", 0, steps=40, elbo=-80.0))
    put(tmp_path / "first", finished("c", 1, steps=40, elbo=-82.0))
    page_of(table, tmp_path / "first", tmp_path)
    put(tmp_path / "then", finished("c", 0, steps=60, elbo=-90.0))
    page = page_of(table, tmp_path / "then", tmp_path)
    overview, section = page.split("## C. ")[:2]
    assert "| **90.00 ± 0.50** | 1 | 60 of 100 |" in overview
    assert "81.00" not in overview
    rows = [line.split(" | ")[2:5] for line in section.splitlines() if "**ours**" in line]
    assert rows == [
        ["60 of 100", "1", "**90.00 ± 0.50**"],
        ["40 of 100", "2", "**81.00 ± 1.00**"],
    ]
    assert section.count("$ python benchmarks") == 3


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
    assert page.split("## C. ")[1].count("| **ours** |") == 3


def test_seconds_of_a_gpu_are_named_as_such_and_so_is_its_command(scripts, tmp_path):
    _, table = scripts
    put(tmp_path / "runs", finished("a-mnist", device="a fast one"))
    put(tmp_path / "runs", finished("a-mnist", method="disarm"))
    page = page_of(table, tmp_path / "runs", tmp_path)
    assert row_of(page, "ours")[-1] == "7, a fast one"
    assert row_of(page, "disarm")[-1] == "1"
    assert "--method ours --seed 0 --device cuda\n" in page
    assert "--method disarm --seed 0\n" in page


@pytest.mark.parametrize(("bound", "is_said"), [(-85.0, True), (-89.5, False)])
def test_the_page_says_if_the_bound_ranks_methods_otherwise(scripts, tmp_path, bound, is_said):
    _, table = scripts
    put(tmp_path / "runs", finished("a-mnist", elbo=-90.0, bound=-89.0))
    put(tmp_path / "runs", finished("a-mnist", elbo=-91.0, bound=bound, method="disarm"))
    page = page_of(table, tmp_path / "runs", tmp_path)
    assert (
        "By the bound on the test rows disarm is ahead: 100 samples gain 6.0" in page
    ) == is_said


def test_what_was_on_the_page_stays_unless_it_was_run_again(scripts, tmp_path):
    _, table = scripts
    put(tmp_path / "first", finished("c", 0, elbo=-80.0))
    put(tmp_path / "first", finished("c", 1, elbo=-82.0))
    page_of(table, tmp_path / "first", tmp_path)
    put(tmp_path / "then", finished("c", 1, elbo=-90.0))
    put(tmp_path / "then", finished("a-mnist", 0))
    page = page_of(table, tmp_path / "then", tmp_path)
    assert page.index("## A. dynamic MNIST") < page.index("## C. threshold MNIST")
    row = row_of(page.split("## C. ")[1], "ours")
    assert row[3:5] == ["2", "**85.00 ± 5.00**"]
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
