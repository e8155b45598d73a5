"""The explorer over a real socket: how long a flip takes, and what malformed requests do to it.

The server runs in this process, on loopback, with the paper's fully connected model of 50 bits
and rows of noise (or with a run of yours). In turn are timed: a flip, which is a code that goes
out as JSON and a picture that comes back, and ``model.decode`` of the same code. Then 20 such
requests at a time; then malformed ones, each on a connection of its own, of which none may be
answered with a status of class 500, while the memory of the process must not grow.

    python benchmarks/explore.py
    python benchmarks/explore.py --run runs/mnist-bernoulli50 --malformed 5000 --json
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import torch
import uvicorn

from discretevae.cli.ending import finish
from discretevae.config import RunConfig
from discretevae.data import Dataset, Rows, load_rows
from discretevae.explorer.answers import Explorer
from discretevae.explorer.app import QUESTIONS, make_app
from discretevae.explorer.serving import listen
from discretevae.explorer.variables import to_codes, to_numbers
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder.saved_run import Run, load_run

WARM_UP = 20
SECONDS = 20.0
"""How long an answer may take before it counts as none."""

PATIENCE = 0.1
"""Seconds after which no more bytes are promised."""


def explorer_of(run_folder: Path | None, n_rows: int) -> Explorer:
    """A run with its own test rows, or a fresh model with noise."""
    if run_folder is not None:
        run = load_run(run_folder)
        rows = load_rows(run.config.data.source, split="test")
        return Explorer(run, rows, source=run.config.data.source, split="test", max_rows=n_rows)
    noise = torch.randint(0, 256, (n_rows, 784), dtype=torch.uint8)
    rows = Rows(noise, divisor=255.0, image_shape=(28, 28), name="noise")
    model = DiscreteVAE.for_data(Dataset("noise", rows, rows), latent="bernoulli:50")
    run = Run(Path("noise"), RunConfig(model=model.config), model.eval())
    return Explorer(run, rows, source="noise", split="test", max_rows=n_rows)


@contextlib.contextmanager
def served(explorer: Explorer) -> Iterator[int]:
    """The port of a server in a thread of this process."""
    listener = listen(0)
    config = uvicorn.Config(
        make_app(explorer),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        log_level="critical",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def flip(connection: http.client.HTTPConnection, code: Sequence[float]) -> int:
    """Asks for the picture of a code; the status."""
    body = json.dumps({"code": code})
    connection.request("POST", "/api/decode", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def latencies(explorer: Explorer, port: int, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of flips, and of ``model.decode`` alone, in turn."""
    model, code = explorer.run.model, explorer.gallery.codes[0].clone()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    flips, bare = [], []
    for repeat in range(WARM_UP + repeats):
        code[repeat % len(code)] = 1 - code[repeat % len(code)] if repeat % 2 else 0
        numbers = to_numbers(explorer.variables, code.unsqueeze(0))
        began = time.perf_counter()
        status = flip(connection, numbers[0])
        middle = time.perf_counter()
        model.decode(to_codes(model.family, numbers))
        ended = time.perf_counter()
        if status != 200:
            raise click.ClickException(f"a flip was answered with {status}")
        if repeat >= WARM_UP:
            flips.append(middle - began)
            bare.append(ended - middle)
    return flips, bare


def at_a_time(explorer: Explorer, port: int, n: int, rounds: int) -> tuple[Counter[int], float]:
    """The statuses of ``n`` flips at once, and the longest of them in seconds."""
    codes = to_numbers(explorer.variables, explorer.gallery.codes[:n])
    start = threading.Barrier(n)

    def one(number: int) -> tuple[list[int], float]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        found, longest = [], 0.0
        for _ in range(rounds):
            start.wait()
            began = time.perf_counter()
            found.append(flip(connection, codes[number % len(codes)]))
            longest = max(longest, time.perf_counter() - began)
        return found, longest

    with ThreadPoolExecutor(n) as pool:
        answers = list(pool.map(one, range(n)))
    statuses = Counter(status for found, _ in answers for status in found)
    return statuses, max(longest for _, longest in answers)


BODIES = (
    b"", b"{", b"[]", b"null", b'{"code": NaN}', b'{"code": [1e999]}', b"[" * 200_000,
    b'{"code":' * 50_000, b'{"row": ' + b"9" * 5000 + b"}", b'{"code": []}', b'{"code": [2]}',
    b'{"codes": [[0]]}', b'{"row": 1.5}', b'{"row": true}', b'{"from": 1, "to": {}}',
    b'{"values": [1e300]}', b'{"pixels": "!"}', b'{"n": 1e9}', b'{"temperature": -1}', b"\xff\xfe",
    b'{"\\ud800": 1}', b'{"n": "\\ud800"}', b'{"k": -1}', b" " * 1_000_001, b'{"seed": 1e400}',
)  # fmt: skip
PATHS = (
    "/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/%00", "/%zz", "/..",
    "/api/rows?start=-1", "/api/rows?count=1e9", "/api/rows?label=%ff", "/api/effects?variable=x",
    "/api/clusters/99999", "/api/clusters/..", "/api/nothing", "/" + "a" * 9000, "*", "http://x/",
)  # fmt: skip
METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW")
HOSTS = ("localhost", "localhost", "localhost", "127.0.0.1", "evil.example", "", "a b", "[::1")
TYPES = ("application/json", "application/json", "application/json", "text/plain", "", "json")
POSTS = [question.path for question in QUESTIONS if question.method == "POST"]


def malformed(chance: random.Random) -> bytes:
    """One request that is wrong in some way; few are right by accident."""
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 300))
    method, path, body = "POST", chance.choice(POSTS), chance.choice(BODIES)
    if kind == 1:
        method, path, body = chance.choice(METHODS), chance.choice(PATHS), b""
    if kind == 2:
        body = bytes(chance.choice(b'0123456789.,-eE[]{}":ntfa \\u') for _ in range(60))
    host, content_type = chance.choice(HOSTS), chance.choice(TYPES)
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
    if kind == 3:
        length = chance.choice(["-1", "x", "999999999999", str(len(body) + 7), "0", "1" * 500])
        return f"{head}Content-Length: {length}\r\n\r\n".encode() + body
    if kind == 4:
        size = chance.choice([b"%x" % len(body), b"zz", b"-1", b"ffffffffffffffff"])
        chunks = size + b"\r\n" + body + b"\r\n"
        return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks * chance.randrange(9)
    whole = bytearray(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    if kind == 5:
        for _ in range(chance.randrange(1, 6)):
            whole[chance.randrange(min(len(whole), 200))] = chance.randrange(256)
    return bytes(whole)


def status_of(port: int, request: bytes) -> int:
    """The status of the answer to these bytes; 0 where the connection was closed without one."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as wire:
        with contextlib.suppress(OSError):
            wire.sendall(request)
        wire.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            answer = wire.recv(4096)
        if not answer:  # it may be waiting for the rest of what is no whole request
            wire.settimeout(SECONDS)
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_WR)
                answer = wire.recv(4096)
    found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    return int(found.group(1)) if found else 0


def resident_bytes() -> int | None:
    """Memory of this process; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * 4096


def fuzz(port: int, n: int, seed: int) -> Counter[int]:
    """The statuses of ``n`` malformed requests."""
    chance = random.Random(seed)
    return Counter(status_of(port, malformed(chance)) for _ in range(n))


def measure(
    run_folder: Path | None, n_rows: int, repeats: int, n_malformed: int, seed: int
) -> dict[str, Any]:
    """All of it."""
    began = time.perf_counter()
    explorer = explorer_of(run_folder, n_rows)
    opened = time.perf_counter() - began
    with served(explorer) as port:
        flips, bare = latencies(explorer, port, repeats)
        statuses, longest = at_a_time(explorer, port, 20, 10)
        # what is remembered, and the pools of the allocator, fill once
        explorer.overview(), explorer.clusters()
        fuzz(port, n_malformed, seed + 1)
        before = resident_bytes()
        answered = fuzz(port, n_malformed, seed)
        after = resident_bytes()
        wire = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        alive = flip(wire, to_numbers(explorer.variables, explorer.gallery.codes[:1])[0]) == 200
    median, p95 = statistics.median(flips), sorted(flips)[int(0.95 * len(flips))]
    return {
        "latent": str(explorer.run.config.model.latent),
        "rows": len(explorer.gallery),
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "open_seconds": opened,
        "flip_ms": {"median": 1e3 * median, "p95": 1e3 * p95, "max": 1e3 * max(flips)},
        "decode_ms": 1e3 * statistics.median(bare),
        "at_a_time": {
            "n": 20,
            "answered": statuses[200],
            "errors": sum(statuses.values()) - statuses[200],
            "longest_ms": 1e3 * longest,
        },
        "malformed": {
            "n": n_malformed,
            "statuses": {str(status): answered[status] for status in sorted(answered)},
            "of_class_500": sum(n for status, n in answered.items() if status >= 500),
            "alive_afterwards": alive,
            "resident_before": before,
            "resident_after": after,
        },
    }


@click.command()
@click.option(
    "--run", "run_folder", type=click.Path(path_type=Path), help="Of discrete codes, on images."
)
@click.option("--rows", "n_rows", type=int, default=10_000, show_default=True)
@click.option("--repeats", type=int, default=300, show_default=True, help="Flips that are timed.")
@click.option("--malformed", "n_malformed", type=int, default=1000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    run_folder: Path | None,
    n_rows: int,
    repeats: int,
    n_malformed: int,
    seed: int,
    threads: int,
    as_json: bool,
) -> None:
    """Times the explorer, and sends it what no browser would."""
    torch.set_num_threads(threads)
    found = measure(run_folder, n_rows, repeats, n_malformed, seed)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    flips, crowd, bad = found["flip_ms"], found["at_a_time"], found["malformed"]
    click.echo(f"{found['latent']}, {found['rows']:,} rows, {found['threads']} thread(s)")
    click.echo(f"opened      {found['open_seconds']:.2f} s, all rows encoded")
    click.echo(
        f"flip        {flips['median']:.2f} ms median, {flips['p95']:.2f} at 95 %, "
        f"{flips['max']:.2f} at most; model.decode alone {found['decode_ms']:.2f}"
    )
    click.echo(
        f"20 at once  {crowd['answered']} answered, {crowd['errors']} not; "
        f"the longest took {crowd['longest_ms']:.0f} ms"
    )
    statuses = ", ".join(f"{n} × {status}" for status, n in bad["statuses"].items())
    click.echo(f"malformed   {bad['n']:,}: {statuses} (0: closed without an answer)")
    click.echo(f"class 500   {bad['of_class_500']}; alive afterwards: {bad['alive_afterwards']}")
    if bad["resident_before"] is not None:
        before, after = (bad[f"resident_{when}"] / 2**20 for when in ("before", "after"))
        click.echo(f"memory      {before:.1f} MiB before, {after:.1f} after")


if __name__ == "__main__":
    finish(main)
