"""``discretevae sample``."""

from __future__ import annotations

from pathlib import Path

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import open_run


@arguments.command("sample", "runs/digits --n 96")
@arguments.run
@arguments.option("--n", "Number of rows.", 60, type=arguments.COUNT)
@arguments.option(
    "--temperature",
    "Below 1 the prior's likelier codes are drawn more often, above 1 less often.",
    1.0,
)
@arguments.path(
    "--out",
    "A .png picture, or .npy or .csv for the values in the units of the data.  "
    "[default: RUN/figures/samples.png]",
)
@arguments.seed
@arguments.device
@arguments.as_json
def command(
    run_folder: Path,
    n: int,
    temperature: float,
    out: Path | None,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Draw codes from the prior of RUN and decode them, to a picture or to values.

    What is written is E[x|z] of each code, and not a draw from p(x|z).
    """
    from discretevae.system.randomness import generator_for

    run = open_run(run_folder, device)
    out = out or run_folder / "figures" / "samples.png"
    shape = run.config.model.image_shape
    outputs.is_picture(out, shape)  # refuses other files before anything is drawn
    generator = generator_for(seed, "figures", device=device)
    rows = run.model.sample(n, generator=generator, temperature=temperature).cpu()
    outputs.write_rows(out, rows, run, f"{n} samples of the prior")
    outputs.report_rows(as_json, out=out, rows=n)
