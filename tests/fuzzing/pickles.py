"""Pickles in every form that other programs write, and a watch that sees them being loaded."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

import discretevae

SRC = Path(discretevae.__file__).parent
GOOD = np.arange(96).reshape(6, 16) / 96


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def payloads(mark: Path) -> dict[str, bytes]:
    """The same bomb in every form; each is as good a file as the program that writes it makes."""
    bomb = Bomb(mark)
    array = np.array([[bomb, bomb]] * 3, dtype=object)
    sparse = written(lambda file: scipy.sparse.save_npz(file, scipy.sparse.csr_matrix(GOOD)))
    with np.load(io.BytesIO(sparse)) as archive:
        parts = dict(archive)
    parts["data"] = np.array([bomb] * len(parts["data"]), dtype=object)
    return {
        "text pickle": pickle.dumps(bomb, protocol=0),
        "pickle": pickle.dumps(bomb, protocol=4),
        "pickle in gzip": gzip.compress(pickle.dumps(bomb), mtime=0),
        "torch": written(lambda file: torch.save({"a": bomb}, file)),
        "old torch": written(
            lambda file: torch.save({"a": bomb}, file, _use_new_zipfile_serialization=False)
        ),
        "npy of objects": written(lambda file: np.save(file, array, allow_pickle=True)),
        "npz of objects": written(lambda file: np.savez(file, x=array, y=np.arange(3))),
        "npz of pickled labels": written(lambda file: np.savez(file, x=GOOD[:3], y=array[:, 0])),
        "sparse npz": written(lambda file: np.savez(file, **parts)),
    }


FORMS = tuple(payloads(Path("unused")))


@contextlib.contextmanager
def watched() -> Iterator[tuple[set[str], list[str]]]:
    """The functions of the package that are called, and the names that a pickle asks for."""
    called: set[str] = set()
    place = str(SRC) + os.sep

    def note(frame: Any, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(place):
            module = code.co_filename.removeprefix(place).removesuffix(".py").replace(os.sep, ".")
            called.add(f"{module}.{code.co_qualname}")

    unpickled = _audited()
    before = sys.getprofile()
    sys.setprofile(note)
    threading.setprofile(note)
    try:
        yield called, unpickled
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


_FOUND: list[str] = []


def _audited() -> list[str]:
    """Python tells of every name that any pickle asks for; who listens once does so for good."""
    if not hasattr(_audited, "on"):
        sys.addaudithook(lambda event, args: event == "pickle.find_class" and _FOUND.append(args))
        _audited.on = True
    _FOUND.clear()
    return _FOUND
