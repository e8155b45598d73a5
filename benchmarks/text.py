"""Precision of the first 100 rows by codes of texts, beside ITQ: the page docs/results/text.md.

    python benchmarks/text.py RUNS --data DATA --seeds 3 --out docs/results/text.json
    python benchmarks/text.py RUNS --data DATA --choose

Training rows answer, test rows ask; a row is relevant with the same newsgroup, or with a topic in
common. Runs stand in the folder RUNS; those that are finished are not trained again.

``--choose`` compares options without labels and without test rows: of each held-out training row
half of the words are coded, the first 100 rows are found by code, and counts is how alike they are
to the other half of the words, as the mean cosine in 64 directions of LSA.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse

import discretevae as dv
from discretevae.cli.ending import finish
from discretevae.codes.search.baselines import itq, principal_axes
from discretevae.codes.search.hamming import hamming_distances
from discretevae.codes.search.retrieval import measure_retrieval
from discretevae.data import Dataset, Rows, load_run_data, load_run_rows
from discretevae.data.neighbors import topic_vectors
from discretevae.run_folder.saved_run import load_run

SETS = {"20news": "labels", "reuters": "topics"}
BITS = (16, 32, 64, 128)
ALWAYS = "--free-bits 0.5 --estimator straight-through"
OPTIONS = {
    "the row itself": ALWAYS,
    "neighbors:5x50": f"--target neighbors:5x50 {ALWAYS}",
    "neighbors:20": f"--target neighbors:20 {ALWAYS}",
    "neighbors:20, lr 0.003": f"--target neighbors:20 --lr 0.003 {ALWAYS}",
}
"""Options that ``--choose`` compares on held-out training rows."""

CHOSEN = OPTIONS["neighbors:20, lr 0.003"]


def trained(folder: Path, data: Path, options: str, bits: int, seed: int, epochs: int) -> float:
    """Train a run unless it is there, and return the seconds that it took."""
    command = [
        *(sys.executable, "-m", "discretevae", "train", "--data", str(data)),
        *("--likelihood", "multinomial", "--latent", f"bernoulli:{bits}", "--hidden", "512"),
        *("--epochs", str(epochs), "--seed", str(seed), "--out", str(folder), "--resume"),
        *options.split(),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]


def labels_of(folder: Path, part: str, kind: str) -> np.ndarray:
    """Return newsgroups ``[N]``, or topics ``[N, L]``."""
    labels = np.load(folder / f"{part}-{kind}.npy")
    return np.unpackbits(labels, axis=1) if labels.ndim == 2 else labels


def measured(folder: Path, data: Path, kind: str) -> dict[str, float]:
    """Return P@100 of a run and of ITQ on LSA, in percent."""
    run = load_run(folder)
    parts = [
        load_run_rows(run.config.data, run.schema, "all", source=data / f"{part}.npz")
        for part in ("train", "test")
    ]
    labels = labels_of(data, "test", kind), labels_of(data, "train", kind)
    report = measure_retrieval(
        {"model": (run.model, "none")}, Dataset(data.name, *parts), per_label=None, labels=labels
    )
    return {entry.kind: 100 * entry.scores.precision[100] for entry in report.entries}


def likeness(codes: np.ndarray, of_rows: np.ndarray, found_by: np.ndarray) -> float:
    """Return the mean cosine of each query's other half with the first 100 rows by code."""
    rng, cosines = np.random.default_rng(0), []
    vectors, others = of_rows
    for code, other in zip(found_by, others, strict=True):
        distance = hamming_distances(code[None], codes)[0] + rng.random(
            len(codes)
        )  # ties at random
        cosines.append((vectors[np.argpartition(distance, 100)[:100]] @ other).mean())
    return float(np.mean(cosines))


def choose(folder: Path, data: Path, epochs: int) -> None:
    """Print the likeness of what is found by ITQ and by runs with each of several options."""
    is_first = True
    for name, options in OPTIONS.items():
        out = folder / f"choose-{data.name}-{name}".translate(str.maketrans(" :,", "---"))
        seconds = trained(out, data / "train.npz", options, 32, 0, epochs)
        run = load_run(out)
        split = load_run_data(run.config.data, run.schema)
        matrix = split.test.values.matrix
        is_seen = np.random.default_rng(0).random(matrix.nnz) < 0.5
        halves = []
        for keep in (is_seen, ~is_seen):
            half = scipy.sparse.csr_array((matrix.data * keep, matrix.indices, matrix.indptr))
            half.resize(matrix.shape)
            halves.append(Rows.from_array(half, scale="none"))
        vectors, seen, hidden = topic_vectors(split.train, *halves, n=64, seed=0)
        if is_first:
            mean, axes = principal_axes(vectors)
            projection = itq(vectors, mean, axes, 32)
            codes = projection.encode(vectors), projection.encode(seen)
            print(f"{data.name} itq: {likeness(codes[0], (vectors, hidden), codes[1]):.4f}")
            is_first = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            codes = [
                np.packbits(run.model.encode(r).numpy(), axis=1) for r in (split.train, halves[0])
            ]
        value = likeness(codes[0], (vectors, hidden), codes[1])
        print(f"{data.name} {name}: {value:.4f}, {seconds:.0f} s", flush=True)


def main() -> None:
    """Train, measure, and write what was measured after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--bits", default=",".join(map(str, BITS)))
    parser.add_argument("--options", default=CHOSEN)
    parser.add_argument("--choose", action="store_true")
    asked = parser.parse_args()
    if asked.choose:
        for name in asked.sets.split(","):
            choose(asked.runs, asked.data / name, asked.epochs)
        return
    found = json.loads(asked.out.read_text()) if asked.out and asked.out.exists() else {"runs": []}
    keys = ("set", "bits", "seed", "epochs", "options")
    done = {tuple(run[key] for key in keys) for run in found["runs"]}
    for seed in range(asked.seeds):
        for name in asked.sets.split(","):
            for bits in map(int, asked.bits.split(",")):
                if (name, bits, seed, asked.epochs, asked.options) in done:
                    continue
                how = "".join(c if c.isalnum() else "-" for c in asked.options)
                folder = asked.runs / f"{name}-{bits}-{seed}-{asked.epochs}{how}"
                data, start = asked.data / name, time.perf_counter()
                seconds = trained(
                    folder, data / "train.npz", asked.options, bits, seed, asked.epochs
                )
                scores = measured(folder, data, SETS[name])
                found["runs"].append(
                    {"set": name, "bits": bits, "seed": seed, "epochs": asked.epochs,
                     "options": asked.options, "train_seconds": round(seconds),
                     "precision_at_100": scores}
                )  # fmt: skip
                print(name, bits, seed, {k: round(v, 2) for k, v in scores.items()},
                      f"{time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
                if asked.out is not None:
                    asked.out.write_text(json.dumps(found | {"version": dv.__version__}, indent=1))


if __name__ == "__main__":
    finish(main)
