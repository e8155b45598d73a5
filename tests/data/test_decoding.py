"""Large folders of pictures are decoded once, and what is kept is never wrong."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image

from discretevae.data import load_rows
from discretevae.data.readers import decoding
from discretevae.errors import DataError, DataWarning

COLORS = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache folder; three files are many."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    monkeypatch.setattr(decoding, "KEPT_FILES", 3)
    return tmp_path / "discretevae" / "pictures"


@pytest.fixture
def photos(tmp_path):
    return save(tmp_path / "photos", *COLORS)


@pytest.fixture
def n_read(monkeypatch):
    """Count the files that are decoded."""
    read, numbers = decoding.read_picture, []

    def counted(file, request):
        numbers.append(file)
        return read(file, request)

    monkeypatch.setattr(decoding, "read_picture", counted)

    def since() -> int:
        n = len(numbers)
        numbers.clear()
        return n

    return since


def save(folder, *pictures):
    folder.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


def pixels(folder, **options):
    rows = load_rows(folder, **options)
    return rows.batch(slice(None)).reshape(len(rows), *rows.image_shape) * rows.divisor


def kept(cache):
    return sorted(each.name for each in cache.iterdir() if each.suffix != ".lock")


def test_few_files_are_not_kept(cache, photos, monkeypatch):
    monkeypatch.setattr(decoding, "KEPT_FILES", 7)
    load_rows(photos)
    assert not cache.exists()
    monkeypatch.setattr(decoding, "KEPT_BYTES", 200)
    load_rows(photos)
    assert len(kept(cache)) == 1


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("threads", [1, 4])
def test_the_second_start_decodes_nothing(photos, n_read, streamed, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    if streamed:
        monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
    for n in (6, 0):
        rows = load_rows(photos)
        assert n_read() == n
        assert (rows.is_streamed, rows.name, rows.image_shape) == (streamed, str(photos), (5, 4, 3))
        assert rows.row_ids.tolist() == [f"{i}.png" for i in range(6)]
        assert (pixels(photos) == torch.from_numpy(COLORS)).all()


@pytest.mark.parametrize(
    ("values", "divisor"), [((0, 1), 1), ((0, 60), 255), ((0, 4000), 4095), ((0, 16000), 16383)]
)
def test_grey_pictures_of_any_depth_are_kept(tmp_path, n_read, values, divisor):
    dtype = np.uint8 if max(values) < 256 else np.uint16
    grey = np.random.default_rng(1).choice(values, (5, 3, 2)).astype(dtype)
    folder = save(tmp_path / "grey", *grey)
    said = []
    for n in (5, 0):
        with pytest.warns(DataWarning) as warned:
            rows = load_rows(folder)
        said.append([str(each.message) for each in warned])
        assert (n_read(), rows.divisor, rows.image_shape) == (n, divisor, (3, 2))
        assert (rows.values.numpy() == grey.reshape(5, -1)).all()
    assert said[0] == said[1]


def test_what_was_lost_and_left_out_is_said_at_every_start(photos, n_read):
    seen = np.dstack((COLORS[1], np.full((5, 4), 9, np.uint8)))
    Image.fromarray(seen).save(photos / "1.png")
    (photos / "3.png").write_bytes(b"\x89PNG")
    for n in (6, 0):
        with pytest.warns(DataWarning) as said:
            assert len(load_rows(photos, skip_broken=True)) == 5
        assert n_read() == n
        assert [str(each.message).removeprefix(f"{photos}: ") for each in said] == [
            "1 file (1.png) with transparent parts, which were laid on white.",
            "1 file (3.png) that cannot be read left out.",
        ]
    for _ in range(2):  # an error is not kept
        with pytest.raises(DataError, match=r"3\.png: "):
            load_rows(photos)


@pytest.mark.parametrize("at", [1, 5])
def test_colors_after_grey_pictures(tmp_path, at, n_read):
    expected = np.stack([COLORS[..., 0]] * 3, -1)
    expected[at] = COLORS[at]
    folder = save(tmp_path / "mixed", *expected)
    for n in (6 + at + 1, 0):
        assert (pixels(folder).numpy() == expected).all()
        assert n_read() in {n, *(range(n, n + 3) if n else ())}  # a thread may be ahead
    assert pixels(folder, color="grey").shape == (6, 5, 4)


def change(path):
    """Other bytes, of the same size and with the old times."""
    status, content = path.stat(), bytearray(path.read_bytes())
    picture = Image.open(path).copy()
    picture.putpixel((0, 0), (9, 9, 9))
    picture.save(path)
    content[:] = path.read_bytes()[: len(content)].ljust(len(content), b"\0")
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: change(folder / "2.png"),
        lambda folder: (folder / "2.png").rename(folder / "9.png"),
        lambda folder: (folder / "2.png").unlink(),
        lambda folder: Image.fromarray(COLORS[0]).save(folder / "6.png"),
        lambda folder: Image.fromarray(COLORS[0]).save(folder / "2.png"),
    ],
    ids=["times put back", "renamed", "removed", "added", "written over"],
)
def test_a_change_is_noticed(photos, act, n_read):
    load_rows(photos)
    before = pixels(photos)
    assert n_read() == 6
    act(photos)
    after = pixels(photos)
    assert n_read() == len(after)
    expected = [np.asarray(Image.open(file)) for file in sorted(photos.iterdir())]
    assert (after.numpy() == np.stack(expected)).all()
    assert before.shape != after.shape or not torch.equal(before, after)


def test_other_options_and_other_folders_are_other_entries(cache, photos, n_read):
    for options in ({}, {"color": "grey"}, {"image_size": (2, 2)}, {"image_size": (2, 3)}):
        load_rows(photos, **options)
        assert n_read() == 6
    photos.rename(photos.with_name("moved"))
    load_rows(photos.with_name("moved"))
    assert len(kept(cache)) == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:200],
        lambda content: content[:-3],
        lambda content: content.replace(b'"bits": 8', b'"bits": 9'),
        lambda content: content.replace(b'"skipped": []', b'"skipped": [7]'),
        lambda content: content.replace(b'"lost": {}', b'"lost": []'),
        lambda content: content.replace(b"[5, 4, 3]", b"[5, 9, 3]"),
        lambda content: content.replace(b"<u1", b"<i1"),
    ],
)
def test_a_damaged_entry_is_made_anew(cache, photos, damage, n_read):
    load_rows(photos)
    (entry,) = cache.glob("*.npy")
    content = entry.read_bytes()
    assert damage(content) != content
    entry.write_bytes(damage(content))
    n_read()
    assert (pixels(photos).numpy() == COLORS).all()
    assert n_read() == 6
    assert entry.read_bytes() == content


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_what_is_interrupted_leaves_nothing(cache, photos, error, monkeypatch):
    read = decoding.read_picture

    def stops(file, request):
        if file.name == "3.png":
            raise error
        return read(file, request)

    monkeypatch.setattr(decoding, "read_picture", stops)
    with pytest.raises(type(error)):
        load_rows(photos)
    assert kept(cache) == []
    monkeypatch.setattr(decoding, "read_picture", read)
    assert (pixels(photos).numpy() == COLORS).all()


class Full:
    """A file on a full disk."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, content):
        if self.file.tell() + len(content) > 250:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(content)


@pytest.mark.parametrize("when", ["while writing", "before", "no folder"])
def test_a_full_disk_leaves_nothing_and_is_said(cache, photos, when, monkeypatch):
    if when == "no folder":
        cache.parent.write_text("a file")
    elif when == "before":
        usage = decoding.shutil.disk_usage("/")._replace(free=100)
        monkeypatch.setattr(decoding.shutil, "disk_usage", lambda _: usage)
    else:
        writing = decoding.atomic_file

        @decoding.contextlib.contextmanager
        def full(path):
            with writing(path) as file:
                yield Full(file)

        monkeypatch.setattr(decoding, "atomic_file", full)
    with pytest.warns(DataWarning, match=r"photos: .* cannot be kept in your cache folder") as said:
        rows = load_rows(photos)
    assert len(said) == 1
    assert (rows.values.numpy() == COLORS.reshape(6, -1)).all()
    assert when == "no folder" or kept(cache) == []


def test_what_was_not_used_for_the_longest_time_goes(cache, photos, monkeypatch):
    sizes = [(2, 2), (2, 3), (2, 4)]
    for number, size in enumerate(sizes):
        load_rows(photos, image_size=size)
        for entry in cache.glob("*.npy"):  # all are a day older
            status = entry.stat()
            os.utime(entry, ns=(status.st_atime_ns - 86_400 * 10**9, status.st_mtime_ns))
        assert len(kept(cache)) == number + 1
    load_rows(photos, image_size=sizes[0])  # now the newest
    monkeypatch.setattr(decoding, "CACHE_BYTES", 1000)
    load_rows(photos, image_size=(2, 5))
    left = {np.load(entry).shape[1] // 6 for entry in cache.glob("*.npy")}
    assert left <= {2, 5, 4}
    assert 5 in left
    assert sum(entry.stat().st_size for entry in cache.iterdir()) <= 1000
    monkeypatch.setattr(decoding, "CACHE_BYTES", 1)
    load_rows(photos, image_size=(2, 6))
    assert len(kept(cache)) == 1  # what was just made stays
