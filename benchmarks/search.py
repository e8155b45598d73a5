"""Exact search of a million random codes: our index against bare faiss, in turn, in one process.

Both look for the same queries; the median of the ratios of neighboring times is the figure, for
lone times mean nothing on a shared machine. Another process builds the index of codes in a file,
saves it, loads it and searches it: its peak memory is that of all of this. One thread.

    python benchmarks/search.py --rows 1000000 --out search.json

With --kinds-rows the kinds of index are compared, on random codes and on those of small models that
are trained here: random codes are all far from each other and seldom alike, trained ones repeat.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before faiss is loaded

import click
import numpy as np

from discretevae.cli.ending import finish
from discretevae.codes.search.index import CodeIndex
from discretevae.codes.search.structures import INDEX_KINDS, load_faiss
from discretevae.system.files import write_json

Array = np.ndarray[Any, np.dtype[Any]]

BITS, K, ROUNDS, STRETCH = 64, 10, 12, 250
"""Rounds of a stretch of queries by the one and by the other, the order changing."""

KINDS_ROUNDS = 5
"""Searches of all queries, of which the median time counts."""


def peak_memory_mb() -> int:
    """The most memory that this process has held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def made_codes(n: int, seed: int, bits: int = BITS) -> Array:
    """Random codes, packed."""
    return np.random.default_rng(seed).integers(0, 256, (n, bits // 8), dtype=np.uint8)


def trained_codes(name: str, bits: int, data_dir: Path | None) -> tuple[Array, Array]:
    """The codes of all training rows and of all test rows, by a small model of one epoch."""
    import discretevae as dv

    data = dv.load_data(name, data_dir=data_dir)
    model = dv.DiscreteVAE.for_data(data, latent=f"bernoulli:{bits}", hidden=(64,), seed=0)
    dv.train(model, data, dv.TrainConfig(epochs=1, batch_size=100, seed=0))
    return dv.encode_rows(model, data.train), dv.encode_rows(model, data.test)


def times(rows: int, queries: Array) -> dict[str, Any]:
    """The ratio of the speed of our search to that of faiss, and whether they found the same."""
    codes = made_codes(rows, 0)
    index = CodeIndex.from_codes(codes, f"bernoulli:{BITS}")
    bare = load_faiss().IndexBinaryFlat(BITS)
    bare.add(codes)
    ours: list[float] = []
    theirs: list[float] = []

    def search() -> None:
        began = time.perf_counter()
        index.search_codes(part, K)
        ours.append(time.perf_counter() - began)

    def search_bare() -> None:
        began = time.perf_counter()
        bare.search(part, K)
        theirs.append(time.perf_counter() - began)

    for number in range(ROUNDS):
        start = number * STRETCH % len(queries)
        part = queries[start : start + STRETCH]
        for job in (search, search_bare) if number % 2 else (search_bare, search):
            job()
    found, (distances, ids) = index.search_codes(queries, K), bare.search(queries, K)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "speed_of_faiss": round(statistics.median(ratios), 3),
        "quartiles": [round(q, 3) for q in statistics.quantiles(ratios, n=4)],
        "queries_per_second": round(STRETCH / statistics.median(ours)),
        "same_distances": bool((found.distances == distances).all()),
        "same_ids": bool((found.ids == ids).all()),
    }


def kinds(source: str, codes: Array, queries: Array) -> list[dict[str, Any]]:
    """Seconds to build and to load, bytes, speed and recall of each kind, at the default effort."""
    latent = f"bernoulli:{8 * codes.shape[1]}"
    exact = CodeIndex.from_codes(codes, latent).search_codes(queries, K)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "codes.index"
        for kind in INDEX_KINDS:
            began = time.perf_counter()
            index = CodeIndex.from_codes(codes, latent, kind=kind)  # type: ignore[arg-type]
            index.prepare()
            built = time.perf_counter() - began
            index.save(path)
            began = time.perf_counter()
            index = CodeIndex.load(path)
            loaded = time.perf_counter() - began
            index.prepare()
            found, seconds = index.search_codes(queries, K), []
            for _ in range(KINDS_ROUNDS):
                began = time.perf_counter()
                index.search_codes(queries, K)
                seconds.append(time.perf_counter() - began)
            lines.append(
                {
                    "codes": source,
                    "rows": len(codes),
                    "distinct": len(np.unique(codes, axis=0)),
                    "kind": kind,
                    "build_seconds": round(built, 2),
                    "load_seconds": round(loaded, 2),
                    "megabytes": round(path.stat().st_size / 1e6, 1),
                    "queries_per_second": round(len(queries) / statistics.median(seconds)),
                    "recall": round(float((found.distances <= exact.distances[:, -1:]).mean()), 3),
                }
            )
    return lines


def all_kinds(rows: int, n: int, trained: Sequence[str], data_dir: Path | None) -> list[Any]:
    """The figures of random codes of 16 and 64 bits, and of the codes of trained models."""
    lines = []
    for bits in (16, BITS):
        codes, queries = made_codes(rows, 0, bits), made_codes(n, 1, bits)
        lines += kinds(f"random, {bits} bits", codes, queries)
    for spelling in trained:
        name, _, bits_text = spelling.rpartition(":")
        codes, queries = trained_codes(name, int(bits_text), data_dir)
        lines += kinds(f"{name}, {bits_text} bits", codes, queries[:n])
    return lines


def alone(codes: Path, n_queries: int) -> dict[str, Any]:
    """What a process holds that builds the index, and then loads it and searches it."""
    before = peak_memory_mb()
    path = codes.with_suffix(".index")
    index = CodeIndex.from_codes(np.load(codes), f"bernoulli:{BITS}")
    index.prepare()
    index.save(path)
    built = peak_memory_mb()
    del index
    began = time.perf_counter()
    index = CodeIndex.load(path)
    loaded = time.perf_counter() - began
    index.search_codes(made_codes(n_queries, 1), K)
    return {
        "rows": len(index),
        "load_seconds": round(loaded, 2),
        "memory_before_mb": before,
        "memory_built_mb": built,
        "peak_memory_mb": peak_memory_mb(),
        "torch_loaded": "torch" in sys.modules,
    }


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--queries", "n_queries", default=1000, show_default=True)
@click.option("--kinds-rows", default=0, help="Random codes to compare the kinds on; 0: no kinds.")
@click.option("--trained", multiple=True, help="DATA:BITS of a model whose codes to compare on.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the data sets.")
@click.option("--out", type=click.Path(path_type=Path), help="A .json of the figures.")
@click.option("--alone", "path", type=click.Path(path_type=Path), hidden=True)
def main(
    rows: int,
    n_queries: int,
    kinds_rows: int,
    trained: tuple[str, ...],
    data_dir: Path | None,
    out: Path | None,
    path: Path | None,
) -> None:
    """Print the ratio, the peak memory of a process that builds and searches, and more, as JSON."""
    if path is not None:
        print(json.dumps(alone(path, n_queries)))
        return
    queries = made_codes(n_queries, 1)
    result: dict[str, Any] = {"bits": BITS, "k": K, "queries": n_queries, **times(rows, queries)}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "codes.npy"
        np.save(made, made_codes(rows, 0))
        arguments = [__file__, "--alone", str(made), "--queries", str(n_queries)]
        done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        result["alone"] = json.loads(done.stdout)
    if kinds_rows:
        result["kinds"] = all_kinds(kinds_rows, n_queries, trained, data_dir)
    print(json.dumps(result, indent=2))
    if out is not None:
        write_json(out, result)


if __name__ == "__main__":
    finish(main)
