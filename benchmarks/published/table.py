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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import click
from curves import draw
from protocols import PROTOCOLS, TRAINING, VALIDATION, Protocol, Reported
from run import RESULT

from discretevae.cli.ending import finish
from discretevae.system.files import write_atomic

MARKS = {"S": "read", "M": "reported, unverified"}
TEST = "test −ELBO"
BOUND = "test −bound, 100 samples"
PARTS = {TRAINING: ("train", "elbo"), TEST: ("test", "elbo"), BOUND: ("test", "bound")}
NUMBERS = "benchmarks.json"
SCRIPTS = "python benchmarks/published/"
DEFAULTS = " --method ours --seed 0"

HEAD = """\
# Published benchmarks

Each protocol fixes the data, the sizes of the networks, the batch and the number of decoder
evaluations; of the method everything else is free, and every change is named. All figures are nats
per row, and lower is better. The letters have different targets: A draws pixels anew in every
epoch, B has fixed ones, C cuts at one half, and D takes grey values under a Bernoulli
cross-entropy, which is no likelihood of them. So figures of one letter say nothing beside those of
another.

**What is compared.** A figure of ours stands beside the best published number of the same quantity
only, and is bold if it is below it, of several seeds by more than two standard errors. Nothing else
is called better here. A run of fewer steps than published says so. If it is below, it is so with
fewer steps; if it is not, that says nothing.

**What is not.** The test −bound of 100 samples is nearest to −ln p(x) of rows that no training saw,
so it is the fairest judge of a density, and none of the published numbers here is one. A nearly
deterministic q wins the ELBO and can lose the bound: where another run of ours, of any method and
length, has the better bound, the row says so.

**What ± is.** Of several seeds the mean stands with its standard error over the seeds. Of one seed
the value stands with its standard error over the rows, which says nothing about another seed; such
a row says "one seed". The figures of training and test rows are those of the weights at the end.

**Numbers of others** are theirs, from their own code and machines, each with the paper that printed
it, which for a method of others is not that of the method, and year and month of its arXiv number.
Those marked "read" were read in the authors' repository or paper. Those marked "unverified" are
remembered, and so is which paper printed them.

**Seconds** are those of the training steps: processor time of one core, or, where a GPU is named,
by the clock, with other runs beside it on the same one. Of runs of several lengths all stand under
their protocol, and the longest, which come nearest to what was published, in the first table and in
the picture.
"""


Runs: TypeAlias = list[dict[str, Any]]
"""Of one method and length, in the order of the seeds."""

Methods: TypeAlias = dict[str, list[Runs]]
"""Of each method the finished runs, the longest first."""

Results: TypeAlias = dict[str, Methods]
"""Of each protocol."""


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


def all_of(methods: Methods) -> list[Runs]:
    """The runs of each method and length, in the order of the page."""
    return [runs for lengths in methods.values() for runs in lengths]


def longest(methods: Methods) -> dict[str, Runs]:
    """Of each method the runs that come nearest to the published length."""
    return {name: lengths[0] for name, lengths in methods.items()}


def split(protocol: Protocol, methods: Methods) -> tuple[Methods, Methods]:
    """The methods in their own right, and the controls."""
    controls = {name: runs for name, runs in methods.items() if protocol.methods[name].without}
    return {name: runs for name, runs in methods.items() if name not in controls}, controls


def figure_of(run: Mapping[str, Any], name: str) -> tuple[float, float]:
    """A figure of a run with its standard error over the rows."""
    if name == VALIDATION:
        best = run["best_held_out"]
        return -best["elbo"], best["se"]
    part, kind = PARTS[name]
    figure = run["parts"][part][kind]
    return -figure["value"], figure["se"]


def mean(runs: Runs, name: str) -> tuple[float, float]:
    """Mean and standard error over seeds; of one seed, over rows."""
    if len(runs) == 1:
        return figure_of(runs[0], name)
    values = [figure_of(run, name)[0] for run in runs]
    return statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5


def columns(protocol: Protocol) -> tuple[str, ...]:
    """The quantities that a protocol has."""
    validation = (VALIDATION,) if protocol.metric == "validation" else ()
    return (TRAINING, *validation, TEST, BOUND)


def is_below(protocol: Protocol, runs: Runs) -> bool:
    """Whether runs are below the best published number, by the quantity of that number."""
    value, se = mean(runs, protocol.quantity)
    margin = 2 * se if len(runs) > 1 else 0.0
    return value + margin < protocol.reported[-1].value


def cell(protocol: Protocol, runs: Runs, name: str) -> str:
    """A figure, bold if it is better than the published one; a dash if the protocol has none."""
    if name not in columns(protocol):
        return "–"
    value, se = mean(runs, name)
    is_better = name == protocol.quantity and is_below(protocol, runs)
    return f"**{value:.2f} ± {se:.2f}**" if is_better else f"{value:.2f} ± {se:.2f}"


def cells(protocol: Protocol, runs: Runs, names: tuple[str, ...]) -> str:
    """Figures of a row of a table."""
    return " | ".join(cell(protocol, runs, name) for name in names)


def seeds(runs: Runs) -> str:
    """How many there are."""
    return "one seed" if len(runs) == 1 else f"{len(runs)} seeds"


def seconds_of(runs: Runs) -> str:
    """Mean over seeds, and the GPU if it was one."""
    device = runs[0].get("device")
    kind = "seconds" if device else "cpu_seconds"
    seconds = f"{statistics.fmean(run[kind] for run in runs):,.0f}"
    return f"{seconds}, {device}" if device else seconds


def better_bound(methods: Methods, runs: Runs) -> Runs | None:
    """Those of another method or length with the best bound on the test rows, if it is better."""
    best = min(all_of(methods), key=lambda others: mean(others, BOUND)[0])
    return best if mean(best, BOUND)[0] < mean(runs, BOUND)[0] else None


def on_the_bound(methods: Methods, runs: Runs) -> list[str]:
    """Says who is ahead of runs by the bound on the test rows, if anyone is."""
    best = better_bound(methods, runs)
    if best is None:
        return []
    named, named_best = (f"`{r[0]['method']}` of {r[0]['steps']:,} steps" for r in (runs, best))
    gain, gain_of_best = (mean(r, TEST)[0] - mean(r, BOUND)[0] for r in (runs, best))
    return [
        f"By the bound on the test rows {named_best} is ahead of {named}, "
        f"{mean(best, BOUND)[0]:.2f} to {mean(runs, BOUND)[0]:.2f}: 100 samples gain "
        f"{gain_of_best:.1f} nats over its ELBO, and {gain:.1f} over that of the other.",
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


def source(reported: Reported) -> str:
    """Whose number it is, from which paper, and how it is known."""
    paper = reported.paper
    return (
        f"{reported.method}, [{paper.authors}, {paper.date}](https://arxiv.org/abs/{paper.arxiv}), "
        f"{MARKS[reported.mark]}"
    )


def overview(found: Results) -> list[str]:
    """A line for each protocol: the best reported number beside ours."""
    names = (TRAINING, VALIDATION, TEST, BOUND)
    lines = [
        f"| protocol | best reported | ours: {' | ours: '.join(names)} | seeds | "
        f"ahead of it by the test −bound | steps | seconds | `{SCRIPTS}` … |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    below = []
    for name, methods in found.items():
        if "ours" not in methods:
            continue
        protocol, runs = PROTOCOLS[name], methods["ours"][0]
        best = protocol.reported[-1]
        shorter = command(runs[0]).removeprefix(SCRIPTS).replace(DEFAULTS, "")
        ahead = better_bound(methods, runs)
        others = (
            f"`{ahead[0]['method']}`, {ahead[0]['steps']:,} steps: {mean(ahead, BOUND)[0]:.2f}"
            if ahead
            else "–"
        )
        lines.append(
            f"| {protocol.title} | {protocol.quantity} {best.value:.2f}: {source(best)} | "
            f"{cells(protocol, runs, names)} | {seeds(runs)} | {others} | "
            f"{length(runs[0])} | {seconds_of(runs)} | `{shorter}` |"
        )
        if is_below(protocol, runs):
            below.append((len(runs) == 1, ahead is not None))
    return [
        *lines,
        "",
        f"Of {len(lines) - 2} rows, {len(below)} are below the best published number. Of these, "
        f"{sum(single for single, _ in below)} are of one seed, and in "
        f"{sum(behind for _, behind in below)} another run of ours is ahead by the test −bound.",
        "",
    ]


def controls_of(protocol: Protocol, ours: list[Runs], controls: Methods) -> list[str]:
    """What each control leaves out, beside ours of the same number of steps."""
    if not controls:
        return []
    names = columns(protocol)
    lines = [
        "### What each change does",
        "",
        "Each row leaves out one change of `ours`, beside `ours` of as many steps.",
        "",
        f"| left out | method | steps | seeds | {' | '.join(names)} |",
        f"|---|---|---|---|{'---|' * len(names)}",
    ]
    rows = all_of(controls)
    for steps in sorted({runs[0]["steps"] for runs in rows}, reverse=True):
        same = [runs for runs in (*ours, *rows) if runs[0]["steps"] == steps]
        for runs in same:
            method = runs[0]["method"]
            without = protocol.methods[method].without or "nothing"
            lines.append(
                f"| {without} | {method} | {length(runs[0])} | {seeds(runs)} | "
                f"{cells(protocol, runs, names)} |"
            )
    return [*lines, ""]


def abouts(protocol: Protocol, methods: Methods) -> list[str]:
    """What each method is, and of which length, where lengths were run with other options."""
    lines = []
    for name, lengths in methods.items():
        groups: dict[str, list[Runs]] = {}
        for runs in lengths:
            config = runs[0]["config"]
            options = [config["training"].get(key) for key in protocol.methods[name].training]
            groups.setdefault(repr([config["model"].get("prior"), *options]), []).append(runs)
        for same in groups.values():
            steps = " and ".join(f"{runs[0]['steps']:,}" for runs in same)
            which = f", {steps} steps" if len(groups) > 1 else ""
            lines.append(f"- {name}{which}: {same[0][0]['about']}.")
    return lines


def section(protocol: Protocol, methods: Methods) -> list[str]:
    """What was measured under a protocol."""
    names = columns(protocol)
    own, controls = split(protocol, methods)
    published = protocol.quantity
    lines = [
        f"## {protocol.title}",
        "",
        f"{protocol.n_train:,} rows of `{protocol.source}`, batches of {protocol.batch_size}, "
        f"{protocol.epochs:,} epochs as published; networks "
        f"{' and '.join(map(str, protocol.hidden)) or 'without hidden layers'}, mirrored. "
        f"Published: {published}. {protocol.note}".rstrip(),
        "",
        f"| | evaluations | steps | seeds | {' | '.join(names)} | seconds |",
        f"|---|---|---|---|{'---|' * len(names)}---|",
    ]
    for reported in protocol.reported:
        row = " | ".join(f"{reported.value:.2f}" if name == published else "" for name in names)
        lines.append(f"| {source(reported)} | | | | {row} | |")
    for runs in all_of(own):
        lines.append(
            f"| {runs[0]['method']} | {runs[0]['evaluations']} | {length(runs[0])} | "
            f"{seeds(runs)} | {cells(protocol, runs, names)} | {seconds_of(runs)} |"
        )
    ours = methods.get("ours", [])
    lines += ["", *(on_the_bound(methods, ours[0]) if ours else []), *abouts(protocol, own)]
    lines += ["", *controls_of(protocol, ours, controls), "```console"]
    lines += [f"$ {command(run)}" for runs in all_of(methods) for run in runs]
    lines += ["```", ""]
    if own:
        lines += [f"![{protocol.title}](benchmarks/{protocol.name}.png)", ""]
    return lines


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
        protocol = PROTOCOLS[name]
        lines += section(protocol, methods)
        own, _ = split(protocol, methods)
        if own:
            draw(protocol, longest(own), folder / f"{name}.png")
    missing = [protocol.title for name, protocol in PROTOCOLS.items() if name not in found]
    if missing:
        lines += ["## Not run", "", *[f"- {title}" for title in missing], ""]
    every = [run for methods in found.values() for same in all_of(methods) for run in same]
    write_atomic(folder / NUMBERS, json.dumps(every).encode() + b"\n")
    (docs / "benchmarks.md").write_text("\n".join(lines), encoding="utf-8")
    print(docs / "benchmarks.md")


if __name__ == "__main__":
    finish(main)
