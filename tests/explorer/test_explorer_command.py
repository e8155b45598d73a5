"""``discretevae explore`` as a process: its line, its port, its end, and one line for mistakes."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from discretevae.explorer import serving

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal")

LINE = re.compile(r"exploring (\S+) at http://127\.0\.0\.1:(\d+)/  \(Ctrl-C stops\)\n")


def started(*args: object) -> tuple[subprocess.Popen[str], int]:
    """The command in a process of its own, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "discretevae", "explore", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # a script that is started in the background has Ctrl-C switched off
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    line = process.stdout.readline()
    found = LINE.fullmatch(line)
    if found is None:
        process.kill()
        pytest.fail(f"{line}{process.communicate()}")
    return process, int(found.group(2))


def stopped(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Ctrl-C: the status, and what it said at the end."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def server(trained):
    process, port = started(trained("bernoulli:50"), "--no-browser", "--max-rows", 50)
    assert process.stdout.readline() == "rows     50 of 297, evenly spread\n"
    yield port
    status, out, err = stopped(process)
    assert (status, out) == (130, "")
    assert err.strip() == "Stopped: nothing more was written."


def asked(port: int, method: str, path: str, body: object = None, **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = None if body is None else json.dumps(body)
    headers = ({} if body is None else {"Content-Type": "application/json"}) | headers
    connection.request(method, path, sent, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def raw(port: int, *sent: bytes) -> bytes:
    """What comes back for bytes on a socket."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        try:
            for part in sent:
                wire.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        try:
            return wire.recv(65_536)
        except ConnectionResetError:
            return b""


def test_it_answers_on_the_port_that_it_prints(server):
    status, content = asked(server, "GET", "/api/model")
    facts = json.loads(content)
    assert (status, facts["latent"], facts["data"]["n_rows"]) == (200, "bernoulli:50", 50)
    assert asked(server, "GET", "/")[0] == 200


def test_twenty_requests_at_a_time_are_all_answered(server):
    start = threading.Barrier(20)

    def one(number: int) -> tuple[int, object]:
        code = [(number >> i) & 1 for i in range(50)]
        start.wait(60)
        return asked(server, "POST", "/api/decode", {"code": code})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(20)))
    assert [status for status, _ in answers] == [200] * 20
    assert len({content for _, content in answers}) == 20
    for number, (_, content) in enumerate(answers):
        code = [(number >> i) & 1 for i in range(50)]
        assert asked(server, "POST", "/api/decode", {"code": code}) == (200, content)


def test_what_is_no_http_does_not_stop_it(server):
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n",
    ):
        assert raw(server, garbage, b"\r\n\r\n")[:10] in (b"HTTP/1.1 4", b"")
    assert raw(server, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 50_000)[:12] in (b"HTTP/1.1 400", b"")
    head = b"POST /api/decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for chunk in (b"zz\r\n{}\r\n", b"-1\r\n", b"5\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\nzz"):
        assert raw(server, head + b"Transfer-Encoding: chunked\r\n\r\n", chunk)[9:10] in b"4"
    assert asked(server, "GET", "/api/ping") == (200, b'{"ok":true}')


def test_no_more_of_a_body_is_read_than_necessary(server):
    head = b"POST /api/sample HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    announced = raw(server, head + b"Content-Length: 1000000000000\r\n\r\n")
    assert announced.startswith(b"HTTP/1.1 413")
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    in_chunks = raw(server, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 40)
    assert in_chunks[:12] in (b"HTTP/1.1 413", b"")
    assert asked(server, "GET", "/api/ping")[0] == 200


def test_one_connection_too_many_is_told_to_come_again(server):
    with contextlib.ExitStack() as held:
        for _ in range(serving.MAX_CONNECTIONS):
            held.enter_context(socket.create_connection(("127.0.0.1", server), timeout=60))
        assert asked(server, "GET", "/api/ping")[0] == 503
    # the server sees them go one by one
    answers = (asked(server, "GET", "/api/ping")[0] for _ in range(1000))
    assert 200 in answers


def test_a_foreign_host_is_refused_on_the_wire(server):
    assert asked(server, "GET", "/api/model", Host="evil.example")[0] == 421
    assert asked(server, "POST", "/api/sample", {}, Origin="http://evil.example")[0] == 403


@pytest.fixture
def served(monkeypatch):
    """The command without the serving: what it would have served, and opened."""
    seen: dict[str, object] = {}
    monkeypatch.setattr(serving, "serve", lambda app, listener: seen.update(app=app))
    monkeypatch.setattr(serving, "import_ahead", lambda: None)
    monkeypatch.setattr(serving, "open_browser", lambda url: seen.update(url=url))
    return seen


def test_the_page_is_opened_unless_told_otherwise(cli, served, trained):
    folder = trained("bernoulli:50")
    said = cli("explore", folder)
    assert (said.status, said.err) == (0, "")
    assert LINE.fullmatch(said.out)
    assert str(served["url"]) in said.out
    served.clear()
    said = cli("explore", folder, "--no-browser", "--max-rows", "10")
    assert "url" not in served
    assert LINE.match(said.out)
    assert said.out.endswith("stops)\nrows     10 of 297, evenly spread\n")


def test_a_browser_is_started_only_where_there_is_a_screen(monkeypatch):
    opened = threading.Event()
    monkeypatch.setattr(serving.webbrowser, "open", lambda url: opened.set())
    monkeypatch.setattr(serving.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    serving.open_browser("http://127.0.0.1:1/")
    assert not opened.wait(0.05)
    monkeypatch.setenv("DISPLAY", ":0")
    serving.open_browser("http://127.0.0.1:1/")
    assert opened.wait(60)


def test_a_port_that_is_taken_is_one_line(cli, trained):
    with serving.listen(0) as taken:
        port = taken.getsockname()[1]
        said = cli("explore", trained("bernoulli:50"), "--port", port, "--no-browser")
    assert (said.status, said.out) == (2, "")
    assert said.err == (
        f"Error: port {port} of 127.0.0.1 cannot be used ({os.strerror(errno.EADDRINUSE)}). "
        "Leave --port out for a free one.\n"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["no/such/run"], "no/such/run: no such run folder. Check the path."),
        (["RUN", "no/such.npy"], "no/such.npy: no such file or built-in data set."),
        (["RUN", "FILE"], "rows have 3 features, but the model takes 64."),
        (["RUN", "--port", "65536"], "--port 65536 is not in the range 0<=x<=65535."),
        (["RUN", "--port", "-1"], "--port -1 is not in the range 0<=x<=65535."),
        (["RUN", "--max-rows", "0"], "max-rows must be an int >= 1. Got 0."),
        (["RUN", "--split", "validation"], "digits has no validation part"),
        (["RUN", "--device", "abacus"], "device 'abacus' cannot be used"),
    ],
)
def test_a_mistake_is_one_line(cli, served, trained, tmp_path, args, message):
    np.save(tmp_path / "mine.npy", np.eye(3))
    named = {"RUN": trained("bernoulli:50"), "FILE": tmp_path / "mine.npy"}
    said = cli("explore", *[named.get(arg, arg) for arg in args])
    assert said.status == 2
    assert said.err.startswith("Error: ")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert "app" not in served


def test_a_folder_that_is_no_run_is_one_line(cli, tmp_path):
    said = cli("explore", tmp_path)
    assert said.status == 2
    assert "not a run folder" in said.err


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra_the_command_says_how_to_install_it(cli, monkeypatch, trained, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    said = cli("explore", trained("bernoulli:50"))
    assert said.status == 2
    assert said.err == (
        "Error: explore needs starlette and uvicorn. Run: pip install 'discretevae[explore]'\n"
    )


def test_help_needs_neither_the_extra_nor_torch(python):
    code = """
import sys
for name in ("starlette", "uvicorn", "torch"):
    sys.modules[name] = None
from discretevae.cli import call
assert call(["explore", "--help"]) == 0
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert "Example: discretevae explore runs/mnist-bernoulli50" in done.stdout
