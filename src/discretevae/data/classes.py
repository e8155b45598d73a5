"""Labels of rows: whole numbers, or names of classes in their natural order."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from discretevae.data.stores.values import as_array
from discretevae.errors import DataError

UNKNOWN = -1
"""Label of a row whose label nobody knows, as in scikit-learn's semi-supervised estimators."""

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
"""A name that is a whole number as Python writes it; int64 holds it."""


def is_known(labels: Tensor) -> Tensor:
    """Return whether each label is known, ``[N]``; of −1 and 1 alone both are classes."""
    two_signs = len(labels) > 0 and bool((labels.abs() == 1).all()) and bool((labels == 1).any())
    return torch.ones_like(labels, dtype=torch.bool) if two_signs else labels != UNKNOWN


def natural_key(name: str) -> list[tuple[bool, int, str]]:
    """Return what names are sorted by, so that ``img2`` comes before ``img10``.

    Example:
        >>> sorted(["img10", "img2", "a"], key=natural_key)
        ['a', 'img2', 'img10']
    """
    parts = re.split(r"(\d+)", name)
    return [(i % 2 == 1, int(part) if i % 2 else 0, part) for i, part in enumerate(parts)]


def read_labels(
    labels: npt.ArrayLike | Tensor | None, n_rows: int, name: str
) -> tuple[Tensor | None, tuple[str, ...] | None]:
    """Return labels as int64 ``[N]``, and the names of the classes where labels are texts.

    Whole numbers, also written as texts, stay what they are. Other texts are numbered in their
    natural order. ``[N, 1]`` and one-hot ``[N, K]`` become ``[N]``. Where there is none (NaN, None,
    an empty text) the label is `UNKNOWN`, −1.

    Raises:
        DataError: another number of labels, or neither whole numbers nor texts.

    Example:
        >>> read_labels(["cat", "ant", "cat"], 3, "mine")
        (tensor([1, 0, 1]), ('ant', 'cat'))
        >>> read_labels([[0, 1], [1, 0]], 2, "mine")
        (tensor([1, 0]), None)
    """
    if labels is None:
        return None, None
    got = as_array(labels, f"{name}: labels")
    if got.ndim == 2 and got.shape[1] == 1:
        got = got[:, 0]
    elif got.ndim == 2 and got.dtype.kind in "biuf" and np.isin(got, (0, 1)).all():
        got = got.argmax(1) if (got.sum(1) == 1).all() else got
    if got.shape != (n_rows,):
        raise DataError(
            f"{name}: {n_rows} rows need labels of shape ({n_rows},). Got {got.shape}. "
            "Give one label for each row."
        )
    if got.dtype.kind == "S":
        got = np.char.decode(got, "utf-8", "replace")
    if got.dtype.kind == "O" and any(value is None for value in got):
        got = np.array(["" if value is None or value != value else str(value) for value in got])
    if got.dtype.kind == "U" or (got.dtype.kind == "O" and all(isinstance(v, str) for v in got)):
        return number_classes([str(value) for value in got.tolist()])
    if got.dtype.kind == "f":
        got = np.where(np.isnan(got), UNKNOWN, got)
    is_whole = got.dtype.kind in "biu" or (
        got.dtype.kind == "f" and np.isfinite(got).all() and (got == np.rint(got)).all()
    )
    if not is_whole:
        raise DataError(
            f"{name}: labels must be whole numbers or names. Got dtype {got.dtype}. Number the "
            "classes, for example with numpy.unique(labels, return_inverse=True)[1]."
        )
    return torch.from_numpy(got.astype(np.int64)), None


def number_classes(names: Sequence[str]) -> tuple[Tensor, tuple[str, ...] | None]:
    """Return a number for each name, and the classes in natural order.

    Names that are all whole numbers are the labels themselves: a file that lacks a class then
    does not number the others anew.

    Example:
        >>> number_classes(["10", "2", ""])
        (tensor([10,  2, -1]), None)
    """
    classes = sorted(set(names) - {""}, key=natural_key)
    if all(_WHOLE.fullmatch(name) for name in classes):
        return torch.tensor([int(name) if name else UNKNOWN for name in names]), None
    number = {name: i for i, name in enumerate(classes)} | {"": UNKNOWN}
    return torch.tensor([number[name] for name in names]), tuple(classes)


def renumber(
    labels: Tensor | None, classes: tuple[str, ...] | None, known: tuple[str, ...]
) -> tuple[Tensor | None, tuple[str, ...], list[str]]:
    """Return labels numbered as the known classes are, by name; further ones come behind them.

    Returns:
        Labels, all classes, and the names that were not known.

    Example:
        >>> renumber(torch.tensor([0, 1]), ("cat", "dog"), ("ant", "cat"))
        (tensor([1, 2]), ('ant', 'cat', 'dog'), ['dog'])
    """
    if labels is None:
        return None, known, []
    values, place = np.unique(labels.numpy(), return_inverse=True)
    names = ["" if value == UNKNOWN else class_name(int(value), classes) for value in values]
    foreign = sorted(set(names) - {*known, ""}, key=natural_key)
    every = (*known, *foreign)
    numbers = [every.index(name) if name else UNKNOWN for name in names]
    return (
        torch.tensor(numbers)[torch.from_numpy(place)],
        every,
        foreign,
    )


def class_name(label: int, classes: tuple[str, ...] | None) -> str:
    """Return the name of a label."""
    return classes[label] if classes is not None and 0 <= label < len(classes) else str(label)
