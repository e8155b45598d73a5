"""The numbers of a reproduction in words and tables. Every figure in them is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from discretevae.config import run_config_from
from discretevae.experiments.paper.claims import WINDOW
from discretevae.experiments.paper.experiments import EXPERIMENTS, FIGURES, FULL, VARIANTS, Kind
from discretevae.families import family_of
from discretevae.networks.convolutional import CHANNELS, image_sizes
from discretevae.objectives import choose_estimator
from discretevae.objectives.gradient_noise import PROBE_ROWS

Numbers: TypeAlias = Mapping[str, Any]
"""What ``report.json`` holds, or a part of it."""

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


def markdown(found: Numbers) -> str:
    """Return the report as one page of Markdown."""
    parts = [*_head(found), *(_figure(name, found) for name in found["figures"])]
    if found["runs"]:
        parts += ["## What the paper claims, and what was measured", *_losses(found)]
        parts += [*_variances(found), *_worse(found), *_clusters(found), *_sooner(found)]
        parts += ["## All runs", *_collapsed(found), _all_runs(found)]
    return "\n\n".join(parts) + "\n"


def _head(found: Numbers) -> list[str]:
    parts = ["# The figures of the paper, made again"]
    if found["stand_in"] is not None:
        parts.append(
            "> **This is a quick run: small networks and codes, few epochs, "
            f"{found['stand_in']} in place of the paper's data. It shows that everything works, "
            "and nothing of the paper.**"
        )
    runs = found["runs"]
    trainings = [run["config"]["training"] for run in runs]
    rates = sorted({f"{training['lr']:g}" for training in trainings})
    sizes = {
        v: sorted({run["batch_size"] for run in runs if run["variant"] == v}) for v in VARIANTS
    }
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
    seeds = sorted({training["seed"] for training in trainings})
    if seeds != [FULL.seed]:
        parts.append(f"The seed is {' or '.join(map(str, seeds))}.")
    short = sorted({training["precision"] for training in trainings} - {FULL.precision})
    if short:
        parts.append(
            f"{' or '.join(short)} is no part of the paper's protocol and saves time: the products "
            "of the training steps are formed in it. All else, and whatever is evaluated, is in "
            "float32."
        )
    shorter = [
        f"{run['title']} ({run['epochs']})"
        for run in _of_paper(found)
        if run["epochs"] != FULL.epochs
    ]
    if shorter and found["stand_in"] is None:
        parts.append(
            f"Not of the paper's length of {FULL.epochs} epochs, to save time: "
            f"{', '.join(shorter)}."
        )
    if found["missing"]:
        names = ", ".join(found["missing"])
        parts.append(f"Not in this report, because the runs are not there: {names}.")
    return parts


def _took(found: Numbers) -> str:
    seconds = {run["run"]: run["seconds"] for run in found["runs"]}
    shares = [seconds[pair["ours"]] / seconds[pair["paper"]] for pair in found["sooner"]]
    return f"; it took {_range(shares)} of the paper's seconds" if shares else ""


def _figure(name: str, found: Numbers) -> str:
    figure, number = FIGURES[name], name.removeprefix("fig")
    instead = "" if found["stand_in"] is None else f", with {found['stand_in']} in its place"
    runs = [run for run in found["runs"] if run["run"].partition("/")[0] in figure.experiments]
    return (
        f"## Figure {number}: {figure.title}{instead}\n\n{CAPTIONS[figure.kind]}\n\n"
        f"{_reading(runs)}\n\n![{figure.title}](figures/{name}.png)"
    )


def _reading(runs: Sequence[Numbers]) -> str:
    """Return what the paper leaves unsaid, as the configurations of the runs have it."""
    readings: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        config = run_config_from(run["config"])
        model, training = config.model, config.training
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
            names.append(f"{_model(run['run'])} {run['variant']}")
    return f"{'; '.join(f'{choice}: {_by_run(some)}' for choice, some in readings.items())}."


def _by_run(values: dict[str, list[str]]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return ", ".join(f"{value} ({', '.join(names)})" for value, names in values.items())


def _losses(found: Numbers) -> list[str]:
    shares = [run["loss"]["share"] for run in _of_paper(found)]
    shares = [share for share in shares if share is not None]
    text = f"No run of the paper's protocol has more than {WINDOW} epochs, so there is no answer."
    if shares:
        text = (
            f"With the paper's protocol the loss, averaged over {WINDOW} epochs, fell from one "
            f"epoch to the next in {_range(shares)} of the epochs."
        )
    rows = [
        (
            run["title"], run["variant"], _share(run["loss"]["share"]),
            f"{run['loss']['comparisons']}", _number(run["loss"]["first"]),
            _number(run["loss"]["last"]),
        )
        for run in found["runs"]
    ]  # fmt: skip
    head = ("run", "by", "fell in", "of so many", "loss, first epoch", "last epoch")
    return ["### “The loss falls steadily”", text, _table(head, rows)]


def _variances(found: Numbers) -> list[str]:
    of_paper = _of_paper(found)
    fell = _falls([run["gradient_variance"] for run in of_paper])
    fell_relatively = _falls([run["relative_gradient_variance"] for run in of_paper])
    text = (
        "Means over the first and the last tenth of the epochs. The first epoch is in: the "
        f"variance is measured when an epoch is over, on the same {PROBE_ROWS} rows each time. "
        f"With the paper's protocol it fell in {fell}. "
        "Relative to the squared gradient, which matters more to the optimizer, it fell in "
        f"{fell_relatively}. Epochs in which the gradient cannot be told "
        "from its noise have no relative variance; they are left out and counted, which "
        "makes its means too low rather than too high."
    )
    rows = [
        (
            run["title"], run["variant"], *_change(run["gradient_variance"]),
            *_change(run["relative_gradient_variance"]),
            f"{run['relative_gradient_variance']['unknown']}",
        )
        for run in found["runs"]
    ]  # fmt: skip
    head = ("run", "by", "variance, first", "last", "ratio", "relative, first", "last", "ratio",
            "left out")  # fmt: skip
    return ["### “The gradient's variance falls as training goes on”", text, _table(head, rows)]


def _worse(found: Numbers) -> list[str]:
    if not found["worse"]:
        return []
    runs = {run["run"]: run for run in found["runs"]}
    sentences, rows = [], []
    for w in found["worse"]:
        bits, category = runs[w["bits"]], runs[w["category"]]
        models = _model(w["category"]), _model(w["bits"])
        error = "" if w["se"] is None else f" ± {w['se']:.2f}"
        how = "worse" if w["difference"] > 0 else "better"
        if bits["variant"] == "paper":
            sentences.append(
                f"{models[0]} is {abs(w['difference']):.2f}{error} nats {how} than {models[1]} by "
                f"the paper's protocol, and the KL of its code is {w['kl']:.3f} of at most "
                f"{w['most']:.3f} nats."
            )
        rows.append(
            (
                f"{models[0]} against {models[1]}", bits["variant"],
                _measured(category["test"]["elbo"]), _measured(bits["test"]["elbo"]),
                f"{_number(-w['difference'])}{error}", f"{w['kl']:.3f}", f"{w['most']:.3f}",
            )
        )  # fmt: skip
    sentences.append(
        "The standard error of a difference is that of unrelated rows; they are the same rows, "
        "so it is too large rather than too small."
    )
    head = ("run", "by", "ELBO, category", "ELBO, bits", "difference", "KL of the category",
            "at most")  # fmt: skip
    sizes = sorted({round(math.exp(w["most"])) for w in found["worse"]})
    most = " or ".join(f"ln {size}" for size in sizes)
    title = f"### “One category is worse than bits, and holds at most {most} nats”"
    return [title, " ".join(sentences), _table(head, rows)]


def _clusters(found: Numbers) -> list[str]:
    runs = [run for run in found["runs"] if run["clusters"] is not None]
    if not runs:
        return []
    text = (
        "Purity is the share of test rows that carry the most frequent label of their category; "
        "information is the mutual information of category and label, normalized by the mean of "
        "their entropies. No training saw a label. In brackets: the same with the labels shuffled, "
        "which is what so many categories give for nothing."
    )
    rows = [
        (
            run["title"], run["variant"], f"{c['categories']}", f"{c['labels']}",
            f"{c['purity']:.3f} ({c['purity_by_chance']:.3f})",
            f"{c['information']:.3f} ({c['information_by_chance']:.3f})",
        )
        for run in runs
        if (c := run["clusters"])
    ]  # fmt: skip
    head = ("run", "by", "categories in use", "labels", "purity", "information")
    return ["### “Categories act as clusters”", text, _table(head, rows)]


def _sooner(found: Numbers) -> list[str]:
    if not found["sooner"]:
        return []
    titles, rows = {run["run"]: run["title"] for run in found["runs"]}, []
    for s in found["sooner"]:
        there = "never" if s["seconds"] is None else f"{_seconds(s['seconds'])} s"
        gain = UNKNOWN if s["gain"] is None else f"{s['gain']:+.2f}".replace("-", "−")
        when = "not one epoch in time"
        if s["gain_seconds"] is not None:
            when = f"{_seconds(s['gain_seconds'])} s" + (", its end" if s["at_end"] else "")
        rows.append(
            (
                titles[s["paper"]], _number(s["target"]), f"{_seconds(s['paper_seconds'])} s",
                there, _share(s["share"]), gain, when,
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


def _collapsed(found: Numbers) -> list[str]:
    """Name the runs that ended with a code that nothing depends on."""
    names = [
        f"{run['title']} ({run['variant']})"
        for run in found["runs"]
        if not run["test"]["active_units"]
    ]
    if not names:
        return []
    return [f"Collapsed, so that no latent variable carries anything: {', '.join(names)}."]


def _all_runs(found: Numbers) -> str:
    head = ("run", "by", "estimator", "batch", "epochs", "seconds", "test ELBO", "100-sample bound",
            "ln p(x), exact", "KL", "active", "codes in use")  # fmt: skip
    rows = []
    for run in found["runs"]:
        test = run["test"]
        log_px = test["log_px"]
        rows.append(
            (
                run["title"], run["variant"], run["method"], f"{run['batch_size']:,}",
                f"{run['epochs']}", _seconds(run["seconds"]), _measured(test["elbo"]),
                _measured(test["bound"]), UNKNOWN if log_px is None else _measured(log_px),
                _number(test["kl"]["value"]), f"{test['active_units']}", f"{test['codes_used']:,}",
            )
        )  # fmt: skip
    return _table(head, rows)


def _of_paper(found: Numbers) -> list[Numbers]:
    return [run for run in found["runs"] if run["variant"] == "paper"]


def _model(key: str) -> str:
    """Return the paper's name of the model of a run, such as ``fc-bvae-mnist/ours``."""
    return EXPERIMENTS[key.partition("/")[0]].model


def _falls(changes: Sequence[Numbers]) -> str:
    ratios = [change["ratio"] for change in changes if change["ratio"] is not None]
    runs = "run" if len(ratios) == 1 else "runs"
    known = "" if len(ratios) == len(changes) else " where it is known at both ends"
    return f"{sum(ratio < 1 for ratio in ratios)} of {len(ratios)} {runs}{known}"


def _change(found: Numbers) -> tuple[str, str, str]:
    first, last, ratio = found["first"], found["last"], found["ratio"]
    if first == last == 0:
        return "0", "0", UNKNOWN
    ends = [UNKNOWN if value is None else f"{value:.2g}" for value in (first, last)]
    return ends[0], ends[1], UNKNOWN if ratio is None else f"{ratio:.2f}"


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
