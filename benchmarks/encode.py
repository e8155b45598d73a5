"""From a large uint8 file on disk to packed bits on disk, against the encoder's bare products.

In turn, in one process: a stretch of the file is encoded, then the two matrix products that no
encoder can avoid are formed as often as the stretch needs them. The median of the ratios is the
figure; lone times mean nothing on a shared machine. The file is dropped from the system's cache
before, and the process that is measured does nothing else, so that its peak memory is that of
encoding.

    python benchmarks/encode.py --gigabytes 4
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch
from largefile import forget, peak_memory_mb, random_rows

from discretevae.cli.ending import finish
from discretevae.codes.packing import encode_rows
from discretevae.config import ModelConfig
from discretevae.data import load_rows
from discretevae.evaluation.bounds import DECODER_ROWS
from discretevae.model.vae import DiscreteVAE

STRETCH = 16
"""Chunks in a row: of them one only is read while the products are timed."""

PRODUCTS = 4
"""How often the products are formed after a stretch."""


def measure(path: Path, out: Path) -> dict[str, Any]:
    """Encodes the file, with the products in between."""
    model = DiscreteVAE(ModelConfig(n_features=784, latent="bernoulli:50", hidden=(1024,)))
    first, last = (p.detach() for p in model.encoder.parameters() if p.ndim == 2)
    x, h = torch.rand(DECODER_ROWS, 784), torch.empty(DECODER_ROWS, 1024)
    eta = torch.empty(DECODER_ROWS, 50)
    stretches: list[float] = []
    bare: list[float] = []
    rows = load_rows(path)
    began, outside = time.perf_counter(), 0.0
    stretch_began = began

    def between(done: int) -> None:
        nonlocal outside, stretch_began
        if done % (STRETCH * DECODER_ROWS):
            return
        now = time.perf_counter()
        stretches.append((now - stretch_began) / STRETCH)
        for _ in range(PRODUCTS):
            torch.mm(x, first.T, out=h)
            torch.mm(h, last.T, out=eta)
        stretch_began = time.perf_counter()
        bare.append((stretch_began - now) / PRODUCTS)
        outside += stretch_began - now

    codes = encode_rows(model, rows, out=out, progress=between)
    seconds = time.perf_counter() - began - outside
    ratios = [b / s for s, b in zip(stretches, bare, strict=True)]
    return {
        "rows": len(rows),
        "gigabytes": round(path.stat().st_size / 1e9, 2),
        "streamed": rows.is_streamed,
        "codes": list(codes.shape),
        "seconds": round(seconds, 1),
        "rows_per_second": round(len(rows) / seconds),
        "bare_rows_per_second": round(DECODER_ROWS / statistics.median(bare)),
        "speed_of_bare_products": round(statistics.median(ratios), 3),
        "stretches": len(ratios),
        "quartiles": [round(q, 3) for q in statistics.quantiles(ratios, n=4)],
        "threads": torch.get_num_threads(),
        "peak_memory_mb": peak_memory_mb(),
    }


@click.command()
@click.option("--gigabytes", default=4.0, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to make the file.")
@click.option("--measure", "path", type=click.Path(path_type=Path), hidden=True)
def main(gigabytes: float, folder: Path | None, path: Path | None) -> None:
    """Print rows per second, the ratio to the bare products, and the peak memory, as JSON."""
    if path is not None:
        print(json.dumps(measure(path, path.with_name("codes.npy")), indent=2))
        return
    with random_rows(gigabytes, folder or Path(tempfile.gettempdir())) as made:
        forget(made)
        subprocess.run([sys.executable, __file__, "--measure", str(made)], check=True)


if __name__ == "__main__":
    finish(main)
