"""How a file of each kind is read, and how it must not be."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

MEMORY = 2 << 30
"""Bytes that reading a damaged file of a few kB may take."""


class NonsenseError(Exception):
    """Accepted, though it should not have been."""


def _read_rows(path: Path) -> None:
    import torch

    from discretevae.data import load_data, load_rows

    rows = load_rows(path)
    load_data(path)
    x = rows.batch(slice(0, 64))
    rows.epoch(0, 1, batch_size=4).take(0)
    is_fine = x.isfinite() | (x.isnan() & rows.is_mixed)  # a missing cell
    if not (x.ndim == 2 and x.dtype == torch.float32 and len(x) and bool(is_fine.all())):
        raise NonsenseError(f"rows: {list(x.shape)} {x.dtype} of {len(rows)}")


def _rows_called(name: str) -> Callable[[Path, Path], None]:
    def read(given: Path, scratch: Path) -> None:
        _read_rows(Path(shutil.copy(given, scratch / name)))

    return read


def _streamed_from(name: str) -> Callable[[Path, Path], None]:
    """As a file that is too large for the memory is read."""

    def read(given: Path, scratch: Path) -> None:
        from unittest import mock

        with mock.patch("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0):
            _read_rows(Path(shutil.copy(given, scratch / name)))

    return read


def _read_labels(given: Path, scratch: Path) -> None:
    images = scratch / "train-images-idx3-ubyte"
    images.write_bytes(bytes((0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, 2)) + bytes(range(24)))
    shutil.copy(given, scratch / "train-labels-idx1-ubyte")
    _read_rows(images)


def _read_shards(given: Path, scratch: Path) -> None:
    import numpy as np

    np.save(scratch / "1.npy", np.arange(48).reshape(3, 16) / 48)
    shutil.copy(given, scratch / "2.npy")
    _read_rows(scratch)


def _read_picture(given: Path, scratch: Path) -> None:
    from PIL import Image

    Image.new("L", (4, 4), 7).save(scratch / "1.png")
    shutil.copy(given, scratch / "2.png")  # Pillow looks at the content
    _read_rows(scratch)


def _run_with(name: str) -> Callable[[Path, Path], Path]:
    """A copy of the run with another file in the place of one of its own."""

    def make(given: Path, scratch: Path) -> Path:
        from fuzzing import example

        run = Path(shutil.copytree(given.parent / "run", scratch / "run"))
        shutil.copy(given, run / name if name else example.newest_state(run))
        return run

    return make


def _read_run(name: str) -> Callable[[Path, Path], None]:
    def read(given: Path, scratch: Path) -> None:
        from discretevae.run_folder.saved_run import is_run, load_run

        folder = _run_with(name)(given, scratch)
        is_run(folder)
        opened = load_run(folder)
        values = opened.model.sample(2)
        if not bool(values.isfinite().all()):
            raise NonsenseError("values that are not finite")

    return read


def _read_schema(given: Path, scratch: Path) -> None:
    """A run with such a schema, new data held against it, and the data of the training."""
    import numpy as np

    from discretevae.data import load_rows, load_run_rows
    from discretevae.errors import DataError
    from discretevae.run_folder.saved_run import load_run

    opened = load_run(_run_with("schema.json")(given, scratch))
    if opened.schema is None:
        raise NonsenseError("no schema")
    table = np.arange(180).reshape(20, 9) % 7
    np.savetxt(scratch / "x.csv", table, "%d", ",", header="a,b,c,d,e,f,g,h,i", comments="")
    np.savez(scratch / "x.npz", x_train=table[:16], y_train=table[:16, 0], x_test=table[16:])
    for name in ("x.csv", "x.npz"):
        for read in (
            lambda path: load_rows(path, schema=opened.schema),
            lambda path: load_run_rows(opened.config.data, opened.schema, "test", source=str(path)),
        ):
            with contextlib.suppress(DataError):  # which they are, mostly
                x = read(scratch / name).batch(slice(0, 64))
                if x.shape[1] != 9 or not bool(x.isfinite().all()):
                    raise NonsenseError(f"rows: {list(x.shape)}")


def _resume(name: str) -> Callable[[Path, Path], None]:
    def read(given: Path, scratch: Path) -> None:
        from discretevae.training import train
        from fuzzing import example

        folder = _run_with(name)(given, scratch)
        history = train(
            example.model(), example.data(), example.training(2), out=folder, resume=True
        )
        for metrics in history:
            for field, value in vars(metrics).items():
                if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
                    raise NonsenseError(f"{field}: {value!r}")

    return read


def _read_codes(given: Path, scratch: Path) -> None:
    from discretevae.codes.packing import decode_codes, read_codes
    from fuzzing import example

    model = example.model()
    path = Path(shutil.copy(given, scratch / "codes.npy"))
    values = decode_codes(model, read_codes(path, model.family))
    if not bool(values.isfinite().all()):
        raise NonsenseError("values that are not finite")


READERS: dict[str, Callable[[Path, Path], None]] = {
    "idx": _rows_called("x-idx3-ubyte"),
    "labels": _read_labels,
    "npy": _rows_called("x.npy"),
    "npz": _rows_called("x.npz"),
    "csv": _rows_called("x.csv"),
    "parquet": _rows_called("x.parquet"),
    "npy-stream": _streamed_from("x.npy"),
    "parquet-stream": _streamed_from("x.parquet"),
    "shards": _read_shards,
    "picture": _read_picture,
    "model": _read_run("model.safetensors"),
    "config": _read_run("config.json"),
    "schema": _read_schema,
    "state": _resume(""),
    "metrics": _resume("metrics.jsonl"),
    "codes": _read_codes,
}


def _careless(given: Path, scratch: Path) -> None:
    import numpy as np

    np.load(given)


def _credulous(given: Path, scratch: Path) -> None:
    raise NonsenseError("all: is fine")


def _silent(given: Path, scratch: Path) -> None:
    from discretevae.errors import DataError

    raise DataError("")


def _greedy(given: Path, scratch: Path) -> None:
    bytearray(MEMORY + (1 << 20))


def _endless(given: Path, scratch: Path) -> None:
    while True:
        pass


def _deaf(given: Path, scratch: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # as code in C can be
    _endless(given, scratch)


def _crashing(given: Path, scratch: Path) -> None:
    os.abort()


CARELESS = {
    "careless": (_careless, "raised"), "credulous": (_credulous, "nonsense"),
    "silent": (_silent, "message"), "greedy": (_greedy, "memory"), "endless": (_endless, "hang"),
    "deaf": (_deaf, "hang"), "crashing": (_crashing, "crash"),
}  # fmt: skip
"""Readers that do what must not happen, with the verdict that they deserve."""
