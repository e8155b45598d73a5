"""Addresses of the explorer: each reads its request, asks `Explorer`, and answers in JSON."""

from __future__ import annotations

import json
import logging
import mimetypes
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from discretevae.errors import ConfigError, DiscreteVAEError
from discretevae.explorer.answers import Answer, Explorer
from discretevae.explorer.guards import Guard, RefusedError, error_response, read_body
from discretevae.explorer.requests import MAX_ROWS, MAX_SAMPLES, TEMPERATURES, Fields, parse_object

STATIC = Path(__file__).with_name("static")
"""The files of the page."""

MAX_START = 10**9
MAX_SEED = 2**53
"""Whole numbers of JavaScript end here."""

PAUSE = 0.001
"""Seconds for which a long answer lets go of the model."""

# a machine may take them for others, and a browser that is told not to guess then runs no script
for _suffix, _kind in ((".css", "text/css"), (".html", "text/html"), (".js", "text/javascript")):
    mimetypes.add_type(_kind, _suffix)

_log = logging.getLogger(__name__)

_ADVICE = {
    404: "nothing is at this address. Open /, or one of the addresses under /api.",
    405: "this address does not take that method. Get pages and lists, post questions with a body.",
}


class Question(NamedTuple):
    """One address under ``/api``: GET with a query, or POST with a JSON object, of these fields."""

    path: str
    fields: tuple[str, ...]
    answer: Callable[[Explorer, Fields], Answer]
    method: str = "GET"


def make_app(explorer: Explorer) -> ASGIApp:
    """Return the explorer as an ASGI application; one thread at a time asks the model.

    The overview takes long, and lets others ask in between.
    """
    lock = threading.Lock()

    def pause() -> None:
        lock.release()
        time.sleep(PAUSE)  # without a pause this very thread would have the lock again
        lock.acquire()

    explorer.pause = pause
    app = Starlette(
        routes=[
            Route("/", _page, methods=["GET"]),
            *(_route(question, explorer, lock) for question in QUESTIONS),
            Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return Guard(app)


def _route(question: Question, explorer: Explorer, lock: threading.Lock) -> Route:
    def compute(fields: Fields) -> bytes:
        with lock:
            answer = question.answer(explorer, fields)
        return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()

    async def endpoint(request: Request) -> Response:
        try:
            fields = await _fields(request, question)
            answer = await run_in_threadpool(compute, fields)
            return Response(answer, media_type="application/json")
        except RefusedError as refused:
            return error_response(refused.status, refused.message)
        except DiscreteVAEError as error:
            return error_response(400, " ".join(str(error).split()))
        except Exception as error:
            return await _failed(request, error)

    return Route(question.path, endpoint, methods=[question.method])


async def _fields(request: Request, question: Question) -> Fields:
    """Read the fields: of a GET the query and the path, of a POST the JSON object.

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
    return Fields(parse_object(await read_body(request)), question.fields)


def _rows(explorer: Explorer, fields: Fields) -> Answer:
    return explorer.rows(*_page_of(fields), fields.text("label"))


def _encode(explorer: Explorer, fields: Fields) -> Answer:
    name = fields.one_of("row", "values", "pixels")
    if name == "row":
        return explorer.encode_row(fields.whole(name, 0, len(explorer.gallery) - 1))
    if name == "pixels":
        return explorer.encode(fields.pixels(name, explorer.canvas))
    in_range = explorer.run.model.likelihood.needs_unit_interval
    return explorer.encode(fields.row_values(name, explorer.canvas, in_range=in_range))


def _decode(explorer: Explorer, fields: Fields) -> Answer:
    if fields.one_of("code", "codes") == "codes":
        return explorer.decode(fields.codes("codes", explorer.variables))
    code = fields.code("code", explorer.variables)
    return {"picture": explorer.decode([code])["pictures"][0]}


def _walk(explorer: Explorer, fields: Fields) -> Answer:
    start, end = (fields.code(name, explorer.variables) for name in ("from", "to"))
    return explorer.walk(start, end)


def _overview(explorer: Explorer, fields: Fields) -> Answer:
    return explorer.overview(fields.whole("place", 0, explorer.n_places - 1, 0))


def _effects(explorer: Explorer, fields: Fields) -> Answer:
    return explorer.effects(fields.whole("variable", 0, len(explorer.variables) - 1))


def _cluster(explorer: Explorer, fields: Fields) -> Answer:
    page = _page_of(fields)
    try:
        return explorer.cluster(fields.whole("cluster", 0, MAX_START), *page)
    except ConfigError as error:
        raise RefusedError(404, str(error)) from None


def _neighbors(explorer: Explorer, fields: Fields) -> Answer:
    code, k = fields.code("code", explorer.variables), fields.whole("k", 1, MAX_ROWS, 24)
    last = len(explorer.gallery) - 1
    row = fields.whole("row", 0, last) if "row" in fields else None
    return explorer.neighbors(code, k, row)


def _sample(explorer: Explorer, fields: Fields) -> Answer:
    n, seed = fields.whole("n", 1, MAX_SAMPLES, 36), fields.whole("seed", 0, MAX_SEED, 0)
    return explorer.sample(n, fields.number("temperature", *TEMPERATURES, 1.0), seed)


def _page_of(fields: Fields) -> tuple[int, int]:
    return fields.whole("start", 0, MAX_START, 0), fields.whole("count", 1, MAX_ROWS, 48)


QUESTIONS = (
    Question("/api/model", (), lambda explorer, _: explorer.model()),
    Question("/api/rows", ("start", "count", "label"), _rows),
    Question("/api/effects", ("variable",), _effects),
    Question("/api/overview", ("place",), _overview),
    Question("/api/clusters", (), lambda explorer, _: explorer.clusters()),
    Question("/api/clusters/{cluster}", ("start", "count"), _cluster),
    Question("/api/history", (), lambda explorer, _: explorer.history()),
    Question("/api/ping", (), lambda *_: {"ok": True}),
    Question("/api/encode", ("row", "values", "pixels"), _encode, "POST"),
    Question("/api/decode", ("code", "codes"), _decode, "POST"),
    Question("/api/walk", ("from", "to"), _walk, "POST"),
    Question("/api/neighbors", ("code", "k", "row"), _neighbors, "POST"),
    Question("/api/sample", ("n", "temperature", "seed"), _sample, "POST"),
)
"""All that can be asked."""


async def _page(_: Request) -> Response:
    if not (STATIC / "index.html").is_file():
        return error_response(404, "the page is missing. Install discretevae again.")
    return FileResponse(STATIC / "index.html")


async def _http_error(_: Request, error: Exception) -> Response:
    """Answer what the router itself refuses, such as an unknown address."""
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    message = _ADVICE.get(error.status_code, f"{error.detail}.")
    headers = {k: v for k, v in (error.headers or {}).items() if k.lower() == "allow"}
    return JSONResponse({"error": message}, error.status_code, headers)


async def _failed(request: Request, error: Exception) -> Response:
    """Answer an unforeseen error; the terminal gets the traceback."""
    _log.error("%s %a failed", request.method, request.url.path, exc_info=error)
    return error_response(500, "the explorer failed at this. The terminal that runs it says how.")
