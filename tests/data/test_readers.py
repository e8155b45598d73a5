"""Files of the user: what is read, and what is said of a bad one."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import struct
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from discretevae.data import Rows, load_data, load_rows
from discretevae.errors import DataError, DataWarning

TABLE = np.array([[0, 51, 255], [255, 0, 102], [7, 8, 9], [1, 2, 200]], np.uint8)


def idx(array, code=0x08):
    sides = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sides + array.tobytes()


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def lying_npy(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def zip_of(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


PICTURES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 11

GOOD = [
    ("a.npy", npy(TABLE), None),
    ("a.NPY", npy(TABLE), None),
    ("a.npy", npy(np.asfortranarray(TABLE.astype(np.float64))), None),
    ("a.npy", npy(TABLE.astype(">i8")), None),
    ("nosuffix", npy(TABLE), None),
    ("a.npz", npz(whatever=TABLE), None),
    ("a.npz", npz(X=TABLE, Y=np.arange(4)), [0, 1, 2, 3]),
    ("a.npz", npz(images=TABLE, labels=np.arange(4.0)), [0, 1, 2, 3]),
    ("nosuffix", npz(data=TABLE), None),
    ("a.idx", idx(TABLE), None),
    ("a.gz", gzip.compress(idx(TABLE), mtime=0), None),
    ("t10k-ubyte", idx(TABLE.astype(">i4"), 0x0C), None),
    ("t10k-ubyte", idx(TABLE.astype(">f8"), 0x0E), None),
    ("a.csv", b"0,51,255\n255,0,102\n7,8,9\n1,2,200\n", None),
    ("a.csv", b"\xef\xbb\xbf0,51,255\r\n255,0,102\r\n\r\n7,8,9\r\n1,2,200", None),
    ("a.csv", gzip.compress(b"0,51,255\n255,0,102\n7,8,9\n1,2,200\n", mtime=0), None),
    ("a.CSV.gz", gzip.compress(b"0,51,255\n255,0,102\n7,8,9\n1,2,200\n", mtime=0), None),
    ("a.tsv.gz", gzip.compress(b"0\t51\t255\n255\t0\t102\n7\t8\t9\n1\t2\t200\n", mtime=0), None),
    ("a.v1.txt", b"0,51,255\n255,0,102\n7,8,9\n1,2,200\n", None),
    ("a.tsv", b"\n0\t51.0\t2.55e2\n255\t0\t102\n 7\t8 \t9\n1\t2\t200\n", None),
    ("a.csv", b'a,"b,c",d\n"0",51,255\n255,0,102\n7,8,9\n1,2,200\n', None),
    ("a.csv", b"a,Class,b,c\n0,3,51,255\n255,4,0,102\n7,5,8,9\n1,6,2,200\n", [3, 4, 5, 6]),
]


@pytest.mark.parametrize(("name", "content", "labels"), GOOD)
def test_files_are_read(tmp_path, name, content, labels):
    path = tmp_path / name
    path.write_bytes(content)
    rows = load_rows(path)
    assert np.array_equal(rows.values.numpy(), TABLE)
    assert rows.divisor == 255
    assert (rows.labels is None) if labels is None else (rows.labels.tolist() == labels)
    assert rows.name == str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", npy(PICTURES)),
        ("a.npz", npz(x=PICTURES[:, None])),
        ("a.idx", idx(PICTURES)),
        ("a.gz", gzip.compress(idx(PICTURES), mtime=0)),
    ],
)
def test_pictures_keep_their_shape(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert load_rows(path).image_shape == (3, 4)
    assert load_rows(str(path), image_size=(3, 4)).image_shape == (3, 4)
    with pytest.raises(DataError, match="3x4, not 4x3"):
        load_rows(path, image_size=(4, 3))


class Payload:
    def __reduce__(self):
        return os.mkdir, ("payload-ran",)


def objects_npy():
    return npy(np.array([[Payload()]], dtype=object), allow_pickle=True)


FULL = idx(TABLE)
BAD = [
    ("a.npy", objects_npy(), "holds Python objects, which are never loaded"),
    ("a.npy", pickle.dumps(Payload()), "a pickle, which could run any code"),
    ("a.npy", b"", "the file is empty"),
    ("a.npy", b"\x93NUMPY\x09\x00", "not a NumPy array"),
    ("a.npy", npy(TABLE)[:40], "not a NumPy array"),
    ("a.npy", npy(TABLE)[:-3], "ends after 9 of 12 bytes"),
    ("a.npy", npy(np.zeros((0, 3))), "shape (0, 3)"),
    ("a.npy", npy(np.zeros(3)), "Got shape (3,)"),
    ("a.npy", npy(np.array(["a", "b"])), "dtype <U1"),
    ("a.npy", lying_npy((2**40, 2**10)), "ends after 0 of 1,125,899,906,842,624 bytes"),
    ("a.npy", lying_npy((2**40, 2**40)), "at most"),
    ("a.npy", lying_npy((-1, 4)), "header"),
    ("a.npz", b"PK nothing", "not an .npz archive"),
    ("a.npz", npz(x=TABLE)[:60], "not an .npz archive"),
    ("a.npz", zip_of("x.npy", b"nothing"), "not a NumPy array"),
    ("a.npz", npz(a=TABLE, b=TABLE), "cannot tell which array holds the rows: a, b"),
    ("a.npz", npz(x=TABLE, train=TABLE), "cannot tell which"),
    ("a.npz", npz(train=TABLE, y=TABLE), "cannot tell which"),
    ("a.npz", npz(x=TABLE, data=TABLE), "x and data mean the same"),
    ("a.npz", npz(), "cannot tell which"),
    ("a.npz", npz(x=TABLE, y=np.arange(3)), "need labels of shape (4,). Got (3,)"),
    ("a.npz", npz(x=TABLE, y=np.array([0.5, 1, 2, 3])), "labels must be whole numbers"),
    ("a.npz", npz(train=TABLE, test=TABLE[:, :2]), "Save all with one dtype"),
    ("a.npz", npz(train=TABLE, test=TABLE / 2), "Save all with one dtype"),
    ("a.npz", npz(train=TABLE, test=TABLE[:0]), "test has 0 rows"),
    ("a.npz", zip_of("x.npy", objects_npy()), "holds Python objects"),
    ("a.npz", zip_of("x.npy", lying_npy((2**40, 9))), "array 'x': its header promises"),
    ("a.npz", zip_of("x.npy", lying_npy((9, 9))), "cut short"),
    ("a.idx", b"", "the file is empty"),
    ("a.bin", b"what is this", "unknown kind of file. Pass .npy, .npz"),
    ("a.idx", FULL[:3], "unknown kind of file"),
    ("a.idx", FULL[:7], "ends within its header"),
    ("a.idx", FULL[:-5], f"ends after {len(FULL) - 5} of {len(FULL)} bytes. Delete it and fetch"),
    ("a.idx", FULL + b"x", f"goes on after the {len(FULL)} bytes"),
    ("a.idx", idx(TABLE[0]), "labels, not rows"),
    ("a.idx", bytes([0, 0, 8, 2]) + b"\xff" * 8, "at most"),
    ("a.gz", gzip.compress(b"something else", mtime=0), "gzip file that holds no IDX array"),
    ("a.gz", gzip.compress(b"", mtime=0), "missing"),
    ("a.gz", gzip.compress(FULL[:-5], mtime=0), "ends after 19 of 24 bytes"),
    ("a.gz", gzip.compress(FULL, mtime=0)[:5], "gzip file that holds no IDX array"),
    ("a.gz", gzip.compress(FULL, mtime=0)[:-8] + bytes(8), "damaged gzip file"),
    ("a.gz", gzip.compress(FULL, 0, mtime=0)[:12] + b"\xff" * 30, "damaged gzip file"),
    ("a.csv", b"", "the file is empty"),
    ("a.csv", b"\n \n", "the file is empty"),
    ("a.csv", b"a,b\n", "no rows"),
    ("a.csv", b"1,2\n3,x\n", "line 2, column 2 is not a number. Got 'x'"),
    ("a.csv", b"1,2\n,3\n", "line 2, column 1"),
    ("a.csv", b"1,2\n3,1_000\n", "line 2, column 2 is not a number. Got '1_000'"),
    ("a.csv", b"1;2.5\n1,5;2\n", "Got '1,5'. Here decimals are written with a point"),
    ("a.csv", b"a;b\n1,5;2\n1.234,5;2\n", "column 'a' holds numbers such as '1.234,5'"),
    ("a.csv", b'a,b\n"1,234",2\n', "column 'a' holds numbers such as '1,234'"),
    ("a.csv", b"a,b\n1 000,2\n", "column 'a' holds numbers such as '1 000'"),
    ("a.csv", b"a,b\n1'000'000,2\n", "Write them without marks between thousands"),
    (
        "a.csv",
        b"a,b\nTrue,2\n1,3\n",
        "'a' holds booleans such as 'True', and '1'. Write all",
    ),
    ("a.csv", b"a,b\nyes,2\nTrue,3\n", "column 'a' holds booleans such as 'True', and 'yes'."),
    (
        "a.csv",
        b"a,b\n0,2\nTrue,3\n",
        "'a' holds booleans such as 'True', and '0'. Write all",
    ),
    ("a.csv", b"5.1,3.5,ant\n4.9,3.0,ant\n", "line 1, column 3 is not a number. Got 'ant'"),
    ("a.csv", b"# made by x\na,b\n1,2\n", "the first line is a comment, '# made by x'"),
    ("a.csv", b"a,b\n1,2\n# 7,8\n3,4\n", "line 3 is a comment, '# 7,8'"),
    ("a.csv", b"a,b\n1,2\n\n// end\n", "line 4 is a comment, '// end'"),
    ("a.csv", b"sep=;\na;b\n1;2\n", "the first line is a comment, 'sep=;'"),
    ("a.csv", b"a,b,c\n1,2\n3,4,5\n", "line 2 has 2 cells, the lines before it 3"),
    ("a.csv", b"a,b,a\n1,2,3\n", "column 'a' stands there twice"),
    ("a.csv", b"a,,\n1,2,3\n", "column '' stands there twice"),
    ("a.csv", b"a,b\n1,2,\n3,4,\n", "column 'b' has no values at all. Leave it out by"),
    ("a.csv", b'a,b\n1,"2\n2,3\n', "a quote is never closed, in the line '1,\"2'"),
    ("a.csv", b"a;b\n1;2\n3;4;5\n", "line 3 has 3 cells"),
    ("a.csv", b"a b\n1 2\n3\n", "line 3 has 1 cells"),
    ("a.csv", "a,b\n1,2\n".encode("utf-16-le"), "no text, for it holds bytes of 0"),
    ("a.csv", "a,b\n1,2\n".encode("utf-16")[:-1], "not a text"),
    ("a.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9], "damaged gzip file"),
    ("a.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-8] + bytes(8), "damaged gzip file"),
    ("a.csv", b"1,2\n3\n", "line 2 has 1 cells, the lines before it 2"),
    ("a.csv", b"1,2\n3,4\n3,4,5\n", "line 3 has 3 cells"),
    ("a.csv", b"a,b,c\n3,4\n", "names has 3 cells, the rows 2"),
    ("a.csv", b"1,2\nnan,4\n", "row 1, column 0"),
    ("a.csv", b"1,2\n3,1e300\n", "too large for float32"),
    ("a.csv", b"label,Target,x\n1,2,3\n", "label and Target all name labels"),
    ("a.csv", b"label\n1\n", "shape (1, 0)"),
    ("a.csv", b"1,2\n" + b"x" * 200_000, "line 2"),
    ("a.csv", b"x" * 200_000, "not a table of numbers"),
    ("a.csv", b"\x00\x01\x02", "a.csv"),
    ("a.parquet", b"PAR1 nothing", "not a Parquet file"),
    ("a.xlsx", b"PK\x03\x04 nothing", "an Excel workbook. Save the sheet as CSV"),
    ("a.pkl", pickle.dumps(Payload()), "a pickle, which could run any code"),
    (
        "a.pt",
        zip_of("x/data.pkl", pickle.dumps(Payload())),
        "a file of PyTorch, which holds a pickle",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, monkeypatch, name, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_rows(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert [entry.name for entry in tmp_path.iterdir()] == [name], "a payload ran"


def test_the_payload_would_run_if_it_were_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.load(io.BytesIO(objects_npy()), allow_pickle=True)
    assert (tmp_path / "payload-ran").is_dir()


@pytest.mark.parametrize("packed", [False, True])
def test_idx_cut_anywhere_is_refused(tmp_path, packed):
    whole = gzip.compress(FULL, mtime=0) if packed else FULL
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz"):
            load_rows(path)


def test_idx_truncated_gzip_counts_what_came_out(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, (1000, 1000), np.uint8)
    path = tmp_path / "a.gz"
    whole = gzip.compress(idx(content), mtime=0)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"ends after [45]\d\d,\d\d\d of 1,000,012 bytes"):
        load_rows(path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(FULL + bytes(50 << 20), mtime=0))
    read = 0
    real = gzip.GzipFile.read1

    def counted(self, size=-1):
        nonlocal read
        piece = real(self, size)
        read += len(piece)
        return piece

    monkeypatch.setattr(gzip.GzipFile, "read1", counted)
    with pytest.raises(DataError, match="goes on after"):
        load_rows(path)
    assert read == len(FULL) + 1


def test_a_file_that_promises_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("discretevae.data.stores.values.MAX_BYTES", 10)
    for name, content in (("a.npz", npz(x=TABLE)), ("a.idx", FULL)):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match="12 bytes; at most 10 are read"):
            load_rows(path)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"1,2\n3,4\n5,6\n", mtime=0))
    with pytest.raises(DataError, match="unpacks to more than 10 bytes"):
        load_rows(path)


def test_idx_labels_beside_the_images_are_found(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(PICTURES))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([7, 3], np.uint8)))
    assert load_rows(tmp_path / "t10k-images-idx3-ubyte").labels.tolist() == [7, 3]


def test_npz_with_a_split_of_its_own(tmp_path):
    path = tmp_path / "a.npz"
    # The test part holds 0 and 1 only: it must still mean what it means in the train part.
    path.write_bytes(npz(x_train=TABLE, x_test=TABLE[:2] > 9, y_train=np.arange(4)))
    with pytest.raises(DataError, match="one dtype"):
        load_data(path)
    test = (TABLE[:2] > 9).astype(np.uint8)
    path.write_bytes(npz(x_train=TABLE, x_test=test, y_train=np.arange(4)))
    data = load_data(path)
    assert np.array_equal(data.train.values.numpy(), TABLE)
    assert np.array_equal(data.test.values.numpy(), test)
    assert data.test.divisor == data.train.divisor == 255
    assert data.train.labels.tolist() == [0, 1, 2, 3]
    assert data.test.labels is None
    everything = load_rows(path)
    assert np.array_equal(everything.values.numpy(), np.concatenate([TABLE, test]))
    assert everything.labels is None
    assert len(load_rows(path, split="test")) == 2


def test_npz_arrays_that_are_not_used_are_named(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(npz(x=TABLE, names=np.array(["a"])))
    with pytest.warns(DataWarning, match="not used: names"):
        load_rows(path)


ASSUMED = [
    (b"a;b\n1.5;2\n3;4\n", "semicolons between cells"),
    (b"a|b\n1.5|2\n3|4\n", "vertical bars between cells"),
    (b"a b\n1.5 2\n3 4\n", "spaces between cells"),
    (b" a   b\n 1.5   2\n  3 \t 4 \n", "spaces between cells"),
    (b'"a" "b"\n1.5 "2"\n3 4\n', "spaces between cells"),
    (b"a;b\n1,5;2\n3;4\n", "semicolons between cells, decimal commas"),
    (b"a\tb\n1,5\t2\n3\t4\n", "decimal commas"),
    (b"a b\n1,5 2\n3 4\n", "spaces between cells, decimal commas"),
    (b'a,b\n"1,5","2"\n3,4\n', "decimal commas"),
    ("a,b\n1.5,2\n3,4\n".encode("utf-16"), "UTF-16 text"),
    ("a;b\n1,5;2\n3;4\n".encode("utf-32"), "UTF-32 text, semicolons between cells, decimal commas"),
]


@pytest.mark.parametrize(("content", "assumed"), ASSUMED)
@pytest.mark.parametrize("is_packed", [False, True])
def test_what_is_assumed_of_a_text_table_is_said(tmp_path, content, assumed, is_packed):
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(content) if is_packed else content)
    with pytest.warns(DataWarning, match=f"read with {re.escape(assumed)}\\.$"):
        rows = load_rows(path)
    assert rows.columns == ("a", "b")
    assert rows.batch(slice(None)).tolist() == [[1.5, 2], [3, 4]]


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp1252", "Größe €"), ("latin-1", "Größe"), ("latin-1", "é\x81")]
)
def test_text_of_eight_bits(tmp_path, encoding, name):
    path = tmp_path / "a.csv"
    path.write_bytes(f"{name},b\n1,2\n".encode(encoding))
    with pytest.warns(DataWarning, match=r"read with .* text"):
        assert load_rows(path, divisor=1).columns == (name, "b")


def test_decimal_commas_that_begin_late(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a;b\n" + "1;2\n" * 300 + "2,5;3\n")
    with pytest.warns(DataWarning, match="decimal commas"):
        assert load_rows(path).batch(slice(-1, None)).tolist() == [[2.5, 3]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\nTrue,0.5\nfalse,0.25\n", [[1, 0.5], [0, 0.25]]),
        ("a,b\nTRUE,no\nFALSE,YES\n", [[1, 0], [0, 1]]),
        ("True,0.5\nFalse,0.25\n", [[1, 0.5], [0, 0.25]]),
        ("x,y,z\n0.5, true ,1\n0.25,false,3\n", [[0.5, 1, 1], [0.25, 0, 3]]),
    ],
)
def test_booleans_are_0_and_1(tmp_path, text, expected):
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert load_rows(path).batch(slice(None)).tolist() == expected


HEADERS = [
    ("0,1,2\n9,8,255\n", True),
    ("1,2,3\n9,8,255\n", True),
    ("1990,1991,1992\n5,8,7\n3,2,1\n", True),
    ("1990,2000,2010\n5,8,7\n3,2,1\n", True),
    ("400,402,404\n0.5,0.1,0.3\n0.2,0.1,0.7\n", True),
    ("2019,2021\n0.5,0.1\n0.2,0.1\n", True),
    ("7,3,12\n0.5,0.1,0.3\n1.0,0.1,0.7\n", True),
    ('"5","9"\n3,4\n1,2\n', True),
    (",0,1\n0,7,8\n1,9,4\n", True),
    (",0\n5,7\n2,9\n", True),
    ("1,2,3,4,5,6\n4,4,1,2,6,1\n2,3,5,6,1,1\n", True),
    ("1,2\n3,3\n6,7\n", False),
    ("0,1\n3,3\n6,7\n", False),
    ("0,1,2\n3,4,5\n6,7,8\n", False),
    ("1,2,3\n7,7,4\n4,5,6\n", False),
    ("0,0,0\n0.5,0.1,0.3\n0.2,0.1,0.7\n", False),
    ("1,0,2\n0.5,0,0.3\n0.2,0.1,0.7\n", False),
    ("3,2,1\n9,8,255\n", False),
    ("5\n0.5\n0.1\n0.3\n0.2\n", False),
]


@pytest.mark.parametrize(("text", "is_header"), HEADERS)
@pytest.mark.filterwarnings("ignore:.*taken for row ids")
def test_a_first_line_of_numbers(tmp_path, text, is_header):
    path = tmp_path / "a.csv"
    path.write_text(text)
    lines = text.count("\n")
    if is_header:
        with pytest.warns(DataWarning, match="taken for column names; pass `header=False`"):
            rows = load_rows(path, divisor=1)
    else:
        rows = load_rows(path, divisor=1)
    assert len(rows) == lines - is_header
    assert (rows.columns is not None) == is_header
    if text[0] not in ",0":  # names must differ
        assert len(load_rows(path, divisor=1, header=True)) == lines - 1
        assert len(load_rows(path, divisor=1, header=False)) == lines


def test_a_first_line_that_may_be_a_row_is_kept_and_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("1,2,3\n4,5,5\n2,1,3\n5,3,3\n")
    with pytest.warns(DataWarning, match="taken for a row; pass `header=True`"):
        assert len(load_rows(path, divisor=1)) == 4


@pytest.mark.parametrize("text", ["ant,5,6\n7,3,2\n8,1,4\n", "t1,5,6\nt2,3,2\n"])
def test_a_first_line_of_texts_and_numbers(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rows = load_rows(path, divisor=1, ignore=(text.split(",")[0],))
    assert rows.columns == ("5", "6")
    # where the rows are like it, it may be one of them
    assert any("taken for column names" in str(each.message) for each in said) == (text[0] == "t")


def test_csv_blocks_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr("discretevae.data.readers.tables._BLOCK", 9)
    table = np.random.default_rng(0).random((40, 3)).astype(np.float32)
    table[:8] = 1
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n" + "".join(",".join(map(repr, r)) + "\n" for r in table.tolist()))
    assert np.array_equal(load_rows(path).values.numpy(), table)
    with path.open("a") as file:
        file.write("1,2,3\n" * 5 + "1,2\n")
    with pytest.raises(DataError, match="line 47 has 2 cells"):
        load_rows(path)


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    columns = {"a": TABLE[:, 0], "label": [3, 4, 5, 6], "b": TABLE[:, 1], "c": TABLE[:, 2]}
    pq.write_table(pa.table(columns), path, row_group_size=3)
    rows = load_rows(path)
    assert np.array_equal(rows.values.numpy(), TABLE)
    assert rows.labels.tolist() == [3, 4, 5, 6]
    pq.write_table(pa.table({"v": [True, False]}), path)
    assert load_rows(path).is_binary
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a Parquet file, or damaged"):
        load_rows(path)


@given(
    hnp.arrays(
        hnp.floating_dtypes(sizes=(16, 32, 64)) | hnp.unsigned_integer_dtypes(sizes=8),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
        elements={"allow_nan": False, "allow_infinity": False, "min_value": 0, "max_value": 200},
    ),
    st.sampled_from([",", ";", "\t"]),
    st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@pytest.mark.filterwarnings("ignore:.*read with semicolons")
def test_round_trip_through_files(tmp_path, table, delimiter, header):
    expected = table.astype(np.float32)
    np.save(tmp_path / "a.npy", table)
    names = delimiter.join(f"c{i}" for i in range(table.shape[1])) + "\n" if header else "\n"
    lines = [delimiter.join(map(repr, row)) for row in table.astype(np.float64).tolist()]
    # A first line of 0, 1, 2 reads as names; that has a test of its own.
    if not header and [float(cell) for cell in table[0]] == list(range(table.shape[1])):
        return
    (tmp_path / "a.csv").write_text(names + "\n".join(lines))
    for name in ("a.npy", "a.csv"):
        rows = load_rows(tmp_path / name, divisor=1)
        assert np.array_equal(rows.batch(slice(None)).numpy(), expected)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b\n1,2\n", ("a", "b")),
        ('\n"a b"\tc\n1\t2\n', ("a b", "c")),
        ("1,2\n3,4\n", None),
        ("Target,a,b\n1,2,3\n", ("a", "b")),
        ("a,label,b\n1,2,3\n", ("a", "b")),
    ],
)
def test_rows_keep_the_names_of_their_columns(tmp_path, text, names):
    (tmp_path / "mine.csv").write_text(text)
    rows = load_rows(tmp_path / "mine.csv", divisor=1)
    assert rows.columns == rows.subset(slice(0, 1)).binarized("threshold").columns == names


def test_names_of_columns_fit_the_features():
    assert Rows.from_array([[0, 1]], columns=["a", "b"]).columns == ("a", "b")
    with pytest.raises(DataError, match="3 names of 2 features"):
        Rows.from_array([[0, 1]], columns=["a", "b", "c"])
