"""Built-in sets that lie in a folder, and the real ones where DISCRETEVAE_DATA points at them."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from discretevae.data import load_data, load_rows
from discretevae.data.builtin import SOURCES, Source, load_builtin
from discretevae.errors import ConfigError, DataError

REAL = os.environ.get("DISCRETEVAE_DATA")
needs_files = pytest.mark.skipif(
    not REAL, reason="DISCRETEVAE_DATA names no folder with the real files"
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("DISCRETEVAE_DATA", raising=False)


@pytest.fixture
def files():
    """A tiny set of the layout of MNIST: name -> uncompressed bytes."""
    rng = np.random.default_rng(0)
    content = {}
    for prefix, rows in (("train", 6), ("t10k", 3)):
        images = rng.integers(0, 256, (rows, 28, 28), np.uint8).tobytes()
        labels = rng.integers(0, 10, rows, np.uint8).tobytes()
        content[f"{prefix}-images-idx3-ubyte"] = struct.pack(">4I", 0x803, rows, 28, 28) + images
        content[f"{prefix}-labels-idx1-ubyte"] = struct.pack(">2I", 0x801, rows) + labels
    return content


@pytest.fixture
def sources(files):
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return {"mnist": Source((), hashes)}


def put(folder, files, pack=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (name + ".gz" if pack else name)
        path.write_bytes(gzip.compress(content) if pack else content)


def load(tmp_path, sources, **options):
    return load_builtin(
        "mnist", sources=sources, cache_dir=tmp_path / "cache", allow_download=False, **options
    )


WHERE = [
    (place, inner, pack)
    for place in ("data_dir", "environment")
    for inner in ("mnist", ".")
    for pack in (True, False)
]


@pytest.mark.parametrize(("place", "inner", "pack"), [*WHERE, ("cache", "mnist", True)])
def test_every_place_and_form_is_found(tmp_path, monkeypatch, files, sources, place, inner, pack):
    folder = tmp_path / ("cache" if place == "cache" else "mine")
    put(folder / inner, files, pack)
    if place == "environment":
        monkeypatch.setenv("DISCRETEVAE_DATA", str(folder))
    parts = load(tmp_path, sources, data_dir=folder if place == "data_dir" else None)
    images = np.frombuffer(files["t10k-images-idx3-ubyte"], np.uint8, offset=16)
    assert parts["test"].values.numpy().tobytes() == images.tobytes()
    assert parts["test"].labels.tolist() == list(files["t10k-labels-idx1-ubyte"][8:])
    assert len(parts["train"]) == 6
    assert parts["train"].image_shape == (28, 28)
    assert parts["train"].divisor == 255


def test_data_dir_comes_before_the_environment_before_the_cache(tmp_path, monkeypatch, sources):
    for name in ("first", "second", "cache"):
        put(tmp_path / name / "mnist", {"train-images-idx3-ubyte": b"bad"})
    monkeypatch.setenv("DISCRETEVAE_DATA", str(tmp_path / "second"))
    for data_dir, expected in (("first", "first"), (None, "second")):
        with pytest.raises(DataError, match=f"{expected}/mnist/train-images"):
            load(tmp_path, sources, data_dir=data_dir and tmp_path / data_dir)
    monkeypatch.setenv("DISCRETEVAE_DATA", "")
    with pytest.raises(DataError, match="cache/mnist/train-images"):
        load(tmp_path, sources, data_dir=tmp_path / "nowhere")


def test_missing_everywhere_names_the_places(tmp_path, sources):
    with pytest.raises(DataError) as caught:
        load(tmp_path, sources, data_dir=tmp_path / "mine")
    for part in (
        "mnist: train-images-idx3-ubyte.gz",
        str(tmp_path / "mine"),
        "cache",
        "`data_dir`",
    ):
        assert part in str(caught.value)


def broken(content, how):
    return {
        "one bit": content[:100] + bytes([content[100] ^ 1]) + content[101:],
        "cut": content[:-9],
        "longer": content + b"x",
        "empty": b"",
        "promises 16 GiB": struct.pack(">4I", 0x803, 2**22, 64, 64) + content[16:],
    }[how]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("one bit", "is not the t10k-images-idx3-ubyte of mnist: its SHA-256 is"),
        ("cut", "ends after 2,359 of 2,368 bytes. Delete it and fetch it again."),
        ("longer", "goes on after"),
        ("empty", "IDX"),
        ("promises 16 GiB", "at most 536,870,912 are read"),
    ],
)
@pytest.mark.parametrize("pack", [True, False])
def test_a_damaged_file_of_the_user_is_refused(tmp_path, files, sources, how, message, pack):
    name = "t10k-images-idx3-ubyte"
    put(tmp_path / "mine", {**files, name: broken(files[name], how)}, pack)
    with pytest.raises(DataError) as caught:
        load(tmp_path, sources, data_dir=tmp_path / "mine")
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "mine" / name))


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch, files, sources):
    put(tmp_path / "mine", files)

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        load(tmp_path, sources, data_dir=tmp_path / "mine")


def test_digits():
    data = load_data("digits")
    assert (len(data.train), len(data.test), data.image_shape) == (1500, 297, (8, 8))
    assert data.train.divisor == 16
    x = data.train.batch(slice(None))
    assert (float(x.min()), float(x.max())) == (0, 1)
    assert len(torch.unique(data.test.labels)) == 10
    everything = load_rows("digits")
    assert torch.equal(everything.values[data.test.numbers], data.test.values)
    assert torch.equal(everything.labels[data.test.numbers], data.test.labels)
    assert torch.equal(everything.values[data.train.numbers], data.train.values)


def test_the_split_of_a_built_in_set_is_its_own():
    data = load_data("digits", test_fraction=0.5, split_seed=7)
    assert torch.equal(data.test.values, load_rows("digits", split="test").values)


def test_what_a_built_in_set_does_not_have():
    with pytest.raises(DataError, match="digits has no validation part"):
        load_rows("digits", split="validation")
    with pytest.raises(ConfigError, match=r"\(8, 8\), not \(4, 4\)"):
        load_data("digits", image_size=(4, 4))
    with pytest.raises(ConfigError, match="divisor 16"):
        load_data("digits", divisor=255)
    assert load_data("digits", image_size=(8, 8), divisor=16).n_features == 64


def test_importing_the_package_imports_nothing_heavy():
    heavy = "sklearn pandas PIL pyarrow requests rich"
    code = (
        "import sys, discretevae.data; "
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_source_has_two_mirrors():
    for name, source in SOURCES.items():
        assert len(source.mirrors) >= 2, name
        assert all(len(value) == 64 for value in source.hashes.values())


@needs_files
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_grey_sets(name):
    data = load_data(name, data_dir=REAL, download=False)
    assert (len(data.train), len(data.test), data.image_shape) == (60_000, 10_000, (28, 28))
    assert torch.bincount(data.train.labels).min() > 5000
    assert data.train.divisor == 255
    assert not data.train.is_binary


@needs_files
def test_real_binarized_set():
    parts = {
        split: load_rows("binarized-mnist", split=split, data_dir=REAL, download=False)
        for split in ("train", "validation", "test")
    }
    assert [len(rows) for rows in parts.values()] == [50_000, 10_000, 10_000]
    assert all(rows.is_binary and rows.divisor == 1 for rows in parts.values())
    assert parts["test"].labels is None
    grey = load_rows("mnist", split="test", data_dir=REAL, download=False).values
    # Its rows go by class: the first ones were drawn from the first zeros of the grey set. A
    # pixel is on nowhere where grey is 0, and off nowhere where it is 255.
    for drawn, source in zip(parts["test"].values, grey[[3, 10, 13, 25, 28]], strict=False):
        assert not drawn[source == 0].any()
        assert drawn[source == 255].all()


@needs_files
def test_a_file_of_another_set_is_recognized(tmp_path):
    (tmp_path / "mnist").symlink_to(Path(REAL, "fashion-mnist").resolve())
    with pytest.raises(DataError, match="this file belongs to fashion-mnist"):
        load_data("mnist", data_dir=tmp_path, download=False)
