"""Fetching from mirrors, against a server on the loopback interface."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import socket
import struct
import threading

import numpy as np
import pytest

from discretevae.data import builtin
from discretevae.data.builtin import Source, load_builtin
from discretevae.data.download import download, fetch
from discretevae.errors import DataError, DownloadError

PARTS = {"train": 5, "valid": 2, "test": 3}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("DISCRETEVAE_DATA", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        body, promised, headers = self.server.pages.get(self.path, (None, 0, {}))
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(promised))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.pages, server.asked = {}, []
        server.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def closed():
    """The address of a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def serve(server, folder, files, cut=0, **headers):
    for name, body in files.items():
        server.pages[f"/{folder}/{name}"] = (body[: len(body) - cut], len(body), headers)
    return f"{server.url}{folder}/"


@pytest.fixture
def content():
    rng = np.random.default_rng(0)
    files = {}
    for prefix, rows in (("train", 6), ("t10k", 3)):
        images = rng.integers(0, 256, (rows, 28, 28), np.uint8).tobytes()
        files[f"{prefix}-images-idx3-ubyte"] = struct.pack(">4I", 0x803, rows, 28, 28) + images
        files[f"{prefix}-labels-idx1-ubyte"] = struct.pack(">2I", 0x801, rows) + bytes(rows)
    return files


def packed(content):
    return {f"{name}.gz": gzip.compress(body) for name, body in content.items()}


def load(tmp_path, mirrors, content, name="mnist", **options):
    hashes = {key: hashlib.sha256(body).hexdigest() for key, body in content.items()}
    return load_builtin(
        name, sources={name: Source(tuple(mirrors), hashes)}, cache_dir=tmp_path, **options
    )


def left_behind(tmp_path):
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def test_a_set_is_fetched_once_and_kept(tmp_path, server, content):
    mirror = serve(server, "good", packed(content))
    parts = load(tmp_path, [mirror], content, progress=True)
    assert (len(parts["train"]), len(parts["test"])) == (6, 3)
    assert left_behind(tmp_path) == sorted(packed(content))
    assert len(server.asked) == 4
    load(tmp_path, [mirror], content)
    load(tmp_path, [], content, allow_download=False)
    assert len(server.asked) == 4


def test_a_folder_without_the_files_falls_through_to_the_download(tmp_path, server, content):
    mirror = serve(server, "good", packed(content))
    empty = tmp_path / "empty"
    assert len(load(tmp_path / "cache", [mirror], content, data_dir=empty)["train"]) == 6
    assert not empty.exists()


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path, server, content):
    mirror = serve(server, "good", packed(content))
    load(tmp_path, [mirror], content)
    path = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match="t10k-labels"):
        load(tmp_path, [mirror], content, allow_download=False)
    load(tmp_path, [mirror], content)
    assert len(server.asked) == 5
    assert left_behind(tmp_path) == sorted(packed(content))


def test_a_server_that_unpacks_on_the_way_is_fine(tmp_path, server, content):
    mirror = serve(server, "good", packed(content), **{"Content-Encoding": "gzip"})
    assert len(load(tmp_path, [mirror], content)["train"]) == 6
    assert len(load(tmp_path, [], content, allow_download=False)["train"]) == 6


def bad_mirror(kind, server, closed, content):
    if kind == "closed port":
        return closed
    if kind == "absent":
        return f"{server.url}absent/"
    if kind == "broken off":
        return serve(server, "bad", packed(content), cut=20)
    bodies = {
        "wrong content": lambda body: gzip.compress(body[:-1] + b"\xff"),
        "truncated": lambda body: gzip.compress(body)[:-20],
        "web page": lambda body: b"<html>log in first</html>",
        "empty": lambda body: b"",
        "too large": lambda body: bytes(200_000),
        "bomb": lambda body: gzip.compress(body + bytes(10 << 20)),
        "lying header": lambda body: gzip.compress(body[:4] + b"\x7f" * 12 + bytes(10 << 20)),
    }
    return serve(server, "bad", {f"{k}.gz": bodies[kind](v) for k, v in content.items()})


KINDS = {
    "closed port": "Connection refused",
    "absent": "404",
    "broken off": "IncompleteRead",
    "wrong content": "its SHA-256 is",
    "truncated": "ends after",
    "web page": "not an IDX file",
    "empty": "Its magic number is missing",
    "too large": "more than the expected 100,000 bytes",
    "bomb": "goes on after",
    "lying header": "at most 100,000 are read",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_first_mirror_is_passed_over(tmp_path, monkeypatch, server, closed, content, kind):
    monkeypatch.setattr(builtin, "_MAX_BYTES", 100_000)
    mirrors = [bad_mirror(kind, server, closed, content), serve(server, "good", packed(content))]
    assert len(load(tmp_path, mirrors, content)["train"]) == 6
    assert left_behind(tmp_path) == sorted(packed(content))


@pytest.mark.parametrize("kind", KINDS)
def test_all_mirrors_bad_says_why_and_leaves_nothing(
    tmp_path, monkeypatch, server, closed, content, kind
):
    monkeypatch.setattr(builtin, "_MAX_BYTES", 100_000)
    mirror = bad_mirror(kind, server, closed, content)
    with pytest.raises(DownloadError) as caught:
        load(tmp_path / "cache", [mirror, closed], content, data_dir=tmp_path / "mine")
    message = str(caught.value)
    for part in (
        f"mnist: train-images-idx3-ubyte.gz is not in {tmp_path / 'mine'}, {tmp_path / 'cache'}, ",
        mirror,
        KINDS[kind],
        f"{closed} (",
        "Connection refused",
        "put the files into a folder and pass `data_dir`",
    ):
        assert part in message
    assert "\n" not in message
    assert left_behind(tmp_path) == []


def test_a_cache_that_cannot_be_made(tmp_path, content):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((DownloadError, DataError)) as caught:
        load(tmp_path / "file", ["http://127.0.0.1:9/"], content)
    assert "`data_dir`" in str(caught.value)


def test_an_interrupt_leaves_nothing(tmp_path):
    def interrupted(mirror, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("x", tmp_path / "x", ["mirror"], interrupted)
    assert left_behind(tmp_path) == []


def test_a_bar_is_drawn_on_a_terminal_only(tmp_path, monkeypatch, server):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    serve(server, "good", {"a": bytes(300_000)})
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr("sys.stderr", stream)
        download(f"{server.url}good/a", tmp_path / "a", max_bytes=10**6, progress=True)
        assert bool(stream.getvalue()) is drawn
        assert (tmp_path / "a").stat().st_size == 300_000


# binarized-mnist: mirrors of text, or of one archive


@pytest.fixture
def bits():
    rng = np.random.default_rng(0)
    return {part: rng.integers(0, 2, (rows, 784), np.uint8) for part, rows in PARTS.items()}


def bit_content(bits):
    return {part: np.packbits(table, axis=1).tobytes() for part, table in bits.items()}


def text_of(table):
    return "".join(" ".join(map(str, row)) + " \n" for row in table.tolist()).encode()


def archive_of(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["text", "archive of floats", "archive of bits"])
def test_binarized_mirrors(tmp_path, server, bits, kind):
    if kind == "text":
        files = {f"binarized_mnist_{part}.amat": text_of(table) for part, table in bits.items()}
        mirror = serve(server, "good", files)
    elif kind == "archive of floats":
        arrays = {f"{part}_data": table.astype(np.float32) for part, table in bits.items()}
        mirror = serve(server, "good", {"b.npz": archive_of(**arrays, length=3)}) + "b.npz"
    else:
        arrays = {part: np.packbits(table, axis=1) for part, table in bits.items()}
        mirror = serve(server, "good", {"b.npz": archive_of(**arrays)}) + "b.npz"
    parts = load(tmp_path, [mirror], bit_content(bits), "binarized-mnist")
    for part, key in (("train", "train"), ("validation", "valid"), ("test", "test")):
        assert np.array_equal(parts[part].values.numpy(), bits[key])
        assert parts[part].image_shape == (28, 28)
        assert parts[part].divisor == 1
    assert left_behind(tmp_path) == ["binarized_mnist.npz"]
    load(tmp_path, [], bit_content(bits), "binarized-mnist", allow_download=False)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no array 'train'"),
        ({"train": np.zeros((5, 98))}, "array 'train' is float64 of shape (5, 98)"),
        ({"train": np.zeros((490, 1), np.uint8)}, "of shape (490, 1)"),
        ({"train": np.array([["a"] * 784])}, "array 'train' is <U1"),
        ({"train": np.zeros((5, 98), np.uint8)}, "is not the train of binarized-mnist"),
    ],
)
def test_binarized_archives_that_are_wrong(tmp_path, bits, arrays, message):
    (tmp_path / "binarized_mnist.npz").write_bytes(archive_of(other=np.zeros(1), **arrays))
    with pytest.raises(DataError) as caught:
        load(tmp_path / "cache", [], bit_content(bits), "binarized-mnist", data_dir=tmp_path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "binarized_mnist.npz"))


@pytest.mark.parametrize("text", [b"", b"0 1 2", b"0 1\n" * 100, b"<html>"])
def test_binarized_text_that_is_wrong(tmp_path, server, bits, text):
    files = {f"binarized_mnist_{part}.amat": text for part in bits}
    mirror = serve(server, "bad", files)
    with pytest.raises(DownloadError, match="not rows of 784 characters 0 or 1"):
        load(tmp_path, [mirror], bit_content(bits), "binarized-mnist")
    assert left_behind(tmp_path) == []
