"""Files of the user: what is read, and what is said of a bad one."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
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
    ("a.csv", b"\xef\xbb\xbf0;51;255\r\n255;0;102\r\n\r\n7;8;9\r\n1;2;200", None),
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
    ("a.csv", b"a,b\n1,2\n\n3,\n", "line 4, column 2 is not a number. Got an empty cell"),
    ("a.csv", b"1,2\n,3\n", "line 2, column 1"),
    ("a.csv", b"1,2\n3,1_000\n", "line 2, column 2 is not a number. Got '1_000'"),
    ("a.csv", b"1;2\n1,5;2\n", "decimals are written with a point"),
    ("a.csv", b"1,2\n3\n", "line 2 has 1 cells, the lines before it 2"),
    ("a.csv", b"1,2\n3,4\n3,4,5\n", "line 3 has 3 cells"),
    ("a.csv", b"a,b,c\n3,4\n", "names has 3 cells, the rows 2"),
    ("a.csv", b"1,2\nnan,4\n", "row 1, column 0"),
    ("a.csv", b"1,2\n3,1e300\n", "too large for float32"),
    ("a.csv", b"label,Target,x\n1,2,3\n", "label and Target all name labels"),
    ("a.csv", b"label\n1\n", "shape (1, 0)"),
    ("a.csv", b"label,x\n1,a\n", "line 2, column 2"),
    ("a.csv", b",x\n0,5\n1,5\n", "only counts the rows"),
    ("a.csv", "ä,b\n1,2\n".encode("latin-1"), "not UTF-8"),
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


def test_csv_label_that_is_no_class_stays_a_feature(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,target,y\n1,0.5,2\n3,1.5,4\n")
    with pytest.warns(DataWarning, match="column target .* as a feature"):
        rows = load_rows(path)
    assert rows.labels is None
    assert rows.values.tolist() == [[1, 0.5, 2], [3, 1.5, 4]]


def test_csv_counting_first_line_is_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("0,1,2\n9,8,255\n")
    with pytest.warns(DataWarning, match="taken for column names"):
        assert load_rows(path).values.tolist() == [[9, 8, 255]]


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
    for values, message in (
        (["x", "y"], "column 'v' is string"),
        ([1.0, None], "1 missing values in column 'v'"),
        ([[1], [2]], "column 'v' is list"),
    ):
        pq.write_table(pa.table({"v": values}), path)
        with pytest.raises(DataError) as caught:
            load_rows(path)
        assert message in str(caught.value)
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


def test_a_column_of_fractions_called_label_keeps_its_name(tmp_path):
    (tmp_path / "mine.csv").write_text("a,label\n1,0.5\n")
    with pytest.warns(DataWarning, match="read as a feature"):
        assert load_rows(tmp_path / "mine.csv").columns == ("a", "label")


def test_names_of_columns_fit_the_features():
    assert Rows.from_array([[0, 1]], columns=["a", "b"]).columns == ("a", "b")
    with pytest.raises(DataError, match="3 names of 2 features"):
        Rows.from_array([[0, 1]], columns=["a", "b", "c"])
