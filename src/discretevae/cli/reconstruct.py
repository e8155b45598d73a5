"""``discretevae reconstruct``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import common


@click.command("reconstruct", epilog=common.example("discretevae reconstruct runs/digits --n 48"))
@common.run_argument
@common.data_argument
@common.data_option
@common.split_option("test")
@click.option("--n", type=int, default=36, show_default=True, help="How many rows, from the first.")
@common.device_option
@common.data_dir_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A .png picture of rows above reconstructions, or .npy of the latter (float32).  "
    "[default: RUN/figures/reconstructions.png]",
)
@common.json_option
def command(
    run_folder: Path,
    data_argument: str | None,
    data_option: str | None,
    split: str,
    n: int,
    device: str,
    data_dir: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Encode rows of DATA (else of the run's own data) to their most likely code and decode it.

    A reconstruction is E[x|z], the mean under the decoder. Rows of a run that was trained with
    --binarize are made binary first, 1 where x > 0.5.
    """
    from discretevae.model.row_checks import require_fit

    common.require_positive("n", n)
    run = common.open_run(run_folder, device)
    if out is not None:
        source = data_argument or data_option or run.config.data.source
        common.refuse_same_file(out, source, "data")
    rows = common.open_rows(run.config, data_argument, data_option, split=split, data_dir=data_dir)
    require_fit(run.model, rows)
    n = min(n, len(rows))
    out = out or run_folder / "figures" / "reconstructions.png"
    shape = run.config.model.image_shape
    if common.is_picture(out, shape):
        from discretevae.plots.pictures import reconstructions, save_figure

        common.make_parent(out)
        save_figure(reconstructions(run.model, rows, n=n), out)
    else:
        x = rows.deterministic().batch(slice(0, n)).to(run.model.device)
        common.write_pictures(out, run.model.reconstruct(x).cpu(), shape, "")
    common.report_files(as_json, out=out, rows=n)
