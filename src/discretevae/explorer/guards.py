"""Who may ask, and how much: before any request reaches the model.

A server on loopback is not private. Every page that the browser shows can send requests to it, and
a name that its owner points at 127.0.0.1 ("DNS rebinding") makes that page count as ours. So the
``Host`` must be one of ours, an ``Origin`` must be that host, bodies are JSON, and the page that we
serve may load nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 1_000_000
"""Bytes of a body; what is longer is refused without being read to its end."""

BODY_SECONDS = 20.0
"""A body that is not there by then is given up."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Of every answer, also of errors and of the page's own files."""

_log = logging.getLogger(__name__)

_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
"""Names of this machine. A tunnel may give the server another port here; a foreign name is what an
attack needs."""


class RefusedError(Exception):
    """A request that is not answered: its status, and a sentence that says why."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


class Guard:
    """An ASGI application around another that refuses what is not meant for it.

    421 for a foreign ``Host``, 403 for a foreign ``Origin``, 413 for a body that is announced as
    too long. All answers get `HEADERS`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # the start and the end of the server; sockets are not served
            await self.app(scope, receive, send)
            return
        guarded = _with_headers(send, scope["path"])
        answer = self.app
        try:
            self._check(Headers(scope=scope))
        except RefusedError as refused:
            answer = error_response(refused.status, refused.message)
        await answer(scope, receive, guarded)

    def _check(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            got = hosts[0][:60] if hosts else "none"
            raise RefusedError(
                421, f"host {got!a} is not served here. Open the address that explore has printed."
            )
        allowed = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        for origin in headers.getlist("origin"):
            if origin.lower() not in allowed:
                raise RefusedError(
                    403,
                    f"origin {origin[:60]!a} is not this page. Ask from the explorer's own page.",
                )
        for length in headers.getlist("content-length"):
            if not re.fullmatch("[0-9]+", length):
                raise RefusedError(400, "content-length is no number. Send the body's length.")
            if len(length) > 12 or int(length) > MAX_BODY:
                raise too_long()


async def read_body(request: Request) -> bytes:
    """Return the whole body, if it is short and comes in time.

    Raises:
        RefusedError: it is longer than `MAX_BODY` (413), late (408), or cut off (400).
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY:
                    raise too_long()
        return bytes(body)
    except ClientDisconnect:
        raise RefusedError(400, "the body was cut off. Send it again.") from None
    except TimeoutError:
        raise RefusedError(
            408, f"the body did not come within {BODY_SECONDS:g} s. Send it again."
        ) from None


def too_long() -> RefusedError:
    """Return the refusal of a body that is too long."""
    return RefusedError(413, f"the body is over {MAX_BODY:,} bytes. Send less at a time.")


def error_response(status: int, message: str) -> JSONResponse:
    """Return an error as ``{"error": message}``."""
    # what is left of a body that is not wanted must not be taken for the next request
    headers = {"connection": "close"} if status in (408, 413) else None
    return JSONResponse({"error": message}, status, headers)


def _with_headers(send: Send, path: str) -> Send:
    caching = "no-store" if path.startswith("/api") else "no-cache"

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS | {"cache-control": caching})
        try:
            await send(message)
        except Exception as error:
            # a garbled body has ended the connection, and nobody is there to be answered
            _log.debug("an answer was not sent: %a", error)

    return sending
