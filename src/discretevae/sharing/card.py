"""The model card: what a model is, how it was made, and what was measured, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from discretevae.codes.fingerprints import fingerprint
from discretevae.config import DataConfig, RowTarget, spell_shape
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives.choosing import estimator_name
from discretevae.run_folder.saved_run import Run
from discretevae.version import __version__

FIGURES = (
    ("log_px", "ln p(x)"),
    ("bound", "S-sample bound on ln p(x)"),
    ("elbo", "ELBO"),
    ("distortion", "distortion, −E ln p(x given z)"),
    ("rate", "rate, KL(q ‖ p)"),
)
"""Of the test rows, as ``summary.json`` names them; nats per row."""

DATASETS = {"mnist": "ylecun/mnist", "fashion-mnist": "zalando-datasets/fashion_mnist"}
"""Names on the Hub of the built-in sets that it has."""

SURROGATE = (
    "The test rows are grey values, of which the Bernoulli likelihood is no probability: all "
    "figures are a cross-entropy's. They can be compared between models of the same rows, and with "
    "nothing else."
)


def model_card(
    model: DiscreteVAE,
    run: Run | None,
    *,
    summary: Mapping[str, Any] | None,
    license_id: str | None,
) -> str:
    """Return the text of a ``README.md`` as the Hugging Face Hub reads it.

    Args:
        model: the model.
        run: the run that it is of; None if nothing is known of it.
        summary: of the run, as `read_summary` gives it; None if there is none.
        license_id: of the weights; None leaves the field out and says so.
    """
    config = model.config
    sections = [
        _front_matter(run, license_id),
        f"# A variational autoencoder with the code `{config.latent}`",
        "This model turns rows into codes and codes back into rows. It was made with discretevae "
        f"{__version__}, and is read by it.",
        "## Use",
        _usage(model, run),
        "## Model",
        _bullets(_of_model(model)),
        *_of_schema(run),
        "## Training",
        "How it was trained is not recorded." if run is None else _bullets(_of_training(run)),
        "## Test figures",
        "None are recorded." if summary is None else _of_test(summary["test"]),
        "## License",
        f"The weights are under `{license_id}`."
        if license_id
        else "Not stated. Fill in `license:` at the top of this file before you publish it.",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(run: Run | None, license_id: str | None) -> str:
    lines = [] if license_id is None else [f"license: {license_id}"]
    lines += ["library_name: discretevae", "tags:", "- variational-autoencoder"]
    lines += ["- discrete-latent-variables"]
    if run is not None and run.config.data.source in DATASETS:
        lines += ["datasets:", f"- {DATASETS[run.config.data.source]}"]
    return "\n".join(["---", *lines, "---"])


def _usage(model: DiscreteVAE, run: Run | None) -> str:
    binarize = "none" if run is None else run.config.data.binarize
    own = ", encoder=encoder, decoder=decoder" if model.config.network == "custom" else ""
    lines = [
        "import discretevae as dv",
        "",
        f'run = dv.from_pretrained("user/name"{own})  # or the folder that this file lies in',
        "",
    ]
    if run is not None and run.schema is not None:
        lines += [
            "# a file or folder of your own, held against schema.json and read as in training",
            'rows = dv.load_run_rows(run.config.data, run.schema, "all", source="yours")',
            "x = rows.batch(slice(0, 100))",
        ]
    elif binarize != "none":
        lines.append('x = dv.binarize(x, "threshold")  # as in training: 0 or 1')
    lines += [
        f"codes = run.model.encode(x)  # x: float32 [N, {model.config.n_features}]",
        "means = run.model.decode(codes)  # E[x|z]",
    ]
    return "\n".join(["```python", *lines, "```"])


def _of_model(model: DiscreteVAE) -> list[tuple[str, str]]:
    config = model.config
    network = {
        "mlp": f"`mlp`, hidden layers {list(config.hidden or ())}, `{config.activation}`",
        "cnn": "`cnn`, the paper's convolutions",
        "resnet": f"`resnet`, {config.width} channels, {config.depth} residual blocks at a size",
        "custom": "`custom`, modules of the author's own, which loading needs",
    }[config.network]
    shape = "" if config.image_shape is None else f", pictures of {spell_shape(config.image_shape)}"
    return [
        ("rows", f"{config.n_features} values{shape}"),
        ("code", f"`{config.latent}`"),
        ("network", network),
        ("likelihood p(x given z)", f"`{config.likelihood}`"),
        ("prior p(z)", f"`{config.prior}`"),
        ("parameters", f"{sum(p.numel() for p in model.parameters()):,}"),
        ("fingerprint", f"`{fingerprint(model)}`"),
    ]


def _of_schema(run: Run | None) -> list[str]:
    """Return what is known of the data, which whoever publishes the card should look at."""
    if run is None or run.schema is None:
        return []
    schema = run.schema
    items = [("values", f"{schema.low:g} to {schema.high:g}, {_scaling(run.config.data)}")]
    for name, names in (("columns", schema.columns), ("classes", schema.classes)):
        if names is not None:
            items.append((name, ", ".join(map(_code, names[:20])) + _more(len(names) - 20)))
    text = "`schema.json` holds this of the data, and new data are held against it."
    return ["## Data", text, _bullets(items)]


def _more(n: int) -> str:
    return f" and {n:,} more" if n > 0 else ""


def _of_training(run: Run) -> list[tuple[str, str]]:
    training, data = run.config.training, run.config.data
    items = [
        ("data", _code(data.source)),
        ("values", _scaling(data)),
        ("binarization", f"`{data.binarize}`"),
        ("objective", f"`{training.objective}`"),
        ("gradient estimator", _code(estimator_name(run.model.family, training))),
        ("samples of z per row", str(training.samples or "the estimator's own")),
        ("epochs", str(training.epochs)),
        ("batch size", str(training.batch_size or "chosen by the package")),
        ("learning rate", f"{training.lr:g}, schedule `{training.lr_schedule}`"),
        ("seed", str(training.seed)),
    ]
    if training.augment is not None:
        items.append(("augmentation", _code(str(training.augment))))
    if training.target != RowTarget():
        items.append(("explained", _code(str(training.target))))
    if training.patience is not None:
        items.append(("patience", f"{training.patience} epochs; the best epoch is kept"))
    return items


def _of_test(test: Mapping[str, Any]) -> str:
    lines = ["| figure | value | standard error |", "|---|---:|---:|"]
    for key, title in FIGURES:
        if test[key] is not None:
            name = title.replace("S-", f"{int(test['bound']['samples'])}-")
            lines.append(f"| {name} | {_cells(test[key], 3)} |")
    if test["bits_per_dimension"] is not None:
        lines.append(f"| bits per dimension | {_cells(test['bits_per_dimension'], 4)} |")
    for key, title in (("active_units", "active units"), ("codes_used", "different codes used")):
        if test[key] is not None:
            lines.append(f"| {title} | {int(test[key]):,} | |")
    rows = f"On {int(test['rows']):,} test rows, in nats per row where nothing else is said."
    parts = [rows, "\n".join(lines)]
    if test["is_surrogate"]:
        parts.append(SURROGATE)
    return "\n\n".join(parts)


def _cells(measured: Mapping[str, Any], digits: int) -> str:
    value, se = measured["value"], measured["se"]
    return f"{value:.{digits}f} | {'' if se is None else format(se, f'.{digits}f')}"


def _bullets(items: list[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in items)


def _code(text: str) -> str:
    """Return text of the user's between backticks, in one line and without any of its own."""
    return f"`{' '.join(text.replace('`', ' ').split())}`"


def _scaling(data: DataConfig) -> str:
    """Return what is done with values before the model sees them."""
    if data.scale in ("standard", "minmax"):
        return "columns standardized" if data.scale == "standard" else "columns scaled to [0, 1]"
    return f"divided by {data.divisor:g}" if data.divisor not in (None, 1) else "as they are"
