"""The runs that a sweep over sizes of the code needs, and those that are finished."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from discretevae.config import LatentSpec, RunConfig, run_config_from
from discretevae.config.checks import Problems, must
from discretevae.data import Dataset
from discretevae.errors import ConfigError, RunError, require_type
from discretevae.evaluation.code_sizes import ceiling_of
from discretevae.families import family_of
from discretevae.objectives import choose_estimator
from discretevae.run_folder.folder import (
    MAX_DIFFERENCES,
    differences,
    folder_problem,
    prepare_folder,
)
from discretevae.run_folder.saved_run import is_run, load_schema
from discretevae.run_folder.summary import read_summary
from discretevae.system.files import read_json

FORMAT = "discretevae-sweep"
RESULT = "sweep.json"

SIZE = "c"
"""Stands for the size in a pattern."""

PATTERNS = "Write bernoulli:c or categorical:cx10, with c for the size."

MAX_SIZES = 50
"""More are a mistake: each is a training."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that a sweep needs, and its folder within the sweep's."""

    size: int
    seed: int
    folder: str
    config: RunConfig


def plan(
    config: RunConfig, sizes: Sequence[int], *, latent: str, n_seeds: int
) -> tuple[PlannedRun, ...]:
    """Return the runs of a sweep, by size and seed.

    Args:
        config: of all runs, but for code and seed.
        sizes: c, at least two.
        latent: as `pattern_of` reads it.
        n_seeds: runs of each size.

    Raises:
        ConfigError: sizes or options are wrong; all are named.
    """
    problems, pattern = Problems(), f"bernoulli:{SIZE}"
    problems.found += sizes_problems(sizes)
    if n_seeds < 1:
        problems.found.append(must("n_seeds", "an int >= 1", n_seeds))
    with problems:
        pattern = pattern_of(latent)
    first, planned = config.training.seed, []
    for size in sorted(set(sizes)):
        with problems:
            code = LatentSpec.of(latent_at(pattern, size))
            ceiling_of(code)
            choose_estimator(family_of(code), config.training)
            model = dataclasses.replace(config.model, latent=code)
            for seed in range(first, first + n_seeds):
                training = dataclasses.replace(config.training, seed=seed)
                folder = f"{size}" if seed == first else f"{size}-seed{seed}"
                of_run = dataclasses.replace(config, model=model, training=training)
                planned.append(PlannedRun(size, seed, folder, of_run))
    problems.require_none()
    return tuple(planned)


def sizes_problems(sizes: Sequence[int]) -> list[str]:
    """Return what is wrong with the sizes of a sweep, but for the code's own limits."""
    problems = [f"size {size} must be an int >= 1." for size in sizes if size < 1]
    twice = [size for size in dict.fromkeys(sizes) if list(sizes).count(size) > 1]
    problems += [f"size {size} is named twice. Name it once." for size in twice]
    if len(set(sizes)) < 2:
        got = ", ".join(map(str, dict.fromkeys(sizes))) or "none"
        problems.append(f"a sweep needs at least two sizes. Got {got}.")
    if len(sizes) > MAX_SIZES:
        problems.append(f"a sweep takes at most {MAX_SIZES} sizes. Got {len(sizes)}.")
    return problems


def pattern_of(latent: str) -> str:
    """Return a code with c in place of its size, spelled in full.

    Args:
        latent: a kind, ``bernoulli`` or ``categorical``, or such a pattern.

    Raises:
        ConfigError: there is no c in it, or several, or the code is not discrete.
    bernoulli:c or categorical:cx10, with c for the size.
    """
    require_type("`latent`", latent, str, "Write bernoulli, or categorical:cx10.")
    text = latent.strip()
    pattern = text if ":" in text else f"{text}:{SIZE}"
    places = sum(part.partition(":")[2].count(SIZE) for part in pattern.split("+"))
    if places > 1:
        raise ConfigError(f"latent {text!r} leaves several sizes to sweep. {PATTERNS}")
    try:
        ceiling_of(LatentSpec.of(latent_at(pattern, 2)))
    except ConfigError as error:
        spelled = repr(latent_at(pattern, 2))
        raise ConfigError([each.replace(spelled, repr(text)) for each in error.problems]) from None
    if places == 0:
        raise ConfigError(f"latent {text!r} leaves no size to sweep. {PATTERNS}")
    return pattern


def latent_at(pattern: str, size: int) -> str:
    """Return the code of a pattern at a size."""
    parts = (part.partition(":") for part in pattern.split("+"))
    return "+".join(f"{kind}{mark}{at.replace(SIZE, str(size))}" for kind, mark, at in parts)


def require_free(out: Path, pattern: str, planned: Sequence[PlannedRun], data: Dataset) -> None:
    """Refuse a folder that a sweep cannot be made or continued in; change nothing.

    Args:
        out: the folder.
        pattern: of its code.
        planned: its runs.
        data: which all of them must have learned from.

    Raises:
        DataError: a run has learned from others, or other rows are held out.
        RunError: it holds a sweep or a run of another configuration, or something that is not
            ours.
    """
    there = read_json(out / RESULT) if (out / RESULT).is_file() else {}
    if there.get("format") != FORMAT:
        prepare_folder(out, resume=False)
        return
    code = planned[0].config.model.latent
    try:
        before = run_config_from(there["config"])
        before = dataclasses.replace(before, model=dataclasses.replace(before.model, latent=code))
        apart = differences(before, planned[0].config)
        if there["latent"] != pattern:
            apart.insert(0, f"latent {there['latent']}, not {pattern}")
    except (KeyError, ConfigError) as error:
        raise RunError(
            f"{out / RESULT}: corrupt ({error}). Restore it, or delete it and run again."
        ) from None
    if apart:
        more = f" and {len(apart) - MAX_DIFFERENCES} more" if len(apart) > MAX_DIFFERENCES else ""
        raise RunError(
            f"{out}: holds a sweep with {', '.join(apart[:MAX_DIFFERENCES])}{more}. Ask for what "
            "is there, choose another `out`, or delete the folder."
        )
    for one in planned:
        problem = folder_problem(out / one.folder, one.config)
        if problem is not None:
            raise RunError(problem)
        known = load_schema(out / one.folder, one.config) if is_run(out / one.folder) else None
        if known is not None:
            known.require_same(data)


def finished_seconds(folder: Path, config: RunConfig) -> float | None:
    """Return the seconds of a finished run's training steps; None for any other folder.

    Args:
        folder: of the run.
        config: what it was made with.

    Raises:
        RunError: ``summary.json`` is corrupt.
    """
    summary = read_summary(folder) if is_run(folder) else None
    last = summary and summary["last_epoch"]
    return last["seconds"] if last and last["epoch"] == config.training.epochs else None
