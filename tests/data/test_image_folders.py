"""Folders of pictures."""

from __future__ import annotations

import io
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from discretevae.data import load_data, load_rows
from discretevae.errors import DataError

GREY = (np.arange(12, dtype=np.uint8) * 20).reshape(3, 4)


def save(path, array=GREY, mode=None, **options):
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)


def test_pictures_become_rows_sorted_by_name(tmp_path):
    save(tmp_path / "b.PNG", GREY)
    save(tmp_path / "a.bmp", GREY + 1)
    save(tmp_path / "c.tif", np.stack([GREY + 2] * 3, axis=2))
    save(tmp_path / "d.gif", GREY + 3)
    save(tmp_path / "e.webp", GREY + 4, "RGB", lossless=True)
    (tmp_path / ".hidden").write_text("no picture")
    (tmp_path / ".cache").mkdir()
    rows = load_rows(tmp_path)
    expected = [(GREY + k).reshape(-1).tolist() for k in (1, 0, 2, 3, 4)]
    assert rows.values.tolist() == expected
    assert (rows.image_shape, rows.divisor, rows.labels) == ((3, 4), 255, None)


def test_jpeg_is_read(tmp_path):
    save(tmp_path / "a.jpg", np.full((8, 8), 200, np.uint8))
    save(tmp_path / "b.jpeg", np.full((8, 8), 0, np.uint8))
    values = load_rows(tmp_path).values
    assert (values[0].float() - 200).abs().max() < 3


def test_sub_folders_are_classes(tmp_path):
    for name in ("dog/1.png", "cat/1.png", "cat/2.png"):
        save(tmp_path / name)
    assert load_rows(tmp_path).labels.tolist() == [0, 0, 1]
    save(tmp_path / "loose.png")
    assert load_rows(tmp_path).labels is None


def test_resizing(tmp_path):
    save(tmp_path / "a.png", np.full((10, 20), 50, np.uint8))
    save(tmp_path / "b.png", np.full((7, 3), 90, np.uint8))
    data = load_data(tmp_path, image_size=(4, 6))
    assert data.image_shape == (4, 6)
    assert {int(data.train.values.unique()), int(data.test.values.unique())} == {50, 90}


def test_pixels_of_0_and_1_stay_nearly_black(tmp_path):
    save(tmp_path / "a.png", np.eye(4, dtype=np.uint8))
    assert load_rows(tmp_path).divisor == 255


def test_transparent_is_white_and_16_bits_are_scaled(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0, 3] = 255
    save(tmp_path / "a.png", rgba)
    save(tmp_path / "b.png", np.array([[0, 256], [32768, 65535]], np.uint16))
    Image.new("P", (2, 2), 0).save(tmp_path / "c.png", transparency=0)
    values = load_rows(tmp_path).values.tolist()
    assert values == [[0, 255, 255, 255], [0, 1, 128, 255], [255] * 4]


def test_camera_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    save(tmp_path / "a.png", exif=exif)
    assert load_rows(tmp_path).image_shape == (4, 3)


def png_of_size(width, height):
    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4)

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    body = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def cut_png():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)).save(file, "png")
    return file.getvalue()[:-200]


BAD = [
    ("README.txt", b"hello", "README.txt: not a picture"),
    ("a.png", b"", "a.png: not a picture"),
    ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(50), "a.png: "),
    ("a.png", cut_png(), "a.png: damaged picture"),
    ("a.png", png_of_size(10_000, 10_000), "a.png: too large a picture"),
    ("a.png", png_of_size(100_000, 100_000), "a.png: too large a picture"),
    ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a.eps: not a picture"),
    ("inner/deep/a.png", b"", "one folder deep, not two"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_bad_folders_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with warnings.catch_warnings():
        # As a user has them: shown at most, and no errors.
        warnings.simplefilter("default")
        with pytest.raises(DataError) as caught:
            load_rows(tmp_path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_without_pictures(tmp_path):
    (tmp_path / "inner").mkdir()
    with pytest.raises(DataError, match="no pictures in this folder"):
        load_rows(tmp_path)


def test_a_broken_link(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="broken link"):
        load_rows(tmp_path)


def test_different_sizes_are_named(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", GREY.T.copy())
    with pytest.raises(DataError) as caught:
        load_rows(tmp_path)
    for part in ("a.png is 3x4", "b.png is 4x3", "`image_size=(32, 32)`"):
        assert part in str(caught.value)


def test_floating_point_pictures_are_refused(tmp_path):
    save(tmp_path / "a.tif", GREY.astype(np.float32))
    with pytest.raises(DataError, match=r"a\.tif: pictures of mode F have no fixed white"):
        load_rows(tmp_path)
