"""``discretevae explore``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs

if TYPE_CHECKING:
    from discretevae.explorer.answers import Explorer


@arguments.command("explore", "runs/mnist-bernoulli50")
@arguments.option(
    "--max-rows",
    "Largest number of rows; of more, so many are kept, evenly spread. They and their codes stay "
    "in memory.",
    10_000,
    type=arguments.COUNT,
)
@arguments.option(
    "--port", "Port to listen on.  [default: a free one]", type=click.IntRange(0, 65_535)
)
@arguments.flag("--no-browser", "Print the address only.")
@arguments.inputs("test")
def command(source: Inputs, max_rows: int, port: int | None, no_browser: bool) -> None:
    """Flip, walk and compare the codes of RUN in the browser.

    The page shows rows of DATA (else of the run's own data) with their codes, what each latent
    variable does to the picture, the nearest rows, clusters, samples of the prior, and how the
    training went. It is served to this machine only and loads nothing from elsewhere. Nothing is
    written. Ctrl-C stops it.
    """
    from discretevae.explorer import serving

    serving.require_web()
    with serving.listen(port or 0) as listener:
        from discretevae.explorer.app import make_app

        explorer = _open(source, max_rows)
        url = serving.address(listener)
        # echo flushes: a script that started this waits for the line
        click.echo(f"exploring {source.folder} at {url}  (Ctrl-C stops)")
        kept, available = len(explorer.gallery), explorer.gallery.n_available
        if kept < available:
            click.echo(f"rows     {kept:,} of {available:,}, evenly spread")
        if not no_browser:
            serving.open_browser(url)
        serving.import_ahead()
        serving.serve(make_app(explorer), listener)


def _open(source: Inputs, max_rows: int) -> Explorer:
    """Encode the rows that are kept; the others do not stay in memory."""
    from discretevae.explorer.answers import Explorer

    rows = source.rows()
    with outputs.counting_bar("encoding", min(len(rows), max_rows)) as progress:
        return Explorer(
            source.run,
            rows,
            source=source.name,
            split=source.split,
            max_rows=max_rows,
            progress=progress,
        )
