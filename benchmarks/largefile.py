"""A large file of random bytes for the benchmarks beside this one; made, measured, deleted."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

WIDTH = 784
PIECE = 64 << 20


@contextlib.contextmanager
def random_rows(gigabytes: float, folder: Path | None = None) -> Iterator[Path]:
    """A `.npy` file of that size, uint8 ``[N, 784]``, in a folder that is deleted afterwards."""
    n_rows = max(1, int(gigabytes * 1e9) // WIDTH)
    needed = n_rows * WIDTH + (1 << 20)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        if shutil.disk_usage(made).free < 1.2 * needed:
            raise click.ClickException(f"{made}: no space for {gigabytes} GB. Pass --folder.")
        path = Path(made) / "rows.npy"
        rng = np.random.default_rng(0)
        with path.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (n_rows, WIDTH)}
            np.lib.format.write_array_header_1_0(file, header)
            left = n_rows * WIDTH
            while left:
                left -= file.write(rng.bytes(min(PIECE, left)))
            file.flush()
            os.fsync(file.fileno())
        yield path


def forget(path: Path) -> None:
    """Drops the file from the system's cache, so that reading it means reading the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak_memory_mb() -> int:
    """The most that was ever resident in this process, in megabytes."""
    with Path("/proc/self/status").open() as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 // 10**6
    raise click.ClickException("the system does not say how much memory a process has used.")
