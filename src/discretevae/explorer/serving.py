"""The explorer on a port of this machine, until Ctrl-C."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING

from discretevae.errors import ConfigError, needs_extra

if TYPE_CHECKING:
    from starlette.types import ASGIApp

HOST = "127.0.0.1"
"""This machine alone; others come through a tunnel, which asks them who they are."""

BACKLOG = 128

MAX_CONNECTIONS = 64
"""One more is told to come again, with status 503."""

GRACE_SECONDS = 2
"""Time that Ctrl-C waits for answers that are on their way."""


def require_web() -> None:
    """Refuse to go on without the packages that serve a page (`MissingExtraError`)."""
    with needs_extra("explore", "explore needs starlette and uvicorn"):
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401


def listen(port: int) -> socket.socket:
    """Return a socket that listens, so that a taken port is refused first (`ConfigError`)."""
    try:
        return socket.create_server((HOST, port), backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(
            f"port {port} of {HOST} cannot be used ({reason}). Leave `port` out for a free one."
        ) from None


def address(listener: socket.socket) -> str:
    """Return the address to open in a browser."""
    return f"http://{HOST}:{listener.getsockname()[1]}/"


def open_browser(url: str) -> None:
    """Open the page, where there is a screen; in a thread, since a browser may take its time."""
    has_screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if has_screen:  # else a browser of the terminal would take this one
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def import_ahead() -> None:
    """Load what k-means needs in a thread: a click would wait seconds for its import."""
    name = "sklearn.cluster"
    threading.Thread(target=importlib.import_module, args=(name,), daemon=True).start()


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Answer until Ctrl-C, which comes out as KeyboardInterrupt once all is closed."""
    import uvicorn

    # a garbled request is answered with 400; a line for each would bury what matters
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])
