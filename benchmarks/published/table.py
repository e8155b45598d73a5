"""The page of the published benchmarks, from the runs that are finished.

    python benchmarks/published/table.py runs/published docs/results

Writes ``benchmarks.md``, and ``benchmarks/`` with the figures of every run and a picture of the
curves of each protocol. Runs that are in ``benchmarks/benchmarks.json`` already stay on the page,
unless the same protocol, method and seed is in the folder again. A protocol without a finished run
is named as missing.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import click
from matplotlib.figure import Figure
from protocols import PROTOCOLS, Protocol
from run import RESULT

from discretevae.cli.ending import finish
from discretevae.plots.pictures import save_figure
from discretevae.system.files import write_atomic

MARKS = {"S": "read in the authors' repository or paper", "M": "reported, unverified"}
METRICS = {
    "train": "−ELBO on the training rows",
    "validation": "best −ELBO on the validation rows",
}
NUMBERS = "benchmarks.json"
SCRIPTS = "python benchmarks/published/"
DEFAULTS = " --method ours --seed 0"
COLORS = ("#0072B2", "#D55E00", "#009E73")

HEAD = """\
# Published benchmarks

Each protocol fixes the data, the sizes of the networks, the batch and the number of decoder
evaluations; of the method everything else is free, and every change is named. Below, lower is
better. Of several seeds the mean stands with its standard error over the seeds; of one seed the
value with its standard error over the rows, which says nothing about another seed. Numbers of
others are theirs, from their own code and machines. Seconds are those of the training steps:
processor time of one core, or, where a GPU is named, by the clock, with other runs beside it on
the same one. A run of fewer steps than published is named as such: beside it, the published
number is quoted, not compared. Of runs of several lengths all stand under their protocol, and the
longest, which come nearest to what was published, in the first table and in the picture. Figures of
test rows are those of the weights at the end.
"""


Runs: TypeAlias = list[dict[str, Any]]
"""Of one method and length, in the order of the seeds."""

Results: TypeAlias = dict[str, dict[str, list[Runs]]]
"""Of each protocol and method the finished runs, the longest first."""


def results(folder: Path, kept: Path) -> Results:
    """The finished runs in a folder, and those that an earlier page was made of."""
    every: Runs = json.loads(kept.read_text()) if kept.exists() else []
    every += [json.loads(path.read_text()) for path in folder.glob(f"*/*/*/{RESULT}")]
    # the later one of the same run stays
    runs_of = {(r["protocol"], r["method"], -r["steps"], r["seed"]): r for r in every}
    found: Results = {}
    for name, protocol in PROTOCOLS.items():
        for method in protocol.methods:
            keys = sorted(key for key in runs_of if key[:2] == (name, method))
            lengths = itertools.groupby(keys, key=lambda key: key[2])
            same = [[runs_of[key] for key in group] for _, group in lengths]
            if same:
                found.setdefault(name, {})[method] = same
    return found


def longest(methods: Mapping[str, list[Runs]]) -> dict[str, Runs]:
    """Of each method the runs that come nearest to the published length."""
    return {name: lengths[0] for name, lengths in methods.items()}


def compared(result: Mapping[str, Any], metric: str) -> tuple[float, float]:
    """The number that stands beside the published one, with its standard error over the rows."""
    if metric == "validation":
        best = result["best_held_out"]
        return -best["elbo"], best["se"]
    figure = result["parts"][metric]["elbo"]
    return -figure["value"], figure["se"]


def shown(values: Iterable[tuple[float, float]]) -> str:
    """Mean and standard error over seeds; of one seed, over rows."""
    numbers = list(values)
    if len(numbers) == 1:
        return f"{numbers[0][0]:.2f} ± {numbers[0][1]:.2f}"
    means = [value for value, _ in numbers]
    se = statistics.stdev(means) / len(means) ** 0.5
    return f"{statistics.fmean(means):.2f} ± {se:.2f}"


def seconds_of(runs: Runs) -> str:
    """Mean over seeds, and the GPU if it was one."""
    device = runs[0].get("device")
    kind = "seconds" if device else "cpu_seconds"
    seconds = f"{statistics.fmean(run[kind] for run in runs):,.0f}"
    return f"{seconds}, {device}" if device else seconds


def test_figures(runs: Runs, name: str) -> str:
    """−ELBO or −bound on the test rows."""
    figures = [run["parts"]["test"][name] for run in runs]
    return shown((-figure["value"], figure["se"]) for figure in figures)


def other_order(protocol: Protocol, methods: Mapping[str, Runs]) -> list[str]:
    """Says so if another method is best by the bound than by what is compared."""

    def best(value: Callable[[dict[str, Any]], float]) -> str:
        return min(methods, key=lambda name: statistics.fmean(map(value, methods[name])))

    by_bound = best(lambda run: -run["parts"]["test"]["bound"]["value"])
    by_metric = best(lambda run: compared(run, protocol.metric)[0])
    if by_bound == by_metric:
        return []
    gains = [
        statistics.fmean(
            run["parts"]["test"]["bound"]["value"] - run["parts"]["test"]["elbo"]["value"]
            for run in methods[name]
        )
        for name in (by_metric, by_bound)
    ]
    return [
        f"By the bound on the test rows {by_bound} is ahead: 100 samples gain {gains[1]:.1f} nats "
        f"over its ELBO, and {gains[0]:.1f} over that of {by_metric}.",
        "",
    ]


def length(run: Mapping[str, Any]) -> str:
    """Steps, and the published number if they are fewer."""
    steps, published = run["steps"], run["published_steps"]
    return f"{steps:,}" + ("" if steps == published else f" of {published:,}")


def command(run: Mapping[str, Any]) -> str:
    """What makes a run again."""
    fewer = run["steps"] != run["published_steps"]
    return (
        f"{SCRIPTS}run.py {run['protocol']} --method {run['method']}"
        f" --seed {run['seed']}"
        + (f" --epochs {run['curve'][-1][0]}" if fewer else "")
        + (" --device cuda" if run.get("device") else "")
    )


def overview(found: Results) -> list[str]:
    """A line for each protocol: the best reported number beside ours."""
    lines = [
        f"| protocol | best reported | ours | seeds | steps | seconds | `{SCRIPTS}` … |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, methods in found.items():
        protocol, runs = PROTOCOLS[name], longest(methods).get("ours", [])
        if runs:
            best = protocol.reported[-1]
            shorter = command(runs[0]).removeprefix(SCRIPTS).replace(DEFAULTS, "")
            value = shown(compared(run, protocol.metric) for run in runs)
            lines.append(
                f"| {protocol.title} | {best.value:.2f} ({best.method}) | **{value}** | "
                f"{len(runs)} | {length(runs[0])} | {seconds_of(runs)} | `{shorter}` |"
            )
    return [*lines, ""]


def section(protocol: Protocol, methods: Mapping[str, list[Runs]]) -> list[str]:
    """What was measured under a protocol."""
    lines = [
        f"## {protocol.title}",
        "",
        f"{protocol.n_train:,} rows of `{protocol.source}`, batches of {protocol.batch_size}, "
        f"{protocol.epochs:,} epochs as published; networks "
        f"{' and '.join(map(str, protocol.hidden)) or 'without hidden layers'}, mirrored. "
        f"Compared: {METRICS[protocol.metric]}. {protocol.note}".rstrip(),
        "",
        f"| | evaluations | steps | seeds | {protocol.metric} | test −ELBO "
        "| test −bound, 100 samples | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for reported in protocol.reported:
        lines.append(
            f"| {reported.method}, {MARKS[reported.mark]} | | | | {reported.value:.2f} | | | |"
        )
    rows = [(name, runs) for name, lengths in methods.items() for runs in lengths]
    for name, runs in rows:
        value = shown(compared(run, protocol.metric) for run in runs)
        lines.append(
            f"| **{name}** | {runs[0]['evaluations']} | {length(runs[0])} | {len(runs)} | "
            f"**{value}** | {test_figures(runs, 'elbo')} | {test_figures(runs, 'bound')} | "
            f"{seconds_of(runs)} |"
        )
    lines += ["", *other_order(protocol, longest(methods))]
    lines += [f"- {name}: {runs[0]['about']}." for name, runs in longest(methods).items()]
    lines += ["", "```console"]
    lines += [f"$ {command(run)}" for _, runs in rows for run in runs]
    return [*lines, "```", "", f"![{protocol.title}](benchmarks/{protocol.name}.png)", ""]


def draw(protocol: Protocol, methods: Mapping[str, Runs], path: Path) -> None:
    """−ELBO of the training batches and of the held-out rows against epochs."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    best = min(protocol.reported, key=lambda reported: reported.value)
    last = min(-runs[0]["curve"][-1][2] for runs in methods.values())
    top = max(best.value, last) + 12
    for color, (name, runs) in zip(COLORS, methods.items(), strict=False):
        for number, run in enumerate(runs):
            epochs, train, held = zip(*run["curve"], strict=True)
            is_seen = -held[-1] < top  # a brief run may end above
            label = name if is_seen and number == 0 else None
            axes.plot(epochs, train, color=color, lw=0.9, ls=":")
            axes.plot(epochs, [-value for value in held], color=color, lw=1.2, label=label)
    axes.axhline(best.value, color="#555555", lw=0.8, ls="--")
    axes.annotate(
        f"{best.method}, reported",
        (0.01, best.value), xycoords=("axes fraction", "data"), va="bottom", fontsize=8,
    )  # fmt: skip
    axes.set_ylim(min(best.value, last) - 6, top)
    axes.set(xlabel="epochs", ylabel="−ELBO [nats]; dotted: training")
    axes.set_title(protocol.title, fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


@click.command()
@click.argument("runs", type=click.Path(path_type=Path, exists=True))
@click.argument("docs", type=click.Path(path_type=Path, exists=True))
def main(runs: Path, docs: Path) -> None:
    """Write the page of the finished runs in RUNS to the folder DOCS."""
    folder = docs / "benchmarks"
    folder.mkdir(exist_ok=True)
    found = results(runs, folder / NUMBERS)
    lines = [HEAD, *overview(found)]
    for name, methods in found.items():
        lines += section(PROTOCOLS[name], methods)
        draw(PROTOCOLS[name], longest(methods), folder / f"{name}.png")
    missing = [protocol.title for name, protocol in PROTOCOLS.items() if name not in found]
    if missing:
        lines += ["## Not run", "", *[f"- {title}" for title in missing], ""]
    every = [
        run
        for methods in found.values()
        for lengths in methods.values()
        for runs_of_one in lengths
        for run in runs_of_one
    ]
    write_atomic(folder / NUMBERS, json.dumps(every).encode() + b"\n")
    (docs / "benchmarks.md").write_text("\n".join(lines), encoding="utf-8")
    print(docs / "benchmarks.md")


if __name__ == "__main__":
    finish(main)
