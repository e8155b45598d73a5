"""From a name, a file, a folder or an array to rows: what a model learns from.

```
load_data("mnist")            a Dataset with a train and a test part
load_rows("mine.csv")         all rows of a file
Rows.from_array(array)        an array in memory
```
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import torch

from discretevae.config import BINARIZE_MODES, BinarizeMode, DataConfig
from discretevae.data.binarization import binarize
from discretevae.data.builtin import BUILTIN_NAMES, load_builtin
from discretevae.data.datasets import Dataset
from discretevae.data.readers.formats import READABLE, read_path
from discretevae.data.rows import Rows
from discretevae.data.split import held_out
from discretevae.errors import ConfigError, DataError, did_you_mean

Split = Literal["train", "test", "validation", "all"]


def load_data(
    source: str | os.PathLike[str] | DataConfig,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    divisor: float | None = None,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    download: bool = True,
    progress: bool = False,
) -> Dataset:
    """Load a data set in two parts, one to learn from and one held out.

    Built-in sets have their own split. Of a file or folder without one, `test_fraction` of the
    rows is held out, drawn by `split_seed`: the draw depends on the number of rows only, so that
    a later evaluation on the same file meets the same held-out rows.

    Args:
        source: the name of a built-in set (`BUILTIN_NAMES`), or a path. A `pathlib.Path` is
            always a path. The `DataConfig` of a run names its data, and says how a file is read
            and binarized.
        data_dir: where to look for the files of a built-in set first.
        image_size: (height, width). The pictures of a folder are resized to it; the rows of a
            table are said to be pictures of this size.
        divisor: x = values / divisor. None: 255 for whole numbers in [0, 255], else 1; see
            `Rows.from_array`. Give the one of a trained model to new rows for it.
        test_fraction: in (0, 1); each part gets at least one row.
        split_seed: of a generator of its own.
        download: fetch a built-in set that is found nowhere.
        progress: draw a bar while fetching, if standard error is a terminal.

    Raises:
        ConfigError: an argument outside its range.
        DataError: no such data, or data that cannot be used; see `Rows.from_array`.
        DownloadError: a built-in set that is found nowhere and cannot be fetched.
        MissingExtraError: a Parquet file without pyarrow.

    Example:
        >>> data = load_data("digits")
        >>> len(data.train), len(data.test), data.n_features, data.image_shape
        (1500, 297, 64, (8, 8))
    """
    _check_arguments(image_size, divisor, test_fraction, split_seed)
    parts = _parts(source, data_dir, image_size, divisor, download, progress)
    if "all" in parts:
        train, test = _split(parts["all"], test_fraction, split_seed)
    else:
        train, test = parts["train"], parts["test"]
    return Dataset(train.name, train, test)


def load_rows(
    source: str | os.PathLike[str] | DataConfig,
    *,
    split: Split = "all",
    data_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    divisor: float | None = None,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    download: bool = True,
    progress: bool = False,
) -> Rows:
    """Load one part of a data set, or all of it.

    Args:
        source: as for `load_data`, like all arguments but one.
        split: `train` or `test`, as `load_data` splits; `all` for all rows in the order of the
            file; of `binarized-mnist` also `validation`.
        data_dir: where to look for the files of a built-in set first.
        image_size: (height, width).
        divisor: x = values / divisor.
        test_fraction: in (0, 1).
        split_seed: of a generator of its own.
        download: fetch a built-in set that is found nowhere.
        progress: draw a bar while fetching.

    Raises:
        ConfigError: an argument outside its range, or an unknown split.
        DataError: as for `load_data`, and a split that the source does not have.
        DownloadError: as for `load_data`.
        MissingExtraError: as for `load_data`.

    Example:
        >>> len(load_rows("digits")), len(load_rows("digits", split="test"))
        (1797, 297)
    """
    if split not in (choices := get_args(Split)):
        raise ConfigError(f"`split`: unknown value {split!r}. {did_you_mean(str(split), choices)}")
    _check_arguments(image_size, divisor, test_fraction, split_seed)
    parts = _parts(source, data_dir, image_size, divisor, download, progress)
    if split in parts:
        return parts[split]
    if split == "all":
        return _joined([parts[part] for part in ("train", "validation", "test") if part in parts])
    if split == "validation":
        name = next(iter(parts.values())).name
        raise DataError(
            f"{name} has no validation part; only binarized-mnist has one. "
            "Choose the `split` train, test or all."
        )
    train, test = _split(parts["all"], test_fraction, split_seed)
    return train if split == "train" else test


def _parts(
    source: str | os.PathLike[str] | DataConfig,
    data_dir: str | os.PathLike[str] | None,
    image_size: tuple[int, int] | None,
    divisor: float | None,
    download: bool,
    progress: bool,
) -> dict[str, Rows]:
    if isinstance(source, DataConfig):
        is_file = source.source not in BUILTIN_NAMES  # which are read in one way only
        size, divisor = (source.image_size, source.divisor) if is_file else (None, None)
        parts = _parts(source.source, data_dir, size, divisor, download, progress)
        return {part: rows.binarized(source.binarize) for part, rows in parts.items()}
    if not isinstance(source, (str, os.PathLike)):
        raise DataError(
            f"source must be a name or a path. Got {type(source).__name__}. For an array in "
            "memory call Rows.from_array."
        )
    if not os.fspath(source):
        raise DataError(f"source is empty. {did_you_mean('', BUILTIN_NAMES)}")
    if source not in BUILTIN_NAMES:
        path = Path(source)
        try:
            exists = path.exists()
        except (OSError, ValueError) as error:  # no permission, or no name a file can have
            raise DataError(f"{source!s} cannot be looked up: {error}. Check the path.") from None
        if not exists:
            guess = did_you_mean(str(source).lower().replace("_", "-"), BUILTIN_NAMES)
            raise DataError(f"{source!s}: no such file or built-in data set. {guess}")
        return read_path(path, image_size=image_size, divisor=divisor)
    parts = load_builtin(str(source), data_dir=data_dir, allow_download=download, progress=progress)
    train = parts["train"]
    for what, asked, own in (
        ("pictures of size", image_size, train.image_shape),
        ("divisor", divisor, train.divisor),
    ):
        if asked is not None and asked != own:
            raise ConfigError(f"{source}: has {what} {own}, not {asked}. Leave it out.")
    return parts


def _check_arguments(
    image_size: tuple[int, int] | None, divisor: float | None, test_fraction: float, seed: int
) -> None:
    problems = []
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
        problems.append(f"`image_size` must be (height, width), both >= 1. Got {image_size}.")
    if divisor is not None and not 0 < divisor < float("inf"):
        problems.append(f"divisor must be > 0. Got {divisor}.")
    if not 0 < test_fraction < 1:
        problems.append(f"test_fraction must be > 0 and < 1. Got {test_fraction}.")
    if not 0 <= seed < 2**63:
        problems.append(f"split_seed must be >= 0 and below 2**63. Got {seed}.")
    if problems:
        raise ConfigError(problems)


def _split(rows: Rows, test_fraction: float, seed: int) -> tuple[Rows, Rows]:
    if len(rows) < 2:
        raise DataError(
            f"{rows.name}: 1 row cannot be split into a train and a test part. Give at least 2."
        )
    n_test = min(max(round(len(rows) * test_fraction), 1), len(rows) - 1)
    train, test = held_out(len(rows), n_test, seed)
    return rows.subset(train), rows.subset(test)


def _joined(parts: Sequence[Rows]) -> Rows:
    # what comes in parts is in memory: built-in sets, and the two of an archive
    labels = [rows.labels for rows in parts if rows.labels is not None]
    return replace(
        parts[0],
        values=torch.cat([rows.values for rows in parts if isinstance(rows.values, torch.Tensor)]),
        labels=torch.cat(labels) if len(labels) == len(parts) else None,
    )


__all__ = [
    "BINARIZE_MODES",
    "BUILTIN_NAMES",
    "READABLE",
    "BinarizeMode",
    "Dataset",
    "Rows",
    "Split",
    "binarize",
    "load_data",
    "load_rows",
]
