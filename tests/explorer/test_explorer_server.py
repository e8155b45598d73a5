"""The explorer's server: what each address answers, and that nothing malformed brings it down."""

from __future__ import annotations

import base64
import json
import logging
import threading
from types import SimpleNamespace

import pytest
from explorer_members import codes_of, explorer_of, is_error
from hypothesis import HealthCheck, given, settings, strategies as st
from starlette.testclient import TestClient

from discretevae.explorer.app import QUESTIONS, make_app
from discretevae.explorer.guards import (
    HEADERS,
)

HERE = "http://127.0.0.1:8765"
POSTS = [question.path for question in QUESTIONS if question.method == "POST"]
GETS = [question.path for question in QUESTIONS if question.method == "GET"]


@pytest.fixture(scope="module")
def explorer():
    return explorer_of("bernoulli:3+categorical:4+gaussian:2")


@pytest.fixture(scope="module")
def client(explorer):
    with TestClient(make_app(explorer), base_url=HERE) as client:
        yield client


def test_every_address_answers_as_the_explorer_does(client):
    explorer = explorer_of("bernoulli:3+categorical:4+gaussian:2")  # that no server asks too
    a, b = codes_of(explorer, 2)
    x = explorer.gallery.rows.batch(slice(3, 4))
    pixels = base64.b64encode(bytes(range(64))).decode()
    expected = [
        ("GET", "model", {}, explorer.model()),
        ("GET", "rows", {}, explorer.rows(0, 48)),
        ("GET", "rows", {"start": 7, "count": 2, "label": "3"}, explorer.rows(7, 2, "3")),
        ("GET", "effects", {"variable": 3}, explorer.effects(3)),
        ("GET", "overview", {}, explorer.overview()),
        ("GET", "clusters", {}, explorer.clusters()),
        ("GET", "clusters/2", {"start": 1, "count": 3}, explorer.cluster(2, 1, 3)),
        ("GET", "history", {}, explorer.history()),
        ("GET", "ping", {}, {"ok": True}),
        ("POST", "encode", {"row": 3}, explorer.encode_row(3)),
        ("POST", "encode", {"values": x[0].tolist()}, explorer.encode_row(3)),
        (
            "POST",
            "encode",
            {"pixels": pixels},
            explorer.encode(explorer.canvas.from_pixels(bytes(range(64)))),
        ),
        ("POST", "decode", {"code": a}, {"picture": explorer.decode([a])["pictures"][0]}),
        ("POST", "decode", {"codes": [a, b]}, explorer.decode([a, b])),
        ("POST", "walk", {"from": a, "to": b}, explorer.walk(a, b)),
        ("POST", "neighbors", {"code": a}, explorer.neighbors(a, 24)),
        ("POST", "neighbors", {"code": a, "k": 5, "row": 0}, explorer.neighbors(a, 5, 0)),
        ("POST", "sample", {}, explorer.sample(36, 1.0, 0)),
        ("POST", "sample", {"n": 2, "temperature": 2, "seed": 9}, explorer.sample(2, 2.0, 9)),
    ]
    asked = {f"/api/{address}" for _, address, _, _ in expected}
    assert {q.path.replace("{cluster}", "2") for q in QUESTIONS} == asked
    for method, address, fields, answer in expected:
        where = {"params": fields} if method == "GET" else {"json": fields}
        got = client.request(method, f"/api/{address}", **where)
        assert got.status_code == 200, got.text
        assert got.json() == json.loads(json.dumps(answer)), address
        assert got.headers["cache-control"] == "no-store"
        assert all(got.headers[name] == value for name, value in HEADERS.items())


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "json"])
def test_a_body_that_does_not_call_itself_json_is_refused(client, kind):
    headers = {} if kind is None else {"content-type": kind}
    assert is_error(client.post("/api/sample", content=b'{"n": 1}', headers=headers), 415)


def test_json_may_name_its_charset(client):
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    answer = client.post("/api/sample", content=b'{"n": 1}', headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"1", b"null", b'"x"', b'{"n": NaN}', b'{"n": Infinity}', b'{"n": 1e999}',
     b'{"n": ' + b"9" * 5000 + b"}", b"[" * 100_000, b'{"n":' * 50_000, b"\xff\xfe", b"\x00",
     b'{"n": "\\ud800"}', b'{"\\ud800": 1}', b'{"n": true}', b'{"n": null}', b'{"n": 1.0}',
     b'{"n": -1}', b'{"n": 101}', b'{"n": [1]}', b'{"n": {}}', b'{"n": "3"}', b'{"m": 1}',
     b'{"temperature": 0}', b'{"temperature": 4}', b'{"temperature": "1"}', b'{"seed": -1}',
     b'{"seed": 1e3}', b'{"seed": 9007199254740993}'],
)  # fmt: skip
def test_a_malformed_body_is_one_sentence(client, body):
    headers = {"content-type": "application/json"}
    answer = client.post("/api/sample", content=body, headers=headers)
    assert is_error(answer, 400)
    assert len(answer.json()["error"]) < 250


def test_codes_and_rows_are_looked_at_number_by_number(client, explorer):
    code = codes_of(explorer, 1)[0]
    wrong = [
        None, 1, "x", {}, [], code[:-1], [*code, 0], [2, *code[1:]], [-1, *code[1:]],
        [0.5, *code[1:]], [True, *code[1:]], [None, *code[1:]], ["1", *code[1:]],
        [*code[:3], 4, *code[4:]], [*code[:3], 10**30, *code[4:]], [*code[:5], 1001.0],
        [*code[:5], -1e300], [*code[:5], [0]], [[0]] * 6,
    ]  # fmt: skip
    for value in wrong:
        for path, body in (
            ("decode", {"code": value}),
            ("decode", {"codes": [code, value]}),
            ("walk", {"from": code, "to": value}),
            ("walk", {"from": value, "to": code}),
            ("neighbors", {"code": value}),
        ):
            assert is_error(client.post(f"/api/{path}", json=body), 400)
    for codes in ([], [code] * 257, code, 3):
        assert is_error(client.post("/api/decode", json={"codes": codes}), 400)
    rows = [{}, {"row": 120}, {"row": -1}, {"row": 1.5}, {"row": True}, {"row": 0, "values": []},
            {"values": [0.5] * 63}, {"values": [1.5] * 64}, {"values": ["0"] * 64}, {"values": 3},
            {"values": [10**400] * 64}, {"values": [None] * 64}, {"pixels": "AAA"}, {"pixels": 3},
            {"pixels": "é" * 88}, {"pixels": base64.b64encode(bytes(63)).decode()}]  # fmt: skip
    for body in rows:
        assert is_error(client.post("/api/encode", json=body), 400)
    for more in ({"k": 0}, {"k": 201}, {"row": 120}, {"row": "0"}, {"x": 1}):
        assert is_error(client.post("/api/neighbors", json={"code": code, **more}), 400)
    told = client.post("/api/decode", json={"code": [2, *code[1:]]}).json()["error"]
    assert told == "code[0] must be an int from 0 to 1. Got 2."


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/rows?count=0", 400),
        ("/api/rows?count=201", 400),
        ("/api/rows?start=-1", 400),
        ("/api/rows?start=x", 400),
        ("/api/rows?start=1e3", 400),
        ("/api/rows?start=%D9%A3", 400),
        ("/api/rows?start=" + "9" * 5000, 400),
        ("/api/rows?label=13", 400),
        ("/api/rows?label=%00", 400),
        ("/api/rows?label=%ff%fe", 400),
        ("/api/rows?labels=3", 400),
        ("/api/effects", 400),
        ("/api/effects?variable=6", 400),
        ("/api/effects?variable=", 400),
        ("/api/model?x=1", 400),
        ("/api/clusters/4", 404),
        ("/api/clusters/-1", 404),
        ("/api/clusters/x", 404),
        ("/api/clusters/1/2", 404),
        ("/api/clusters/%2e%2e", 404),
        ("/api/", 404),
        ("/api", 404),
        ("/api/model/", 404),
        ("/API/model", 404),
        ("//api/model", 404),
        ("/static", 404),
        ("/static/", 404),
        ("/static/nothing.js", 404),
        ("/%", 404),
        ("/%zz", 404),
        ("/%00", 404),
        ("/" + "a" * 5000, 404),
    ],
)
def test_wrong_addresses_and_queries_are_one_sentence(client, path, status):
    assert is_error(client.get(path), status)


@pytest.mark.parametrize("path", ["/", "/api/ping", "/api/sample", "/static/index.html"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(client, method, path):
    assert is_error(client.request(method, path), 405)


def test_a_question_with_a_body_is_not_got_nor_the_other_way_round(client):
    assert all(is_error(client.get(path), 405) for path in POSTS)
    for path in GETS:
        assert is_error(client.post(path.replace("{cluster}", "0"), json={}), 405)
    head = client.head("/api/ping")
    assert (head.status_code, head.content) == (200, b"")


def test_what_nobody_foresaw_is_one_sentence_and_is_logged(explorer, monkeypatch, caplog):
    def broken():
        raise RuntimeError("of our own making")

    monkeypatch.setattr(explorer, "model", broken)
    client = TestClient(make_app(explorer), base_url=HERE, raise_server_exceptions=False)
    with caplog.at_level(logging.ERROR):
        answer = client.get("/api/model")
    assert is_error(answer, 500)
    assert "our own making" not in answer.text
    assert "our own making" in caplog.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["row", "values", "pixels", "code", "codes", "from", "to", "k", "n", "temperature", "seed"]
)
NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 5, 1.0, 0.5, 1e300, 10**30, True, None, "1", [0], float("nan")]
)
CODES = st.lists(NUMBERS, min_size=5, max_size=7)
BODIES = st.dictionaries(FIELDS, NUMBERS | CODES | JSON, max_size=3) | JSON


@settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(path=st.sampled_from(POSTS), body=BODIES, cut=st.integers(0, 40), raw=st.binary(max_size=4))
def test_whatever_is_posted_the_answer_is_of_class_200_or_400(client, path, body, cut, raw):
    content = json.dumps(body).encode()
    content = content if cut > 3 else content[:cut] + raw + content[cut:]
    answer = client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400), answer.text
    assert answer.status_code == 200 or is_error(answer, 400)


def test_a_flip_need_not_wait_for_the_overview(monkeypatch):
    explorer = explorer_of("bernoulli:40")
    begun, answered, waited = threading.Event(), threading.Event(), []

    def pause(_: float) -> None:
        begun.set()
        waited.append(answered.wait(60))

    monkeypatch.setattr("discretevae.explorer.app.time", SimpleNamespace(sleep=pause))
    with TestClient(make_app(explorer), base_url=HERE) as client:
        overview = threading.Thread(target=client.get, args=("/api/overview",))
        overview.start()
        assert begun.wait(60)
        assert client.post("/api/decode", json={"code": [0] * 40}).status_code == 200
        answered.set()
        overview.join(60)
    assert waited == [True] * 40
