"""Every row that a command writes or prints goes by its own id."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from discretevae.cli.inputs import Inputs
from discretevae.codes.ids import as_names, ids_of, short_name
from discretevae.codes.tables import write_columns
from discretevae.data import Rows, load_rows
from discretevae.errors import DataError

AWKWARD = [
    "img2.png", "img10.png", "a,b", 'say "so"', "two\nlines", "back\rwards", "Größe/雪.png", "",
    " spaces ", "x" * 5000, "a\x00b", "1", "1", "=1+1", "$a$", "tab\there", "\u2028", "e\u0301",
]  # fmt: skip


def texts(n: int) -> np.ndarray:
    """Return so many ids, awkward ones first."""
    return as_names([*AWKWARD, *(f"p/img{i}.png" for i in range(n))][:n])


@pytest.fixture
def named(monkeypatch):
    """Let the rows that commands load have such ids; of any split those of the whole source."""

    def give(make=texts) -> np.ndarray:
        load = Inputs.load

        def with_ids(self, data, split):
            rows = load(self, data, split)
            ids = make(1797)
            return replace(rows, ids=ids[rows.source_numbers.numpy()])

        monkeypatch.setattr(Inputs, "load", with_ids)
        return make(1797)

    return give


@pytest.fixture(scope="module")
def test_numbers():
    """The numbers that the test rows of digits have in their source."""
    return load_rows("digits", split="test").source_numbers.numpy()


def read_csv(path) -> dict[str, list[str]]:
    """Return the columns of a table as the standard library reads them."""
    with path.open(newline="", encoding="utf-8") as file:
        first, *lines = csv.reader(file)
    return dict(zip(first, map(list, zip(*lines, strict=True)), strict=True))


COMMANDS = {
    "outliers": ("--out", "--samples", 2, "--reference-rows", 30),
    "cluster": ("--out",),
    "evaluate": ("--per-row", "--samples", 2),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_tables_of_rows_hold_texts_as_they_are(command, suffix, cli, trained, named, tmp_path):
    ids, out = named(), tmp_path / f"o{suffix}"
    option, *more = COMMANDS[command]
    said = cli(command, trained("categorical:5"), "--split", "all", option, out, *more)
    assert said.status == 0, said.err
    if suffix == ".csv":
        assert read_csv(out)["id"] == ids.tolist()
    else:
        with np.load(out, allow_pickle=False) as arrays:
            # of NumPy's texts zeros at the end are lost, and nothing else
            assert arrays["id"].tolist() == ids.tolist()
            assert all(len(arrays[name]) == 1797 for name in arrays)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_part_keeps_its_numbers(command, cli, trained, test_numbers, tmp_path):
    out = tmp_path / "o.csv"
    option, *more = COMMANDS[command]
    said = cli(command, trained("categorical:5"), "--split", "test", option, out, *more)
    assert said.status == 0, said.err
    assert read_csv(out)["id"] == list(map(str, test_numbers))
    assert test_numbers.tolist() != list(range(297))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_part_keeps_its_ids(command, cli, trained, named, test_numbers, tmp_path):
    ids, out = named(), tmp_path / "o.csv"
    option, *more = COMMANDS[command]
    assert cli(command, trained("categorical:5"), "--split", "test", option, out, *more).status == 0
    assert read_csv(out)["id"] == ids[test_numbers].tolist()


def test_outliers_are_printed_by_their_ids(cli, trained, named, test_numbers):
    ids = named()
    options = ("--split", "test", "--samples", 2, "--reference-rows", 30, "--n", 297)
    facts = json.loads(cli("outliers", trained("categorical:5"), *options, "--json").out)
    assert sorted(each["row"] for each in facts["worst"]) == sorted(test_numbers)
    assert all(each["id"] == ids[each["row"]] for each in facts["worst"])
    head, *lines = cli("outliers", trained("categorical:5"), *options).out.splitlines()
    assert head.split()[0] == "id"
    for each, line in zip(facts["worst"], lines, strict=False):
        assert line.startswith(short_name(each["id"]))


def test_a_column_of_whole_numbers_is_no_number_of_rows(cli, trained, named):
    named(lambda n: np.arange(n) + 5000)
    said = cli("outliers", trained("categorical:5"), "--samples", 2, "--reference-rows", 30).out
    head, first, *_ = said.splitlines()
    assert head.split()[0] == "id"
    assert 5000 <= int(first.split()[0]) < 6797


def test_a_name_is_printed_on_one_line():
    for each in AWKWARD:
        shown = short_name(each, 20)
        assert len(shown) <= 20
        assert shown.isprintable()
    assert short_name("folder/of/many/img3.png", 13) == "fol…/img3.png"
    assert short_name("\udcff.png") == "\\udcff.png"


def test_clusters_name_classes_and_their_surest_row(cli, trained, named, monkeypatch, tmp_path):
    names = tuple(f"class {'abcdefghij'[i]}" for i in range(10))
    ids, load = named(), Inputs.load
    monkeypatch.setattr(Inputs, "load", lambda *args: replace(load(*args), classes=names))
    run, out = trained("categorical:5"), tmp_path / "c.csv"
    said = cli("cluster", run, "--json", "--out", out, "--picture", tmp_path / "p.png")
    facts, table = json.loads(said.out), read_csv(out)
    assert (facts["classes"], table["id"]) == (list(names), ids.tolist())
    for each in facts["clusters"]:
        if each["rows"]:
            at = table["id"].index(each["surest"])
            assert table["cluster"][at] == str(each["cluster"])
            own = [p for p, c in zip(table["probability"], table["cluster"], strict=True)
                   if c == str(each["cluster"])]  # fmt: skip
            assert table["probability"][at] == max(own, key=float)
    said = cli("cluster", run, "--picture", tmp_path / "p.png").out
    assert all(
        names[each["majority"]["label"]] in said for each in facts["clusters"] if each["rows"]
    )
    worst = cli("outliers", run, "--samples", 2, "--reference-rows", 30, "--json")
    assert all(each["class"] in names for each in json.loads(worst.out)["worst"]), worst.err


def test_parquet_has_texts_numbers_or_those_given(cli, trained, named, test_numbers, tmp_path):
    run, out = trained("bernoulli:8"), tmp_path / "c.parquet"
    assert cli("encode", run, "--split", "test", "--out", out).status == 0
    assert pq.read_table(out)["id"].to_pylist() == test_numbers.tolist()
    ids = named()
    assert cli("encode", run, "--out", out).status == 0
    table = pq.read_table(out)
    assert table["id"].to_pylist() == ids.tolist()
    assert str(table.schema.field("id").type) == "string"
    np.save(tmp_path / "ids.npy", np.arange(1797) + 5)
    assert cli("encode", run, "--out", out, "--ids", tmp_path / "ids.npy").status == 0
    assert pq.read_table(out)["id"].to_pylist() == list(range(5, 1802))


def test_ids_lie_beside_codes_where_they_say_something(
    cli, trained, named, monkeypatch, test_numbers, tmp_path
):
    run, out, beside = trained("bernoulli:8"), tmp_path / "c.npy", tmp_path / "c.ids.csv"
    facts = json.loads(cli("encode", run, "--split", "test", "--out", out, "--json").out)
    assert facts["ids"] == str(beside)
    assert read_csv(beside) == {"id": list(map(str, test_numbers))}
    # codes of rows that are only counted take away what named those before them
    facts = json.loads(cli("encode", run, "--out", out, "--json").out)
    assert facts["ids"] is None
    assert not beside.exists()
    ids = named()
    said = cli("encode", run, "--out", out)
    assert f"their ids written to {beside}" in said.out
    assert read_csv(beside)["id"] == ids.tolist()
    assert len(np.load(out)) == 1797

    # a failure leaves codes and ids as they were
    before = [path.read_bytes() for path in (out, beside)]

    def fail(*_, **__):
        raise DataError("no longer there")

    monkeypatch.setattr(Rows, "batch", fail)
    assert cli("encode", run, "--split", "test", "--out", out).status != 0
    assert [path.read_bytes() for path in (out, beside)] == before
    assert {path.name for path in tmp_path.iterdir()} == {"c.npy", "c.ids.csv"}


def test_ids_do_not_take_the_place_of_the_data(cli, trained, tmp_path):
    data = tmp_path / "x.ids.csv"
    np.savetxt(data, np.zeros((3, 64)), delimiter=",", fmt="%d")
    before = data.read_bytes()
    said = cli("encode", trained("bernoulli:8"), data, "--out", tmp_path / "x.npy")
    assert (said.status, data.read_bytes()) == (2, before)


@pytest.mark.parametrize(
    "ids",
    [np.array(["b", "a"]), np.array([3, 1], np.uint8), np.array([1.5, 2]), np.array([-1, 0]),
     np.array([2**64 - 1, 0], np.uint64), np.array([b"x", b"y"], object)],
)  # fmt: skip
def test_ids_of_every_dtype_are_numbers_or_texts(ids, tmp_path):
    rows = Rows.from_array([[0.0], [1.0]], ids=ids)
    found = ids_of(rows)
    assert found.tolist() == (ids.tolist() if found.dtype == np.int64 else list(map(str, ids)))
    write_columns(tmp_path / "a.npz", {"id": found})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["id"].tolist() == found.tolist()


def test_names_of_files_that_are_no_text(cli, trained, named, tmp_path):
    named(lambda n: as_names([f"\udcff{i}.png" for i in range(n)]))
    run = trained("categorical:5")
    for command, (option, *more) in COMMANDS.items():
        out = tmp_path / f"{command}.csv"
        assert cli(command, run, "--split", "test", option, out, *more).status == 0
        assert read_csv(out)["id"][0].startswith("\\udcff")
    for name in ("c.npy", "c.parquet"):
        assert cli("encode", run, "--out", tmp_path / name).status == 0
    assert pq.read_table(tmp_path / "c.parquet")["id"][3].as_py() == "\\udcff3.png"
    shutil.rmtree(tmp_path)
