"""A user's mistake: exit status 2, one line that says what, got and do, and nothing left behind."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch

TRAIN = ("train", "--epochs", "1", "--hidden", "8", "--out", "new")
MINE = (*TRAIN, "--data", "mine.npy")


class Case(NamedTuple):
    """One mistake: files made before, the command, and what its message must hold."""

    name: str
    args: tuple[str, ...]
    says: tuple[str, ...]
    files: Callable[[], object] = lambda: None
    run: str | None = None
    """The code of a trained run that lies in ``run``."""


class Bomb:
    """Makes a folder if anyone unpickles it."""

    def __reduce__(self):
        return (Path.mkdir, (Path("pickle-ran"),))


def saved(array, name="mine.npy"):
    return lambda: np.save(name, array, allow_pickle=True)


def written(content: bytes, name: str):
    return lambda: Path(name).write_bytes(content)


def edited(change: Callable[[dict], object], name="run/config.json"):
    """A change of a JSON file in place."""

    def do():
        values = json.loads(Path(name).read_text())
        change(values)
        Path(name).write_text(json.dumps(values))

    return do


def cut(name: str, keep: Callable[[int], int]):
    def do():
        for path in Path().glob(name):
            content = path.read_bytes()
            path.write_bytes(content[: keep(len(content))])

    return do


def replaced(name: str, at: int, by: bytes):
    def do():
        content = bytearray(Path(name).read_bytes())
        assert content[at : at + len(by)] != by
        content[at : at + len(by)] = by
        Path(name).write_bytes(content)

    return do


def reweighted(change: Callable[[dict], object]):
    def do():
        path = Path("run/model.safetensors")
        tensors = safetensors.torch.load(path.read_bytes())
        change(tensors)
        path.write_bytes(safetensors.torch.save(tensors, {"head": "{}"}))

    return do


def folder_with(name: str, content: bytes):
    def do():
        Path("mine").mkdir()
        (Path("mine") / name).write_bytes(content)

    return do


def object_array():
    array = np.empty(2, object)
    array[:] = [Bomb(), Bomb()]
    return array


IDX = struct.pack(">HBBIII", 0, 8, 3, 10, 4, 4)
HALF = np.full((20, 16), 0.5)
OUTSIDE = np.where(np.arange(320).reshape(20, 16) == 7, -3.5, HALF)

DATA = [
    Case("unknown name", (*TRAIN, "--data", "minst"), ("minst", "Did you mean mnist?", "digits")),
    Case("no such file", (*TRAIN, "--data", "a/b.npy"), ("a/b.npy: no such file", "Choices:")),
    Case(
        "truncated IDX",
        (*TRAIN, "--data", "x-idx3-ubyte"),
        ("x-idx3-ubyte", "of 176 bytes", "fetch it again"),
        written(IDX + bytes(100), "x-idx3-ubyte"),
    ),
    Case(
        "truncated gzip",
        (*TRAIN, "--data", "x.gz"),
        ("x.gz",),
        written(gzip.compress(IDX + bytes(range(160)))[:60], "x.gz"),
    ),
    Case(
        "gzip of a text",
        (*TRAIN, "--data", "x.gz"),
        ("x.gz", "gzip file that holds no IDX array", "magic number"),
        written(gzip.compress(b"hello, world"), "x.gz"),
    ),
    Case("text .npy", MINE, ("mine.npy", "numpy.save"), written(b"1,2,3\n", "mine.npy")),
    Case("empty file", MINE, ("mine.npy", "the file is empty"), written(b"", "mine.npy")),
    Case("strings", MINE, ("mine.npy", "dtype <U1"), saved(np.array([["a", "b"]] * 9))),
    Case("five axes", MINE, ("mine.npy", "(2, 2, 2, 2, 2)"), saved(np.zeros((2, 2, 2, 2, 2)))),
    Case("no rows", MINE, ("mine.npy", "(0, 16)"), saved(np.zeros((0, 16)))),
    Case("one row", MINE, ("mine.npy", "1 row", "at least 2"), saved(np.zeros((1, 16)))),
    Case(
        "NaN", MINE, ("mine.npy", "1 value NaN", "row 1", "column 2"),
        saved(np.where(np.arange(320).reshape(20, 16) == 18, np.nan, HALF)),
    ),
    Case(
        "inf", MINE, ("mine.npy", "1 value NaN, infinite", "column 3"),
        saved(np.where(np.arange(320).reshape(20, 16) == 3, np.inf, HALF)),
    ),
    Case(
        "outside [0, 1]", (*MINE, "--likelihood", "bernoulli"),
        ("mine.npy", "-3.5 to 0.5", "--likelihood gaussian"),
        saved(OUTSIDE),
    ),
    Case("pickled .npy", MINE, ("mine.npy", "Python objects", "never"), saved(object_array())),
    Case(
        "a pickle called .npy", MINE, ("mine.npy",),
        lambda: Path("mine.npy").write_bytes(pickle.dumps(Bomb())),
    ),
    Case(
        "a folder of one text", (*TRAIN, "--data", "mine"),
        ("no words to count", "Give more texts"),
        folder_with("notes.txt", b"hello"),
    ),
    Case("a folder of nothing", (*TRAIN, "--data", "mine"), ("mine", "no pictures"),
         lambda: Path("mine").mkdir()),
    Case("image size", (*TRAIN, "--image-size", "32by32"), ("'32by32'", "28x28")),
    Case("image size 0", (*TRAIN, "--data", "mine.npy", "--image-size", "0x4"), ("(0, 4)",),
         saved(HALF)),
    Case("image size of digits", (*TRAIN, "--image-size", "4x4"), ("(8, 8)", "(4, 4)")),
]  # fmt: skip

OPTIONS = [
    Case("0 epochs", (*TRAIN, "--epochs", "0"), ("--epochs must", ">= 1", "Got 0")),
    Case("batch size", (*TRAIN, "--batch-size", "-5"), ("--batch-size must", ">= 1", "Got -5")),
    Case("no int", (*TRAIN, "--batch-size", "many"), ("--batch-size", "'many'", "--help")),
    Case("lr 0", (*TRAIN, "--lr", "0"), ("lr", "> 0", "Got 0.0")),
    Case("lr nan", (*TRAIN, "--lr", "nan"), ("lr", "> 0", "Got nan")),
    Case("lr inf", (*TRAIN, "--lr", "inf"), ("lr", "> 0", "Got inf")),
    Case("seed", (*TRAIN, "--seed", "-1"), ("seed", "Got -1")),
    Case("samples 0", (*TRAIN, "--samples", "0"), ("samples", ">= 1", "Got 0")),
    Case("hidden", (*TRAIN, "--hidden", "10,b"), ("'10,b'", "200,200")),
    Case("hidden 0", (*TRAIN, "--hidden", "0"), ("hidden", ">= 1", "Got (0,)")),
    Case("hidden beyond memory", (*TRAIN, "--hidden", "10" * 7), ("hidden", "smaller")),
    Case("hidden beyond int64", (*TRAIN, "--hidden", "10" * 20), ("hidden", "smaller")),
    Case("no bits", (*TRAIN, "--latent", "bernoulli:0"), ("'bernoulli:0'", "Got 0")),
    Case("one category", (*TRAIN, "--latent", "categorical:1"), ("at least 2", "Got 1")),
    Case("no variables", (*TRAIN, "--latent", "categorical:0x5"), ("n_variables must be", "Got 0")),
    Case("latent kind", (*TRAIN, "--latent", "bernouli:5"), ("'bernouli'", "mean bernoulli?")),
    Case("latent size", (*TRAIN, "--latent", "bernoulli"), ("'bernoulli'", "bernoulli:50")),
    Case("latent sign", (*TRAIN, "--latent", "bernoulli:-5"), ("'bernoulli:-5'", "bernoulli:50")),
    Case("latent bits x", (*TRAIN, "--latent", "bernoulli:5x5"), ("'bernoulli:5x5'",)),
    Case("huge latent", (*TRAIN, "--latent", "bernoulli:9999999"), ("1,000,000", "Ask for less")),
    Case("estimator", (*TRAIN, "--estimator", "importanse"), ("'importanse'", "mean importance?")),
    Case(
        "estimator option", (*TRAIN, "--estimator", "importance:proposl=uniform"),
        ("'proposl=uniform'", "mean proposal?"),
    ),
    Case(
        "estimator value", (*TRAIN, "--estimator", "importance:proposal=tempered,tau=x"),
        ("tau", "a number", "'x'"),
    ),
    Case(
        "proposal", (*TRAIN, "--estimator", "importance:proposal=unifrm"),
        ("'unifrm'", "mean uniform?"),
    ),
    Case(
        "samples twice", (*TRAIN, "--samples", "2", "--estimator", "importance:samples=3"),
        ("samples", "2 and 3", "once"),
    ),
    Case(
        "reparametrized bits", (*TRAIN, "--estimator", "reparametrized"),
        ("'reparametrized'", "bernoulli code", "Choices: importance"),
    ),
    Case(
        "uniform over the real line",
        (*TRAIN, "--latent", "gaussian:3", "--estimator", "importance:proposal=uniform"),
        ("gaussian code", "Choices"),
    ),
    Case("preset", (*TRAIN, "--preset", "fc-dvae"), ("--preset", "'fc-dvae'", "fc-bvae")),
    Case(
        "hidden of a cnn", ("train", "--preset", "cnn-bvae", "--hidden", "8", "--out", "new"),
        ("hidden", "Got (8,)", "must be left out"),
    ),
    Case(
        "a cnn on a table",
        ("train", "--preset", "cnn-cvae", "--data", "mine.npy", "--out", "new"),
        ("cnn", "pictures", "16 values", "--network mlp", "--image-size"), saved(HALF),
    ),
    Case("likelihood", (*TRAIN, "--likelihood", "weibull"), ("'weibull'", "beta-binomial")),
    Case("option", ("train", "--epoch", "3", "--out", "new"), ("--epoch", "--epochs", "--help")),
    Case("argument", ("train", "digits", "--out", "new"), ("digits", "--help")),
    Case("command", ("trian",), ("'trian'", "mean train?", "--help")),
    Case(
        "device unknown",
        (*TRAIN, "--device", "gpu"),
        ("'gpu'", "there is no such kind", "--device cpu"),
    ),
    Case("device absent", (*TRAIN, "--device", "cuda:99"), ("'cuda:99'", "--device cpu")),
    Case("device meta", (*TRAIN, "--device", "meta"), ("'meta'", "--device cpu")),
    Case("device hpu", (*TRAIN, "--device", "hpu"), ("'hpu'", "--device cpu")),
    Case(
        "several at once",
        ("train", "--epochs", "0", "--lr", "-1", "--latent", "categorical:1",
         "--estimator", "importance", "--batch-size", "0", "--out", "new"),
        ("epochs", "lr", "at least 2 categories", "--batch-size must"),
    ),
    Case(
        "--out not ours", TRAIN, ("new", "not ours", "another --out"),
        lambda: Path("new").mkdir() or Path("new/thesis.tex").write_text("x"),
    ),
    Case("--out is a file", TRAIN, ("new", "is a file", "another --out"),
         lambda: Path("new").write_text("x")),
    Case("--out below a file", (*TRAIN, "--out", "f/new"), ("f",),
         lambda: Path("f").write_text("x")),
]  # fmt: skip

RESUME = ("train", "--resume", "run")
EVALUATE = ("evaluate", "run")
MODEL = "run/model.safetensors"
WEIGHT = "decoder.0.weight"
STATE = "run/checkpoint/*.safetensors"
BITS = "bernoulli:6"

RUNS = [
    Case("--out is a run", ("train", "--out", "run"), ("--resume", "another --out"), run=BITS),
    Case("resume no run", RESUME, ("run", "not a run folder"), lambda: Path("run").mkdir()),
    Case("resume nothing", RESUME, ("run", "no such run folder", "Check the path")),
    Case("resume no name", ("train", "--resume"), ("--resume RUN",)),
    Case("resume two", (*RESUME, "--out", "other"), ("run", "other", "one of them"), run=BITS),
    Case(
        "resume with another lr and latent", (*RESUME, "--lr", "0.5", "--latent", "bernoulli:7"),
        ("--latent", "--lr", "bernoulli:7 was given", "start a new run"), run=BITS,
    ),
    Case(
        "resume, state cut short", (*RESUME, "--epochs", "3"), ("checkpoint", "corrupt"),
        cut(STATE, lambda n: n // 2), BITS,
    ),
    Case(
        "resume, metrics lost", (*RESUME, "--epochs", "3"), ("metrics.jsonl",),
        cut("run/metrics.jsonl", lambda n: 0), BITS,
    ),
    Case(
        "resume, metrics corrupt", (*RESUME, "--epochs", "3"), ("metrics.jsonl",),
        cut("run/metrics.jsonl", lambda n: n - 9), BITS,
    ),
    Case("no run", ("evaluate", "nowhere"), ("nowhere", "no such run folder")),
    Case("no model", EVALUATE, (MODEL, "no such file"), lambda: Path(MODEL).unlink(), BITS),
    *[
        Case(f"model cut to {name}", EVALUATE, (MODEL, "corrupt or truncated", "train again"),
             cut(MODEL, keep), BITS)
        for name, keep in {
            "nothing": lambda n: 0, "4 bytes": lambda n: 4, "100 bytes": lambda n: 100,
            "half": lambda n: n // 2, "all but one byte": lambda n: n - 1,
        }.items()
    ],
    *[
        Case(f"model header, byte {at}", EVALUATE, (MODEL, "corrupt or truncated"),
             replaced(MODEL, at, b"\xff"), BITS)
        for at in (0, 5, 7, 8, 9, 20)
    ],
    Case("model NaN", EVALUATE, (MODEL, WEIGHT, "NaN"),
         reweighted(lambda t: t[WEIGHT].fill_(float("nan"))), BITS),
    Case("weights of another shape", EVALUATE, (MODEL, WEIGHT, "float32 [9]", "[16, 6]"),
         reweighted(lambda t: t.update({WEIGHT: torch.zeros(9)})), BITS),
    Case("weights of another type", EVALUATE, (MODEL, WEIGHT, "float64 [64]", "[16, 6]"),
         reweighted(lambda t: t.update({WEIGHT: torch.zeros(64).double()})), BITS),
    Case("weights missing", EVALUATE, (MODEL, WEIGHT, "absent"),
         reweighted(lambda t: t.pop(WEIGHT)), BITS),
    Case("weights too many", EVALUATE, (MODEL, "tensor more", "absent"),
         reweighted(lambda t: t.update(more=torch.zeros(3))), BITS),
    Case("model a pickle", EVALUATE, (MODEL, "corrupt"),
         lambda: torch.save({"a": Bomb()}, MODEL), BITS),
    Case("model a folder", EVALUATE, (MODEL,),
         lambda: (Path(MODEL).unlink(), Path(MODEL).mkdir()), BITS),
    Case("config newer", EVALUATE, ("config.json", "version 3", "Update discretevae"),
         edited(lambda c: c.update(format_version=3)), BITS),
    Case("config older", EVALUATE, ("config.json", "version 1", "Train again"),
         edited(lambda c: c.update(format_version=1)), BITS),
    Case("config version of no type", EVALUATE, ("config.json", "version None"),
         edited(lambda c: c.pop("format_version")), BITS),
    Case("config of others", EVALUATE, ("config.json", "not written by discretevae"),
         edited(lambda c: c.update(format="onnx")), BITS),
    Case("config no JSON", EVALUATE, ("config.json", "no JSON object"),
         written(b"epochs: 3", "run/config.json"), BITS),
    Case("config no text", EVALUATE, ("config.json", "no JSON object"),
         written(b"\xff\xfe\x00", "run/config.json"), BITS),
    Case("config too deep", EVALUATE, ("config.json", "no JSON object"),
         written(b"[" * 100_000, "run/config.json"), BITS),
    Case("config no object", EVALUATE, ("config.json", "no JSON object"),
         written(b"[]", "run/config.json"), BITS),
    Case("config too large", EVALUATE, ("config.json", "10,000,000 bytes"),
         written(b" " * 10_000_001, "run/config.json"), BITS),
    *[
        Case(f"config {part}.{key} = {value!r}", EVALUATE, ("config.json", "corrupt", key),
             edited(lambda c, p=part, k=key, v=value: c[p].update({k: v})), BITS)
        for part, key, value in [
            ("model", "n_features", "64"), ("model", "n_features", True),
            ("model", "hidden", [-3]), ("model", "colour", 1), ("model", "network", "rnn"),
            ("model", "image_shape", [-8, -8]), ("model", "image_shape", [2, 4, 8]),
            ("training", "epochs", 2.5), ("training", "momentum", 0.9),
            ("data", "divisor", "x"), ("data", "divisor", 0),
            ("data", "image_size", "ab"), ("data", "shuffle", True),
        ]
    ],
    *[
        Case(f"config {part} = {value!r}", EVALUATE, ("config.json", "corrupt"),
             edited(lambda c, p=part, v=value: c.update({p: v})), BITS)
        for part, value in [("model", None), ("training", []), ("data", 3), ("model", {})]
    ],
    *[
        Case(f"config {part}.{key} = {value!r}", EVALUATE, ("config.json", "corrupt"),
             edited(lambda c, p=part, k=key, v=value: c[p].update({k: v})), BITS)
        for part, key, value in [
            ("model", "hidden", 5), ("model", "latent", 5), ("training", "lr", "fast"),
            ("data", "source", ["digits"]), ("model", "hidden", [10**15, 10**15]),
            ("model", "hidden", [10**30]),
        ]
    ],
    Case("config part missing", EVALUATE, ("config.json", "'training'", "missing"),
         edited(lambda c: c.pop("training")), BITS),
    Case("0 samples", (*EVALUATE, "--samples", "0"), ("--samples", "ints from 1"), run=BITS),
    Case("seed -1", (*EVALUATE, "--seed", "-1"), ("seed", "Got -1"), run=BITS),
    Case("large seed", (*EVALUATE, "--seed", "9" * 30), ("seed", "999"), run=BITS),
    Case("large seed of samples", ("sample", "run", "--seed", "9" * 30), ("seed", "999"), run=BITS),
    Case("split", (*EVALUATE, "--split", "tests"), ("--split", "'tests'"), run=BITS),
    Case("split that is not there", (*EVALUATE, "--split", "validation"),
         ("digits", "validation", "--split train, test"), run=BITS),
    Case("data twice", (*EVALUATE, "digits", "--data", "mnist"), ("digits", "mnist", "once"),
         run=BITS),
    Case("rows of another width", (*EVALUATE, "mine.npy"), ("mine.npy", "16 features", "64"),
         saved(HALF), BITS),
    Case("rows outside [0, 1]", (*EVALUATE, "mine.npy"),
         ("mine.npy", "-0.09375", "[0, 1]", "--likelihood gaussian"),
         saved(np.full((9, 64), -1.5)), BITS),
    Case("encode another width", ("encode", "run", "mine.npy", "--out", "c.npy"),
         ("mine.npy", "16 features", "64"), saved(HALF), BITS),
    Case("encode over its own input", ("encode", "run", "mine.npy", "--out", "./mine.npy"),
         ("mine.npy", "is the file of the data", "another --out"),
         saved(np.full((9, 64), 0.5)), BITS),
    Case("reconstruct over its own input", ("reconstruct", "run", "mine.npy", "--out", "mine.npy"),
         ("mine.npy", "is the file of the data"), saved(np.full((9, 64), 0.5)), BITS),
    Case("encode to text", ("encode", "run", "--out", "c.txt"), ("c.txt", ".npy"), run=BITS),
    Case("encode into nothing", ("encode", "run"), ("--out", "--help"), run=BITS),
    Case("encode onto a folder", ("encode", "run", "--out", "c.npy"), ("c.npy: ", "Check the path"),
         lambda: Path("c.npy").mkdir(), BITS),
    Case("sample to gif", ("sample", "run", "--out", "s.gif"), ("s.gif", ".png or .npy"), run=BITS),
    Case("0 pictures", ("sample", "run", "--n", "0"), ( "--n must be", "Got 0"), run=BITS),
    Case("-1 rows", ("reconstruct", "run", "--n", "-1"), ( "--n must be", "Got -1"), run=BITS),
    Case("device of evaluate", (*EVALUATE, "--device", "cuda:99"), ("'cuda:99'",), run=BITS),
]  # fmt: skip

DECODE = ("decode", "run", "codes.npy", "--out", "back.npy")


def codes(array):
    return saved(np.asarray(array), "codes.npy")


DECODES = [
    Case("no codes", DECODE, ("codes.npy", "no such file"), run=BITS),
    Case("text", DECODE, ("codes.npy", "a file of codes"), written(b"0 1 0", "codes.npy"), BITS),
    Case("no bytes", DECODE, ("codes.npy", "a file of codes"), written(b"", "codes.npy"), BITS),
    Case("an archive", DECODE, ("codes.npy", "no codes"),
         lambda: np.savez("c.npz", np.zeros(3)) or shutil.move("c.npz", "codes.npy"), BITS),
    Case("pickled codes", DECODE, ("codes.npy", "a file of codes"), codes(object_array()), BITS),
    Case("no rows", DECODE, ("codes.npy", "holds no codes"), codes(np.zeros((0, 1), "u1")), BITS),
    Case("a number", DECODE, ("codes.npy",), codes(np.uint8(3)), BITS),
    Case("one axis", DECODE, ("codes.npy", "uint8 [1]", "uint8 [rows, 1]"),
         codes(np.zeros(5, "u1")), BITS),
    Case("unpacked bits", DECODE, ("codes.npy", "[1, 6]", "bernoulli:6", "uint8 [rows, 1]"),
         codes(np.zeros((5, 6), "u1")), BITS),
    Case("wrong type", DECODE, ("codes.npy", "int64 [1, 1]", "uint8 [rows, 1]"),
         codes(np.zeros((5, 1), "i8")), BITS),
    Case("bits too many", DECODE, ("codes", "more than 6 bits"),
         codes(np.full((5, 1), 3, "u1")), BITS),
    Case("bits too many, last row", DECODE, ("codes", "more than 6 bits"),
         codes(np.array([[4], [4], [2]], "u1")), BITS),
    Case("category too large", DECODE, ("codes", "from 0 to 5", "0 to 4"),
         codes(np.array([[0], [5]], "u1")), "categorical:5"),
    Case("NaN codes", DECODE, ("codes", "NaN"),
         codes(np.full((2, 3), np.nan, "f4")), "gaussian:3"),
    Case("onto itself", ("decode", "run", "codes.npy", "--out", "run/../codes.npy"),
         ("codes.npy", "is the file of the codes", "another --out"),
         codes(np.zeros((5, 1), "u1")), BITS),
]  # fmt: skip


def contents() -> dict[str, bytes | None]:
    """Everything below the current folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name) for case in (*DATA, *OPTIONS, *RUNS, *DECODES)],
)
def test_a_mistake_is_answered_in_one_line(case, cli, copied, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if case.run is not None:
        copied(case.run)
    case.files()
    before = contents()
    status, out, err = cli(*case.args)
    assert status == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert "Traceback" not in err
    assert "`" not in err  # parameters were turned into options
    for part in case.says:
        assert part in err
    after = contents()
    assert after.keys() == before.keys()
    assert after == before
