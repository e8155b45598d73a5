"""Folders of pictures of all kinds on the command line: read, or refused in one line."""

from __future__ import annotations

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from discretevae.errors import DataWarning

COLORS = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
GREY, DEEP = COLORS[..., 0], COLORS.astype(np.uint16) * 257


def saved(picture, name, **options):
    """Return a function that saves a picture in a folder."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return lambda folder: image.save(folder / name, **options)


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def png16(kind, array):
    """A PNG file with 16 bits for each channel, which Pillow does not write."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff16(array):
    """A TIFF file of red, green and blue with 16 bits each."""
    height, width, channels = array.shape
    values = array.astype("<u2").tobytes()
    entries = [(256, width), (257, height), (258, 8 + len(values) + 126), (259, 1), (262, 2),
               (273, 8), (277, channels), (278, height), (279, len(values)), (284, 1)]  # fmt: skip
    kinds = {273: 4, 279: 4}
    directory = b"".join(
        struct.pack("<HHII", tag, kinds.get(tag, 3), channels if tag == 258 else 1, value)
        for tag, value in entries
    )
    return b"".join(
        (b"II*\0", struct.pack("<I", 8 + len(values)), values, struct.pack("<H", len(entries)),
         directory, struct.pack("<I", 0), struct.pack("<3H", 16, 16, 16))
    )  # fmt: skip


def half(name, **options):
    """The first half of a file."""

    def write(folder):
        saved(np.kron(COLORS, np.ones((4, 4, 1), np.uint8))[:12, :9], name, **options)(folder)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return write


FRAMES = [Image.fromarray(np.roll(COLORS, n, 0)) for n in range(3)]
FILM = {"save_all": True, "append_images": FRAMES[1:]}
PALETTE = FRAMES[0].quantize(16)
TURNED = Image.Exif()
TURNED[0x0112] = 6
ALPHA = "with transparent parts, which were laid on white"
CUT = "of 16 bits, not plainly grey: the upper 8 bits are read"
FIRST = "of several frames, of which the first one is read"

READ = {
    "grey among colors": (saved(GREY, "x.png"), None),
    "transparent": (saved(np.dstack((COLORS, GREY)), "x.png"), ALPHA),
    "grey and transparent": (saved(np.dstack((GREY, GREY)), "x.png"), ALPHA),
    "palette": (saved(PALETTE, "x.png"), None),
    "palette, one color transparent": (saved(PALETTE, "x.png", transparency=3), ALPHA),
    "palette, half transparent": (saved(PALETTE, "x.png", transparency=bytes(8) + b"\x80"), ALPHA),
    "palette, GIF": (saved(PALETTE, "x.gif", transparency=2), ALPHA),
    "CMYK": (saved(FRAMES[0].convert("CMYK"), "x.jpg"), "in CMYK, made red, green and blue"),
    "CMYK, TIFF": (saved(FRAMES[0].convert("CMYK"), "x.tif"), "in CMYK"),
    "film, GIF": (saved(FRAMES[0], "x.gif", **FILM), FIRST),
    "film, WebP": (saved(FRAMES[0], "x.webp", lossless=True, **FILM), FIRST),
    "film, PNG": (saved(FRAMES[0], "x.png", **FILM), FIRST),
    "pages, TIFF": (saved(FRAMES[0], "x.tif", **FILM), FIRST),
    "16 bits, PNG": (written("x.png", png16(2, DEEP)), CUT),
    "16 bits, TIFF": (written("x.tif", tiff16(DEEP)), CUT),
}

REFUSED = {
    "LAB": (saved(Image.new("LAB", (9, 12)), "x.tif"), "x.tif: a picture in LAB"),
    "broken PNG": (half("x.png"), "x.png: damaged picture"),
    "broken JPEG": (half("x.jpg"), "x.jpg: damaged picture"),
    "no picture": (written("x.txt", b"hello"), "x.txt: not a picture"),
    "turned": (saved(COLORS, "x.jpg", exif=TURNED), "1.png is 12x9, x.jpg is 9x12"),
    "16 bits in grey": (saved(DEEP[..., 0], "x.png"), "x.png of 16, and white is not the same"),
}


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(1, 4):
        Image.fromarray(np.roll(COLORS, number, 1)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def train(cli, tmp_path):
    """Train, and return what was said and the warnings of the data."""

    def run(folder, *options):
        options = options if "--network" in options else (*options, "--hidden", 4)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", DataWarning)
            said = cli("train", "--data", folder, "--latent", "bernoulli:2",
                       "--epochs", 1, "--out", tmp_path / "run", *options)  # fmt: skip
        return said, [str(each.message) for each in warned]

    return run


@pytest.mark.parametrize("name", READ)
def test_what_is_read_in_another_way_is_said_once(photos, train, name):
    write, lost = READ[name]
    write(photos)
    said, warned = train(photos)
    assert said.status == 0
    assert (lost is None and not warned) or (len(warned) == 1 and lost in warned[0])
    assert not warned or "1 file (x." in warned[0]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named_in_one_line(photos, train, name):
    write, message = REFUSED[name]
    write(photos)
    said, _ = train(photos)
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert message in said.err
    if name.startswith(("broken", "no ", "LAB")):
        said, warned = train(photos, "--skip-broken")
        assert said.status == 0
        assert "1 file (x." in warned[0]
        assert "cannot be read left out" in warned[0]


def test_one_broken_file_among_very_many_is_named(photos, train, tmp_path, monkeypatch):
    monkeypatch.setattr("discretevae.data.readers.decoding.KEPT_FILES", 3)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    for number in range(4, 300):
        (photos / f"{number}.png").write_bytes((photos / "1.png").read_bytes())
    (photos / "217.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for _ in range(2):
        said, _ = train(photos)
        assert said.status == 2
        assert "217.png: " in said.err
    said, warned = train(photos, "--skip-broken")
    assert (said.status, len(warned)) == (0, 1)
    assert "1 file (217.png)" in warned[0]


@pytest.mark.parametrize("name", ["empty", "folders that are empty"])
def test_a_folder_without_pictures_is_refused(tmp_path, train, name):
    (tmp_path / "none" / ("" if name == "empty" else "cat")).mkdir(parents=True)
    said, _ = train(tmp_path / "none")
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "no pictures in this folder" in said.err


@pytest.mark.parametrize("size", ["1x1", "1x3", "3x1", "3x3"])
@pytest.mark.parametrize("network", ["mlp", "cnn", "resnet"])
def test_the_smallest_pictures(photos, train, size, network):
    own = {"mlp": ("--hidden", 4), "resnet": ("--width", 4)}.get(network, ())
    said, warned = train(photos, "--image-size", size, "--network", network, *own)
    assert (said.status, warned) == (0, []), said.err


def test_pictures_turned_by_the_camera_are_turned_back(photos, train):
    saved(COLORS.swapaxes(0, 1)[::-1].copy(), "x.png", exif=TURNED)(photos)
    assert train(photos)[0].status == 0
