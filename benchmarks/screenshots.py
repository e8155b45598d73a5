"""Pictures of the explorer's page for the guide, taken of a run in a real browser.

Chromium and Playwright must be installed. The server is started and stopped here; nothing else is
asked for. Pictures over 200 kB are refused.

    python benchmarks/screenshots.py runs/mnist-bernoulli50 docs/guide/exploring
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from discretevae.cli.ending import finish

DESKTOP, PHONE = (1280, 900), (390, 844)
WAIT = 180_000
"""Milliseconds that an answer may take; clusters of many rows take a while."""

LIMIT = 200_000
"""Bytes of a picture."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def flipped(page: Any) -> None:
    """Two bits flipped, the pointer on a third."""
    for index in (35, 18):
        page.locator(f'#bits-board [data-variable="{index}"]').click()
    page.locator('#bits-board [data-variable="47"]').hover()
    page.wait_for_function(
        "() => document.querySelector('figure:has(#change)').textContent.includes('if bit')"
    )


def midway(page: Any) -> None:
    """The middle of the walk."""
    page.wait_for_selector("#film button")
    steps = page.locator("#film button")
    steps.nth(steps.count() // 2).click()


def all_bits(page: Any) -> None:
    """Every effect on the page, one chosen."""
    page.wait_for_function(
        "() => document.querySelectorAll('#effects canvas').length"
        " === document.querySelectorAll('#effects .card').length"
    )
    page.locator("#effects .card").nth(4).click()


def nothing(page: Any) -> None:
    """The page as it opens."""


SHOTS: dict[str, tuple[str, tuple[int, int], str, Callable[[Any], None]]] = {
    "desktop-light": ("code?row=3", DESKTOP, "light", flipped),
    "desktop-dark": ("code?row=3", DESKTOP, "dark", flipped),
    "phone-light": ("code?row=3", PHONE, "light", nothing),
    "phone-dark": ("code?row=3", PHONE, "dark", nothing),
    "bits": ("bits?row=3", DESKTOP, "light", all_bits),
    "walk": ("walk?row=3&a=3&b=2", DESKTOP, "light", midway),
    "samples": ("samples?row=3", DESKTOP, "dark", nothing),
    "clusters": ("clusters?row=3", DESKTOP, "light", nothing),
}


@contextmanager
def explorer(run: Path, data_dir: Path | None) -> Iterator[str]:
    """The address of a server on the run."""
    words = [sys.executable, "-m", "discretevae", "explore", str(run), "--no-browser"]
    if data_dir is not None:
        words += ["--data-dir", str(data_dir)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        for line in iter(process.stdout.readline, "") if process.stdout else ():
            if found := re.search(r"http://\S+", line):
                yield found[0]
                return
        raise click.ClickException("the server did not start")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--data-dir", type=click.Path(exists=True, path_type=Path))
@click.option("--chromium", default=shutil.which("chromium"), help="Path of the browser.")
@click.option("--only", multiple=True, type=click.Choice(sorted(SHOTS)), help="These alone.")
def main(
    run: Path, out: Path, data_dir: Path | None, chromium: str | None, only: tuple[str, ...]
) -> None:
    """Take the pictures of RUN and write them to the folder OUT."""
    from playwright.sync_api import sync_playwright

    if chromium is None:
        raise click.ClickException("chromium is not installed. Give its path with --chromium.")
    out.mkdir(parents=True, exist_ok=True)
    with explorer(run, data_dir) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for name in only or SHOTS:
            where, (width, height), scheme, prepare = SHOTS[name]
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme
            )
            page = context.new_page()
            page.set_default_timeout(WAIT)
            page.goto(f"{address}#/{where}")
            page.wait_for_selector("html[data-ready]")
            page.wait_for_load_state("networkidle")
            prepare(page)
            page.wait_for_load_state("networkidle")
            picture = page.screenshot(animations="disabled")
            if len(picture) > LIMIT:
                raise click.ClickException(f"{name}.png has {len(picture)} bytes, over {LIMIT}.")
            (out / f"{name}.png").write_bytes(picture)
            click.echo(f"{name}.png  {len(picture)} bytes")
            context.close()
        browser.close()


if __name__ == "__main__":
    finish(main)
