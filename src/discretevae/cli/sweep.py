"""``discretevae sweep``."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import common
from discretevae.cli.ending import in_options
from discretevae.cli.model_options import Asked
from discretevae.cli.train import command as train_command
from discretevae.config import LatentSpec, ModelConfig, RunConfig, TrainConfig, preset
from discretevae.errors import ConfigError

if TYPE_CHECKING:
    from discretevae.data import Dataset
    from discretevae.evaluation.code_sizes import SizeResult
    from discretevae.evaluation.measured import Measured
    from discretevae.experiments.sweep import Sweep

NOT_OF_TRAIN = {
    "latent", "out", "resume", "save_every", "tensorboard", "validation", "patience", "kl_warmup",
    "free_bits",
}  # fmt: skip
"""Options of ``train`` that a sweep has not, or has in its own way; all others are the same."""

DEFAULT_SIZES = "2,5,10,20,50,100"
MAX_DIGITS = 9

ONE_RUN = (
    "One run per size: differences as small as those between seeds mean nothing. --seeds 3 shows "
    "them."
)


@click.command(
    "sweep",
    epilog=common.example("discretevae sweep --data mnist --sizes 2,5,10,20,50,100 --epochs 15"),
)
@click.option(
    "--latent",
    help="The code: bernoulli, categorical, or a pattern with c for the size, such as "
    "categorical:cx10 (c variables of 10 categories).  [default: the preset's kind]",
)
@click.option(
    "--sizes",
    default=DEFAULT_SIZES,
    show_default=True,
    help="The sizes c, separated by commas: bits, categories, or what c stands for.",
)
@click.option(
    "--seeds",
    "n_seeds",
    type=int,
    default=1,
    show_default=True,
    help="Runs of each size, with the seeds from --seed on.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of runs, figures and pictures.  [default: runs/sweep-DATA-LATENT]",
)
def command(out: Path | None, **options: Any) -> None:
    """Train one model per size of the code, and say where more bits stop paying.

    A size is enough if its test ELBO is within one standard error of the best size's; the smallest
    such size is recommended. The differences are taken row by row on the same test rows. A bit that
    is used to the full costs ln 2 = 0.69 nats of KL, and pays if it gains more than that in
    E_q ln p(x|z): the column "per bit" is that gain less that cost.

    Every size has a run folder in OUT. Those that are finished are left as they are, others are
    gone on with: after Ctrl-C, give the same command again. More --sizes or --seeds may be added.
    """
    from discretevae.experiments.sweep import PICTURES, sweep
    from discretevae.experiments.sweep_plan import RESULT
    from discretevae.run_folder.folder import FIGURES

    common.check_device(options["device"])
    pattern, sizes, config, data = _configured(options)
    stem = f"sweep-{Path(config.data.source).stem}-{pattern.removesuffix(':c')}"
    folder = out or Path("runs") / re.sub(r"[:+]", "-", stem)
    with common.task_bar() as progress:
        found = sweep(
            data,
            config,
            sizes,
            out=folder,
            latent=pattern,
            n_seeds=options["n_seeds"],
            device=options["device"],
            progress=progress,
            finished=(lambda result, is_new: None) if options["as_json"] else _say,
        )
    if options["as_json"]:
        common.print_json({"out": str(folder)} | found.to_dict())
        return
    _print_table(found, data)
    for name in (RESULT, *(f"{FIGURES}/{name}" for name in PICTURES)):
        if (folder / name).exists():
            click.echo(f"written  {folder / name}")


def parse_sizes(text: str) -> list[int]:
    """Reads ``2,5,10``; spaces do no harm.

    Raises:
        ConfigError: some are no positive whole numbers; all are named.

    Example:
        >>> parse_sizes("2, 5,10")
        [2, 5, 10]
    """
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if not re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", part)]
    if wrong:
        raise ConfigError(
            [f"size {part[:40]!r} is no int from 1 to {10**MAX_DIGITS - 1:,}." for part in wrong]
        )
    return [int(part) for part in parts]


def _configured(options: dict[str, Any]) -> tuple[str, list[int], RunConfig, Dataset]:
    """Pattern, sizes, configuration and data. All that is wrong is said at once."""
    from discretevae.experiments.sweep_plan import latent_at, pattern_of, plan

    training, sizes, pattern = TrainConfig(), [2, 3], "bernoulli:c"
    kind = preset(options["preset_name"]).latent.kind
    problems: list[str] = []
    try:
        sizes = parse_sizes(options["sizes"])
    except ConfigError as error:
        problems += error.problems
    try:
        pattern = pattern_of(options["latent"] or kind)
    except ConfigError as error:
        problems += error.problems
    asked = Asked(options | {"latent": latent_at(pattern, min(sizes))}, problems)
    with asked.collected():
        names = {field.name for field in dataclasses.fields(TrainConfig)} & options.keys()
        training = TrainConfig(**{name: options[name] for name in names})
    with asked.collected():
        # the smallest model stands in until the data are read
        stand_in = RunConfig(model=ModelConfig(n_features=1), training=training)
        plan(stand_in, sizes, latent=pattern, n_seeds=options["n_seeds"])
    asked.problems = list(dict.fromkeys(asked.problems))
    asked.require()
    data = asked.load()
    return pattern, sizes, asked.run_config(data, training), data


def _say(result: SizeResult, is_new: bool) -> None:
    seconds = f"{result.mean('seconds'):,.1f} s"
    click.echo(
        f"{result.latent:<16} {seconds:>10}  test ELBO {_cell(result.elbo)}  "
        f"KL {result.kl.value:.2f} of {result.ceiling:.2f}{'' if is_new else '  (was there)'}"
    )


def _cell(measured: Measured) -> str:
    error = "" if measured.se is None else f" ± {measured.se:.2f}"
    return f"{measured.value:.2f}{error}"


def table_rows(found: Sweep) -> list[tuple[str, ...]]:
    """Head and one line per size, as they are printed."""
    exact = any(result.log_px is not None for result in found.results)
    several = len(found.seeds) > 1
    mixed = len({result.estimator for result in found.results}) > 1
    head = [
        "size",
        "ELBO",
        "seeds ±",
        f"{found.samples}-sample",
        "ln p(x)",
        "KL",
        "ceiling",
        "used",
    ]
    head += ["E ln p(x|z)", "entropy", "codes", "active", "per bit", "behind", "seconds"]
    head += ["estimator"]
    per_bit = {step.larger: _cell(step.elbo) for step in found.steps}
    rows = [tuple(head)]
    for r in found.results:
        spread = r.spread("elbo")
        rows.append(
            (
                f"{r.size}" + "*" * (found.choice is not None and r.size == found.choice.size),
                _cell(r.elbo),
                "–" if spread is None else f"{spread:.2f}",
                f"{r.bound.value:.2f}",
                "–" if r.log_px is None else f"{r.log_px.value:.2f}",
                f"{r.kl.value:.2f}",
                f"{r.ceiling:.2f}",
                f"{100 * r.used:.0f} %",
                f"{r.log_likelihood.value:.2f}",
                f"{r.mean('code_entropy'):.2f}",
                f"{r.mean('codes_used'):,.0f}",
                f"{r.mean('active_units'):,.0f}",
                per_bit.get(r.size, "–"),
                _behind(r, found),
                f"{r.mean('seconds'):,.1f}",
                r.estimator,
            )
        )
    left_out = {"seeds ±": not several, "ln p(x)": not exact, "estimator": not mixed}
    kept = [number for number, name in enumerate(head) if not left_out.get(name)]
    return [tuple(row[number] for number in kept) for row in rows]


def _behind(result: SizeResult, found: Sweep) -> str:
    if result.behind is None or found.choice is None:
        return "–"
    return "best" if result.size == found.choice.best else _cell(result.behind)


def _print_table(found: Sweep, data: Dataset) -> None:
    """Nothing is cut off, whatever the width of the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = table_rows(found)
    title = f"{found.latent} on {found.rows:,} test rows of {data.name}, nats per row; * is enough"
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "estimator" else "right", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print()
    console.print(table)
    console.print()
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
    """What a single run would warn of, judged by the first run of the size."""
    from discretevae.evaluation.usage import CodeUsage
    from discretevae.run_folder.history import collapse_advice

    one = result.runs[0]
    usage = CodeUsage(one.codes_used, one.active_units, one.code_entropy)
    return collapse_advice(LatentSpec.of(result.latent), usage)


_own, _shared = command.params, [p for p in train_command.params if p.name not in NOT_OF_TRAIN]
command.params = [*_shared[:2], *_own[:-1], *_shared[2:], _own[-1]]  # --out last, as in train

__all__ = ["command", "parse_sizes", "table_rows"]
