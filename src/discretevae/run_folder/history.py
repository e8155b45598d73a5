"""The metrics of the epochs of a run, and advice on a collapsed code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from discretevae.config import LatentSpec
from discretevae.errors import RunError
from discretevae.evaluation.usage import CodeUsage
from discretevae.families import family_of, is_enumerable
from discretevae.system.files import as_path

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of an epoch; nats per row.

    Args:
        epoch: counted from 1.
        loss: −objective, mean over the epoch's training rows as they were met.
        log_likelihood: E_q ln p(x|z), likewise.
        kl: KL(q(z|x) ‖ p(z)), likewise.
        test_elbo: the ELBO of the test rows after the epoch, one draw of z per row.
        test_elbo_se: its standard error.
        grad_variance: variance of the encoder's gradient on a fixed probe batch, see
            `discretevae.objectives.gradient_noise.encoder_gradient_noise`.
        grad_relative_variance: the same relative to the squared gradient; None where unknown.
        ess: mean effective sample size of the importance weights; None where there are none.
        active_units: see `discretevae.evaluation.usage.CodeUsage`; over the test rows.
        codes_used: likewise.
        code_entropy: likewise.
        rows_per_second: of the training steps alone.
        seconds: of the training steps alone, since the run began.
        cpu_seconds: what the processor worked on the same steps, all threads together: the fairer
            clock on a machine that others use too; None where another device did the work.
        validation_elbo: like ``test_elbo``, of the rows held out to stop in time; None without any.
        validation_elbo_se: its standard error.
        perplexity, perplexity_share: see `CodeUsage`; over the test rows.
    """

    epoch: int
    loss: float
    log_likelihood: float
    kl: float
    test_elbo: float
    test_elbo_se: float | None
    grad_variance: float
    grad_relative_variance: float | None
    ess: float | None
    active_units: int
    codes_used: int | None
    code_entropy: float | None
    rows_per_second: float
    seconds: float
    cpu_seconds: float | None
    validation_elbo: float | None = None
    validation_elbo_se: float | None = None
    perplexity: float | None = None
    perplexity_share: float | None = None


def seconds_of(*histories: Sequence[EpochMetrics]) -> list[list[float]]:
    """Return the seconds after each epoch, by one clock for all runs.

    It is ``cpu_seconds``, or ``seconds`` if any of the epochs lacks the former.
    """
    times = [[m.cpu_seconds for m in history if m.cpu_seconds is not None] for history in histories]
    if all(len(one) == len(history) for one, history in zip(times, histories, strict=True)):
        return times
    return [[m.seconds for m in history] for history in histories]


def collapse_advice(latent: LatentSpec, usage: EpochMetrics | CodeUsage) -> str | None:
    """Return advice on a code that carries little, or None when all is well."""
    if latent.kind == "categorical" and latent.n_variables == 1:
        used = (usage.codes_used or 0) if usage.active_units else 0
        of, what = latent.n_categories, "categories"
    else:
        used, of, what = usage.active_units, latent.n_variables, "latent variables"
    if used > of // 10 and used > 0:
        return None
    remedy = "`objective='marginal'`" if is_enumerable(family_of(latent)) else "more `samples`"
    return (
        f"only {used} of {of} {what} carry anything. Try more epochs, a smaller `batch_size`, "
        f"{remedy}, or fewer {what}."
    )


def read_metrics(folder: Path) -> list[EpochMetrics]:
    """Return the epochs of a run folder, oldest first.

    Raises:
        RunError: the file is missing or corrupt.

    Example:
        >>> read_metrics(Path("no/such/run"))
        Traceback (most recent call last):
        ...
        discretevae.errors.RunError: no/such/run/metrics.jsonl: no such file. Check the path.
    """
    path = as_path(folder, "folder") / METRICS
    try:
        lines = path.read_text().splitlines()
        return [_checked(EpochMetrics(**json.loads(line))) for line in lines]
    except FileNotFoundError:
        raise RunError(f"{path}: no such file. Check the path.") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path}: corrupt ({error}). Train again.") from None


def _checked(metrics: EpochMetrics) -> EpochMetrics:
    """Return the metrics if every value is of the type that it is declared as."""
    for field in fields(metrics):
        value, kind = getattr(metrics, field.name), str(field.type)
        known = {int} if kind.startswith("int") else {int, float}
        if type(value) not in known and not (value is None and "None" in kind):
            raise ValueError(f"{field.name} is {value!r:.40}")
    return metrics
