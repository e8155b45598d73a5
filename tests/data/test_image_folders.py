"""Folders of pictures."""

from __future__ import annotations

import io
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from discretevae.data import Schema, load_data, load_rows
from discretevae.errors import DataError, DataWarning

GREY = (np.arange(12, dtype=np.uint8) * 20).reshape(3, 4)


def save(path, array=GREY, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
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


def test_sub_folders_are_classes_by_name(tmp_path):
    for name in ("dog/1.png", "cat/1.png", "cat/2.png"):
        save(tmp_path / name)
    rows = load_rows(tmp_path)
    assert rows.labels.tolist() == [0, 0, 1]
    assert rows.classes == ("cat", "dog")
    save(tmp_path / "loose.png")
    rows = load_rows(tmp_path)
    assert (rows.labels, rows.classes) == (None, None)


def test_folders_that_are_numbers_are_the_labels(tmp_path):
    for name in (
        "train/0/a.png",
        "train/2/a.png",
        "train/10/a.png",
        "test/2/a.png",
        "test/10/a.png",
    ):
        save(tmp_path / name)
    assert load_rows(tmp_path / "train").labels.tolist() == [0, 2, 10]
    assert load_rows(tmp_path / "test").labels.tolist() == [2, 10]


def test_a_folder_that_lacks_a_class_keeps_the_numbers_of_a_run(tmp_path):
    for name in ("train/ant/a.png", "train/bee/a.png", "train/cat/a.png", "test/cat/a.png"):
        save(tmp_path / name)
    schema = Schema.of(load_data(tmp_path / "train"))
    assert load_rows(tmp_path / "test", schema=schema).labels.tolist() == [2]


@pytest.mark.parametrize(
    "names",
    [
        ["img1.png", "img2.png", "img3.png", "img9.png", "img10.png", "img20.png", "img100.png"],
        ["b1/a.png", "b2/a10.png", "b10/a2.png", "b10/a10.png"],
        ["01.png", "2.png", "10.png", "a.png"],
        ["2/x.png", "3.png", "10/x.png"],
    ],
)
def test_pictures_come_in_natural_order_with_their_names(tmp_path, names):
    for number, name in reversed([*enumerate(names)]):
        save(tmp_path / name, np.full((2, 2), 100 + number, np.uint8))
    rows = load_rows(tmp_path)
    assert rows.row_ids.tolist() == names
    assert rows.values[:, 0].tolist() == [100 + number for number in range(len(names))]
    assert rows.subset(slice(1, 3)).row_ids.tolist() == names[1:3]


def test_what_systems_leave_behind_is_skipped(tmp_path):
    save(tmp_path / "a" / "1.png")
    for name in ("Thumbs.db", "a/desktop.ini", "__MACOSX/._1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"nothing")
    assert load_rows(tmp_path).row_ids.tolist() == ["a/1.png"]


@pytest.mark.parametrize("name", ["photo.jpg", "photo.PNG", "photo.tif", "photo"])
def test_a_single_picture_is_one_row(tmp_path, name):
    save(tmp_path / name, np.full((6, 4), 200, np.uint8), format=None if "." in name else "gif")
    rows = load_rows(tmp_path / name)
    assert (len(rows), rows.image_shape, rows.divisor, rows.labels) == (1, (6, 4), 255, None)
    assert rows.row_ids.tolist() == [name]
    assert load_rows(tmp_path / name, image_size=(3, 2)).n_features == 6
    with pytest.raises(DataError, match="1 row cannot be split"):
        load_data(tmp_path / name)
    with pytest.raises(DataError, match=r"1 row cannot be split .* Choose `split='all'`"):
        load_rows(tmp_path / name, split="test")


def test_new_pictures_get_the_size_of_a_run(tmp_path):
    for number in range(3):
        save(tmp_path / "train" / f"{number}.png", GREY + number)
    schema = Schema.of(load_data(tmp_path / "train"))
    save(tmp_path / "photo.jpg", np.full((30, 50, 3), 90, np.uint8))
    rows = load_rows(tmp_path / "photo.jpg", schema=schema)
    assert (rows.image_shape, set(rows.values.unique().tolist())) == ((3, 4), {90})
    with pytest.raises(DataError, match="rows have 4 features, but the model takes 12"):
        load_rows(tmp_path / "photo.jpg", schema=schema, image_size=(2, 2))


def test_files_without_columns_take_no_roles(tmp_path):
    save(tmp_path / "pictures" / "a.png")
    np.save(tmp_path / "a.npy", GREY)
    np.savez(tmp_path / "a.npz", x=GREY)
    for name in ("pictures", "pictures/a.png", "a.npy", "a.npz"):
        for options in ({"label": "y"}, {"row_id": "name"}, {"ignore": ("b",)}):
            with pytest.raises(DataError, match="no columns by name"):
                load_rows(tmp_path / name, **options)


def test_resizing(tmp_path):
    save(tmp_path / "a.png", np.full((10, 20), 50, np.uint8))
    save(tmp_path / "b.png", np.full((7, 3), 90, np.uint8))
    data = load_data(tmp_path, image_size=(4, 6))
    assert data.image_shape == (4, 6)
    assert {int(data.train.values.unique()), int(data.test.values.unique())} == {50, 90}


def test_what_is_transparent_is_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0, 3] = 255
    save(tmp_path / "a.png", rgba)
    Image.new("P", (2, 2), 0).save(tmp_path / "b.png", transparency=0)
    with pytest.warns(
        DataWarning, match=r"2 files \(such as a\.png\) with transparent parts"
    ) as said:
        assert load_rows(tmp_path).values.tolist() == [[0, 255, 255, 255], [255] * 4]
    assert len(said) == 1


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
    ("README.md", b"hello", "no pictures in this folder, but .md files, such as README.md"),
    ("a.png", b"", "a.png: not a picture (the file is empty)"),
    ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(50), "a.png: "),
    ("a.png", cut_png(), "a.png: damaged picture"),
    ("a.png", png_of_size(10_000, 10_000), "a.png: too large a picture"),
    ("a.png", png_of_size(100_000, 100_000), "a.png: too large a picture"),
    (
        "a.eps",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "no pictures in this folder, but .eps files",
    ),
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


def test_folders_called_train_and_test_are_told_of(tmp_path):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        grey = np.arange(0, 256, 17, dtype=np.uint8).reshape(4, 4)
        Image.fromarray(grey).save(tmp_path / name / "a.png")
    with pytest.warns(DataWarning, match="'test', 'train' were taken for classes, not for parts"):
        assert load_rows(tmp_path).classes == ("test", "train")
