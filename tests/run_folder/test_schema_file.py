"""schema.json: every damage is refused in one line, and nothing is used that was not written."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from discretevae.config import DataConfig, ModelConfig, RunConfig
from discretevae.data import Dataset, Rows, Schema, load_data, load_run_rows
from discretevae.data.datasets import DrawnSplit
from discretevae.data.schema import split_rows
from discretevae.errors import DataError, RunError
from discretevae.run_folder import saved_run
from discretevae.run_folder.saved_run import load_schema, save_config, save_schema

TABLE = "height,weight\n" + "".join(f"{i * 7 % 20},{i * i}\n" for i in range(20))


def config_of(schema, **data):
    model = ModelConfig(
        n_features=schema.n_features, latent="bernoulli:3", image_shape=schema.image_shape
    )
    return RunConfig(model=model, data=DataConfig(source="mine.csv", **data))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text(TABLE)
    return tmp_path


@pytest.fixture
def scaled(here):
    """A schema with everything that one can hold but a picture size, and its configuration."""
    table = np.array([[i, i * i] for i in range(20)], float)
    rows = Rows.from_array(
        table, labels=["a", "b"] * 10, scale="standard", columns=["height", "weight"]
    )
    split = DrawnSplit(20, 0.1, 0)
    schema = Schema.of(Dataset("mine", *split_rows(rows, split), split))
    config = config_of(schema, scale="standard")
    save_config(here, config)
    save_schema(here, schema)
    return config


def written(folder, values):
    """Writes values as if they were ours: with the right checksum."""
    values = {name: value for name, value in values.items() if name != "checksum"}
    values["checksum"] = saved_run._checksum(values)
    (folder / "schema.json").write_text(json.dumps(values))


def values_of(folder):
    return json.loads((folder / "schema.json").read_text())


def test_a_schema_is_read_as_it_was_written(here, scaled):
    schema = load_schema(here, scaled)
    assert schema.columns == ("height", "weight")
    assert schema.classes == ("a", "b")
    assert schema.split == DrawnSplit(20, 0.1, 0)
    before = (here / "schema.json").read_bytes()
    save_schema(here, schema)
    assert (here / "schema.json").read_bytes() == before
    # one line for each entry, to be read by people too
    assert before.count(b"\n") == len(schema.to_dict()) + 3


def test_every_flipped_byte_and_a_cut_is_refused_or_changes_nothing(here, scaled):
    path, good = here / "schema.json", load_schema(here, scaled).to_dict()
    content = path.read_bytes()
    for at in range(len(content)):
        flipped = content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]
        for damaged in (flipped, *[content[:at]][: at % 4 == 0]):
            path.write_bytes(damaged)
            said = None
            try:
                schema = load_schema(here, scaled)
            except RunError as error:
                said = str(error)
            if said is None:
                assert schema.to_dict() == good  # a space that became another one
            else:
                assert ("schema.json" in said, said.count("\n")) == (True, 0)


WRONG = {
    "n_features": (0, -2, 2.0, True, None, "2", [2], 10**30, 3),
    "columns": ("ab", ["height"], ["height", "height"], ["height", 1], {"a": 1}, 7),
    "divisor": (0, -1.0, None, "1", True, float("nan"), float("inf"), 10**400),
    "scale": ([], {}, "standard", 1, {"kind": "standard"}),
    "low": (None, "0", 10**400, 1e300, float("-inf")),
    "high": ([], -1e300, 10**400),
    "image_shape": (7, [2], [1, 3], [2, 1.0], [True, 2], [-1, -2], "12", [10**30, 10**30]),
    "classes": ("ab", [1, 2], ["a", "a"], {"a": "b"}),
    "split": (None, 3, {}, {"rows": 10**12, "test_fraction": 0.1, "seed": 0},
              {"rows": 20, "test_fraction": 2, "seed": 0}, {"rows": 20, "seed": 0},
              {"rows": 20, "test_fraction": 0.1, "seed": -1, "more": 1}),
    "digests": (None, [], {}, {"all": {}}, {"all": 5}, {"rest": {}}),
    "format": (None, "discretevae-run", 3),
    "format_version": (0, 2, "1", None, 10**30),
    "more": (1,),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_refused_even_with_the_right_checksum(here, scaled, name):
    values = values_of(here)
    for wrong in WRONG[name]:
        written(here, values | {name: wrong})
        with pytest.raises(RunError, match=r"schema.json: corrupt: ") as raised:
            load_schema(here, scaled)
        assert str(raised.value).count("\n") == 0
        assert len(str(raised.value)) < 1000
    if name in values:
        written(here, {key: value for key, value in values.items() if key != name})
        with pytest.raises(RunError, match="corrupt"):
            load_schema(here, scaled)


@pytest.mark.parametrize(
    ("part", "field", "wrong"),
    [
        ("scale", "center", [1.0]), ("scale", "center", [1.0, None]), ("scale", "width", [0, 1.0]),
        ("scale", "width", [1.0, 10**400]), ("scale", "low", [[1.0], [2.0]]),
        ("scale", "high", [1.0, True]), ("scale", "kind", "robust"), ("scale", "center", {}),
        ("digest", "rows", 2**70), ("digest", "rows", 20.0), ("digest", "rows", 10**6),
        ("digest", "group", 0), ("digest", "group", 10**30), ("digest", "stride", 10**30),
        ("digest", "sums", [5]), ("digest", "sums", ["xyz"]), ("digest", "sums", []),
        ("digest", "sums", ["1" * 17]), ("digest", "sums", "ab"), ("digest", "sums", 7),
    ],
)  # fmt: skip
def test_parts_with_wrong_values_are_refused(here, scaled, part, field, wrong):
    values = copy.deepcopy(values_of(here))
    (values["scale"] if part == "scale" else values["digests"]["all"])[field] = wrong
    written(here, values)
    with pytest.raises(RunError, match="corrupt"):
        load_schema(here, scaled)


def test_rows_without_end_take_no_memory(here, scaled):
    values, n = copy.deepcopy(values_of(here)), 2**61
    values["digests"]["all"] |= {"rows": n, "group": n}
    values["split"]["rows"] = n
    written(here, values)
    schema = load_schema(here, scaled)
    with pytest.raises(DataError, match="has 20 rows, but 2,305,843,009,213,693,952 when"):
        load_run_rows(scaled.data, schema, "test")


def arrays():
    rng = np.random.default_rng(0)
    return {
        "wide": Rows.from_array(rng.random((20, 3))),
        "divided": Rows.from_array(rng.integers(0, 17, (20, 2)), divisor=16),
        "minmax": Rows.from_array(rng.random((20, 2)), scale="minmax"),
        "unscaled": Rows.from_array(rng.random((20, 2))),
    }


@pytest.mark.parametrize("kind", ["wide", "divided", "minmax", "unscaled"])
def test_the_schema_of_another_run_is_refused(here, scaled, kind):
    rows = arrays()[kind]
    save_schema(here, Schema.of(Dataset("other", rows, rows)))
    with pytest.raises(RunError, match=r"but the configuration says"):
        load_schema(here, scaled)


def test_the_schema_of_other_pictures_is_refused(here):
    array = np.random.default_rng(0).random((20, 12))
    one, other = (Rows.from_array(array, image_shape=shape) for shape in ((3, 4), (2, 6)))
    config = config_of(Schema.of(Dataset("mine", one, one)))
    save_schema(here, Schema.of(Dataset("mine", other, other)))
    with pytest.raises(RunError, match=r"pictures of \(2, 6\), but the configuration says \(3, 4"):
        load_schema(here, config)


def test_a_schema_of_many_columns_is_read_and_a_larger_file_is_not(here):
    n = 120_000
    rows = Rows.from_array(
        np.random.default_rng(0).normal(size=(3, n)), scale="standard",
        columns=[f"column {i}" for i in range(n)],
    )  # fmt: skip
    schema = Schema.of(Dataset("mine", *split_rows(rows, split := DrawnSplit(3, 0.4, 0)), split))
    save_schema(here, schema)
    size = (here / "schema.json").stat().st_size
    assert size > saved_run.MAX_JSON_BYTES
    assert load_schema(here, config_of(schema)).columns[-1] == f"column {n - 1}"
    few = config_of(Schema.of(load_data("mine.csv")))
    with pytest.raises(RunError, match=r"over 10,008,192 bytes, so not ours"):
        load_schema(here, few)
