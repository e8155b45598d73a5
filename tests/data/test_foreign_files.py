"""Files of other programs: each is refused in one line that says what it is and what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from discretevae.data import load_rows
from discretevae.data.readers.foreign import recognize
from discretevae.errors import DataError


def zip_of(**names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return file.getvalue()


def torch_file(**options):
    file = io.BytesIO()
    torch.save(torch.rand(5, 4), file, **options)
    return file.getvalue()


def tar_of(name, mode="w"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def safetensors():
    head = json.dumps({"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    return struct.pack("<Q", len(head)) + head + b"\1"


TORCH = "a file of PyTorch, which holds a pickle and is never loaded. Load it with"

FOREIGN = [
    # zips
    ("x.pt", torch_file(), TORCH),
    ("x.pth", torch_file(), TORCH),
    ("x.npz", torch_file(), TORCH),
    ("x", torch_file(), TORCH),
    ("x.pt", torch_file(_use_new_zipfile_serialization=False), TORCH),
    ("x.bin", torch_file(_use_new_zipfile_serialization=False), TORCH),
    ("x.xlsx", zip_of(**{"xl/workbook.xml": "x"}), "an Excel workbook. Save the sheet as CSV"),
    ("x.csv", zip_of(**{"xl/workbook.xml": "x"}), "an Excel workbook. Save the sheet as CSV"),
    (
        "photos.zip",
        zip_of(**{"cat/0.png": b"x"}),
        "an archive of pictures. Unpack it, and",
    ),
    ("x.npz", zip_of(**{"cat/0.JPG": b"x", "labels.csv": "x"}), "an archive of pictures"),
    ("data.zip", zip_of(**{"data.csv": "1,2\n"}), "a zip archive of 'data.csv'. Unpack it"),
    ("x.zip", zip_of(**{f"a\n{n}": "x" for n in range(9)}), r"'a\n0', 'a\n1', 'a\n2' and 6 more"),
    # arrays and tables of other programs
    ("x.safetensors", safetensors(), "a safetensors file. Save the tensor"),
    ("x", safetensors(), "a safetensors file"),
    ("x.h5", b"\x89HDF\r\n\x1a\n" + bytes(600), "an HDF5 file. Open it with h5py"),
    ("x.dat", b"\x89HDF\r\n\x1a\n" + bytes(600), "an HDF5 file"),
    ("x.mat", b"MATLAB 5.0 MAT-file" + bytes(600), "a MATLAB file. Open it with scipy.io.loadmat"),
    ("x.mat", bytes([1, 2, 3, 4]), "a MATLAB file"),
    ("x.pkl", pickle.dumps([1]), "a pickle, which could run any code and is never loaded"),
    ("x.joblib", b"x\x9c" + bytes(9), "a pickle"),
    ("x.pickle", b"(lp0\n.", "a pickle"),
    ("x.csv", pickle.dumps({"a": 1}), "a pickle"),
    ("x.json", b"[[1, 2]]", "a JSON file. Save it as CSV or Parquet"),
    ("x.jsonl", b'{"a": 1}\n', "a JSON file"),
    ("x.feather", b"ARROW1\0\0" + bytes(9), "an Arrow, Feather or Avro file. Save it as Parquet"),
    ("x.arrow", b"\xff\xff\xff\xff" + bytes(9), "an Arrow, Feather or Avro file"),
    ("x.avro", b"Obj\x01" + bytes(9), "an Arrow, Feather or Avro file"),
    # packed
    ("x.csv.bz2", bz2.compress(b"1,2\n"), "a packed file. Unpack it"),
    ("x.npy.xz", lzma.compress(b"1,2\n"), "a packed file"),
    ("x.tar", tar_of("a.png"), "an archive or a packed file. Unpack it"),
    ("x.tar.gz", tar_of("a.png", "w:gz"), "an archive or a packed file, packed by gzip"),
    ("x.tgz", tar_of("a.png", "w:gz"), "an archive or a packed file, packed by gzip"),
    ("x.npy.gz", gzip.compress(npy(np.eye(3))), "an array of NumPy, packed by gzip. Unpack it"),
    ("x.pkl.gz", gzip.compress(pickle.dumps([1])), "a pickle, which could run any code"),
    ("x.7z", b"7z\xbc\xaf\x27\x1c" + bytes(9), "an archive or a packed file. Unpack it"),
    # no data at all
    ("x.dat", b"", "the file is empty. Fetch or save it again"),
    ("x.npz", b"", "the file is empty"),
    ("x.parquet", b"", "the file is empty"),
    ("x.png", b"", "the file is empty"),
    ("x.npy", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS. Run git lfs"),
    ("x.npz", b"<!DOCTYPE html><html>", "a web page, no data. Fetch the file itself"),
    ("x.png", b"\n<!doctype html><html>", "a web page"),
    ("README", b"what is this", "unknown kind of file. Pass .npy"),
]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    FOREIGN,
    ids=[f"{i}-{case[0]}" for i, case in enumerate(FOREIGN)],
)
def test_a_foreign_file_is_refused_by_what_it_is(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_rows(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["x", "x.npz", "x.zip", "x.xlsx"])
def test_a_part_of_an_archive_is_refused_in_one_line(tmp_path, name):
    more_disks = b"PK\x06\x07" + bytes(12) + struct.pack("<I", 2)
    (tmp_path / name).write_bytes(
        b"PK\x03\x04" + bytes(99) + more_disks + b"PK\x05\x06" + bytes(18)
    )
    with pytest.raises(DataError) as caught:
        load_rows(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("cut", [1, 5, 30, 100, 300])
def test_an_archive_cut_short_is_refused_in_one_line(tmp_path, cut):
    path = tmp_path / "x.pt"
    path.write_bytes(torch_file()[:-cut])
    with pytest.raises(DataError) as caught:
        load_rows(path)
    assert len(str(caught.value).splitlines()) == 1


def test_what_can_be_read_is_not_foreign(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(3))
    np.savez(tmp_path / "a.npz", np.eye(3))
    np.savez(tmp_path / "b.npz", **{"data.pkl": np.eye(3)})
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    Image.new("L", (3, 3)).save(tmp_path / "a.webp")
    (tmp_path / "a.csv").write_text("CDF,Obj\n1,2\n")
    assert load_rows(tmp_path / "a.csv", divisor=1).columns == ("CDF", "Obj")
    for name in ("a.npy", "a.npz", "b.npz", "a.png", "a.webp"):
        assert recognize(tmp_path / name) is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.txt", "b.txt"], "no words to count"),
        (["a.csv", "b.csv"], "but .csv files, such as a.csv"),
        (["x/a.json", "x/b.h5", "c"], "but .h5, .json, nameless files, such as c"),
        (["x/y/a.png"], "not two. Pass {folder}/x, or move its files up"),
        (["x/y/z/a.png"], "not two. Pass {folder}/x"),
        (["train/cat/a.png", "test/cat/a.png"], "not two. Pass {folder}/test"),
        (["x/.hidden"], "no pictures in this folder. Read are PNG"),
    ],
)
def test_folders_without_pictures(tmp_path, files, message):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"what is this")
    with pytest.raises(DataError) as caught:
        load_rows(tmp_path)
    assert message.format(folder=tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_foreign_file_among_pictures_is_named(tmp_path):
    Image.new("L", (3, 3), 200).save(tmp_path / "a.png")
    (tmp_path / "b.feather").write_bytes(b"ARROW1")
    with pytest.raises(DataError, match=r"b\.feather: not a picture \(an Arrow"):
        load_rows(tmp_path)
