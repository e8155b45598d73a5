"""The addresses of the explorer: each reads its request, asks `Explorer`, and answers in JSON."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from discretevae.errors import ConfigError, DiscreteVAEError
from discretevae.explorer.answers import Answer, Explorer
from discretevae.explorer.guards import Guard, Hosts, RefusedError, read_body
from discretevae.explorer.requests import (
    MAX_ROWS,
    MAX_SAMPLES,
    TEMPERATURES,
    Fields,
    parse_object,
)

STATIC = Path(__file__).with_name("static")
"""The files of the page."""

MAX_START = 10**9
MAX_SEED = 2**53
"""Whole numbers of JavaScript end here."""

Ask = Callable[..., Answer]

PAUSE = 0.001
"""Seconds for which a long answer lets go of the model."""

_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}
"""A browser that is told not to guess runs no script of another type."""

_log = logging.getLogger(__name__)

_ADVICE = {
    404: "nothing is at this address. Open /, or one of the addresses under /api.",
    405: "this address does not take that method. Get pages and lists, post questions with a body.",
}


class Question(NamedTuple):
    """One address under ``/api``.

    Args:
        path: of the address.
        fields: names that its query or body may hold.
        read: checks them, and gives what is to be computed.
        method: GET with a query, or POST with a JSON object.
        is_long: whether what is to be computed takes a function that lets others ask in between.
    """

    path: str
    fields: tuple[str, ...]
    read: Callable[[Explorer, Fields], Ask]
    method: str = "GET"
    is_long: bool = False


def make_app(explorer: Explorer, hosts: Hosts) -> ASGIApp:
    """The explorer as an ASGI application; the model is asked by one thread at a time.

    What takes long, which is the overview, lets others ask in between.

    Args:
        explorer: what answers.
        hosts: the names that the server answers to.
    """
    lock = threading.Lock()

    def compute(ask: Ask, is_long: bool) -> bytes:
        with lock:
            answer = ask(between) if is_long else ask()
        return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()

    def between() -> None:
        lock.release()
        time.sleep(PAUSE)  # without a pause this very thread would have the lock again
        lock.acquire()

    routes = [_route(question, explorer, compute) for question in QUESTIONS]
    app = Starlette(
        routes=[
            Route("/", _page, methods=["GET"]),
            *routes,
            Mount("/static", _Files(directory=STATIC, check_dir=False)),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return Guard(app, hosts)


def _route(question: Question, explorer: Explorer, compute: Callable[[Ask, bool], bytes]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            fields = await _fields(request, question)
            ask = question.read(explorer, fields)
            return _json(200, await run_in_threadpool(compute, ask, question.is_long))
        except RefusedError as refused:
            return _error(refused.status, refused.message)
        except DiscreteVAEError as error:
            return _error(400, " ".join(str(error).split()))
        except Exception as error:
            return await _failed(request, error)

    return Route(question.path, endpoint, methods=[question.method])


async def _fields(request: Request, question: Question) -> Fields:
    """What was asked: of a GET the query and the path, of a POST the JSON object.

    Raises:
        RefusedError: the body is no JSON by its type (415), too long, or not whole.
        ConfigError: it is no JSON object, or a field is not known.
    """
    if question.method == "GET":
        values = {**request.query_params, **request.path_params}
        return Fields(values, (*request.path_params, *question.fields), is_text=True)
    kind = request.headers.get("content-type", "")
    if kind.split(";")[0].strip().lower() != "application/json":
        raise RefusedError(
            415, f"content-type {kind[:60]!a} is not taken. Send JSON as application/json."
        )
    return Fields(parse_object(await read_body(request.receive)), question.fields)


def _rows(explorer: Explorer, fields: Fields) -> Ask:
    start, count = _page_of(fields)
    label = fields.text("label")
    return lambda: explorer.rows(start, count, label)


def _encode(explorer: Explorer, fields: Fields) -> Ask:
    name = fields.one_of("row", "values", "pixels")
    if name == "row":
        row = fields.whole(name, 0, len(explorer.gallery) - 1)
        return lambda: explorer.encode_row(row)
    if name == "pixels":
        x = fields.pixels(name, explorer.canvas)
    else:
        x = fields.row_values(name, explorer.canvas, in_range=explorer.needs_unit_interval)
    return lambda: explorer.encode(x)


def _decode(explorer: Explorer, fields: Fields) -> Ask:
    if fields.one_of("code", "codes") == "codes":
        codes = fields.codes("codes", explorer.variables)
        return lambda: explorer.decode(codes)
    code = fields.code("code", explorer.variables)
    return lambda: {"picture": explorer.decode([code])["pictures"][0]}


def _walk(explorer: Explorer, fields: Fields) -> Ask:
    start, end = (fields.code(name, explorer.variables) for name in ("from", "to"))
    return lambda: explorer.walk(start, end)


def _effects(explorer: Explorer, fields: Fields) -> Ask:
    index = fields.whole("variable", 0, len(explorer.variables) - 1)
    return lambda: explorer.effects(index)


def _cluster(explorer: Explorer, fields: Fields) -> Ask:
    start, count = _page_of(fields)

    def ask() -> Answer:
        try:
            return explorer.cluster(fields.whole("cluster", 0, MAX_START), start, count)
        except ConfigError as error:
            raise RefusedError(404, str(error)) from None

    return ask


def _neighbors(explorer: Explorer, fields: Fields) -> Ask:
    code, k = fields.code("code", explorer.variables), fields.whole("k", 1, MAX_ROWS, 24)
    last = len(explorer.gallery) - 1
    row = fields.whole("row", 0, last) if "row" in fields else None
    return lambda: explorer.neighbors(code, k, row)


def _sample(explorer: Explorer, fields: Fields) -> Ask:
    n, seed = fields.whole("n", 1, MAX_SAMPLES, 36), fields.whole("seed", 0, MAX_SEED, 0)
    temperature = fields.number("temperature", *TEMPERATURES, 1.0)
    return lambda: explorer.sample(n, temperature, seed)


def _page_of(fields: Fields) -> tuple[int, int]:
    return fields.whole("start", 0, MAX_START, 0), fields.whole("count", 1, MAX_ROWS, 48)


QUESTIONS = (
    Question("/api/model", (), lambda explorer, _: explorer.model),
    Question("/api/rows", ("start", "count", "label"), _rows),
    Question("/api/effects", ("variable",), _effects),
    Question("/api/overview", (), lambda explorer, _: explorer.overview, is_long=True),
    Question("/api/clusters", (), lambda explorer, _: explorer.clusters),
    Question("/api/clusters/{cluster}", ("start", "count"), _cluster),
    Question("/api/history", (), lambda explorer, _: explorer.history),
    Question("/api/ping", (), lambda *_: lambda: {"ok": True}),
    Question("/api/encode", ("row", "values", "pixels"), _encode, "POST"),
    Question("/api/decode", ("code", "codes"), _decode, "POST"),
    Question("/api/walk", ("from", "to"), _walk, "POST"),
    Question("/api/neighbors", ("code", "k", "row"), _neighbors, "POST"),
    Question("/api/sample", ("n", "temperature", "seed"), _sample, "POST"),
)
"""All that can be asked."""


class _Files(StaticFiles):
    """The files of the page, of types that do not depend on what the machine takes them for."""

    def file_response(self, full_path: Any, *args: Any, **options: Any) -> Response:
        """One file."""
        response = super().file_response(full_path, *args, **options)
        kind = _TYPES.get(Path(full_path).suffix)
        if kind is not None:
            response.headers["content-type"] = f"{kind}; charset=utf-8"
        return response


async def _page(_: Request) -> Response:
    if not (STATIC / "index.html").is_file():
        return _error(404, "the page is missing. Install discretevae again.")
    return FileResponse(STATIC / "index.html")


async def _http_error(_: Request, error: Exception) -> Response:
    """What the router itself refuses, such as an address that there is not."""
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    message = _ADVICE.get(error.status_code, f"{error.detail}.")
    headers = {k: v for k, v in (error.headers or {}).items() if k.lower() == "allow"}
    return _json(error.status_code, json.dumps({"error": message}).encode(), headers)


async def _failed(request: Request, error: Exception) -> Response:
    """What nobody foresaw: told in the terminal, with where it happened."""
    _log.error("%s %a failed", request.method, request.url.path, exc_info=error)
    return _error(500, "the explorer failed at this. The terminal that runs it says how.")


def _error(status: int, message: str) -> Response:
    # what is left of a body that is not wanted must not be taken for the next request
    headers = {"connection": "close"} if status in (408, 413) else None
    return _json(status, json.dumps({"error": message}).encode(), headers)


def _json(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")


__all__ = ["QUESTIONS", "STATIC", "Question", "make_app"]
