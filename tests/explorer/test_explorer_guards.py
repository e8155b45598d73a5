"""Who may ask the explorer, and how much: hosts, origins, lengths, paths, headers."""

from __future__ import annotations

import asyncio

import pytest
from explorer_members import explorer_of, is_error
from starlette.requests import Request
from starlette.testclient import TestClient

from discretevae.explorer import guards
from discretevae.explorer.app import STATIC, make_app
from discretevae.explorer.guards import (
    CONTENT_SECURITY_POLICY,
    MAX_BODY,
    Guard,
    RefusedError,
    read_body,
)

HERE = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def explorer():
    return explorer_of("bernoulli:3+categorical:4+gaussian:2")


@pytest.fixture(scope="module")
def client(explorer):
    with TestClient(make_app(explorer), base_url=HERE) as client:
        yield client


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_the_names_of_this_machine_are_answered(client, host):
    assert client.get("/api/ping", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.", "", "a b",
     "[::2]", "127.0.0.1:8765@evil.example", "192.168.0.1", "localhost:123456", "é.example"],
)  # fmt: skip
def test_a_foreign_host_is_refused(client, host):
    for path in ("/api/ping", "/", "/static/app.js", "/nothing"):
        assert is_error(client.get(path, headers=[("host", host.encode())]), 421)


def test_a_missing_or_a_second_host_is_refused():
    hosts = [[], [(b"host", b"localhost"), (b"host", b"evil.example")]]
    assert [told(headers) for headers in hosts] == [421, 421]


def told(headers, *, app=None, method="GET") -> int:
    """The status that a guard gives to a request with these raw headers."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def fine(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guard = app or Guard(fine)
    scope = {"type": "http", "method": method, "path": "/", "headers": headers}
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost:8765", "file://", ""],
)
def test_a_foreign_origin_is_refused(client, origin):
    for method, path in (("POST", "/api/sample"), ("GET", "/api/ping"), ("OPTIONS", "/api/sample")):
        assert is_error(client.request(method, path, headers={"origin": origin}), 403)


def test_the_own_origin_is_not(client):
    answer = client.post("/api/sample", json={"n": 1}, headers={"origin": HERE})
    assert answer.status_code == 200
    # behind a tunnel, whose port is another one
    headers = {"origin": "http://localhost:99", "host": "localhost:99"}
    assert client.post("/api/sample", json={"n": 1}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/%2e%2e%2fapp.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/views/../../app.py",
        "/static/....//app.py",
        "/static/%00",
        "/static/index.html%00.js",
        "/static/" + "a" * 300,
        "/static/" + "a/" * 3000,
    ],
)
def test_no_file_outside_of_the_page_can_be_read(client, path):
    scope = {"type": "http", "method": "GET", "headers": [(b"host", b"localhost")]}
    scope |= {
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "http_version": "1.1",
    }
    from urllib.parse import unquote

    # the client tidies up addresses, a socket does not
    status = raw_status(client.app, scope | {"path": unquote(path)})
    assert status == 404
    assert is_error(client.get(path), 404)


def raw_status(app, scope) -> int:
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"]


def test_the_page_and_its_files_carry_the_same_headers(client):
    for path, kind in (("/", "html"), ("/static/index.html", "html"), ("/static/style.css", "css")):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"text/{kind}; charset=utf-8"
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["cache-control"] == "no-cache"
        assert "set-cookie" not in answer.headers
        again = client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == (304 if "static" in path else 200)
    scripts = sorted(STATIC.rglob("*.js"))
    answer = client.get(f"/static/{scripts[0].relative_to(STATIC).as_posix()}")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_body_that_is_too_long_is_not_read(client):
    json_type = (b"content-type", b"application/json")
    for length in (b"1000001", b"9" * 12, b"9" * 5000):
        headers = [(b"host", b"localhost"), json_type, (b"content-length", length)]
        assert told(headers, method="POST") == 413
    for length in (b"-1", b"x", b"1e3", b"\xb2"):
        assert told([(b"host", b"localhost"), (b"content-length", length)]) == 400
    # of a body in chunks, whose length nobody has said, no more than necessary
    pulled = []

    def chunks():
        for number in range(100):
            pulled.append(number)
            yield b" " * 100_000

    with pytest.raises(RefusedError, match="over 1,000,000 bytes"):
        asyncio.run(read_body(Request({"type": "http"}, stream(chunks()))))
    assert len(pulled) <= MAX_BODY // 100_000 + 1
    headers = {"content-type": "application/json"}
    answer = client.post("/api/sample", content=chunks(), headers=headers)
    assert is_error(answer, 413)
    assert answer.headers["connection"] == "close"


def stream(chunks):
    """What a server hands on of a body in these chunks."""

    async def receive():
        return {"type": "http.request", "body": next(chunks), "more_body": True}

    return receive


def test_a_body_that_is_late_or_cut_off_is_given_up(monkeypatch):
    monkeypatch.setattr(guards, "BODY_SECONDS", 0.01)

    async def never():
        await asyncio.sleep(60)

    async def gone():
        return {"type": "http.disconnect"}

    for receive, status in ((never, 408), (gone, 400)):
        with pytest.raises(RefusedError) as refused:
            asyncio.run(read_body(Request({"type": "http"}, receive)))
        assert refused.value.status == status


def test_an_answer_that_nobody_waits_for_is_dropped():
    async def broken(message):
        raise RuntimeError("the connection is closed")

    async def fine(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
    asyncio.run(Guard(fine)(scope, None, broken))
