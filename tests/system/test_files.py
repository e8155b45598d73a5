"""Writing: all of it, or what was there before."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest

from discretevae.system import files
from discretevae.system.files import array_bytes, atomic_file, write_atomic, write_json


class Full:
    """Fails as a full disk does."""

    def __call__(self, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_content_is_written_and_replaced(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"", b"first", bytes(range(256)) * 1000):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_what_was_there(before, step, error, tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(
        *((files.os, "fsync") if step == "fsync" else (type(path), "replace")), fails
    )
    with pytest.raises(type(error)):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ([] if before is None else ["a.bin"])
    if before is not None:
        assert path.read_bytes() == before


@pytest.mark.parametrize("is_named", [False, True])
def test_an_error_names_the_file_that_was_asked_for(is_named, tmp_path, monkeypatch):
    path = tmp_path / "a.bin"

    def fails(descriptor: int) -> None:
        name = [str(next(tmp_path.iterdir()))] if is_named else []  # as the system says it, or not
        raise OSError(errno.ENOSPC, "full", *name)

    monkeypatch.setattr(files.os, "fsync", fails)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.bin'") as caught:
        write_atomic(path, b"new")
    assert caught.value.filename == str(path)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError) as caught, atomic_file(path):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other")  # which is not ours to rename


def test_the_bytes_are_flushed_before_the_name_is_given(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    seen = []

    def flushed(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr(files.os, "fsync", flushed)
    write_atomic(path, b"12345")
    assert seen == [(5, False)]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "no" / "a.bin", b"x")
    assert list(tmp_path.iterdir()) == []


def test_pieces_become_a_file_when_the_block_is_left(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        for piece in (b"ne", b"", b"w"):
            file.write(piece)
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with pytest.raises(ZeroDivisionError), atomic_file(path) as file:
        file.write(bytes(1 // 0))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(IsADirectoryError), atomic_file(tmp_path):
        pytest.fail("the block was entered")


def test_json_is_strict_and_ends_in_a_newline(tmp_path):
    path = tmp_path / "a.json"
    value = {"a": [1, 2.5, None, True], "é": "z"}
    write_json(path, value)
    assert json.loads(path.read_text()) == value
    assert path.read_text().endswith("}\n")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == value


def test_arrays_go_there_and_back(tmp_path):
    for array in (np.zeros((0, 3), "u1"), np.arange(6).reshape(2, 3), np.float32(2.5)):
        (tmp_path / "a.npy").write_bytes(array_bytes(array))
        back = np.load(tmp_path / "a.npy", allow_pickle=False)
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)
    with pytest.raises(ValueError, match="pickle"):
        array_bytes(np.array([object()]))
