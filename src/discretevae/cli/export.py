"""``discretevae export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import common
from discretevae.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from discretevae.run_folder.checkpoint import Run


@click.command(
    "export", epilog=common.example("discretevae export runs/digits --onnx --out onnx/digits")
)
@common.run_argument
@click.option(
    "--onnx",
    "as_onnx",
    is_flag=True,
    help="Write encoder.onnx and decoder.onnx; needs the extra 'export'.",
)
@click.option(
    "--pretrained",
    "as_pretrained",
    is_flag=True,
    help="Write config.json, model.safetensors and a model card, the layout of the Hugging Face "
    "Hub.",
)
@click.option(
    "--tolerance",
    type=float,
    help="Of --onnx: the largest difference from torch to let through, "
    "abs(a - b) / max(1, abs(b)).  [default: 1e-05]",
)
@click.option(
    "--license",
    "license_id",
    metavar="ID",
    help="Of --pretrained: the license that the model card names, such as apache-2.0.  "
    "[default: none]",
)
@click.option("--overwrite", is_flag=True, help="Of --pretrained: replace such files in OUT.")
@common.data_dir_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@common.json_option
def command(
    run_folder: Path,
    as_onnx: bool,
    as_pretrained: bool,
    tolerance: float | None,
    license_id: str | None,
    overwrite: bool,
    data_dir: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Write the model of RUN for other programs: as ONNX, or as a folder to share.

    One of --onnx and --pretrained says which. With --onnx, onnxruntime runs both files on rows of
    the run's test data and on random codes, and nothing is written unless they agree with torch.
    Rows of a run that was trained with --binarize are made binary by the encoder itself, 1 where x
    > 0.5.
    """
    if as_onnx == as_pretrained:
        raise click.UsageError("say what to write: --onnx or --pretrained, one of them.")
    if as_onnx and (license_id is not None or overwrite):
        raise ConfigError("--license and --overwrite are for --pretrained. Leave them out.")
    if as_pretrained and tolerance is not None:
        raise ConfigError("--tolerance is for --onnx. Leave it out.")
    if as_pretrained:
        from discretevae.sharing.hub import save_pretrained

        run = common.open_run(run_folder, "cpu")
        folder = save_pretrained(run, out, license=license_id, overwrite=overwrite)
        if as_json:
            common.print_json(
                {"out": str(folder), "files": sorted(p.name for p in folder.iterdir())}
            )
        else:
            click.echo(f"model and card written to {folder}")
        return

    from discretevae.sharing.onnx import TOLERANCE, export_onnx

    run = common.open_run(run_folder, "cpu")
    rows, source = _rows(run, data_dir)
    done = export_onnx(
        run.model,
        out,
        rows=rows,
        threshold=run.config.data.binarize != "none",
        tolerance=TOLERANCE if tolerance is None else tolerance,
        properties={"divisor": f"{run.config.data.divisor:g}"},
    )
    if as_json:
        common.print_json(
            {
                "encoder": str(done.encoder),
                "decoder": str(done.decoder),
                "difference": done.difference,
                "checked_on": source,
                "rows": done.rows,
                "opset": done.opset,
            }
        )
        return
    click.echo(f"encoder  {done.encoder}")
    click.echo(f"decoder  {done.decoder}")
    click.echo(
        f"largest difference from torch: {done.difference:.1e}, on {done.rows} {source} rows and "
        "as many random codes"
    )


def _rows(run: Run, data_dir: Path | None) -> tuple[Tensor | None, str]:
    """The run's first test rows; none, where its data are not here."""
    from discretevae.data import BUILTIN_NAMES
    from discretevae.errors import DataError, DownloadError
    from discretevae.model.row_checks import require_fit
    from discretevae.sharing.onnx import CHECK_ROWS

    source = run.config.data.source
    if source not in BUILTIN_NAMES and not Path(source).exists():
        return None, "random"
    try:
        rows = common.open_rows(run.config, None, None, split="test", data_dir=data_dir)
        require_fit(run.model, rows)
        return rows.binarized("none").batch(slice(0, CHECK_ROWS)), "test"
    except (DataError, DownloadError):
        return None, "random"
