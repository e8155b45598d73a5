"""Missing cells filled, and rows made, on small tables, beside scikit-learn's imputers.

    python benchmarks/tables.py --out docs/results/tables/holes.json

**Holes.** Of three tables of scikit-learn 30 % of the cells are removed at random. The error is the
root of the mean squared difference over the removed cells, in standard deviations of the column.
Beside it stands ln p of the removed cells given those that are there, nats per cell, and that of a
normal distribution of each column.

**Made rows.** A gradient-boosted classifier learns from made rows and is tested on real ones,
against one that learned from real rows: a table of made passengers, whose law is known, and the
breast cancer table with five columns cut into levels. The label is a column like the others.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - opens the next import
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.model_selection import train_test_split

from discretevae import BernoulliVAE
from discretevae.cli.ending import finish
from discretevae.evaluation.bounds import score_samples
from discretevae.system.files import write_json

SHARE = 0.3
TABLES = {"wine": load_wine, "diabetes": load_diabetes, "breast cancer": load_breast_cancer}
HOLES: dict[str, Any] = {"n_bits": 16, "hidden": (128,), "epochs": 200}
MADE: dict[str, Any] = {"n_bits": 12, "hidden": (128,), "epochs": 200, "prior": "factorized"}


def holes(name: str, seed: int) -> dict[str, Any]:
    """Errors of the removed cells by each method, and what they are worth in nats."""
    whole = TABLES[name]().data
    whole = (whole - whole.mean(0)) / whole.std(0)
    is_removed = np.random.default_rng(seed).random(whole.shape) < SHARE
    is_removed[is_removed.all(1), 0] = False
    given = np.where(is_removed, np.nan, whole)
    vae = BernoulliVAE(random_state=seed, **HOLES).fit(given)
    filled = {
        "discretevae": vae.impute(given),
        "IterativeImputer": IterativeImputer(random_state=seed).fit_transform(given),
        "KNNImputer": KNNImputer().fit_transform(given),
        "mean": SimpleImputer().fit_transform(given),
    }
    errors = {
        method: float(np.sqrt(np.square(np.asarray(x, float) - whole)[is_removed].mean()))
        for method, x in filled.items()
    }
    return {"table": name, "seed": seed, "rmse": errors, **nats(vae, whole, given, is_removed)}


def nats(vae: BernoulliVAE, whole: Any, given: Any, is_removed: Any) -> dict[str, float]:
    """ln p of the removed cells given the others, and without them, on the scale of the model."""
    scores = []
    for values in (whole, given):
        rows = vae._rows(values)
        scores.append(score_samples(vae.model_, rows, samples=1000, seed=0).sum().item())
    n = is_removed.sum()
    mean, std = np.nanmean(given, 0), np.nanstd(given, 0)
    z = ((whole - mean) / std)[is_removed]
    alone = -0.5 * (np.square(z).mean() + np.log(2 * np.pi))
    return {"nats": float((scores[0] - scores[1]) / n), "nats_of_normals": float(alone)}


def passengers(seed: int, n: int = 2000) -> pd.DataFrame:
    """A table of several kinds of columns whose label follows from the others by chance."""
    rng = np.random.default_rng(seed)
    cabin = rng.choice(["first", "second", "third"], n, p=[0.25, 0.2, 0.55])
    sex = rng.choice(["female", "male"], n, p=[0.35, 0.65])
    age = rng.normal(np.where(cabin == "first", 38, 29), 13).clip(1)
    fare = np.exp(rng.normal(pd.Series(cabin).map({"first": 4.2, "second": 3, "third": 2.4}), 0.5))
    logit = 2.5 * (sex == "female") - 0.9 * (pd.Series(cabin) == "third") - 0.03 * (age - 30) - 0.8
    return pd.DataFrame({
        "cabin": cabin, "sex": sex, "age": age.round(1), "siblings": rng.poisson(0.7, n),
        "fare": fare.round(2), "label": rng.random(n) < 1 / (1 + np.exp(-logit)),
    })  # fmt: skip


def cut_cancer(_: int) -> pd.DataFrame:
    """The breast cancer table, five of whose columns are cut into four levels."""
    data = load_breast_cancer(as_frame=True)
    table = data.data.iloc[:, :15].copy()
    for column in table.columns[:5]:
        table[column] = pd.qcut(table[column], 4, labels=["low", "mid", "high", "top"]).astype(str)
    return table.assign(label=data.target == 1)


def made(name: str, seed: int) -> dict[str, Any]:
    """Accuracy on real rows of a classifier that learned from real and from made rows."""
    table = {"passengers": passengers, "cut breast cancer": cut_cancer}[name](seed)
    train, test = train_test_split(table, test_size=0.4, random_state=seed)
    vae = BernoulliVAE(random_state=seed, **MADE).fit(train)
    sampled = vae.sample(5 * len(train), noise=True)
    levels = {c: sorted(train[c].unique()) for c in table.columns[:-1] if table[c].dtype == "str"}

    def accuracy(rows: pd.DataFrame) -> float:
        def x(part: pd.DataFrame) -> Any:
            columns = part.drop(columns="label")
            for column, known in levels.items():
                columns[column] = pd.Categorical(columns[column], known).codes
            return columns.to_numpy(float)

        model = HistGradientBoostingClassifier(random_state=seed)
        model.fit(x(rows), rows["label"].astype(bool))
        return float(100 * model.score(x(test), test["label"].astype(bool)))

    most = 100 * max(test["label"].mean(), 1 - test["label"].mean())
    return {"table": name, "seed": seed, "rows": len(train), "real": accuracy(train),
            "made": accuracy(sampled), "most_frequent": float(most)}  # fmt: skip


def results(seeds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what was measured, one by one."""
    for seed in range(seeds):
        for name in TABLES:
            yield "holes", holes(name, seed)
        for name in ("passengers", "cut breast cancer"):
            yield "made", made(name, seed)


def main() -> None:
    """Read the arguments, measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"options": {"holes": HOLES, "made": MADE}, "holes": [], "made": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, result in results(arguments.seeds):
            found[kind].append(result)
            print(kind, result, flush=True)
            write_json(arguments.out, found)


if __name__ == "__main__":
    finish(main)
