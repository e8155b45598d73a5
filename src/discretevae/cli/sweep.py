"""``discretevae sweep``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.ending import in_options
from discretevae.cli.inputs import check_device
from discretevae.cli.model_options import check_model, load_dataset, run_config, train_config
from discretevae.cli.train_options import ALL, train_options
from discretevae.config import LatentSpec, ModelConfig, RunConfig, TrainConfig, preset
from discretevae.config.checks import Problems

if TYPE_CHECKING:
    from discretevae.data import Dataset
    from discretevae.evaluation.code_sizes import SizeResult
    from discretevae.experiments.sweep import Sweep

NOT_OF_TRAIN = {
    "preset", "data", "latent", "out", "resume", "save_every", "tensorboard", "validation",
    "patience", "kl_warmup", "free_bits", "extend", "new_data",
}  # fmt: skip
"""Options of ``train`` that a sweep does not have, or has in another place; the rest is shared."""

ONE_RUN = (
    "One run per size: differences as small as those between seeds mean nothing. --seeds 3 shows "
    "them."
)


@arguments.command("sweep", "--data mnist --sizes 2,5,10,20,50,100 --epochs 15")
@train_options(("preset", "data"))
@arguments.option(
    "--latent",
    "The code: bernoulli, categorical, or a pattern with c for the size, such as categorical:cx10 "
    "(c variables of 10 categories).  [default: the preset's kind]",
)
@arguments.option(
    "--sizes",
    "The sizes c, separated by commas: bits, categories, or what c stands for.",
    "2,5,10,20,50,100",
    type=arguments.Numbers(),
)
@arguments.option("--seeds", "Runs of each size, with the seeds from --seed on.", 1, to="n_seeds")
@train_options(name for name in ALL if name not in NOT_OF_TRAIN)
@arguments.path("--out", "Folder of runs, figures and pictures.  [default: runs/sweep-DATA-LATENT]")
def command(out: Path | None, **options: Any) -> None:
    """Train one model per size of the code, and say where more bits stop paying.

    A size is enough if its test ELBO is within one standard error of the best size's; the smallest
    such size is recommended. The differences are taken row by row on the same test rows. A bit that
    is used to the full costs ln 2 = 0.69 nats of KL, and pays if it gains more than that in
    E_q ln p(x|z): the column "per bit" is that gain less that cost.

    Every size has a run folder in OUT. Those that are finished are left as they are, others are
    resumed: after Ctrl-C, give the same command again. More --sizes or --seeds can be added.
    """
    from discretevae.experiments.sweep import PICTURES, sweep
    from discretevae.experiments.sweep_plan import RESULT
    from discretevae.run_folder.folder import FIGURES

    check_device(options["device"])
    pattern, config, data = _configured(options)
    stem = f"sweep-{Path(config.data.source).stem}-{pattern.removesuffix(':c')}"
    folder = out or Path("runs") / re.sub(r"[:+]", "-", stem)
    with outputs.task_bar() as progress:
        found = sweep(
            data,
            config,
            options["sizes"],
            out=folder,
            latent=pattern,
            n_seeds=options["n_seeds"],
            device=options["device"],
            progress=progress,
            finished=(lambda result, is_new: None) if options["as_json"] else _print_size,
        )
    if options["as_json"]:
        outputs.print_json({"out": str(folder)} | found.to_dict())
        return
    _print_summary(found, data)
    for name in (RESULT, *(f"{FIGURES}/{name}" for name in PICTURES)):
        if (folder / name).exists():
            outputs.print_paths(written=folder / name)


def _configured(options: dict[str, Any]) -> tuple[str, RunConfig, Dataset]:
    """Return pattern, configuration and data."""
    from discretevae.experiments.sweep_plan import latent_at, pattern_of, plan

    problems, sizes = Problems(), options["sizes"]
    pattern, training = "bernoulli:c", TrainConfig()
    with problems:
        kind = preset(options["preset"]).latent.kind
        pattern = pattern_of(options["latent"] or kind)
    with problems:
        check_model(options | {"latent": latent_at(pattern, min(sizes))})
    with problems:
        training = train_config(options)
    with problems:
        # the smallest model stands in until the data are read
        stand_in = RunConfig(model=ModelConfig(n_features=1), training=training)
        plan(stand_in, sizes, latent=pattern, n_seeds=options["n_seeds"])
    problems.require_none()
    data = load_dataset(options)
    config = run_config(options | {"latent": latent_at(pattern, min(sizes))}, data, training)
    return pattern, config, data


def _print_size(result: SizeResult, is_new: bool) -> None:
    seconds = f"{result.mean('seconds'):,.1f} s"
    click.echo(
        f"{result.latent:<16} {seconds:>10}  test ELBO {result.elbo:.2f}  "
        f"KL {result.kl.value:.2f} of {result.ceiling:.2f}{'' if is_new else '  (was there)'}"
    )


def table_lines(found: Sweep) -> list[tuple[str, ...]]:
    """Return a head and one line per size."""
    per_bit = {step.larger: f"{step.elbo:.2f}" for step in found.steps}
    lines = []
    for r in found.results:
        spread = r.spread("elbo")
        is_enough = found.choice is not None and r.size == found.choice.size
        lines.append(
            {
                "size": f"{r.size}{'*' if is_enough else ''}",
                "ELBO": f"{r.elbo:.2f}",
                "seeds ±": "–" if spread is None else f"{spread:.2f}",
                f"{found.samples}-sample": f"{r.bound.value:.2f}",
                "ln p(x)": "–" if r.log_px is None else f"{r.log_px.value:.2f}",
                "KL": f"{r.kl.value:.2f}",
                "ceiling": f"{r.ceiling:.2f}",
                "used": f"{100 * r.used:.0f} %",
                "E ln p(x|z)": f"{r.log_likelihood.value:.2f}",
                "entropy": f"{r.mean('code_entropy'):.2f}",
                "codes": f"{r.mean('codes_used'):,.0f}",
                "active": f"{r.mean('active_units'):,.0f}",
                "per bit": per_bit.get(r.size, "–"),
                "behind": _behind(r, found),
                "seconds": f"{r.mean('seconds'):,.1f}",
                "estimator": r.estimator,
            }
        )
    without = set()
    if len(found.seeds) == 1:
        without.add("seeds ±")
    if all(result.log_px is None for result in found.results):
        without.add("ln p(x)")
    if len({result.estimator for result in found.results}) == 1:
        without.add("estimator")
    names = [name for name in lines[0] if name not in without]
    return [tuple(names), *(tuple(line[name] for name in names) for line in lines)]


def _behind(result: SizeResult, found: Sweep) -> str:
    if result.behind is None or found.choice is None:
        return "–"
    return "best" if result.size == found.choice.best else f"{result.behind:.2f}"


def _print_summary(found: Sweep, data: Dataset) -> None:
    title = f"{found.latent} on {found.rows:,} test rows of {data.name}, nats per row; * is enough"
    click.echo()
    outputs.print_table(table_lines(found), title=title)
    click.echo()
    if found.choice is not None:
        click.echo(found.choice.reason)
        if found.choice.doubt is not None:
            click.echo(in_options(found.choice.doubt))
    for result in found.results:
        advice = _collapse(result)
        if advice is not None:
            click.echo(f"{result.latent}: {in_options(advice)}")
    if len(found.seeds) == 1:
        click.echo(ONE_RUN)


def _collapse(result: SizeResult) -> str | None:
    """Return what a single run would warn of, judged by the first run of the size."""
    from discretevae.evaluation.usage import CodeUsage
    from discretevae.run_folder.history import collapse_advice

    one = result.runs[0]
    usage = CodeUsage(one.codes_used, one.active_units, one.code_entropy)
    return collapse_advice(LatentSpec.of(result.latent), usage)
