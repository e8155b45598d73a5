"""``discretevae sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import open_run
from discretevae.errors import ConfigError


@arguments.command("sample", "runs/digits --n 96")
@arguments.run
@arguments.option(
    "--n",
    "Number of rows, or of those of each class.  [default: 60; 12 of each class]",
    type=arguments.COUNT,
)
@arguments.option(
    "--temperature",
    "Below 1 the prior's likelier codes are drawn more often, above 1 less often.",
    1.0,
)
@arguments.option(
    "--top-k",
    "Draw each variable of the code from its K likeliest values.  [default: all]",
    type=arguments.COUNT,
)
@arguments.option("--label", "Name of the class to draw, of a run given labels.  [default: each]")
@arguments.option(
    "--draw/--mean",
    "Write draws from p(x|z), or E[x|z].  [default: draws for tables of several kinds of columns]",
    None,
)
@arguments.path(
    "--out",
    "A .png picture, or .npy or .csv for the values in the units of the data.  "
    "[default: RUN/figures/samples.png, of tables RUN/samples.csv]",
)
@arguments.seed
@arguments.device
@arguments.as_json
def command(
    run_folder: Path,
    n: int | None,
    temperature: float,
    top_k: int | None,
    label: str | None,
    draw: bool | None,
    out: Path | None,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Draw codes from the prior of RUN and decode them, to a picture or to values.

    If RUN was given labels, and --label is left out, the picture has a line of each class.

    What is written is E[x|z] of each code, or with --draw a draw from p(x|z): a made row that looks
    like a real one, with the names, levels and decimals of the data.
    """
    import torch

    from discretevae.data.classes import class_name
    from discretevae.system.randomness import generator_for

    run = open_run(run_folder, device)
    shape = run.config.model.image_shape
    out = out or run_folder / ("figures/samples.png" if shape else "samples.csv")
    if draw is None:
        draw = run.config.model.likelihood.kind == "mixed"
    outputs.is_picture(out, run.config.model)  # refuses other files before anything is drawn
    known = None if run.schema is None else run.schema.classes
    counts = getattr(run.model.prior, "counts", ())
    if run.config.training.objective == "semi-supervised" and not len(counts):
        counts = [1] * run.config.model.latent.all_parts[0].n_categories
    classes = {class_name(y, known): y for y, count in enumerate(counts) if count}
    options: dict[str, Any] = {} if top_k is None else {"top_k": top_k}
    if label is not None:
        if classes and label not in classes:
            names = ", ".join(classes)
            raise ConfigError(f"`label` {label!r} is unknown. The classes are {names}.")
        if not classes:
            prior = run.config.model.prior
            how = "given labels by `condition='label'`"
            raise ConfigError(f"`label` needs another prior, {how}. Got {prior}.")
        options["label"] = classes[label]
        classes = {}
    elif classes:
        each = torch.tensor([*classes.values()]).repeat_interleave(n or 12)
        options["label"], n = each, len(each)
    generator, n = generator_for(seed, "figures", device=device), n or 60
    rows = run.model.sample(
        n, noise=draw, generator=generator, temperature=temperature, **options
    ).cpu()
    outputs.write_rows(out, rows, run, f"{n} samples of the prior", [*classes])
    outputs.report_rows(as_json, out=out, rows=n)
