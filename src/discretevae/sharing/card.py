"""The model card: what a model is, how it was made, and what was measured, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from discretevae.codes.fingerprints import fingerprint
from discretevae.config import to_dict
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
    ("bits_per_dimension", "bits per dimension"),
)
"""Of the test rows, as ``summary.json`` names them; nats per row where nothing else is said."""

DATASETS = {"mnist": "ylecun/mnist", "fashion-mnist": "zalando-datasets/fashion_mnist"}
"""Names on the Hub of the built-in sets that it has."""

SHOWN_NAMES = 20
"""Of columns or classes."""

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

    ``run`` and ``summary`` are None if nothing is known of them; without ``license_id`` the field
    is left out, which the card says.
    """
    facts = {"parameters": f"{sum(p.numel() for p in model.parameters()):,}"}
    sections = [
        _front_matter(run, license_id),
        f"# A variational autoencoder with the code `{model.config.latent}`",
        "This model turns rows into codes and codes back into rows. It was made with discretevae "
        f"{__version__}, and is read by it.",
        "## Use",
        _usage(model, run),
        "## Model",
        _listed(to_dict(model.config) | facts | {"fingerprint": fingerprint(model)}),
        *_of_schema(run),
        "## Training",
        "How it was trained is not recorded." if run is None else _listed(_of_training(run)),
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


def _of_schema(run: Run | None) -> list[str]:
    """Return what is known of the data, which whoever publishes the card should look at."""
    if run is None or run.schema is None:
        return []
    schema, facts = run.schema, {"values": f"{run.schema.low:g} to {run.schema.high:g}"}
    for name, names in (("columns", schema.columns), ("classes", schema.classes)):
        if names is not None:
            more = f", and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
            facts[name] = ", ".join(names[:SHOWN_NAMES]) + more
    text = "`schema.json` holds this of the data, and new data are held against it."
    return ["## Data", text, _listed(facts)]


def _of_training(run: Run) -> dict[str, Any]:
    training, data = to_dict(run.config.training), to_dict(run.config.data)
    estimator = estimator_name(run.model.family, run.config.training)
    return {"data": data.pop("source")} | data | training | {"estimator": estimator}


def _of_test(test: Mapping[str, Any]) -> str:
    lines = ["| figure | value | standard error |", "|---|---:|---:|"]
    for key, title in FIGURES:
        if test[key] is not None:
            value, se = test[key]["value"], test[key]["se"]
            name = title.replace("S-", f"{int(test['bound']['samples'])}-")
            lines.append(f"| {name} | {value:.3f} | {'' if se is None else format(se, '.3f')} |")
    for key, title in (("active_units", "active units"), ("codes_used", "different codes used")):
        if test[key] is not None:
            lines.append(f"| {title} | {int(test[key]):,} | |")
    rows = f"On {int(test['rows']):,} test rows, in nats per row where nothing else is said."
    parts = [rows, "\n".join(lines)]
    if test["is_surrogate"]:
        parts.append(SURROGATE)
    return "\n\n".join(parts)


def _listed(facts: Mapping[str, Any]) -> str:
    """Return a line for each fact that says something, each value in one line of code."""
    return "\n".join(
        f"- {name.replace('_', ' ')}: `{' '.join(str(value).replace('`', ' ').split())}`"
        for name, value in facts.items()
        if value is not None and value is not False
    )
