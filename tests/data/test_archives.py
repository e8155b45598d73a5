"""Parts and labels of `.npz` archives."""

from __future__ import annotations

import numpy as np
import pytest

from discretevae.data import Schema, load_data, load_rows
from discretevae.errors import DataError, DataWarning

ROWS = np.arange(36, dtype=np.uint8).reshape(9, 4) * 7
TRAIN, VALIDATION, TEST = ROWS[:4], ROWS[4:6], ROWS[6:]


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("x_train", "x_val", "x_test"),
        ("train", "valid", "test"),
        ("train_data", "validation_data", "test_data"),
        ("train_images", "val_images", "test_images"),
        ("X_train", "X_valid", "X_test"),
        ("images_train", "images_val", "images_test"),
    ],
)
def test_parts_by_their_names(tmp_path, train, validation, test):
    path = save(tmp_path / "a.npz", **{test: TEST, validation: VALIDATION, train: TRAIN})
    parts = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "all": ROWS}
    for split, rows in parts.items():
        assert np.array_equal(load_rows(path, split=split).values, rows)
    data = load_data(path)
    assert (len(data.train), len(data.test), data.split) == (4, 3, None)


def test_without_a_test_part_the_validation_part_is_held_out(tmp_path):
    path = save(tmp_path / "a.npz", x_train=TRAIN, x_val=VALIDATION)
    assert np.array_equal(load_data(path).test.values, VALIDATION)
    for split in ("validation", "test"):
        assert np.array_equal(load_rows(path, split=split).values, VALIDATION)
    assert np.array_equal(load_rows(path, split="all").values, ROWS[:6])
    parts = {part: [load_rows(path, split=part)] for part in ("train", "test")}
    assert Schema.of(load_data(path)).compare(parts, "a") == "same"


@pytest.mark.parametrize(
    "arrays",
    [
        {"x_val": VALIDATION},  # one array may have any name
        {"x_test": TEST, "x_val": VALIDATION},
        {"x": TRAIN, "x_val": VALIDATION},
        {"x_train": TRAIN, "val": VALIDATION, "valid": VALIDATION},
        {"x_train": TRAIN, "x_val": VALIDATION[:0]},
        {"x_train": TRAIN, "x_val": VALIDATION[:, :2], "x_test": TEST},
    ],
)
def test_parts_that_do_not_fit_together(tmp_path, arrays):
    path = save(tmp_path / "a.npz", **arrays)
    if len(arrays) == 1:
        assert len(load_rows(path)) == 2
        return
    with pytest.raises(DataError, match=r"a\.npz: .*(cannot tell|mean the same|0 rows|Save all)"):
        load_rows(path)


def test_labels_of_all_parts_are_numbered_alike(tmp_path):
    path = save(
        tmp_path / "a.npz",
        train_images=TRAIN, val_images=VALIDATION, test_images=TEST,
        train_labels=np.array([["dog"], ["ant"], ["dog"], ["img10"]]),
        val_labels=np.array([["img2"], ["dog"]]),
        test_labels=np.array([["img10"], ["ant"], ["ant"]]),
    )  # fmt: skip
    labels = {
        part: load_rows(path, split=part).labels.tolist()
        for part in ("train", "validation", "test")
    }
    assert labels == {"train": [1, 0, 1, 3], "validation": [2, 1], "test": [3, 0, 0]}
    assert load_rows(path, split="test").classes == ("ant", "dog", "img2", "img10")


@pytest.mark.parametrize(
    ("labels", "numbers", "classes"),
    [
        (np.array([[2], [0], [1], [2]]), [2, 0, 1, 2], None),
        (np.eye(3)[[2, 0, 1, 2]], [2, 0, 1, 2], None),
        (np.array(["b", "a", "b", "c"]), [1, 0, 1, 2], ("a", "b", "c")),
        (np.array([b"b", b"a", b"b", b"c"]), [1, 0, 1, 2], ("a", "b", "c")),
        (np.array(["10", "2", "10", "3"]), [10, 2, 10, 3], None),
        (np.array([True, False, True, True]), [1, 0, 1, 1], None),
    ],
)
@pytest.mark.parametrize("name", ["y", "labels", "target"])
def test_labels_of_every_kind(tmp_path, labels, numbers, classes, name):
    rows = load_rows(save(tmp_path / "a.npz", x=TRAIN, **{name: labels}))
    assert (rows.labels.tolist(), rows.classes) == (numbers, classes)


def test_labels_that_are_python_objects_are_never_loaded(tmp_path):
    path = save(tmp_path / "a.npz", x=TRAIN, y=np.array(["a", "b", "c", "d"], dtype=object))
    with pytest.raises(DataError, match=r"never loaded\. Save .* array\.astype\(str\)"):
        load_rows(path)


def test_texts_that_are_no_labels_are_left_out(tmp_path):
    path = save(tmp_path / "a.npz", x=TRAIN, note=np.array("hello"))
    with pytest.warns(DataWarning, match="not used: note"):
        assert len(load_rows(path)) == 4
