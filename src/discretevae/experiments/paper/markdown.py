"""The findings of a reproduction in words and tables. Every figure in them is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from discretevae.experiments.paper.claims import WINDOW, Change
from discretevae.experiments.paper.experiments import FULL, VARIANTS, Kind, PaperFigure
from discretevae.experiments.paper.findings import Findings, FinishedRun, RunFindings
from discretevae.families import family_of
from discretevae.networks.convolutional import CHANNELS, image_sizes
from discretevae.objectives import choose_estimator
from discretevae.objectives.gradient_noise import PROBE_ROWS

UNKNOWN = "–"

CAPTIONS: dict[Kind, str] = {
    "curves": "The upper three panels of each model are the paper's; below them the test ELBO "
    "against time, the KL, and the variance relative to the squared gradient. The vertical axes "
    "follow what comes after the first twentieth of the epochs.",
    "reconstructions": "Each model's most likely code of a test row, decoded.",
    "samples": "E[x|z] for codes z drawn from the uniform prior.",
    "pictures": "Above: the most likely code of each test row, decoded. Below: E[x|z] for codes z "
    "drawn from the uniform prior.",
}


def markdown(found: Findings) -> str:
    """Return the report as one page of Markdown."""
    parts = [*_head(found), *(_figure(figure, found) for figure in found.figures)]
    if found.runs:
        parts += ["## What the paper claims, and what was measured", *_losses(found)]
        parts += [*_variances(found), *_worse(found), *_clusters(found), *_sooner(found)]
        parts += ["## All runs", *_collapsed(found), _all_runs(found)]
    return "\n\n".join(parts) + "\n"


def _head(found: Findings) -> list[str]:
    parts = ["# The figures of the paper, made again"]
    if found.stand_in is not None:
        parts.append(
            f"> **This is a quick run: small networks and codes, few epochs, {found.stand_in} in "
            "place of the paper's data. It shows that everything works, and nothing of the paper.**"
        )
    rates = sorted({f"{f.run.config.training.lr:g}" for f in found.runs})
    sizes = {v: sorted({f.batch_size for f in found.runs if f.run.variant == v}) for v in VARIANTS}
    batches = {v: " or ".join(f"{size:,}" for size in some) for v, some in sizes.items()}
    parts.append(
        "The models of Bartler, Wiewel, Mauch & Yang, *Training Variational Autoencoders with "
        "Discrete Latent Variables Using Importance Sampling* (EUSIPCO 2019), each trained twice:"
    )
    parts.append(
        f"- **paper**, its protocol: Adam with step size {' or '.join(rates)}, batches of "
        f"{batches['paper']} rows, the estimator `importance` with one sample from q(z|x) itself.\n"
        f"- **ours**, the defaults of this package: the same step size, batches of "
        f"{batches['ours']} rows, the default estimator for bits, and for a single category the "
        'exact ln p(x) (`objective="marginal"`). It has a third of the epochs, because each takes '
        f"longer, so as to have no more time{_took(found)}."
    )
    parts.append(
        "Likelihoods are in nats per row, ± one standard error over the test rows. Pixels are grey "
        "values in [0, 1] as they are. The test ELBO of a curve is that after each epoch, with one "
        "draw of z per row where the code is too large for the exact sum. Seconds are those that "
        "the processor worked on the training steps, all threads together; of a run on another "
        "device, those that passed. One run each, so differences as small as those between seeds "
        "mean nothing. Under each figure stands what the paper leaves unsaid, as its runs have it: "
        "initial weights, M (samples of z per row), likelihood, and the width of the decoder's "
        "first layer; and what their products are formed in."
    )
    parts.append(
        "What figures 6 to 8 show is the paper's; the numbers of the others follow the order of "
        "its experiments."
    )
    seeds = sorted({f.run.config.training.seed for f in found.runs})
    if seeds != [FULL.seed]:
        parts.append(f"The seed is {' or '.join(map(str, seeds))}.")
    short = sorted({f.run.config.training.precision for f in found.runs} - {FULL.precision})
    if short:
        parts.append(
            f"{' or '.join(short)} is no part of the paper's protocol and saves time: the products "
            "of the training steps are formed in it. All else, and whatever is evaluated, is in "
            "float32."
        )
    shorter = [
        f"{f.run.title} ({len(f.run.history)})"
        for f in found.runs
        if f.run.variant == "paper" and len(f.run.history) != FULL.epochs
    ]
    if shorter and found.stand_in is None:
        parts.append(
            f"Not of the paper's length of {FULL.epochs} epochs, to save time: "
            f"{', '.join(shorter)}."
        )
    if found.missing:
        names = ", ".join(figure.name for figure in found.missing)
        parts.append(f"Not in this report, because the runs are not there: {names}.")
    return parts


def _took(found: Findings) -> str:
    shares = [ours.seconds / paper.seconds for paper, ours, _ in found.sooner]
    return f"; it took {_range(shares)} of the paper's seconds" if shares else ""


def _figure(figure: PaperFigure, found: Findings) -> str:
    number = figure.name.removeprefix("fig")
    instead = "" if found.stand_in is None else f", with {found.stand_in} in its place"
    runs = [f.run for f in found.runs if f.run.experiment.name in figure.experiments]
    return (
        f"## Figure {number}: {figure.title}{instead}\n\n{CAPTIONS[figure.kind]}\n\n"
        f"{_reading(runs)}\n\n![{figure.title}](figures/{figure.name}.png)"
    )


def _reading(runs: Sequence[FinishedRun]) -> str:
    """Return what the paper leaves unsaid, as the configurations of the runs have it."""
    readings: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        model, training = run.config.model, run.config.training
        width = (model.hidden or (model.n_features,))[-1]
        if model.network == "cnn" and model.image_shape:
            width = CHANNELS[-1] * math.prod(image_sizes(model.image_shape)[-1])
        samples = getattr(choose_estimator(family_of(model.latent), training), "samples", None)
        reading = {
            "Initial weights": model.init,
            "M": samples or "no sampling",
            "likelihood": model.likelihood,
            "decoder's first layer": f"{width:,} wide",
            "products in": training.precision,
        }
        for choice, value in reading.items():
            names = readings.setdefault(choice, {}).setdefault(f"{value}", [])
            names.append(f"{run.experiment.model} {run.variant}")
    return f"{'; '.join(f'{choice}: {_by_run(some)}' for choice, some in readings.items())}."


def _by_run(values: dict[str, list[str]]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return ", ".join(f"{value} ({', '.join(names)})" for value, names in values.items())


def _losses(found: Findings) -> list[str]:
    shares = [f.loss.share for f in _paper(found) if f.loss.share is not None]
    text = f"No run of the paper's protocol has more than {WINDOW} epochs, so there is no answer."
    if shares:
        text = (
            f"With the paper's protocol the loss, averaged over {WINDOW} epochs, fell from one "
            f"epoch to the next in {_range(shares)} of the epochs."
        )
    rows = [
        (
            f.run.title, f.run.variant, _share(f.loss.share), f"{f.loss.comparisons}",
            _number(f.loss.first), _number(f.loss.last),
        )
        for f in found.runs
    ]  # fmt: skip
    head = ("run", "by", "fell in", "of so many", "loss, first epoch", "last epoch")
    return ["### “The loss falls steadily”", text, _table(head, rows)]


def _variances(found: Findings) -> list[str]:
    text = (
        "Means over the first and the last tenth of the epochs. The first epoch is in: the "
        f"variance is measured when an epoch is over, on the same {PROBE_ROWS} rows each time. "
        f"With the paper's protocol it fell in {_falls([f.variance for f in _paper(found)])}. "
        "Relative to the squared gradient, which matters more to the optimizer, it fell in "
        f"{_falls([f.relative for f in _paper(found)])}. Epochs in which the gradient cannot be "
        "told from its noise have no relative variance; they are left out and counted, which "
        "makes its means too low rather than too high."
    )
    rows = [
        (
            f.run.title, f.run.variant, *_change(f.variance), *_change(f.relative),
            f"{f.relative.unknown}",
        )
        for f in found.runs
    ]  # fmt: skip
    head = ("run", "by", "variance, first", "last", "ratio", "relative, first", "last", "ratio",
            "left out")  # fmt: skip
    return ["### “The gradient's variance falls as training goes on”", text, _table(head, rows)]


def _worse(found: Findings) -> list[str]:
    if not found.worse:
        return []
    sentences, rows = [], []
    for bits, category, w in found.worse:
        models = (category.experiment.model, bits.experiment.model)
        error = "" if w.se is None else f" ± {w.se:.2f}"
        how = "worse" if w.difference > 0 else "better"
        if bits.variant == "paper":
            sentences.append(
                f"{models[0]} is {abs(w.difference):.2f}{error} nats {how} than {models[1]} by the "
                f"paper's protocol, and the KL of its code is {w.kl:.3f} of at most {w.most:.3f} "
                "nats."
            )
        rows.append(
            (
                f"{models[0]} against {models[1]}", bits.variant, _measured(category.test["elbo"]),
                _measured(bits.test["elbo"]), f"{_number(-w.difference)}{error}",
                f"{w.kl:.3f}", f"{w.most:.3f}",
            )
        )  # fmt: skip
    sentences.append(
        "The standard error of a difference is that of unrelated rows; they are the same rows, "
        "so it is too large rather than too small."
    )
    head = ("run", "by", "ELBO, category", "ELBO, bits", "difference", "KL of the category",
            "at most")  # fmt: skip
    sizes = sorted({c.config.model.latent.n_categories for _, c, _ in found.worse})
    most = " or ".join(f"ln {size}" for size in sizes)
    title = f"### “One category is worse than bits, and holds at most {most} nats”"
    return [title, " ".join(sentences), _table(head, rows)]


def _clusters(found: Findings) -> list[str]:
    pairs = [(f.run, f.clusters) for f in found.runs if f.clusters is not None]
    if not pairs:
        return []
    text = (
        "Purity is the share of test rows that carry the most frequent label of their category; "
        "information is the mutual information of category and label, normalized by the mean of "
        "their entropies. No training saw a label. In brackets: the same with the labels shuffled, "
        "which is what so many categories give for nothing."
    )
    rows = [
        (
            run.title, run.variant, f"{c.categories}", f"{c.labels}",
            f"{c.purity:.3f} ({c.purity_by_chance:.3f})",
            f"{c.information:.3f} ({c.information_by_chance:.3f})",
        )
        for run, c in pairs
    ]  # fmt: skip
    head = ("run", "by", "categories in use", "labels", "purity", "information")
    return ["### “Categories act as clusters”", text, _table(head, rows)]


def _sooner(found: Findings) -> list[str]:
    if not found.sooner:
        return []
    rows = []
    for paper, _, s in found.sooner:
        there = "never" if s.seconds is None else f"{_seconds(s.seconds)} s"
        gain = UNKNOWN if s.gain is None else f"{s.gain:+.2f}".replace("-", "−")
        when = "not one epoch in time"
        if s.gain_seconds is not None:
            when = f"{_seconds(s.gain_seconds)} s" + (", its end" if s.at_end else "")
        rows.append(
            (
                paper.title, _number(s.target), f"{_seconds(s.paper_seconds)} s", there,
                _share(s.share), gain, when,
            )
        )  # fmt: skip
    text = (
        "By the test ELBO after each epoch: when ours first reaches what the paper's protocol ends "
        "with, and how far it is above or below that when the paper's time is over, or at its own "
        "end if that comes before."
    )
    head = ("run", "paper's last ELBO", "after", "ours is there after", "share of the time",
            "ours by then", "at")  # fmt: skip
    return ["## Ours: how much sooner, how much better", text, _table(head, rows)]


def _collapsed(found: Findings) -> list[str]:
    """Name the runs that ended with a code that nothing depends on."""
    names = [
        f"{f.run.title} ({f.run.variant})" for f in found.runs if not f.run.test["active_units"]
    ]
    if not names:
        return []
    return [f"Collapsed, so that no latent variable carries anything: {', '.join(names)}."]


def _all_runs(found: Findings) -> str:
    head = ("run", "by", "estimator", "batch", "epochs", "seconds", "test ELBO", "100-sample bound",
            "ln p(x), exact", "KL", "active", "codes in use")  # fmt: skip
    rows = []
    for f in found.runs:
        test = f.run.test
        log_px = test["log_px"]
        rows.append(
            (
                f.run.title, f.run.variant, f.run.method, f"{f.batch_size:,}",
                f"{len(f.run.history)}", _seconds(f.run.seconds), _measured(test["elbo"]),
                _measured(test["bound"]), UNKNOWN if log_px is None else _measured(log_px),
                _number(test["kl"]["value"]), f"{test['active_units']}", f"{test['codes_used']:,}",
            )
        )  # fmt: skip
    return _table(head, rows)


def _paper(found: Findings) -> list[RunFindings]:
    return [f for f in found.runs if f.run.variant == "paper"]


def _falls(changes: Sequence[Change]) -> str:
    ratios = [c.ratio for c in changes if c.ratio is not None]
    runs = "run" if len(ratios) == 1 else "runs"
    known = "" if len(ratios) == len(changes) else " where it is known at both ends"
    return f"{sum(ratio < 1 for ratio in ratios)} of {len(ratios)} {runs}{known}"


def _change(found: Change) -> tuple[str, str, str]:
    if found.first == found.last == 0:
        return "0", "0", UNKNOWN
    parts = [UNKNOWN if v is None else f"{v:.2g}" for v in (found.first, found.last)]
    return parts[0], parts[1], UNKNOWN if found.ratio is None else f"{found.ratio:.2f}"


def _range(shares: Sequence[float]) -> str:
    low, high = (_share(bound) for bound in (min(shares), max(shares)))
    return high if low == high else f"{low} to {high}"


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.1f} %"


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _measured(value: dict[str, Any]) -> str:
    error = "" if value["se"] is None else f" ± {value['se']:.2f}"
    return f"{_number(value['value'])}{error}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---" if name in ("run", "by") else "---:" for name in head]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
