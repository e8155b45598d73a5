"""A model that is given away reads new data as its run did, and tells no more than it must."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import discretevae as dv
from discretevae.errors import DataError, DataWarning, RunError
from discretevae.run_folder.saved_run import load_run
from discretevae.sharing.hub import from_pretrained, save_pretrained

pytestmark = pytest.mark.filterwarnings("ignore::discretevae.errors.CollapseWarning")

TABLE = np.random.default_rng(0).normal((170, 70, 0.01), (10, 15, 0.002), (60, 3))
TRAIN = ("train", "--latent", "bernoulli:3", "--hidden", "8", "--epochs", "1", "--out", "run")


def write_csv(path, table, names=("height", "weight", "dose")):
    np.savetxt(path, table, "%.6f", ",", header=",".join(names), comments="")


@pytest.fixture
def run(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    write_csv("people.csv", TABLE)
    assert cli(*TRAIN, "--data", "people.csv", "--scale", "standard").status == 0
    return load_run("run")


def test_new_data_are_held_against_a_shared_model(run, cli):
    assert cli("export", "run", "--pretrained", "--out", "shared").status == 0
    shared = from_pretrained("shared").schema
    assert shared.columns == ("height", "weight", "dose")
    assert shared.scale.center.tolist() == run.schema.scale.center.tolist()
    for folder in ("run", "shared"):
        said = cli("encode", folder, "people.csv", "--split", "all", "--out", f"{folder}.npy")
        assert said.status == 0
    assert Path("run.npy").read_bytes() == Path("shared.npy").read_bytes()
    write_csv("turned.csv", TABLE[:, ::-1], ("dose", "weight", "height"))
    with pytest.warns(DataWarning, match="put in order by name"):
        said = cli("encode", "shared", "turned.csv", "--split", "all", "--out", "turned.npy")
    assert said.status == 0
    assert Path("turned.npy").read_bytes() == Path("run.npy").read_bytes()
    write_csv("other.csv", TABLE, ("height", "weight", "age"))
    write_csv("scaled.csv", (TABLE - TABLE.mean(0)) / TABLE.std(0))
    for file, reason in (("other.csv", "without 'dose'"), ("scaled.csv", "on another scale")):
        said = cli("encode", "shared", file, "--split", "all", "--out", "x.npy")
        assert (said.status, reason in said.err) == (2, True)


def test_a_shared_schema_holds_no_rows_and_no_path(run):
    text = (save_pretrained(run, "shared") / "schema.json").read_text()
    values = json.loads(text)
    assert (values["split"], values["digests"]) == (None, {})
    for private in (*run.schema.digests["all"].sums, str(Path.cwd())):
        assert private not in text
    # so what was held out is not known to others, and new data are split anew
    shared = from_pretrained("shared")
    test = dv.load_run_rows(shared.config.data, shared.schema, "test", source="people.csv")
    assert len(test) == 6
    Path("people.csv").unlink()
    with pytest.raises(DataError, match="are not there any more"):
        dv.load_run_rows(shared.config.data, shared.schema, "test")


def test_the_card_says_what_the_schema_tells(run):
    card = (save_pretrained(run, "shared") / "README.md").read_text()
    low, high = run.schema.low, run.schema.high
    assert (low, high) == pytest.approx((TABLE.min(), TABLE.max()), abs=1e-5)
    for line in (
        f"- values: `{low:g} to {high:g}`",
        "- columns: `height, weight, dose`",
        "- scale: `standard`",
    ):
        assert line in card.splitlines()
    code = card.partition("```python\n")[2].partition("```")[0]
    code = code.replace("user/name", "shared").replace('"yours"', '"people.csv"')
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102 - the card's own
    assert names["codes"].shape == (60, 3)


def test_a_schema_may_be_kept_back_whole_or_in_part(run):
    save_pretrained(run, "shared")
    nameless = dataclasses.replace(run.schema, columns=None)
    save_pretrained(dataclasses.replace(run, schema=nameless), "shared", overwrite=True)
    assert from_pretrained("shared").schema.columns is None
    assert "height" not in (Path("shared") / "README.md").read_text()
    save_pretrained(dataclasses.replace(run, schema=None), "shared", overwrite=True)
    assert from_pretrained("shared").schema is None
    assert not (Path("shared") / "schema.json").exists()
    with pytest.raises(RunError, match=r"already holds model\.safetensors"):
        save_pretrained(run, "shared")


def test_a_file_that_has_the_name_of_a_set_stays_a_file(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    np.save("digits/a.npy", (TABLE.mean(0) < TABLE) * 1)
    with pytest.warns(DataWarning, match="taken for the file or folder of this name"):
        assert cli(*TRAIN, "--data", "digits").status == 0
    shared = from_pretrained(save_pretrained(load_run("run"), "shared"))
    assert dv.load_run_rows(shared.config.data, shared.schema, "all").n_features == 3
    Path("digits/a.npy").unlink()
    Path("digits").rmdir()
    with pytest.raises(DataError, match="are not there any more"):
        dv.load_run_rows(shared.config.data, shared.schema, "all")


def test_onnx_files_say_how_values_are_scaled(run, cli):
    onnxruntime = pytest.importorskip("onnxruntime")
    assert cli("export", "run", "--onnx", "--out", "onnx").status == 0
    said = onnxruntime.InferenceSession("onnx/encoder.onnx").get_modelmeta().custom_metadata_map
    scale = run.schema.scale
    assert json.loads(said["center"]) == scale.center.tolist()
    assert json.loads(said["width"]) == scale.width.tolist()
    assert "divisor" not in said
