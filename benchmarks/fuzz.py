"""Thousands of damaged files through every reader: errors of ours or success, nothing else.

Every case follows from the seed, the kind and its number alone, and is read in another process,
which may take 2 GB and some seconds: an exception that is not ours, a crash, a hang or a full
memory is a bug. Of all files that fail alike one is made as short as it can be and kept. The short
form of this is `tests/test_fuzz.py`.

    python benchmarks/fuzz.py --cases 10000
    python benchmarks/fuzz.py --kinds npz,csv --cases 5000 --seed 1 --keep build/fuzz
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import click

from discretevae.cli.ending import finish
from discretevae.system.files import write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fuzzing.corpus import build_corpus
from fuzzing.judge import Judge, Outcome
from fuzzing.mutations import mutated, shrunk
from fuzzing.readers import READERS


def fuzz(
    kind: str, seeds: list[bytes], judge: Judge, cases: int, seed: int, keep: Path | None
) -> dict[str, Any]:
    """So many damaged files of one kind: how many of which verdict, and the bugs."""
    for content in seeds:
        if not (outcome := judge(kind, content)).verdict == "read":
            raise click.ClickException(f"a good {kind} file is not read: {outcome}")
    verdicts: Counter[str] = Counter()
    found: dict[tuple[str, str, str], list[tuple[int, bytes, Outcome]]] = {}
    for case in range(cases):
        content = mutated(kind, seeds, Random(f"{seed}:{kind}:{case}"))
        outcome = judge(kind, content)
        verdicts[outcome.verdict] += 1
        if not outcome.is_fine:
            found.setdefault(outcome.bug, []).append((case, content, outcome))
    bugs = []
    for bug, failed in found.items():
        case, content, outcome = min(failed, key=lambda one: len(one[1]))
        if outcome.verdict not in ("hang", "crash", "memory"):  # each try would cost a new reader
            content = shrunk(content, lambda shorter, bug=bug: judge(kind, shorter).bug == bug)
        name = None
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            name = f"{kind}-{seed}-{case}"
            (keep / name).write_bytes(content)
        bugs.append(
            {"kind": kind, "times": len(failed), "case": case, "bytes": len(content), "kept": name}
            | outcome._asdict()
        )
    return {"verdicts": dict(verdicts), "bugs": bugs}


@click.command()
@click.option("--cases", default=10_000, show_default=True, help="Of all kinds together.")
@click.option("--seed", default=0, show_default=True)
@click.option("--kinds", default=",".join(READERS), show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="Limit of a file.")
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for files that fail.")
@click.option("--out", type=click.Path(path_type=Path), help="A JSON file to write as well.")
def main(
    cases: int, seed: int, kinds: str, seconds: float, keep: Path | None, out: Path | None
) -> None:
    """Print what became of damaged files; exit with status 1 if there is a bug."""
    names = kinds.split(",")
    each = -(-cases // len(names))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus = build_corpus(Path(folder))
        with Judge(Path(folder), seconds=seconds) as judge:
            for kind in names:
                found[kind] = fuzz(kind, corpus[kind], judge, each, seed, keep)
                print(f"{kind:<10}{each:>7}  {found[kind]['verdicts']}", flush=True)
    total = sum((Counter(one["verdicts"]) for one in found.values()), Counter())
    print(f"{'all':<10}{sum(total.values()):>7}  {dict(total)}")
    bugs = [bug for one in found.values() for bug in one["bugs"]]
    for bug in bugs:
        print(
            f"\n{bug['kind']}, case {bug['case']} of seed {seed}, {bug['times']} alike: "
            f"{bug['verdict']} in {bug['where'] or '?'}\n  {bug['what']}\n  {bug['bytes']} bytes"
        )
    if out is not None:
        write_json(out, {"seed": seed, "cases": each * len(names), "kinds": found})
    sys.exit(bool(bugs))


if __name__ == "__main__":
    finish(main)
