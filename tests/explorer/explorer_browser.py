"""What the tests of the explorer's page share: a server, and visits of a browser to it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from processes import Process

from discretevae.cli import call
from discretevae.errors import ObjectiveWarning

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 20_000
"""Milliseconds that a condition may take on a busy machine."""

FILLED = {
    "code": "#rows button",
    "walk": "#film button",
    "bits": "#effects .frame canvas",
    "clusters": "#members button",
    "neighbors": "#nearest button",
    "samples": "#drawn button",
    "training": ".chart",
}
"""The sections, and what is in each once its answer is there."""

PAINTED = """canvas => Array.from(
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
).filter((_, i) => i % 4 === 0)"""
"""The red parts of a canvas: the pixels of a gray picture."""


class Server:
    """``discretevae explore RUN`` as a process of its own."""

    def __init__(self, run: Path) -> None:
        self.run, self.port = run, 0
        self.start()

    def start(self) -> None:
        args = ("explore", self.run, "--no-browser", "--port", self.port)
        self.process = Process(self.run.parent, None, args, {}, None)
        address = re.compile(r"(http://127\.0\.0\.1:(\d+)/).*\n")
        self.process.wait_until(lambda: address.search(self.process.out.read_text()))
        self.url, port = address.search(self.process.out.read_text()).groups()
        self.port = int(port)

    def stop(self) -> None:
        self.process.send(signal.SIGINT)
        try:
            self.process.end()
        finally:
            self.process.kill()

    def ask(self, path: str, body: object = None) -> Any:
        """The server's own answer, to compare the page with."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def picture(self, code: list[int]) -> list[int]:
        return list(base64.b64decode(self.ask("api/decode", {"code": code})["picture"]["pixels"]))


@contextmanager
def served(folder: Path, latent: str, *options: str, epochs: int = 6) -> Iterator[Server]:
    """A server on a run that is trained for it."""
    args = ["train", "--latent", latent, "--epochs", str(epochs), "--hidden", "32", "--lr", "0.01"]
    args += ["--estimator", "rloo", "--kl-warmup", "20", "--batch-size", "50", "--seed", "3"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ObjectiveWarning)
        assert call([*args, *options, "--out", str(folder)]) == 0
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()


class Visit:
    """A page with everything that it asked for and complained about."""

    def __init__(self, browser: Any, server: Server, **options: Any) -> None:
        options = {"viewport": {"width": 1200, "height": 900}} | options
        self.context, self.server = browser.new_context(**options), server
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, where: str = "") -> Any:
        """The page, once the picture of a code is on it."""
        self.page.goto(f"{self.server.url}{where}")
        self.page.wait_for_selector("html[data-ready]")
        self.page.wait_for_selector("#picture > *, #code-trouble .error", state="attached")
        return self.page

    def code(self) -> list[int]:
        """The code on the board."""
        tiles = self.page.locator("#bits-board .digit").all_text_contents()
        return [int(text) for text in tiles]

    def shows(self, selector: str, pixels: list[int]) -> None:
        """Waits until a canvas shows these pixels."""
        self.page.wait_for_function(
            "([s, wanted]) => { const canvas = document.querySelector(s); return canvas !== null"
            f" && JSON.stringify(({PAINTED})(canvas)) === JSON.stringify(wanted); }}",
            arg=[f"{selector} canvas", pixels],
        )

    def painted(self, selector: str) -> list[int]:
        found = self.page.locator(f"{selector} canvas").first.evaluate(PAINTED)
        return [int(value) for value in found]


def tile(page: Any, index: int) -> Any:
    return page.locator(f'#bits-board [data-variable="{index}"]')


def sections(page: Any, picture: str = "canvas") -> Iterator[str]:
    """Every section in turn, filled."""
    for name, filled in FILLED.items():
        page.locator(f"[data-view={name}]").click()
        page.locator(filled.replace("canvas", picture)).first.wait_for()
        yield name


def flip(page: Any, index: int) -> None:
    """Presses a tile without moving the pointer there, which would ask for its effect."""
    tile(page, index).dispatch_event("click")
