"""``discretevae reconstruct``."""

from __future__ import annotations

from pathlib import Path

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs


@arguments.command("reconstruct", "runs/digits --n 48")
@arguments.option("--n", "Number of rows, the first.", 36, type=arguments.COUNT)
@arguments.path(
    "--out",
    "A .png picture of rows above reconstructions, or .npy or .csv of the latter in the units of "
    "the data.  "
    "[default: RUN/figures/reconstructions.png, of tables RUN/reconstructions.csv]",
)
@arguments.refine
@arguments.inputs("test")
@arguments.as_json
def command(source: Inputs, n: int, out: Path | None, refine: int, as_json: bool) -> None:
    """Encode rows of DATA (else of the run's own data) to their most likely code and decode it.

    A reconstruction is E[x|z], the mean under the decoder. Rows of a run that was trained with
    --binarize are made binary first, 1 where x > 0.5.
    """
    from discretevae.codes.refining import refine_codes

    source.check_output(out, "--out", ".png", ".npy", ".csv")
    is_picture = source.image_shape is not None
    file = "figures/reconstructions.png" if is_picture else "reconstructions.csv"
    out = out or source.folder / file
    rows = source.rows()
    n = min(n, len(rows))
    model = source.run.model
    if outputs.is_picture(out, source.run.config.model):
        from discretevae.plots.pictures import reconstructions

        outputs.draw(reconstructions(model, rows, n=n, refine=refine), out)
    else:
        x = rows.deterministic().batch(slice(0, n)).to(model.device)
        codes = refine_codes(model, x, model.encode(x), sweeps=refine)
        outputs.write_rows(out, model.decode(codes).cpu(), source.run, "")
    outputs.report_rows(as_json, out=out, rows=n)
