"""Measure how well outliers of tables are found by default options, beside other detectors.

    DISCRETEVAE_DATA=data python benchmarks/outlier_tables.py --out result.json
    python benchmarks/outlier_tables.py --folder adbench --methods BernoulliVAE --out result.json

``--folder`` holds tables as ADBench has them: `.npz` with ``X`` [N, P] and ``y`` [N], 1 for an
outlier. Of each, 70 % of the rows, outliers among them in their share, are there to learn from and
30 % are scored, in three splits; labels do nothing but split and judge. The figure is the AUROC:
the probability that an outlier is scored as less normal than another row.

`discretevae outliers` is the command on a run of `discretevae train`, each with no option that
changes a model or a score. IsolationForest is that of scikit-learn, VAE, ECOD and COPOD those of
PyOD, which has to be installed. What is in the file already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from discretevae import BernoulliVAE, CollapseWarning
from discretevae.cli.ending import finish
from discretevae.system.files import write_json

Scorer = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def of_class(fit: np.ndarray, new: np.ndarray, seed: int) -> np.ndarray:
    """Scores of `BernoulliVAE`."""
    return BernoulliVAE(random_state=seed).fit(fit).score_samples(new)


def of_command(fit: np.ndarray, new: np.ndarray, seed: int) -> np.ndarray:
    """Scores of `discretevae outliers`."""
    with tempfile.TemporaryDirectory() as folder:
        names = ",".join(f"c{i}" for i in range(fit.shape[1]))
        for name, rows in (("fit.csv", fit), ("new.csv", new)):
            np.savetxt(Path(folder) / name, rows, "%.17g", ",", header=names, comments="")
        train = ("train", "--data", "fit.csv", "--seed", str(seed), "--out", "run")
        for command in (train, ("outliers", "run", "new.csv", "--out", "scores.npz")):
            called = [sys.executable, "-m", "discretevae", *command]
            subprocess.run(called, cwd=folder, check=True, capture_output=True)
        with np.load(Path(folder) / "scores.npz") as found:
            return found["score"]


def of_forest(fit: np.ndarray, new: np.ndarray, seed: int) -> np.ndarray:
    """Scores of `IsolationForest`."""
    return IsolationForest(random_state=seed).fit(fit).score_samples(new)


def of_pyod(name: str) -> Scorer:
    """Scores of a detector of PyOD, whose sign is the other one."""

    def scores(fit: np.ndarray, new: np.ndarray, seed: int) -> np.ndarray:
        from pyod.models import copod, ecod, vae

        made = {
            "VAE": lambda: vae.VAE(random_state=seed, verbose=0),
            "ECOD": ecod.ECOD,
            "COPOD": copod.COPOD,
        }[name]()
        return -made.fit(fit).decision_function(new)

    return scores


METHODS: dict[str, Scorer] = {
    "BernoulliVAE": of_class,
    "discretevae outliers": of_command,
    "IsolationForest": of_forest,
    **{f"PyOD {name}": of_pyod(name) for name in ("VAE", "ECOD", "COPOD")},
}


def measured(path: Path, score: Scorer, n_splits: int) -> dict[str, object]:
    """AUROC of every split of a table, and the mean of seconds that learning and scoring take."""
    with np.load(path) as file:
        x, y = file["X"].astype(np.float64), file["y"]
    found, start = [], time.perf_counter()
    for seed in range(n_splits):
        fit, new, _, is_outlier = train_test_split(
            x, y, test_size=0.3, random_state=seed, stratify=y
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)
            found.append(float(roc_auc_score(is_outlier, -score(fit, new, seed))))
    seconds = (time.perf_counter() - start) / n_splits
    return {"auroc": found, "seconds": round(seconds, 2)}


def main() -> None:
    """Measures and writes the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = Path(os.environ.get("DISCRETEVAE_DATA", "data"))
    parser.add_argument("--folder", type=Path, default=data / "adbench")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    written = json.loads(args.out.read_text()) if args.out.exists() else {"tables": {}}
    written["versions"] = {
        "python": platform.python_version(), "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
    }  # fmt: skip
    for path in sorted(args.folder.glob("*.npz")):
        own = written["tables"].setdefault(path.stem, {})
        for name in args.methods:
            if name not in own:
                own[name] = measured(path, METHODS[name], args.splits)
                print(path.stem, name, np.mean(own[name]["auroc"]).round(4), flush=True)
                write_json(args.out, written)


if __name__ == "__main__":
    finish(main)
