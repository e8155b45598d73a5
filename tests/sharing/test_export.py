"""ONNX files are the model, and tables of codes are its codes, for every kind of model."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch

from discretevae import __version__
from discretevae.codes import columns
from discretevae.codes.columns import write_parquet
from discretevae.codes.fingerprints import fingerprint
from discretevae.codes.packing import encode_rows
from discretevae.config import DataConfig, ModelConfig, RunConfig
from discretevae.data import load_data
from discretevae.errors import ConfigError, DataError, MissingExtraError, RunError
from discretevae.families import Bernoulli, Categorical, parts_of
from discretevae.likelihoods import BernoulliLikelihood
from discretevae.model.vae import fresh_model
from discretevae.run_folder.saved_run import load_run, save_config, save_weights
from discretevae.sharing import onnx as exporting, onnx_graphs
from discretevae.sharing.onnx import export_onnx

FAMILIES = (
    "bernoulli:9",
    "categorical:7",
    "categorical:3x5",
    "gaussian:4",
    "bernoulli:3+categorical:2x4",
    "categorical:5+gaussian:2+bernoulli:3",
)
NETWORKS = ("relu", "tanh", "leaky-relu:0.2", "linear", "cnn", "resnet")
LIKELIHOODS = (
    "bernoulli",
    "gaussian:0.5",
    "gaussian:learned",
    "student",
    "continuous-bernoulli",
    "beta-binomial",
    "logistic",
    "logistic:3",
)
CASES = [
    *((family, network, "bernoulli") for family in FAMILIES for network in NETWORKS),
    *(("bernoulli:9", network, name) for network in ("relu", "cnn") for name in LIKELIHOODS[1:]),
    *(("bernoulli:2@4x4", "resnet", name) for name in LIKELIHOODS),
    ("categorical:2x3@2x2", "resnet", "bernoulli"),
]


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_pictures_in_color_are_exported(tmp_path):
    config = ModelConfig(n_features=90, network="cnn", image_shape=(6, 5, 3), likelihood="logistic")
    model = fresh_model(config, seed=1)
    exported = export_onnx(model, tmp_path)
    assert exported.difference < 1e-4


def model_of(latent="bernoulli:9", network="relu", likelihood="bernoulli", spread=3.0):
    """A model on digits whose weights are ``spread`` times the usual, so that all is far from 0."""
    is_mlp = network not in ("cnn", "resnet")
    config = ModelConfig(
        n_features=64,
        latent=latent,
        network="mlp" if is_mlp else network,
        hidden=None if not is_mlp else () if network == "linear" else (24, 16),
        activation="relu" if network == "linear" or not is_mlp else network,
        likelihood=likelihood,
        image_shape=(8, 8),
        init="torch",
    )
    model = fresh_model(config, seed=1)
    with torch.no_grad():
        for parameter in [*model.encoder.parameters(), *model.decoder.parameters()]:
            # the one number without axes is the gain of a residual block, which begins at 0
            parameter.mul_(spread) if parameter.ndim else parameter.fill_(0.1)
    return model


def outputs(path, **inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize(("latent", "network", "likelihood"), CASES)
def test_both_graphs_give_what_the_model_gives(latent, network, likelihood, digits, tmp_path):
    model = model_of(latent, network, likelihood)
    x = digits.test.batch(slice(0, 40))
    done = export_onnx(model, tmp_path, rows=x)
    assert done.difference <= 1e-5
    assert done.rows == 40
    family = model.family
    for n in (0, 1, 7):
        rows = x[:n]
        eta = model.eta(rows).detach()
        found = outputs(done.encoder, rows=rows.numpy())
        assert next(iter(found)) == "codes"
        codes = found.pop("codes")
        assert torch.from_numpy(codes).dtype == model.encode(rows).dtype
        torch.testing.assert_close(torch.from_numpy(codes), model.encode(rows), atol=1e-5, rtol=0)
        parts = parts_of(family)
        etas = family.split_eta(eta) if len(parts) > 1 else [eta]
        for number, (part, part_eta) in enumerate(zip(parts, etas, strict=True)):
            suffix = f"_{number}" if len(parts) > 1 else ""
            if isinstance(part, Bernoulli | Categorical):
                name, wanted = "probabilities", part.mean(part_eta)
            else:
                name, wanted = "std", part.moments(part_eta)[1].sqrt()
            got = torch.from_numpy(found.pop(f"{name}{suffix}"))
            torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
        assert not found
        means = torch.from_numpy(outputs(done.decoder, codes=codes)["means"])
        wanted = model.decode(torch.from_numpy(codes)) if n else torch.empty(0, 64)
        torch.testing.assert_close(means, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(7, 9), (8, 5), (1, 3)])
def test_pictures_of_odd_sizes_come_back_in_their_size(shape, tmp_path):
    n = shape[0] * shape[1]
    config = ModelConfig(n_features=n, latent="bernoulli:4", network="cnn", image_shape=shape)
    assert export_onnx(fresh_model(config, seed=0), tmp_path).difference <= 1e-5


@pytest.mark.parametrize("latent", ["categorical:2", "bernoulli:1", "gaussian:1"])
def test_the_smallest_codes_are_exported_too(latent, tmp_path):
    assert export_onnx(model_of(latent), tmp_path).difference <= 1e-5


def test_a_continuous_bernoulli_mean_is_right_on_both_sides_of_its_series(tmp_path):
    model = model_of("gaussian:1", "linear", "continuous-bernoulli")
    with torch.no_grad():
        model.decoder[0].weight.fill_(1)
        model.decoder[0].bias.fill_(0)
    done = export_onnx(model, tmp_path)
    logits = torch.cat([torch.linspace(-1, 1, 201), torch.tensor([-90.0, -40.0, 40.0, 90.0])])
    means = outputs(done.decoder, codes=logits[:, None].numpy())["means"][:, 0]
    wanted = model.likelihood.mean(logits.double())
    assert np.abs(means - wanted.numpy()).max() < 1e-6


def test_rows_are_made_binary_by_the_encoder_of_a_binarized_run(digits, tmp_path):
    model = model_of()
    x = digits.test.batch(slice(0, 40))
    done = export_onnx(model, tmp_path, rows=x, threshold=True)
    codes = outputs(done.encoder, rows=x.numpy())["codes"]
    assert (codes == model.encode((x > 0.5).float()).numpy()).all()
    assert (codes != model.encode(x).numpy()).any()
    assert properties(done.encoder)["binarize"] == "threshold"


def properties(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_files_say_what_they_are(tmp_path):
    model = model_of()
    done = export_onnx(model, tmp_path / "new" / "folder", properties={"divisor": "16"})
    for path in (done.encoder, done.decoder):
        graph = onnx.load(path)
        onnx.checker.check_model(graph, full_check=True)
        assert (graph.producer_name, graph.producer_version) == ("discretevae", __version__)
        assert graph.ir_version == onnx_graphs.IR_VERSION
        assert [(o.domain, o.version) for o in graph.opset_import] == [("", done.opset)]
        assert properties(path) == {
            "discretevae": __version__,
            "latent": "bernoulli:9",
            "likelihood": "bernoulli",
            "network": "mlp",
            "n_features": "64",
            "image_shape": "[8, 8]",
            "binarize": "none",
            "fingerprint": fingerprint(model),
            "divisor": "16",
        }
    assert sorted(p.name for p in done.encoder.parent.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    assert shapes(done.encoder) == {"codes": ["N", 9], "probabilities": ["N", 9]}
    assert shapes(done.decoder) == {"means": ["N", 64]}


def shapes(path):
    dims = {o.name: o.type.tensor_type.shape.dim for o in onnx.load(path).graph.output}
    return {name: [d.dim_param or d.dim_value for d in own] for name, own in dims.items()}


def test_the_same_model_gives_the_same_bytes_and_no_random_state_is_touched(tmp_path):
    before = torch.get_rng_state()
    for name in "ab":
        export_onnx(model_of("categorical:3x5", likelihood="logistic"), tmp_path / name)
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("encoder.onnx", "decoder.onnx"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def broken(change, name, graph_of):
    """The same graph after a change of one constant of it."""

    def wrapped(*args):
        graph = onnx.load_from_string(graph_of(*args))
        tensor = next(t for t in graph.graph.initializer if list(t.dims) == name)
        array = change(onnx.numpy_helper.to_array(tensor).copy())
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        return graph.SerializeToString()

    return wrapped


@pytest.mark.parametrize("which", ["encoder_graph", "decoder_graph"])
def test_a_graph_that_differs_is_caught_and_nothing_is_written(which, tmp_path, monkeypatch):
    shape = [9] if which == "encoder_graph" else [64]
    graph_of = getattr(exporting, which)
    monkeypatch.setattr(exporting, which, broken(lambda a: a + np.float32(0.01), shape, graph_of))
    with pytest.raises(RunError, match="differ from the model by"):
        export_onnx(model_of(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert export_onnx(model_of(), tmp_path / "out", tolerance=1.0).difference > 1e-4


def test_codes_that_differ_beyond_rounding_are_caught(tmp_path, monkeypatch):
    graph_of = exporting.encoder_graph

    def wrong(*args):
        graph = onnx.load_from_string(graph_of(*args))
        node = next(n for n in graph.graph.node if n.op_type == "Greater")
        node.op_type = "Less"
        return graph.SerializeToString()

    monkeypatch.setattr(exporting, "encoder_graph", wrong)
    with pytest.raises(RunError, match="differ from the model by inf"):
        export_onnx(model_of(), tmp_path / "out")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named_with_its_command(missing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"onnx and onnxruntime.*discretevae\[export\]"):
        export_onnx(model_of(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "`tolerance` must be > 0. Got 0"),
        ({"tolerance": float("nan")}, "`tolerance` must be > 0. Got nan"),
        ({"rows": torch.zeros(3, 5)}, r"x must be a tensor of floats \[B, 64\]\. Got .* \[3, 5\]"),
        ({"rows": torch.zeros(0, 64)}, r"rows must be \[N, 64\] with N >= 1. Got none"),
        ({"rows": np.zeros((3, 5))}, "rows have 5 features, but the model takes 64"),
    ],
)
def test_wrong_options_are_refused(options, message, tmp_path):
    with pytest.raises((ConfigError, DataError), match=message):
        export_onnx(model_of(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_what_onnx_cannot_hold_is_refused(tmp_path, monkeypatch):
    class Odd(BernoulliLikelihood):
        def mean(self, output):
            return torch.digamma(output)

    model = model_of()
    model.likelihood = Odd()
    with pytest.raises(ConfigError, match=r"torch cannot write the decoder as ONNX .*digamma"):
        export_onnx(model, tmp_path)
    monkeypatch.setattr(onnx_graphs, "MAX_BYTES", 100)
    with pytest.raises(ConfigError, match="the encoder is over 2 GB"):
        export_onnx(model_of(), tmp_path)
    assert not list(tmp_path.iterdir())


# the command


def test_the_command_checks_on_the_test_rows_and_prints_the_difference(trained, cli, tmp_path):
    run = trained("bernoulli:16")
    said = cli("export", run, "--onnx", "--out", tmp_path / "out")
    assert said.status == 0, said.err
    assert "largest difference from torch: " in said.out
    assert "on 256 test rows" in said.out
    said = cli("export", run, "--onnx", "--out", tmp_path / "out", "--json")
    found = json.loads(said.out)
    assert found["difference"] <= 1e-5
    assert found["checked_on"] == "test"
    assert properties(found["encoder"])["divisor"] == "16"
    assert properties(found["encoder"])["fingerprint"] == fingerprint(load_run(run).model)


def test_the_command_takes_random_rows_where_the_data_are_gone(cli, tmp_path):
    model = model_of()
    config = RunConfig(model=model.config, data=DataConfig(source=str(tmp_path / "gone.npy")))
    folder = tmp_path / "run"
    folder.mkdir()
    save_config(folder, config)
    save_weights(folder, model)
    said = cli("export", folder, "--onnx", "--out", tmp_path / "out")
    assert said.status == 0, said.err
    assert "on 256 random rows" in said.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say what to write: --onnx or --pretrained"),
        (("--onnx", "--pretrained"), "say what to write: --onnx or --pretrained"),
        (("--onnx", "--tolerance", "0"), "tolerance must be > 0"),
        (("--onnx", "--tolerance", "1e-30"), "differ from the model"),
        (("--pretrained", "--license", "My own"), "license 'My own' is no identifier"),
        (("--onnx", "--license", "mit"), "--license and --overwrite are for --pretrained"),
        (("--onnx", "--overwrite"), "--license and --overwrite are for --pretrained"),
        (("--pretrained", "--tolerance", "1e-5"), "--tolerance is for --onnx"),
    ],
)
def test_mistakes_are_one_line(options, message, trained, cli, tmp_path):
    said = cli("export", trained("bernoulli:16"), *options, "--out", tmp_path / "out")
    assert (said.status, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


# codes as a table


def table_of(model, rows, out, **options):
    names = write_parquet(model, rows, out, **options)
    table = pq.read_table(out)
    assert table.column_names == names
    assert not any(column.null_count for column in table.columns)
    said = json.loads(table.schema.metadata[b"discretevae"])
    assert said["latent"] == str(model.family.spec)
    assert said["fingerprint"] == fingerprint(model)
    return table


@pytest.mark.parametrize("latent", [*FAMILIES, "bernoulli:3+bernoulli:11", "categorical:2x300"])
def test_a_table_holds_the_codes(latent, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "GROUP_ROWS", 100)  # several row groups
    model, out = model_of(latent), tmp_path / "codes.parquet"
    parts = parts_of(model.family)
    table = table_of(model, digits.test, out)
    assert pq.ParquetFile(out).num_row_groups == 3
    assert table["id"].to_pylist() == digits.test.source_numbers.tolist()
    codes = model.encode(digits.test.batch(slice(0, 297)))
    first, names = 0, iter(table.column_names[1:])
    for part in parts:
        wanted = codes[:, first : first + part.n_variables].numpy()
        if isinstance(part, Bernoulli):
            column = table[next(names)]
            bits = wanted.astype(np.uint8)
            assert column.to_pylist() == [row.tobytes() for row in np.packbits(bits, axis=1)]
            assert column.type.byte_width == -(-part.n_variables // 8)
        else:
            for i in range(part.n_variables):
                name = next(names)
                assert name == f"z{first + i}"
                assert (table[name].to_numpy() == wanted[:, i]).all()
        first += part.n_variables
    assert next(names, None) is None
    assert [path.name for path in tmp_path.iterdir()] == ["codes.parquet"]


def test_the_names_of_bits_differ_where_there_are_several_parts_of_them(digits, tmp_path):
    table = table_of(model_of("bernoulli:3+bernoulli:11"), digits.test, tmp_path / "a.parquet")
    assert table.column_names == ["id", "code_0", "code_1"]


def test_a_name_may_be_text(digits, tmp_path):
    model, out = model_of("bernoulli:13"), tmp_path / "codes.parquet"
    assert write_parquet(model, digits.test, str(out)) == ["id", "code"]
    assert [path.name for path in tmp_path.iterdir()] == ["codes.parquet"]


def test_ids_are_kept_and_checked(digits, tmp_path):
    model, out = model_of(), tmp_path / "codes.parquet"
    ids = np.arange(297)[::-1] * 2**40
    assert (table_of(model, digits.test, out, ids=ids)["id"].to_numpy() == ids).all()
    before = out.read_bytes()
    for wrong, message in (
        (ids[:5], "5 ids for 297 rows"),
        (np.zeros(297, int), "ids must differ"),
        (np.ones(297), "whole numbers"),
    ):
        with pytest.raises(DataError, match=message):
            write_parquet(model, digits.test, out, ids=wrong)
    assert out.read_bytes() == before


def test_a_failure_leaves_the_old_table_and_nothing_else(digits, tmp_path, monkeypatch):
    model, out = model_of(), tmp_path / "codes.parquet"
    out.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(columns, "_columns", fail)
    with pytest.raises(OSError, match="No space left"):
        write_parquet(model, digits.test, out)
    assert [path.name for path in tmp_path.iterdir()] == ["codes.parquet"]
    assert out.read_bytes() == b"old"


def test_a_table_without_pyarrow_names_the_extra(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'discretevae\[parquet\]'"):
        write_parquet(model_of(), digits.test, tmp_path / "codes.parquet")


def test_encode_writes_a_table(trained, cli, tmp_path):
    run, out = trained("bernoulli:16"), tmp_path / "new" / "codes.parquet"
    np.save(tmp_path / "ids.npy", np.arange(297) + 1000)
    said = cli("encode", run, "--split", "test", "--out", out, "--ids", tmp_path / "ids.npy")
    assert (said.status, said.out) == (0, f"297 rows written to {out}\n"), said.err
    table = pq.read_table(out)
    assert table["id"].to_pylist() == list(range(1000, 1297))
    opened = load_run(run)
    rows = load_data("digits").test.binarized(opened.config.data.binarize)
    packed = encode_rows(opened.model, rows)
    assert table["code"].to_pylist() == [row.tobytes() for row in packed]
    said = cli("encode", run, "--split", "test", "--out", out, "--json")
    assert json.loads(said.out) == {"out": str(out), "rows": 297, "columns": ["id", "code"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "c.npy", "--ids", "ids.npy"), "--ids is for .parquet files"),
        (("--out", "c.csv"), "must end in .npy or .parquet"),
        (("--out", "c.parquet", "--ids", "none.npy"), "none.npy: no such file"),
        (("--out", "c.parquet", "--ids", "c.parquet"), "c.parquet: is the file of the ids"),
    ],
)
def test_mistakes_of_encode_are_one_line(options, message, trained, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "c.parquet" in options[2:]:
        (tmp_path / "c.parquet").write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    said = cli("encode", trained("bernoulli:16"), *options)
    assert (said.status, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
