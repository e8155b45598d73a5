"""load_data and load_rows: names, paths, splits and arguments."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from discretevae.data import load_data, load_rows
from discretevae.errors import ConfigError, DataError, DataWarning


@pytest.fixture
def table_file(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(200, dtype=np.uint8).reshape(50, 4))
    return path


def test_split_of_a_file_repeats_and_depends_on_the_number_of_rows_only(table_file):
    data = load_data(table_file)
    assert (len(data.train), len(data.test)) == (45, 5)
    assert torch.equal(load_rows(table_file, split="test").values, data.test.values)
    assert torch.equal(load_rows(table_file, split="train").values, data.train.values)
    assert len(load_rows(table_file)) == 50
    held = data.test.values[:, 0] // 4
    np.save(table_file, np.arange(200, dtype=np.uint8)[::-1].reshape(50, 4))
    assert torch.equal((199 - load_data(table_file).test.values[:, 0]) // 4, held)
    other = load_data(table_file, split_seed=1)
    assert not torch.equal((199 - other.test.values[:, 0]) // 4, held)


@pytest.mark.parametrize(("fraction", "n_test"), [(1e-9, 1), (0.5, 25), (1 - 1e-9, 49)])
def test_each_part_has_a_row(table_file, fraction, n_test):
    data = load_data(table_file, test_fraction=fraction)
    assert (len(data.train), len(data.test)) == (50 - n_test, n_test)


def test_one_row_is_read_but_not_split(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("1,2,255\n")
    assert len(load_rows(path)) == 1
    for split in ("train", "test"):
        with pytest.raises(DataError, match="1 row cannot be split"):
            load_rows(path, split=split)
    with pytest.raises(DataError, match="1 row cannot be split"):
        load_data(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 0}, "test_fraction"),
        ({"test_fraction": 1}, "test_fraction"),
        ({"test_fraction": float("nan")}, "test_fraction"),
        ({"split_seed": -1}, "split_seed"),
        ({"image_size": (0, 4)}, "image_size"),
        ({"divisor": 0}, "divisor"),
        ({"divisor": -1, "split_seed": -1}, "`divisor` must be > 0. Got -1.; split_seed"),
    ],
)
def test_arguments_outside_their_range(table_file, options, message):
    with pytest.raises(ConfigError) as caught:
        load_data(table_file, **options)
    assert message in str(caught.value)


def test_splits_that_do_not_exist(table_file):
    with pytest.raises(DataError, match="has no validation part"):
        load_rows(table_file, split="validation")
    with pytest.raises(ConfigError, match="Did you mean train"):
        load_rows(table_file, split="trian")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("minst", "minst: no such file or built-in data set. Did you mean mnist? Choices: digits"),
        ("MNIST", "Did you mean mnist?"),
        ("fashion_mnist", "Did you mean fashion-mnist?"),
        ("nowhere/a.npy", "nowhere/a.npy: no such file"),
        ("", "source is empty"),
        ("a\0b", "a\0b"),
        ("x" * 5000, "x"),
        (None, "Got None"),
    ],
)
def test_sources_that_do_not_exist(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        load_data(source)
    assert message in str(caught.value)


def test_a_path_object_is_never_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Path("digits").open("wb") as file:
        np.save(file, np.eye(4))
    assert len(load_rows(Path("digits"))) == 4


def test_a_file_of_the_name_of_a_built_in_set_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(load_rows("digits")) == 1797
    with Path("digits").open("wb") as file:
        np.save(file, np.eye(4))
    with pytest.warns(DataWarning, match="Write builtin:digits for the built-in set"):
        assert len(load_rows("digits")) == 4
    assert len(load_rows("builtin:digits")) == 1797
    with pytest.raises(DataError, match="Did you mean digits"):
        load_rows("builtin:digit")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        load_rows(tmp_path / "a.npy")


def test_a_file_without_permission(table_file, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied", str(table_file))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(DataError, match="no permission to read it"):
        load_rows(table_file)
