"""Pickles under every name that is read: refused, or taken for harmless data, and never run.

A pickle runs code when it is loaded. `CASES` puts one, in every form that NumPy, torch and scipy
write, in the place of each file of a run and of each kind of data. It cannot fall behind the
source unnoticed: each function there that opens a file must be met by a case, or be excused in
`EXCUSED`.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import gzip
import io
import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from fuzzing import example
from fuzzing.corpus import run_files
from fuzzing.pickles import FORMS, GOOD, SRC, payloads, watched, written
from fuzzing.source import dangers, openers
from PIL import Image

from discretevae.cli import runs
from discretevae.codes import ids
from discretevae.codes.compression.files import decompress
from discretevae.codes.packing import read_codes
from discretevae.codes.search.index import CodeIndex
from discretevae.data import load_data, load_rows
from discretevae.errors import DiscreteVAEError
from discretevae.experiments import comparison_report
from discretevae.experiments.paper.experiments import EXPERIMENTS
from discretevae.experiments.paper.findings import read_finished, run_folder
from discretevae.experiments.paper.running import require_ours
from discretevae.run_folder.history import read_metrics
from discretevae.run_folder.saved_run import load_run
from discretevae.system.locks import is_locked, writing
from discretevae.training import train

# what reads


class Case(NamedTuple):
    """A file of this name, the functions that open it, and whether they must refuse it."""

    name: str
    read: Callable[[Path, bytes], object]
    met: tuple[str, ...]
    is_refused: bool = True


def rows_from(
    name: str, *, asked: str = "", beside: str = "", good: bytes = b"", most: int = -1, **options
):
    """Reads data through both ways in.

    ``asked`` is the path that is given, if another one; ``beside`` a good file in the same folder;
    above ``most`` bytes the rows are streamed; ``options`` are those of the reader.
    """

    def read(folder: Path, content: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if beside:
            path.with_name(beside).write_bytes(good)
        with pytest.MonkeyPatch.context() as patch:
            if most >= 0:
                patch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", most)
            with pytest.raises(DiscreteVAEError):
                load_data(folder / (asked or name), **options)
            load_rows(folder / (asked or name), **options)

    return read


def builtin(name: str, file: str):
    """Reads a built-in set from the user's own folder."""

    def read(folder: Path, content: bytes) -> None:
        (folder / file).write_bytes(content)
        load_data(name, data_dir=folder, download=False)

    return read


def fetched(folder: Path, content: bytes) -> None:
    """Reads a built-in set of which a mirror sends the payload."""
    with pytest.MonkeyPatch.context() as patch:
        send = lambda url, path, **_: path.write_bytes(content)  # noqa: E731
        patch.setattr("discretevae.data.builtin.download", send)
        patch.setattr("platformdirs.user_cache_path", lambda name: folder / name)
        load_data("binarized-mnist", download=True)


def of_run(file: str, read: Callable[[Path], object]):
    """Reads a run in which a file is another one; ``*`` stands for every state."""

    def do(folder: Path, content: bytes) -> None:
        run = folder / "run"
        for path in run.glob(file) if "*" in file else [run / file]:
            path.write_bytes(content)
        read(run)

    return do


def resumed(run: Path) -> None:
    train(example.model(), example.data(), example.training(2), out=run, resume=True)


def held(run: Path) -> None:
    """Asks for the lock while somebody else has it."""
    fcntl = pytest.importorskip("fcntl")
    with (run / "lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert is_locked(run)
        with writing(run):
            pass


def free(run: Path) -> None:
    assert not is_locked(run)
    with writing(run):
        pass


def listed(run: Path) -> None:
    runs._tested(run, 1)


def read_index(run: Path) -> None:
    CodeIndex.load(run / "x.idx")


def read_ids(run: Path) -> None:
    ids.read_ids(run / "ids.npy")


def decompressed(run: Path) -> None:
    decompress(example.model(), run / "x.dvz")


def decoded(run: Path) -> None:
    read_codes(run / "codes.npy", example.model().family)


def of_report(run: Path) -> None:
    experiment = EXPERIMENTS["fc-bvae-mnist"]
    folder = run_folder(run.parent, experiment, "ours")
    shutil.copytree(run, folder)
    read_finished(run.parent, experiment, "ours")


def of_report_folder(run: Path) -> None:
    require_ours(run)


PICTURE = written(lambda file: Image.new("L", (4, 4), 7).save(file, "PNG"))
TABLE = written(lambda file: np.save(file, GOOD))
THREE = bytes((0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 1, 4, 5, 6))
PIXELS, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"

NPY, IDX = "data.readers.npy.NpyTable.__init__", "data.readers.idx.read_idx_bytes"
NPZ, UNPACK = "data.readers.npz.NpzFile.__init__", "data.readers.npz.NpzFile._unpacking"
PARQUET, PHOTO = "data.readers.parquet.ParquetTable._opened", "data.readers.pixels.read_picture"
TEXT = (
    "data.readers.dialect._unpacked",
    "data.readers.tables._parse_records",
)
GZIP = ("data.readers.dialect._Unpacked.__init__", "data.readers.dialect._Unpacked.readinto")

CASES = [
    # a file of data, by its suffix
    Case("x.npy", rows_from("x.npy"), (NPY,)),
    Case("x.npy, streamed", rows_from("x.npy", most=0), (NPY,)),
    Case("x.npz", rows_from("x.npz"), (NPZ, UNPACK)),
    Case("x.csv", rows_from("x.csv"), TEXT),
    Case("x.tsv", rows_from("x.tsv"), TEXT),
    Case("x.csv.gz", rows_from("x.csv.gz"), GZIP),
    Case("x.parquet", rows_from("x.parquet"), (PARQUET,)),
    # by its content
    *(
        Case(name, rows_from(name), ("data.readers.formats._by_magic", IDX, NPY, NPZ))
        for name in ("x", "x.gz", "x.idx", "x-idx3-ubyte", "x.pkl", "x.pt", "x.zip")
    ),
    Case("x, told from others", rows_from("x"), tuple(
        f"data.readers.foreign.{name}" for name in ("recognize", "_in_zip", "_in_gzip")
    )),
    Case("x.png", rows_from("x.png"), (PHOTO,)),
    Case("labels beside pictures", rows_from(
        LABELS, asked=PIXELS, beside=PIXELS, good=THREE
    ), (IDX,)),
    # a folder
    Case("a picture", rows_from("photos/1.png", asked="photos"), (PHOTO,)),
    Case("no picture", rows_from("photos/1.dat", asked="photos"),
         ("data.readers.images._starts_as_picture",)),
    Case("a class", rows_from("photos/cat/1.png", asked="photos"), (PHOTO,)),
    Case("a picture too many", rows_from(
        "photos/2.png", asked="photos", beside="1.png", good=PICTURE
    ), (PHOTO,)),
    Case("a shard", rows_from("s/2.npy", asked="s", beside="1.npy", good=TABLE), (NPY,)),
    Case("a Parquet shard", rows_from("s/1.parquet", asked="s"), (PARQUET,)),
    Case("a text", rows_from("t/1.txt", asked="t"), ("data.readers.texts._folder",)),
    Case("a table of texts", rows_from("x.csv", text="words"), ("data.readers.texts._column",)),
    # built-in sets
    Case("mnist", builtin("mnist", PIXELS), (IDX,)),
    Case("fashion-mnist", builtin("fashion-mnist", f"{PIXELS}.gz"), (IDX,)),
    Case("binarized-mnist", builtin("binarized-mnist", "binarized_mnist.npz"), (NPZ,)),
    Case("a mirror's file", fetched, ("data.builtin._get_bits",)),
    # a run
    Case("config.json", of_run("config.json", load_run), ("system.files.read_json",)),
    Case("schema.json", of_run("schema.json", load_run), ("system.files.read_json",)),
    Case("config.json, resumed",  # never parsed: kept, and written back should it vanish
         of_run("config.json", resumed), ("training.checkpointer.Checkpointer.begin",),
         is_refused=False),
    Case("model.safetensors", of_run("model.safetensors", load_run),
         ("system.tensor_files.read_tensors",)),
    Case("checkpoint/STEP.safetensors", of_run("checkpoint/*.safetensors", resumed),
         ("run_folder.checkpoint.read_newest",)),
    Case("metrics.jsonl", of_run("metrics.jsonl", read_metrics),
         ("run_folder.history.read_metrics",)),
    Case("metrics.jsonl, resumed", of_run("metrics.jsonl", resumed),
         ("run_folder.history.read_metrics",)),
    Case("summary.json", of_run("summary.json", listed), ("system.files.read_json",)),
    Case("summary.json, reported", of_run("summary.json", of_report),
         ("system.files.read_json",)),
    Case("lock", of_run("lock", free), ("system.locks.writing",), is_refused=False),
    Case("lock, held", of_run("lock", held), ("system.locks.writing",)),
    # what else is read back
    Case("comparison.json", of_run(comparison_report.RESULT, comparison_report.require_ours),
         ("system.files.read_json",)),
    Case("report.json", of_run("report.json", of_report_folder),
         ("system.files.read_json",)),
    Case("codes.npy", of_run("codes.npy", decoded), ("codes.packed.map_npy",)),
    Case("x.dvz", of_run("x.dvz", decompressed), ("codes.compression.files._read",)),
    Case("an index", of_run("x.idx", read_index), ("system.tensor_files.read_arrays",)),
    Case("ids.npy", of_run("ids.npy", read_ids), ("codes.packed.map_npy",)),
]  # fmt: skip

EXCUSED = {
    "cli.streams.prepare_streams": "writes to the null device",
    "cli.streams.abandon_stdout": "the same",
    "codes.packing.encode_rows": "a file that it has just written",
    "data.readers.npy.NpyTable.read_into": "bytes of numbers, of a header that was read before",
    "data.readers.npy.NpyTable._values": "the same",
    "data.readers.npy.NpyTable.will_read": "hands no bytes on",
    "data.readers.parquet._read_cells": "a Parquet file that `ParquetTable` has read before",
    "data.download.download": "writes",
    "system.files.atomic_file": "writes",
    "data.readers.decoding._found": "what it has kept in the cache, by `NpyTable`, and JSON",
    "plots.pictures.save_figure": "a picture that it has just drawn",
    "experiments.refit._summarize": "copies what `read_metrics` has read just before",
    "estimators.references.references": "a file of the package itself",
    "data.builtin._digits": "a file of scikit-learn",
}

# that nothing runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run that was trained."""
    folder = tmp_path_factory.mktemp("pickles") / "run"
    run_files(folder)
    return folder


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name) for case in CASES],
)
def test_a_pickle_is_refused_or_harmless_and_never_runs(case, run, tmp_path):
    met: set[str] = set()
    for number, name in enumerate(FORMS):
        folder, mark = tmp_path / str(number), tmp_path / f"ran-{number}"
        folder.mkdir()
        shutil.copytree(run, folder / "run")
        content, error = payloads(mark)[name], None
        with watched() as (called, unpickled), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                case.read(folder, content)
            except DiscreteVAEError as raised:
                error = str(raised)
        assert not mark.exists(), f"{name} ran"
        assert not unpickled, f"{name} was unpickled"
        if case.is_refused:
            assert error is not None, f"{name} was accepted"
        assert error is None or 0 < len(error) < 1500
        met |= called
    assert met >= set(case.met)


def test_the_bombs_are_real_and_the_watch_sees_them(tmp_path):
    """Loaded as other programs load them, all of them run."""

    def from_zip(content: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    pickle.loads(archive.read(name))  # noqa: S301

    def from_npz(content: bytes) -> None:
        for array in np.load(io.BytesIO(content), allow_pickle=True).values():
            array.shape  # noqa: B018

    loads = {
        "pickle in gzip": lambda content: pickle.loads(gzip.decompress(content)),  # noqa: S301
        "torch": from_zip,
        "npy of objects": lambda content: np.load(io.BytesIO(content), allow_pickle=True),
        **dict.fromkeys(("npz of objects", "npz of pickled labels", "sparse npz"), from_npz),
    }
    for number, name in enumerate(FORMS):
        mark = tmp_path / str(number)
        content = payloads(mark)[name]
        with watched() as (_, unpickled), contextlib.suppress(OSError, EOFError):
            # the old form of torch is several pickles, of which the bomb is not the first
            file = io.BytesIO(content)
            loads.get(name, lambda _: [pickle.load(file) for _ in range(9)])(content)  # noqa: B023, S301
        assert mark.exists(), name
        assert unpickled, name


# the command line

TRAIN = ("train", "--epochs", "1", "--hidden", "4", "--out", "new", "--data")
COMMANDS = [
    *(((*TRAIN, name), name) for name in ("x.npy", "x.npz", "x.csv", "x.parquet", "x.gz", "x.pt")),
    ((*TRAIN, "photos"), "photos/1.png"),
    ((*TRAIN, "shards"), "shards/1.npy"),
    (("evaluate", "run", "good.npy"), "run/model.safetensors"),
    (("evaluate", "run", "good.npy"), "run/config.json"),
    (("encode", "run", "x.npz", "--out", "codes.npy"), "x.npz"),
    (("decode", "run", "codes.npy", "--out", "new.png"), "codes.npy"),
    (("train", "--resume", "run", "--data", "good.npy"), "run/config.json"),
    (("train", "--resume", "run", "--data", "good.npy"), "run/checkpoint/*.safetensors"),
    (("compare", "--epochs", "1", "--out", "old"), "old/comparison.json"),
    (("reproduce", "fig6", "--quick", "--out", "old"), "old/report.json"),
]


@pytest.mark.parametrize(
    ("args", "file"), [pytest.param(*one, id=f"{one[0][0]} {one[1]}") for one in COMMANDS]
)
def test_commands_refuse_a_pickle_in_one_line(args, file, run, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("good.npy", (np.arange(180).reshape(20, 9) % 7 > 3).astype(np.uint8))
    shutil.copytree(run, "run")
    mark = tmp_path / "ran"
    for name, content in payloads(mark).items():
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        for path in list(Path().glob(file)) or [Path(file)]:
            path.write_bytes(content)
        before = {path: path.stat().st_size for path in Path().rglob("*")}
        with watched() as (_, unpickled):
            status, out, err = cli(*args)
        assert (status, out, len(err.splitlines())) == (2, "", 1), (name, err)
        assert err.startswith("Error: ")
        assert not mark.exists()
        assert not unpickled
        assert {path: path.stat().st_size for path in Path().rglob("*")} == before


# that no reader is forgotten


@functools.cache
def sources() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(SRC).with_suffix("")).replace(os.sep, "."): ast.parse(path.read_text())
        for path in sorted(SRC.rglob("*.py"))
    }


def test_every_function_that_opens_a_file_is_met_or_excused():
    """A new reader needs a case of its own in `CASES`."""
    found = set().union(*(openers(tree, module) for module, tree in sources().items()))
    met = {name for case in CASES for name in case.met}
    assert found == met | set(EXCUSED)
    assert not met & set(EXCUSED)


def test_nothing_in_the_source_unpickles_or_runs_what_it_reads():
    found = {module: found for module, tree in sources().items() if (found := dangers(tree))}
    assert found == {
        "cli.own_estimators": ["exec_module"],  # of a file that the user names in the same call
        "experiments.comparison_result": ["pandas"],  # which makes a frame of values
        "scikit_learn.reading": ["pandas"],  # likewise
    }


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "import joblib.numpy_pickle", "from pickle import loads", "eval(text)",
        "from yaml import load", "torch.load(path)", "torch.load(path, weights_only=True)",
        "from torch import load", "exec(code)", "np.load(path)", "np.load(p, allow_pickle=yes)",
        "np.lib.format.read_array(file)", "np.load(path, allow_pickle=True)", "pd.read_pickle(p)",
        "dist.all_gather_object(a, b)", "__import__(name)", "compile(a, b, 'exec')",
        "loader.exec_module(module)",
    ],
)  # fmt: skip
def test_the_scan_sees_what_is_dangerous(code):
    assert dangers(ast.parse(code))


def test_the_scan_takes_nothing_else_for_dangerous_and_sees_what_opens():
    assert not dangers(ast.parse("model.vae.eval(); re.compile(a); np.load(p, allow_pickle=False)"))
    code = "class A:\n def f(self, p):\n  with p.open() as file: return file.read()"
    assert openers(ast.parse(code), "m") == {"m.A.f"}
    for call in ("open(p)", "np.load(p)", "gzip.GzipFile(p)", "x.load(p)"):
        assert bool(openers(ast.parse(call), "m")) is not call.startswith("x")
