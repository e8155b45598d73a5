"""The long runs behind the results pages on clusters, priors, richer codes and search.

    python benchmarks/richer.py clusters
    python benchmarks/richer.py priors
    python benchmarks/richer.py codes
    python benchmarks/richer.py retrieval

Every training is the package's own command and leaves a run folder; finished ones are skipped,
begun ones go on where they stopped. At the end one JSON file and the pictures that the page shows
lie in docs/results/NAME/. MNIST is read from --data-dir, $DISCRETEVAE_DATA, or downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from discretevae.cli.ending import finish
from discretevae.plots.pictures import save_figure

ROOT = Path(__file__).resolve().parent.parent
MNIST = ("--data", "mnist")

CLUSTERS = (
    *MNIST, "--latent", "gaussian:10", "--prior", "mixture:10", "--hidden", "512,512",
    "--pretrain", "15", "--epochs", "30", "--batch-size", "256", "--lr", "2e-3",
    "--lr-schedule", "cosine", "--clip", "10", "--augment", "strong",
)  # fmt: skip
PRIORS = (
    *MNIST, "--preset", "fc-bvae", "--binarize", "dynamic", "--epochs", "30", "--batch-size", "256",
    "--lr", "1e-3", "--lr-schedule", "linear:0.5", "--average", "0.999",
)  # fmt: skip
CODES = (*MNIST, "--preset", "fc-cvae", "--epochs", "30", "--batch-size", "256", "--lr", "1e-3")

RETRIEVAL = (
    "--hidden", "512", "--epochs", "10", "--batch-size", "256", "--lr-schedule", "linear:0.4",
)  # fmt: skip
NEIGHBORS = ("--target", "neighbors:5x50", "--augment", "strong")
WAYS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "augmented": ("--augment", "strong"),
    "neighbors-only": ("--target", "neighbors:9x50"),
}
"""Beside `NEIGHBORS`, at 32 bits, once: what each part of it does, and what any table can have."""

RUNS: dict[str, dict[str, tuple[str, ...]]] = {
    "clusters": {f"seed{seed}": (*CLUSTERS, "--seed", f"{seed}") for seed in range(5)},
    "priors": {
        name: (*PRIORS, "--prior", name) for name in ("fixed", "factorized", "autoregressive")
    },
    "codes": {
        "paper": (*CODES, "--estimator", "importance"),
        "exact": CODES,
        "marginal": (*CODES, "--objective", "marginal"),
        "10x10": (*CODES, "--latent", "categorical:10x10"),
        "20x10": (*CODES, "--latent", "categorical:20x10"),
        "hybrid10": (*CODES, "--latent", "categorical:10+gaussian:16"),
        "hybrid": (*CODES, "--latent", "categorical:100+gaussian:16", "--estimator", "reinmax"),
    },
    "retrieval": {
        f"{way}-{bits}-seed{seed}": (
            "--latent",
            f"bernoulli:{bits}",
            *options,
            *RETRIEVAL,
            "--seed",
            f"{seed}",
        )
        for way, sizes, seeds, options in (
            ("neighbors", (16, 32, 64), 3, NEIGHBORS),
            *((way, (32,), 1, options) for way, options in WAYS.items()),
        )
        for bits in sizes
        for seed in range(seeds)
    },
}


def main() -> None:
    """Trains what is left, then collects."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=RUNS)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders lie")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--data-dir", type=Path, help="folder that holds MNIST")
    asked = parser.parse_args()
    folder = asked.runs / asked.experiment
    where = () if asked.data_dir is None else ("--data-dir", str(asked.data_dir))
    runs, trained = RUNS[asked.experiment], {}
    if asked.experiment == "retrieval":
        split = retrieval_split(folder, where)
        runs, where = {name: ("--data", split, *o) for name, o in runs.items()}, ()
    for name, options in runs.items():
        trained[name] = folder / name
        train(folder / name, (*options, *where))
    out = asked.results / asked.experiment
    out.mkdir(parents=True, exist_ok=True)
    found = COLLECT[asked.experiment](trained, out, where)
    found["commands"] = {
        name: " ".join(("discretevae train", *options)) for name, options in runs.items()
    }
    path = out / f"{asked.experiment}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(path)


def train(folder: Path, options: Sequence[str]) -> None:
    """A run, unless it is finished; one that was begun goes on."""
    if (folder / "summary.json").exists():
        return
    begun = (folder / "config.json").exists()
    where = options[-2:] if "--data-dir" in options else ()
    command(
        [
            "train",
            *(("--resume", str(folder), *where) if begun else (*options, "--out", str(folder))),
        ]
    )


def command(arguments: Sequence[str]) -> str:
    """What a command of the package prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "discretevae", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return done.stdout


def told(arguments: Sequence[str]) -> Any:
    """The JSON that a command prints."""
    return json.loads(command([*arguments, "--json"]))


def clusters(trained: dict[str, Path], out: Path, where: tuple[str, ...]) -> dict[str, Any]:
    """Scores of every seed over all 70,000 rows, with their mean and spread."""
    seeds = {}
    for name, folder in trained.items():
        scores = told(["cluster", str(folder), "--split", "all", *where])["scores"]
        summary = json.loads((folder / "summary.json").read_text())
        seeds[name] = {key: scores[key] for key in ("accuracy", "nmi", "ari")} | {
            "test_elbo": summary["test"]["elbo"],
            "cpu_seconds": summary["last_epoch"]["cpu_seconds"],
        }
    shutil.copy(trained["seed0"] / "figures" / "clusters.png", out / "clusters.png")
    accuracies = [seed["accuracy"] for seed in seeds.values()]
    mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
    return {"seeds": seeds, "mean_accuracy": mean, "standard_deviation": spread}


def priors(trained: dict[str, Path], out: Path, where: tuple[str, ...]) -> dict[str, Any]:
    """Three priors trained with the model, and two fitted afterwards, on the same test rows."""
    runs = dict(trained)
    for name in ("fixed", "factorized"):
        new = trained[name].with_name(f"{name}-then-autoregressive")
        if not (new / "summary.json").exists():
            command(["prior", str(trained[name]), "--out", str(new), *where])
        runs[new.name] = new
        shutil.copy(new / "figures" / "samples.png", out / f"{new.name}.png")
    shutil.copy(trained["autoregressive"] / "figures" / "samples.png", out / "autoregressive.png")
    kept = ("elbo", "kl", "bound", "log_likelihood", "active_units", "is_surrogate")
    result: dict[str, Any] = {}
    for name, folder in runs.items():
        summary = json.loads((folder / "summary.json").read_text())
        result[name] = {key: summary["test"][key] for key in kept}
        if (folder / "prior.json").exists():
            result[name]["gain"] = json.loads((folder / "prior.json").read_text())["gain"]
        else:
            result[name]["cpu_seconds"] = summary["last_epoch"]["cpu_seconds"]
    return {"runs": result}


def codes(trained: dict[str, Path], out: Path, where: tuple[str, ...]) -> dict[str, Any]:
    """One category beside several and beside real numbers."""
    for name in ("paper", "hybrid"):
        shutil.copy(trained[name] / "figures" / "samples.png", out / f"{name}-samples.png")
    return compared(trained, out, where)


def compared(runs: dict[str, Path], out: Path, where: tuple[str, ...]) -> dict[str, Any]:
    """All runs against the first one, row by row."""
    first, *others = runs.values()
    more = [word for other in others for word in ("--with", str(other))]
    found = told(["evaluate", str(first), *more, *where])
    save_figure(side_by_side(list(runs), found), out / "runs.png")
    kept = ("elbo", "elbo_difference", "kl", "bound", "log_px", "active_units", "codes_used",
            "is_surrogate")  # fmt: skip
    result: dict[str, Any] = {}
    for name, one in zip(runs, found, strict=True):
        summary = json.loads((runs[name] / "summary.json").read_text())
        result[name] = {key: one[key] for key in kept} | {
            "seconds": summary["last_epoch"]["seconds"],
            "cpu_seconds": summary["last_epoch"]["cpu_seconds"],
        }
    return {"runs": result}


def side_by_side(names: Sequence[str], found: Sequence[dict[str, Any]]) -> Figure:
    """Rate against distortion, and the bounds of every run with standard errors.

    On the left, rate = KL(q(z|x) ‖ p(z)) and distortion = −E_q ln p(x|z), whose sum is −ELBO (Alemi
    et al. 2018): along a dotted line of slope −1 the ELBO is the same, and nearer to the lower left
    it is better. On the right, ELBO, S-sample bounds and, where it is known, ln p(x).
    """
    figure = Figure(figsize=(11, 1.6 + max(3.0, 0.45 * len(names))), layout="constrained")
    plane, bounds = figure.subplots(1, 2)
    surrogate = ", surrogate" if any(one["is_surrogate"] for one in found) else ""
    rates, distortions = (
        np.array([one[key]["value"] for one in found]) for key in ("rate", "distortion")
    )
    colors = [f"C{i % 10}" for i in range(len(names))]
    for name, rate, distortion, color in zip(names, rates, distortions, colors, strict=True):
        plane.plot(rate, distortion, "o", color=color, label=name)
    margin = 0.12 * max(float(np.ptp(rates)), 1.0)
    ends = np.array([rates.min() - margin, rates.max() + margin])
    for total in sorted({float(value) for value in rates + distortions}):
        plane.plot(ends, total - ends, ":", color="0.7", zorder=0, linewidth=0.8)
    margin = 0.12 * max(float(np.ptp(distortions)), 1.0)
    plane.set_xlim(*ends)
    plane.set_ylim(distortions.min() - margin, distortions.max() + margin)
    plane.set_xlabel("rate: KL(q(z|x) ‖ p(z))")
    plane.set_ylabel("distortion: −E_q ln p(x|z)")
    plane.set_title(f"Rate and distortion [nats per row{surrogate}]; dotted: equal ELBO")
    plane.legend(frameon=False, fontsize=8)
    heights = np.arange(len(names))[::-1]
    for height, one, color in zip(heights, found, colors, strict=True):
        shown = [(one["elbo"], "o"), *((bound, "s") for bound in one["bounds"])]
        if one["log_px"] is not None:
            shown.append((one["log_px"], "D"))
        for of, marker in shown:
            bounds.errorbar(
                of["value"], height, xerr=of["se"], fmt=marker, color=color, markersize=5, capsize=2
            )
    bounds.set_yticks(heights, names)
    bounds.set_ylim(-0.6, len(names) - 0.4)
    sizes = ", ".join(f"{bound['samples']:,}" for bound in found[0]["bounds"])
    bounds.set_title(f"○ ELBO   □ bound of {sizes} samples   ◇ ln p(x); ± standard error")
    bounds.set_xlabel(f"nats per row{surrogate}")
    for axes in (plane, bounds):
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def retrieval_split(folder: Path, where: tuple[str, ...]) -> str:
    """MNIST with 1,000 queries for test rows; the other 69,000 are to be learned from."""
    from discretevae import load_rows
    from discretevae.codes.search.retrieval import query_rows

    path = folder / "mnist-retrieval.npz"
    if not path.exists():
        rows = load_rows("mnist", data_dir=where[1] if where else None)
        x, labels = rows.values.numpy().reshape(-1, 28, 28), rows.labels.numpy()
        chosen = query_rows(labels, 100, seed=0)
        parts = {"x_test": x[chosen], "y_test": labels[chosen]}
        others = {"x_train": np.delete(x, chosen, 0), "y_train": np.delete(labels, chosen)}
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **parts, **others)
    return str(path)


def retrieval(trained: dict[str, Path], out: Path, where: tuple[str, ...]) -> dict[str, Any]:
    """Every run beside the yardsticks of its seed, and means and spreads over seeds."""
    methods: dict[str, dict[str, dict[str, float]]] = {}
    for seed in range(3):
        runs = {name: path for name, path in trained.items() if name.endswith(f"seed{seed}")}
        names = {str(path): name.rsplit("-", 1)[0] for name, path in runs.items()}
        report = told(["retrieval", *names, "--seed", f"{seed}", *where])
        for found in report["methods"]:
            name = names.get(found["name"]) or f"{found['name']}-{found['bits']}"
            scores = {
                "map": found["mean_average_precision"]["value"],
                "map_at_1000": found["mean_average_precision_at"]["1000"],
            }
            methods.setdefault(name, {})[f"seed{seed}"] = scores
    means = {
        name: statistics.mean(score["map"] for score in seeds.values())
        for name, seeds in methods.items()
    }
    return {"methods": methods, "mean_map": means}


COLLECT: dict[str, Callable[[dict[str, Path], Path, tuple[str, ...]], dict[str, Any]]] = {
    "clusters": clusters,
    "priors": priors,
    "codes": codes,
    "retrieval": retrieval,
}

if __name__ == "__main__":
    finish(main)
