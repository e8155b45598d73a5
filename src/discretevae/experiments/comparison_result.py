"""Results of a comparison of estimators: every seed, means over seeds, and tables of them."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from discretevae.config import RunConfig, to_dict
from discretevae.errors import MissingExtraError
from discretevae.evaluation.measured import Measured, measured
from discretevae.objectives.gradient_reports import Bias, GradientReport
from discretevae.run_folder.history import EpochMetrics
from discretevae.system.files import as_path, write_text

FORMAT = "discretevae-comparison"
OF_EPOCH = ("epoch", "test_elbo", "test_elbo_se", "active_units", "codes_used", "seconds")


@dataclass(frozen=True)
class Moment:
    """The reports after ``step`` steps of a seed's reference run, ``fraction`` of all."""

    fraction: float
    step: int
    reports: tuple[GradientReport, ...]
    seed: int = 0


@dataclass(frozen=True)
class EstimatorRun:
    """A model trained with one estimator; ``error`` says why it ended early, if it did."""

    estimator: str
    history: tuple[EpochMetrics, ...]
    error: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Comparison:
    """The findings of `discretevae.experiments.comparison.compare` so far.

    Args:
        config: model, training and data, with the first seed.
        estimators: their names, in the order asked for.
        reference: the estimator of the reference runs.
        steps_per_epoch: steps of an epoch, the same for all.
        probe_rows: B of the fixed batch.
        repeats: R.
        n_seeds: how many seeds are asked for.
        moments: gradients along the reference run, seed by seed.
        runs: one per estimator and seed that has finished training.
    """

    config: RunConfig
    estimators: tuple[str, ...]
    reference: str
    steps_per_epoch: int
    probe_rows: int
    repeats: int
    n_seeds: int = 1
    moments: tuple[Moment, ...] = ()
    runs: tuple[EstimatorRun, ...] = ()

    @property
    def n_runs(self) -> int:
        """Number of runs when all is done."""
        return len(self.estimators) * self.n_seeds

    @property
    def is_complete(self) -> bool:
        """True if a model has been trained with every estimator and seed."""
        return len(self.runs) == self.n_runs

    def to_dict(self) -> dict[str, Any]:
        """Return what ``comparison.json`` holds."""
        head = {"format": FORMAT, "format_version": 1, "is_complete": self.is_complete}
        return head | vars(self) | {
            "config": to_dict(self.config),
            "moments": [
                vars(moment) | {"reports": [report.to_dict() for report in moment.reports]}
                for moment in self.moments
            ],
            "runs": [dataclasses.asdict(run) for run in self.runs],
        }  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each estimator and seed, all with the same columns.

        Each holds the gradient at the last moment (`GradientReport`, whose ``seconds`` are called
        ``step_seconds``) and the last epoch of the estimator's own run (`EpochMetrics`).
        """
        runs = {(run.seed, run.estimator): run for run in self.runs}
        found = {(m.seed, r.estimator): (m.step, r) for m in self.moments for r in m.reports}
        rows = []
        for (seed, name), (step, report) in found.items():
            row: dict[str, Any] = {"estimator": name, "seed": seed, "step": step}
            row |= report.to_dict()
            run = runs.get((seed, name), EstimatorRun(name, ()))
            row["step_seconds"], bias = row.pop("seconds"), row.pop("bias") or {}
            row |= {
                f"bias{end}": bias.get(end.strip("_") or "value") for end in ("", "_low", "_high")
            }
            last = run.history[-1] if run.history else None
            row |= {key: getattr(last, key, None) for key in OF_EPOCH} | {"error": run.error}
            rows.append(row)
        return rows

    def to_frame(self) -> Any:
        """Return `rows` as a data frame of pandas (`MissingExtraError` without it)."""
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("a data frame needs pandas. Run: pip install pandas") from None
        return pd.DataFrame(self.rows())

    def to_csv(self, path: str | Path) -> None:
        """Write `rows` as a CSV file; what is not known is empty."""
        rows, text = self.rows(), io.StringIO(newline="")
        lines = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        lines.writeheader()
        lines.writerows(rows)
        write_text(as_path(path, "path"), text.getvalue())

    def to_latex(self, path: str | Path | None = None) -> str:
        """Return the means over seeds as a ``tabular`` of LaTeX, and write it if there is a path.

        It needs no package.
        """
        moment = self.over_seeds()[-1]
        gradient, own = (
            {line[0]: line for line in t} for t in (gradient_lines(moment), run_lines(self))
        )
        names = [*own, *(name for name in self.estimators if name not in own)]
        lines = [(*gradient[n][:5], *own.get(n, ("–",) * 5)[1:5]) for n in names]
        body = [" & ".join(map(_latex, line)) + r" \\" for line in lines]
        text = "\n".join([
            f"% {moment_title(self, moment)}. {runs_title(self)}",
            rf"\begin{{tabular}}{{ll{'r' * (len(lines[0]) - 2)}}}", r"\hline",
            body[0], r"\hline", *body[1:], r"\hline", r"\end{tabular}", "",
        ])  # fmt: skip
        if path is not None:
            write_text(as_path(path, "path"), text)
        return text

    def over_seeds(self) -> list[Moment]:
        """Return the moments with means over the seeds that have reached them."""
        means = []
        for first in {moment.step: moment for moment in reversed(self.moments)}.values():
            of_step = (m.reports for m in self.moments if m.step == first.step)
            reports = tuple(map(_mean_report, zip(*of_step, strict=True)))
            means.append(dataclasses.replace(first, reports=reports))
        return sorted(means, key=lambda moment: moment.step)

    def runs_of(self, name: str) -> list[EstimatorRun]:
        """Return an estimator's runs, without those that failed where others did not."""
        runs = [run for run in self.runs if run.estimator == name]
        return [run for run in runs if run.error is None] or runs

    def history_of(self, name: str) -> list[EpochMetrics]:
        """Return means over an estimator's runs by epoch: of ELBO, with standard error, and time.

        With one seed it is the run's own history; the standard error is that over test rows.
        """
        histories = [run.history for run in self.runs_of(name) if run.history]
        if self.n_seeds == 1:
            return list(*histories)
        return [_mean_epoch(epochs) for epochs in zip(*histories, strict=False)]


def _over(values: Sequence[float]) -> Measured:
    return measured(torch.tensor(values, dtype=torch.float64))


def _mean_epoch(epochs: Sequence[EpochMetrics]) -> EpochMetrics:
    elbo = _over([m.test_elbo for m in epochs])
    seconds = fmean(m.seconds for m in epochs)
    return dataclasses.replace(
        epochs[0], test_elbo=elbo.value, test_elbo_se=elbo.se, seconds=seconds
    )


def _mean_report(reports: Sequence[GradientReport]) -> GradientReport:
    """Return means over seeds, and the standard error over them where there are several."""
    if len(reports) == 1:
        return reports[0]
    means: dict[str, Any] = {}
    for name in ("norm", "eta_variance", "snr", "seconds", "time_ratio"):
        values = [getattr(report, name) for report in reports]
        means[name] = None if None in values else fmean(values)
    variance = _over([report.variance for report in reports])
    known = [dataclasses.astuple(report.bias) for report in reports if report.bias is not None]
    bias = Bias(*map(fmean, zip(*known, strict=True))) if known else None
    return dataclasses.replace(
        reports[0], variance=variance.value, variance_se=variance.se or 0.0, bias=bias, **means
    )


def moment_title(found: Comparison, moment: Moment) -> str:
    """Return the title of the table of a moment."""
    return f"Encoder gradient at step {moment.step:,} of the {found.reference} run{_seeds(found)}"


def runs_title(found: Comparison) -> str:
    """Return the title of the table of runs."""
    epochs, steps = found.config.training.epochs, found.steps_per_epoch
    return f"Own runs, {epochs} epochs of {steps} steps [nats per test row]{_seeds(found)}"


def _seeds(found: Comparison) -> str:
    return "" if found.n_seeds == 1 else f", mean ± standard error over {found.n_seeds} seeds"


def gradient_lines(moment: Moment) -> list[tuple[str, ...]]:
    """Return a head and one line for each estimator."""
    has_bias = any(report.bias is not None for report in moment.reports)
    head = ("estimator", "unbiased", "cost", "time", "variance", "× cost", "× time", "eta", "SNR")
    lines = [head + (("bias",) if has_bias else ())]
    for r in moment.reports:
        snr = "< noise" if r.snr is None else f"{r.snr:.2g}"
        line = (
            r.estimator,
            "yes" if r.is_unbiased else "no",
            f"{r.evaluations}",
            f"{r.time_ratio:.2f}",
            f"{r.variance:.2e} ± {r.variance_se:.0e}" if r.variance else "0",
            f"{r.variance_times_cost:.1e}" if r.variance else "0",
            f"{r.variance_times_time:.1e}" if r.variance else "0",
            f"{r.eta_variance:.1e}" if r.eta_variance else "0",
            snr if r.variance else "∞",
        )
        lines.append(line + ((str(r.bias or "–"),) if has_bias else ()))
    return lines


def run_lines(found: Comparison) -> list[tuple[str, ...]]:
    """Return a head and a line for each estimator, the best last test ELBO first.

    Those of which no run ended well stand at the end.
    """

    def order(name: str) -> tuple[bool, float]:
        history = found.history_of(name)
        return found.runs_of(name)[0].error is not None, -history[-1].test_elbo if history else 0

    lines: list[tuple[str, ...]] = [
        ("estimator", "test ELBO", "active", "codes", "seconds", "note")
    ]
    digits = int(found.n_seeds > 1)
    for name in sorted({run.estimator: None for run in found.runs}, key=order):
        last = [run.history[-1] for run in found.runs_of(name) if run.history]
        codes = [m.codes_used for m in last if m.codes_used is not None]
        cells = ("–",) * 4
        if last:
            mean = found.history_of(name)[-1]
            cells = (
                f"{Measured(mean.test_elbo, mean.test_elbo_se):.2f}",
                f"{_over([m.active_units for m in last]):.{digits}f}",
                f"{_over(codes):.{digits}f}" if codes else "–",
                f"{_over([m.seconds for m in last]):.1f}",
            )
        failed = [run for run in found.runs if run.estimator == name and run.error is not None]
        notes = (f"seed {run.seed}: {run.error}" if digits else str(run.error) for run in failed)
        lines.append((name, *cells, "; ".join(notes)))
    return lines if any(line[-1] for line in lines[1:]) else [line[:-1] for line in lines]


_TEX = str.maketrans({
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "±": r"$\pm$", "–": "--", "∞": r"$\infty$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
})  # fmt: skip


def _latex(cell: str) -> str:
    """Return a cell without what LaTeX takes for commands; numbers as mathematics writes them."""
    text = cell.translate(_TEX)
    if re.match(r"-?\d", cell):
        text = re.sub(r"e([+-]\d+)", lambda m: rf"$\cdot10^{{{int(m[1])}}}$", text)
        text = re.sub(r"^-", "$-$", text)
    return text
