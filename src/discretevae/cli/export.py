"""``discretevae export``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs

if TYPE_CHECKING:
    from torch import Tensor

    from discretevae.run_folder.saved_run import Run


@arguments.command("export", "runs/digits --onnx --out onnx/digits")
@arguments.run
@arguments.flag(
    "--onnx", "Write encoder.onnx and decoder.onnx; needs the extra 'export'.", to="as_onnx"
)
@arguments.flag(
    "--pretrained",
    "Write config.json, model.safetensors and a model card, the layout of the Hugging Face Hub.",
    to="as_pretrained",
)
@arguments.option(
    "--tolerance",
    "With --onnx: the largest difference from torch to accept, "
    "abs(a - b) / max(1, abs(b)).  [default: 1e-05]",
    type=float,
)
@arguments.option(
    "--license",
    "With --pretrained: the license that the model card names, such as apache-2.0.  "
    "[default: none]",
    to="license_id",
    metavar="ID",
)
@arguments.flag("--overwrite", "With --pretrained: replace such files in OUT.")
@arguments.data_dir
@arguments.path("--out", "Folder to write to.", required=True)
@arguments.as_json
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

    One of --onnx and --pretrained is required. With --onnx, onnxruntime runs both files on rows of
    the run's test data and on random codes, and nothing is written unless they agree with torch.
    Rows of a run that was trained with --binarize are made binary by the encoder itself, 1 where x
    > 0.5.
    """
    if as_onnx == as_pretrained:
        raise click.UsageError("say what to write: --onnx or --pretrained, one of them.")
    if as_onnx and (license_id is not None or overwrite):
        raise click.UsageError("--license and --overwrite are for --pretrained. Leave them out.")
    if as_pretrained and tolerance is not None:
        raise click.UsageError("--tolerance is for --onnx. Leave it out.")
    source = Inputs(run_folder, None, "test", "cpu", data_dir)
    run = source.run
    if as_pretrained:
        from discretevae.sharing.hub import save_pretrained

        folder = save_pretrained(run, out, license=license_id, overwrite=overwrite)
        if as_json:
            files = sorted(path.name for path in folder.iterdir())
            outputs.print_json({"out": str(folder), "files": files})
        else:
            click.echo(f"model and card written to {folder}")
        return

    from discretevae.sharing.onnx import TOLERANCE, export_onnx

    rows, origin = _rows(source)
    done = export_onnx(
        run.model,
        out,
        rows=rows,
        threshold=run.config.data.binarize != "none",
        tolerance=TOLERANCE if tolerance is None else tolerance,
        properties=_reading(run),
    )
    if as_json:
        facts = {"encoder": str(done.encoder), "decoder": str(done.decoder), "rows": done.rows}
        facts |= {"difference": done.difference, "checked_on": origin, "opset": done.opset}
        outputs.print_json(facts)
        return
    outputs.print_paths(encoder=done.encoder, decoder=done.decoder)
    click.echo(
        f"largest difference from torch: {done.difference:.1e}, on {done.rows} {origin} rows and "
        "as many random codes"
    )


def _reading(run: Run) -> dict[str, str]:
    """Return how values are read: x = value / divisor, (value - center) / width, or by columns."""
    schema = run.schema
    if schema is None or schema.scale is None:
        return {"divisor": f"{run.config.data.divisor or 1:g}"}
    scale = schema.scale.to_dict()
    names = ("columns",) if schema.is_mixed else ("center", "width")
    return {name: json.dumps(scale[name]) for name in names}


def _rows(source: Inputs) -> tuple[Tensor | None, str]:
    """Return the run's first test rows; None where its data are gone."""
    from discretevae.errors import DataError, DownloadError
    from discretevae.sharing.onnx import CHECK_ROWS

    try:
        return source.rows().binarized("none").batch(slice(0, CHECK_ROWS)), "test"
    except (DataError, DownloadError):
        return None, "random"
