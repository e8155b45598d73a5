"""``discretevae encode``."""

from __future__ import annotations

from pathlib import Path

import click

from discretevae.cli import common


@click.command(
    "encode", epilog="Example: discretevae encode runs/mnist-bernoulli50 mnist --out codes.npy"
)
@common.run_argument
@common.data_argument
@common.data_option
@common.split_option("all")
@common.device_option
@common.data_dir_option
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The .npy file to write."
)
@common.json_option
def command(
    run_folder: Path,
    data_argument: str | None,
    data_option: str | None,
    split: str,
    device: str,
    data_dir: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Write the most likely code of every row of DATA, in the order of the file.

    Bits are packed eight to a byte, the first bit highest: uint8 [rows, ceil(bits/8)], as
    numpy.packbits does. Categories are numbers from 0: uint8 [rows, variables], or uint16 or
    int64 where there are more. A Gaussian code is float32. Rows and codes may be larger than
    memory. Started by torchrun, several processes share the work.
    """
    from discretevae.codes.packing import encode_rows
    from discretevae.evaluation import require_fit
    from discretevae.ranks import joined

    common.require_suffix(out, ".npy")
    with joined(common.check_device(device)) as ranks:
        run = common.open_run(run_folder, str(ranks.device))
        source = data_argument or data_option or run.config.data.source
        # codes in a folder of shards would be read as one of them
        for path in (out, out.parent):
            common.refuse_same_file(path, source, "data")
        rows = common.open_rows(
            run.config, data_argument, data_option, split=split, data_dir=data_dir
        )
        require_fit(run.model, rows)  # before a folder is made
        if ranks.is_first:
            common.make_parent(out)
        with common.counting_bar("encoding", len(rows)) as progress:
            codes = encode_rows(
                run.model,
                rows,
                binarize_mode=run.config.training.binarize,
                progress=progress if ranks.is_first else None,
                out=out,
                ranks=ranks,
            )
    if ranks.is_first:
        common.report_files(
            as_json, out=out, rows=len(codes), dtype=str(codes.dtype), shape=list(codes.shape)
        )


__all__ = ["command"]
