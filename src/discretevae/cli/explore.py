"""``discretevae explore``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from discretevae.cli import common

if TYPE_CHECKING:
    from discretevae.explorer.answers import Explorer


@click.command("explore", epilog="Example: discretevae explore runs/mnist-bernoulli50")
@common.run_argument
@common.data_argument
@common.data_option
@common.split_option("test")
@click.option(
    "--max-rows",
    type=int,
    default=10_000,
    show_default=True,
    help="Of more rows so many are kept, evenly spread; they and their codes stay in memory.",
)
@click.option("--port", type=int, default=0, help="Port to listen on.  [default: a free one]")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any but this machine's own lets others in.",
)
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@common.device_option
@common.data_dir_option
def command(
    run_folder: Path,
    data_argument: str | None,
    data_option: str | None,
    split: str,
    max_rows: int,
    port: int,
    host: str,
    no_browser: bool,
    device: str,
    data_dir: Path | None,
) -> None:
    """Flip, walk and compare the codes of RUN in the browser.

    The page shows rows of DATA (else of the run's own data) with their codes, what each latent
    variable does to the picture, the nearest rows, clusters, samples of the prior, and how the
    training went. It is served to this machine only and loads nothing from elsewhere. Nothing is
    written. Ctrl-C stops it.
    """
    from discretevae.errors import ConfigError
    from discretevae.explorer import serving

    serving.require_web()
    common.require_positive("max-rows", max_rows)
    if not 0 <= port <= 65_535:
        raise ConfigError(f"port must be an int from 0 to 65535. Got {port}.")
    with serving.listen(host, port) as listener:
        from discretevae.explorer.app import make_app
        from discretevae.explorer.guards import Hosts

        source = (data_argument, data_option)
        explorer = _opened(run_folder, source, split, max_rows, device, data_dir)
        hosts = Hosts(host)
        if not hosts.is_loopback:
            click.echo(
                f"Warning: anyone who can reach {host} over the network can use this page and see "
                "these rows.",
                err=True,
            )
        url = serving.address(listener, hosts.for_browser)
        # echo flushes: a script that started this waits for the line
        click.echo(f"exploring {run_folder} at {url}  (Ctrl-C stops)")
        kept, available = len(explorer.gallery), explorer.gallery.n_available
        if kept < available:
            click.echo(f"rows     {kept:,} of {available:,}, evenly spread")
        if not no_browser:
            serving.open_browser(url)
        serving.import_ahead()
        serving.serve(make_app(explorer, hosts), listener)


def _opened(
    run_folder: Path,
    source: tuple[str | None, str | None],
    split: str,
    max_rows: int,
    device: str,
    data_dir: Path | None,
) -> Explorer:
    """The run with the rows that are kept; of the others nothing stays in memory."""
    from discretevae.explorer.answers import Explorer

    run = common.open_run(run_folder, device)
    rows = common.open_rows(run.config, *source, split=split, data_dir=data_dir)
    name = source[0] or source[1] or run.config.data.source
    with common.counting_bar("encoding", min(len(rows), max_rows)) as progress:
        return Explorer(run, rows, source=name, split=split, max_rows=max_rows, progress=progress)
