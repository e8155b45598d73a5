"""Time and memory of training on sparse counts, and the first layer beside its bare products.

    python benchmarks/sparse_rows.py --rows 10000 100000 --steps 0
    python benchmarks/sparse_rows.py --rows 1000000 --steps 300
    python benchmarks/sparse_rows.py --products

Rows are of 10,000 words, 50 of them in each row, drawn by Zipf's law. Each size is a process of
its own. With --steps K an epoch ends after K steps, and its time is K steps' by the row.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import scipy.sparse
import torch

import discretevae as dv
from discretevae.cli.ending import finish
from discretevae.data import Dataset, Rows
from discretevae.networks.counts import CountLinear

N_WORDS, PER_ROW, HIDDEN, BATCH = 10_000, 50, 512, 128


def words(n_rows: int) -> scipy.sparse.csr_array:
    """Return counts ``[N, 10000]`` with some 50 entries a row."""
    rng = np.random.default_rng(0)
    # products of a uniform draw are near Zipf's law, and cheap
    columns = (N_WORDS ** rng.random((n_rows, PER_ROW), np.float32)).astype(np.int32) - 1
    starts = np.arange(0, n_rows * PER_ROW + 1, PER_ROW, dtype=np.int32)
    counts = np.ones(n_rows * PER_ROW, np.uint8)
    matrix = scipy.sparse.csr_array((counts, columns.ravel(), starts), (n_rows, N_WORDS))
    matrix.sum_duplicates()
    return matrix


def measure(n_rows: int, steps: int) -> None:
    """Train for an epoch, or some steps of it, and print seconds and the peak of memory."""
    rows = Rows.from_array(words(n_rows), scale="none", name="words")
    split = rows.subset(slice(0, n_rows - 1000)), rows.subset(slice(n_rows - 1000, None))
    data = Dataset("words", *split)
    del rows
    model = dv.DiscreteVAE.for_data(
        data, latent="bernoulli:32", hidden=(HIDDEN,), likelihood="multinomial"
    )
    times: list[tuple[float, float]] = []

    class EnoughError(Exception):
        pass

    def progress(now: object) -> None:
        times.append((time.perf_counter(), time.process_time()))
        if steps and len(times) > steps:
            raise EnoughError

    with contextlib.suppress(EnoughError):
        dv.train(model, data, dv.TrainConfig(epochs=1, batch_size=BATCH), progress=progress)
    done = len(times) - 1
    wall, cpu = (last - first for first, last in zip(times[0], times[-1], strict=True))
    n_steps = -(-n_rows // BATCH)
    print(json.dumps({
        "rows": n_rows, "steps_measured": done,
        "epoch_seconds": round(wall / done * n_steps, 1),
        "epoch_cpu_seconds": round(cpu / done * n_steps, 1),
        "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }))  # fmt: skip


def products() -> None:
    """Print the CPU milliseconds of a step beside those of the products it cannot do without."""
    torch.manual_seed(0)
    x = torch.from_numpy(words(BATCH).toarray()).float()
    layer = CountLinear(N_WORDS, HIDDEN)
    torch.nn.init.uniform_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    dense = torch.nn.Linear(N_WORDS, HIDDEN)
    warnings.simplefilter("ignore")  # torch on its sparse matrices
    sparse, gradient = x.to_sparse_csr(), torch.randn(BATCH, HIDDEN)
    weight = torch.randn(N_WORDS, HIDDEN, requires_grad=True)

    def ours() -> None:
        layer.zero_grad()
        layer(x).backward(gradient)

    def full() -> None:
        dense.zero_grad()
        dense(x).backward(gradient)

    def by_torch_sparse() -> None:
        weight.grad = None
        torch.sparse.mm(sparse, weight).backward(gradient)

    for function in (ours, full, by_torch_sparse):
        function()
        start = time.process_time()
        for _ in range(20):
            function()
        print(f"{function.__name__}: {(time.process_time() - start) / 20 * 1e3:.1f} ms")


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--products", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.products:
        products()
    for n_rows in asked.rows:
        if asked.here:
            measure(n_rows, asked.steps)
            continue
        again = [sys.executable, __file__, "--here", "--rows", str(n_rows)]
        subprocess.run([*again, "--steps", str(asked.steps)], check=True)


if __name__ == "__main__":
    finish(main)
