"""``discretevae sample``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import common


@click.command("sample", epilog=common.example("discretevae sample runs/digits --n 96"))
@common.run_argument
@click.option("--n", type=int, default=60, show_default=True, help="How many rows.")
@click.option(
    "--temperature",
    type=float,
    default=1.0,
    show_default=True,
    help="Below 1 the prior's likelier codes are drawn more often, above 1 less often.",
)
@common.seed_option
@common.device_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A .png picture, or .npy for the values (float32).  [default: RUN/figures/samples.png]",
)
@common.json_option
def command(
    run_folder: Path,
    n: int,
    temperature: float,
    seed: int,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Draw codes from the prior of RUN and decode them, to a picture or to values.

    What is written is E[x|z] of each code, and not a draw from p(x|z).
    """
    from discretevae.system.randomness import generator_for

    common.require_positive("n", n)
    common.require_seed(seed)
    run = common.open_run(run_folder, device)
    out = out or run_folder / "figures" / "samples.png"
    generator = generator_for(seed, "figures", device=device)
    pictures = run.model.sample(n, generator=generator, temperature=temperature).cpu()
    common.write_pictures(out, pictures, run.config.model.image_shape, f"{n} samples of the prior")
    common.report_files(as_json, out=out, rows=n)
