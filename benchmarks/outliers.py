"""How well scores tell outliers from rows of the training kind, beside other detectors, in one run.

    python benchmarks/outliers.py --out result.json
    python benchmarks/outliers.py --quick --out result.json
    python benchmarks/outliers.py --run RUN --outliers fashion-mnist --out result.json

Without --run two kinds of experiments are made, each with small models trained here: one set of
pictures against another (mnist against fashion-mnist, and the other way round), and a digit left
out of the training rows (--leave-out 0 1 …). With --run the rows of the run's own data are the
normal ones. Every method gets the same rows, with the values that the model sees. The figure is the
AUROC over test rows and outliers: the probability that an outlier scores lower than a normal row,
ties counted half, with the standard error of Hanley and McNeil (1982).

Beside both scores of discretevae stand IsolationForest of scikit-learn and, where `pyod` can be
imported, its VAE; each with its own defaults and the same seed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import platform
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from discretevae import (
    CollapseWarning,
    Dataset,
    DataWarning,
    DiscreteVAE,
    Rows,
    TrainConfig,
    fit_outliers,
    load_data,
    load_run,
    train,
)
from discretevae.cli.ending import finish
from discretevae.system.files import write_json

QUICK = {"train_rows": 2000, "test_rows": 500, "epochs": 5, "samples": 20, "leave_out": [0, 1]}


def auroc(normal: np.ndarray, odd: np.ndarray) -> dict[str, float]:
    """Of scores that are higher for normal rows, with its standard error."""
    n, m = len(normal), len(odd)
    a = float(roc_auc_score(np.repeat([1, 0], [n, m]), np.concatenate((normal, odd))))
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    var = (a * (1 - a) + (n - 1) * (q1 - a**2) + (m - 1) * (q2 - a**2)) / (n * m)
    return {"auroc": a, "se": math.sqrt(max(0.0, var))}


def some(rows: Rows, n: int, seed: int) -> Rows:
    """At most n rows, drawn by the seed, in their order."""
    if len(rows) <= n:
        return rows
    drawn = np.random.default_rng(seed).choice(len(rows), n, replace=False, shuffle=False)
    return rows.subset(torch.from_numpy(np.sort(drawn)))


def with_labels(rows: Rows, digit: int, *, equal: bool) -> Rows:
    """The rows of a digit, or all others."""
    return rows.subset(torch.nonzero((rows.labels == digit) == equal).flatten())


def trained(data: Dataset, args: argparse.Namespace) -> DiscreteVAE:
    """A model of the training rows."""
    model = DiscreteVAE.for_data(
        data, latent=args.latent, likelihood=args.likelihood, hidden=tuple(args.hidden)
    )
    config = TrainConfig(epochs=args.epochs, lr=args.lr, seed=args.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        train(model, data.binarized(args.binarize), config)
    return model


def measured(
    model: DiscreteVAE, data: Dataset, odd: Rows, mode: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Every method on the same rows."""
    found: dict[str, Any] = {}
    start = time.process_time()
    data, odd = data.binarized(mode), odd.binarized(mode)
    reference = some(data.train, args.test_rows, args.seed)
    fitted = fit_outliers(model, reference, samples=args.samples, seed=args.seed)
    normal, outliers = fitted.measure(data.test), fitted.measure(odd)
    found["ln p(x)"] = auroc(normal.bound, outliers.bound)
    found["ln p(x) + L(x)"] = auroc(normal.corrected, outliers.corrected)
    found["L(x) alone"] = auroc(normal.complexity, outliers.complexity)
    seconds = {"discretevae, scoring": time.process_time() - start}
    tables = [rows.batch(slice(None)).numpy() for rows in (data.train, data.test, odd)]
    start = time.process_time()
    forest = IsolationForest(random_state=args.seed).fit(tables[0])
    found["IsolationForest"] = auroc(*(forest.score_samples(x) for x in tables[1:]))
    seconds["IsolationForest"] = time.process_time() - start
    if importlib.util.find_spec("pyod") is not None:
        from pyod.models.vae import VAE

        start = time.process_time()
        other = VAE(random_state=args.seed, verbose=0)
        other.fit(tables[0])
        # of PyOD a higher score is an outlier
        found["PyOD VAE"] = auroc(*(-other.decision_function(x) for x in tables[1:]))
        seconds["PyOD VAE"] = time.process_time() - start
    else:
        found["PyOD VAE"] = "left out: pyod cannot be imported"
    return {
        "train_rows": len(data.train),
        "test_rows": len(data.test),
        "outliers": len(odd),
        "mean_bound": {"test": normal.bound.mean(), "outliers": outliers.bound.mean()},
        "mean_complexity": {
            "test": normal.complexity.mean(),
            "outliers": outliers.complexity.mean(),
        },
        "is_exact": normal.is_exact,
        "is_surrogate": normal.is_surrogate or outliers.is_surrogate,
        "auroc": found,
        "cpu_seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def cut(data: Dataset, args: argparse.Namespace) -> Dataset:
    """No more rows than asked for."""
    return Dataset(
        data.name,
        some(data.train, args.train_rows, args.seed),
        some(data.test, args.test_rows, args.seed),
    )


def versions() -> dict[str, str]:
    """Of what was measured."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    found |= {"scikit-learn": sklearn.__version__, "numpy": np.__version__}
    if importlib.util.find_spec("pyod") is not None:
        found["pyod"] = importlib.metadata.version("pyod")
    return found


def main() -> None:
    """Measures and writes the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="a trained run in place of models made here")
    parser.add_argument("--outliers", default="fashion-mnist", help="with --run: the other data")
    parser.add_argument("--sets", nargs="*", default=["mnist:fashion-mnist", "fashion-mnist:mnist"])
    parser.add_argument("--digits", default="mnist", help="the set with a digit left out")
    parser.add_argument("--leave-out", type=int, nargs="*", default=list(range(10)))
    parser.add_argument("--latent", default="bernoulli:50")
    parser.add_argument("--likelihood", default="bernoulli")
    parser.add_argument("--binarize", default="threshold", choices=["none", "threshold"])
    parser.add_argument("--hidden", type=int, nargs="*", default=[200])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--train-rows", type=int, default=60_000)
    parser.add_argument("--test-rows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help=f"only a trial: {QUICK}")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.quick:
        vars(args).update(QUICK)
    warnings.simplefilter("ignore", DataWarning)

    options = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    written: dict[str, Any] = {"options": options, "versions": versions(), "experiments": []}

    def add(name: str, **result: Any) -> None:
        """Written after each experiment, so that a long run can be stopped."""
        written["experiments"].append({"experiment": name, **result})
        print(json.dumps(written["experiments"][-1]), flush=True)
        write_json(args.out, written)

    if args.run is not None:
        run = load_run(args.run)
        data, odd = cut(load_data(run.config.data.source), args), load_data(args.outliers).test
        mode = "none" if run.config.data.binarize == "none" else "threshold"
        name = f"{data.name} against {args.outliers}"
        add(name, **measured(run.model, data, some(odd, args.test_rows, args.seed), mode, args))
    else:
        for pair in args.sets:
            normal, other = pair.split(":")
            data, odd = cut(load_data(normal), args), load_data(other).test
            odd = some(odd, args.test_rows, args.seed)
            result = measured(trained(data, args), data, odd, args.binarize, args)
            add(f"{normal} against {other}", **result)
        whole = load_data(args.digits) if args.leave_out else None
        for digit in args.leave_out:
            train_rows, test_rows = (
                with_labels(rows, digit, equal=False) for rows in (whole.train, whole.test)
            )
            data = cut(Dataset(whole.name, train_rows, test_rows), args)
            odd = some(with_labels(whole.test, digit, equal=True), args.test_rows, args.seed)
            result = measured(trained(data, args), data, odd, args.binarize, args)
            add(f"{whole.name} without {digit}", digit=digit, **result)


if __name__ == "__main__":
    finish(main)
