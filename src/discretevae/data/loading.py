"""From a name, a file or a folder to rows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, get_args

import torch
from torch import Tensor

from discretevae.config import ColorMode, DataConfig, ScaleMode, sides_of
from discretevae.config.checks import Problems
from discretevae.data.builtin import BUILTIN_NAMES, load_builtin
from discretevae.data.datasets import Dataset, DrawnSplit
from discretevae.data.objects import rows_from
from discretevae.data.readers.formats import read_path
from discretevae.data.readers.request import Request
from discretevae.data.rows import Rows
from discretevae.data.schema import Schema, split_rows
from discretevae.data.windows import (
    held_out_windows,
    joined_windows,
    require_held_out,
    train_times,
    windowed,
)
from discretevae.errors import ConfigError, DataError, DataWarning, did_you_mean, require_type

Split = Literal["train", "test", "validation", "all"]

BUILTIN = "builtin:"
"""Before the name of a built-in set, where a file of that name may lie around."""

DEFAULT_SPLIT = partial(DrawnSplit, test_fraction=0.1, seed=0)
"""From N to the split of data that nobody asked another one of."""


class ReadOptions(TypedDict, total=False):
    """The fields of `DataConfig` that say how a source is read."""

    label: str | None
    row_id: str | None
    text: str | None
    ignore: tuple[str, ...]
    kind: tuple[str, ...]
    header: bool | None
    window: int | None
    stride: int
    image_size: tuple[int, int] | None
    color: ColorMode
    skip_broken: bool
    scale: ScaleMode | None
    divisor: float | None


def load_data(
    source: object,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    download: bool = True,
    progress: bool = False,
    schema: Schema | None = None,
    **options: Unpack[ReadOptions],
) -> Dataset:
    """Load a data set in two parts, one to learn from and one held out.

    Built-in sets have their own split. Of a file, folder or object without one, `test_fraction` of
    the rows is held out, drawn by `split_seed`: the draw depends on the number of rows only, so
    that a later evaluation on the same file meets the same held-out rows.

    Args:
        source: the name of a built-in set (`BUILTIN_NAMES`), or a path. A `pathlib.Path` is
            always a path, and a file or folder in the working directory comes before a built-in
            set of its name; ``builtin:mnist`` is always the built-in one. The `DataConfig` of a
            run names its data, and says how a file is read and binarized. Or an object in memory:
            an array, a tensor, nested lists, a frame of pandas, Polars, pyarrow or any package that
            offers its columns to others, a matrix of scipy.sparse, a torch ``Dataset``,
            or `Rows`; see `rows_from`.
        data_dir: where to look for the files of a built-in set first.
        test_fraction: in (0, 1); each part gets at least one row.
        split_seed: of a generator of its own.
        download: fetch a built-in set that is found nowhere.
        progress: draw a bar while fetching or decoding, if standard error is a terminal.
        schema: of a run, which the data are held against and read by.
        options: fields of `DataConfig`: ``label``, ``row_id``, ``text``, ``ignore``, ``kind``,
            ``header``, ``window``, ``stride``, ``image_size``, ``color``, ``skip_broken``,
            ``scale``, ``divisor``.

    Raises:
        ConfigError: an argument outside its range.
        DataError: no such data, or data that cannot be used; see `Rows.from_array`.
        DownloadError: a built-in set that is found nowhere and cannot be fetched.
        MissingExtraError: a Parquet file without pyarrow.

    Warns:
        DataWarning: what was assumed of the data, such as a file that is meant and not a built-in
            set.

    Example:
        >>> data = load_data("digits")
        >>> len(data.train), len(data.test), data.n_features, data.image_shape
        (1500, 297, 64, (8, 8))
    """
    parts, split, config = _load(
        source, options, test_fraction, split_seed, schema, data_dir=data_dir, download=download,
        progress=progress,
    )  # fmt: skip
    if "all" not in parts:
        is_builtin = config.source.removeprefix(BUILTIN) in BUILTIN_NAMES
        return Dataset(parts["train"].name, parts["train"], parts["test"], is_builtin=is_builtin)
    rows = parts["all"]
    require_held_out(rows)
    drawn = _split_of(rows, split, "Give at least 2.")
    return Dataset(rows.name, *split_rows(rows, drawn), drawn)


def load_rows(
    source: object,
    *,
    split: Split = "all",
    data_dir: str | os.PathLike[str] | None = None,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    download: bool = True,
    progress: bool = False,
    schema: Schema | None = None,
    **options: Unpack[ReadOptions],
) -> Rows:
    """Load one part of a data set, or all of it.

    Args:
        source: as for `load_data`, like all arguments but one.
        split: `train` or `test`, as `load_data` splits; `all` for all rows in the order of the
            source; `validation` where there is such a part.
        data_dir: where to look for the files of a built-in set first.
        test_fraction: in (0, 1).
        split_seed: of a generator of its own.
        download: fetch a built-in set that is found nowhere.
        progress: draw a bar while fetching or decoding.
        schema: of a run.
        options: fields of `DataConfig`.

    Raises:
        ConfigError: an argument outside its range, or an unknown split.
        DataError: as for `load_data`, and a split that the source does not have.
        DownloadError, MissingExtraError: as for `load_data`.

    Example:
        >>> len(load_rows("digits")), len(load_rows("digits", split="test"))
        (1797, 297)
    """
    require_split(split)
    parts, drawn, _ = _load(
        source, options, test_fraction, split_seed, schema, data_dir=data_dir, download=download,
        progress=progress,
    )  # fmt: skip
    return choose_part(parts, split, drawn)


def require_split(split: object) -> None:
    """Refuse a split that nothing has (`ConfigError`)."""
    if split not in (choices := get_args(Split)):
        raise ConfigError(f"`split`: unknown value {split!r}. {did_you_mean(str(split), choices)}")


def choose_part(
    parts: Mapping[str, Rows], split: Split, drawn: Callable[[int], DrawnSplit] = DEFAULT_SPLIT
) -> Rows:
    """Return one part of those that a source has; ``drawn`` splits what comes without parts."""
    if split in parts:
        return parts[split]
    if split == "all":
        names = ["train", "validation", "test"]
        if parts["test"] is parts.get("validation"):
            names.remove("test")
        return _joined([parts[part] for part in names if part in parts])
    if split == "validation":
        name = next(iter(parts.values())).name
        raise DataError(f"{name} has no validation part. Choose the `split` train, test or all.")
    drawn_split = _split_of(parts["all"], drawn, "Choose `split='all'`.")
    train, test = split_rows(parts["all"], drawn_split)
    return train if split == "train" else test


def _split_of(rows: Rows, drawn: Callable[[int], DrawnSplit], advice: str) -> DrawnSplit:
    if len(rows) < 2:
        raise DataError(
            f"{rows.name}: 1 row cannot be split into a train and a test part. {advice}"
        )
    return drawn(len(rows))


def _config(source: object, options: ReadOptions) -> DataConfig:
    """Return how a source is read; of an object in memory the name is that of its type."""
    if isinstance(source, DataConfig):
        return replace(source, **options)
    if not isinstance(source, (str, os.PathLike)):
        return DataConfig(source=type(source).__name__, **options)
    if not (name := os.fspath(source)):
        raise DataError(f"source is empty. {did_you_mean('', BUILTIN_NAMES)}")
    if isinstance(source, os.PathLike) and name in BUILTIN_NAMES:
        name = str(Path(name).absolute())  # no path has the name of a set
    return DataConfig(source=name, **options)


def load_parts(
    config: DataConfig,
    *,
    source: object = "",
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: bool = False,
    schema: Schema | None = None,
    split: Callable[[int], DrawnSplit] = DEFAULT_SPLIT,
) -> dict[str, Rows]:
    """Return the parts of a source, or of an object in memory, held against the schema of a run."""
    request = Request.of(config) if schema is None else schema.request(config)
    window, stride = (config if schema is None else schema).window, config.stride
    stride = stride if schema is None else schema.stride
    fit_rows: Callable[[int], Tensor] = partial(_train_numbers, split)
    if window is not None:
        fit_rows = train_times(window, stride, split(2).test_fraction)
    request = replace(request, progress=progress, fit_rows=fit_rows)
    if not isinstance(source, (str, os.PathLike, DataConfig)):
        rows = rows_from(source, request, wanted="source must be a name, a path")
        _require_color(rows, config, schema)
        rows = rows if window is None else windowed(rows, window, stride)
        rows = rows if schema is None else schema.hold(rows)
        return {"all": rows} if window is None else held_out_windows(rows, split(2).test_fraction)
    name = builtin_name(config.source)
    if name is None:
        parts = read_path(_existing(config.source), request)
    else:
        parts = load_builtin(name, data_dir=data_dir, allow_download=download, progress=progress)
        _require_own(parts["train"], config)
    _require_color(next(iter(parts.values())), config, schema)
    if window is not None:
        parts = {part: windowed(rows, window, stride) for part, rows in parts.items()}
    if schema is not None:
        parts = {part: schema.hold(rows) for part, rows in parts.items()}
    parts = {part: rows.binarized(config.binarize) for part, rows in parts.items()}
    if window is not None and "all" in parts:  # times beside each other are no rows apart
        parts = held_out_windows(parts["all"], split(2).test_fraction)
    if "validation" in parts:  # it is what is held out where nothing else is
        parts.setdefault("test", parts["validation"])
    return parts


def _train_numbers(split: Callable[[int], DrawnSplit], n: int) -> Tensor:
    """Return which of n rows are learned from; a single one is."""
    return split(n).draw()[0] if n > 1 else torch.arange(n)


def builtin_name(source: str) -> str | None:
    """Return which built-in set a source names; None for a path.

    Raises:
        DataError: ``builtin:`` before another name.

    Warns:
        DataWarning: a file or folder of the same name in the working directory comes first.

    Example:
        >>> builtin_name("builtin:mnist"), builtin_name("mine.csv")
        ('mnist', None)
    """
    if source.startswith(BUILTIN):
        name = source.removeprefix(BUILTIN)
        if name not in BUILTIN_NAMES:
            raise DataError(f"{source}: no such set. {did_you_mean(name, BUILTIN_NAMES)}")
        return name
    if source not in BUILTIN_NAMES:
        return None
    if not os.path.lexists(source):
        return source
    warnings.warn(
        f"{source}: taken for the file or folder of this name that lies here. Write "
        f"{BUILTIN}{source} for the built-in set.",
        DataWarning,
        stacklevel=2,
    )
    return None


def _existing(source: str) -> Path:
    path = Path(source)
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:  # no permission, or no name a file can have
        raise DataError(f"{source} cannot be looked up: {error}. Check the path.") from None
    if not exists:
        guess = did_you_mean(source.lower().replace("_", "-"), BUILTIN_NAMES)
        raise DataError(f"{source}: no such file or built-in data set. {guess}")
    return path


def _require_color(rows: Rows, config: DataConfig, schema: Schema | None) -> None:
    """Refuse colors that were asked for in vain: only pictures in files are given others."""
    name, shape = rows.name, rows.image_shape
    if schema is not None:
        name, shape = "the run", schema.image_shape
    own = "rgb" if shape is not None and sides_of(shape).channels == 3 else "grey"
    if config.color not in ("auto", own):
        raise DataError(
            f"{name}: not of `color={config.color!r}`, which is for pictures in files. Leave it "
            "out."
        )


def _require_own(rows: Rows, config: DataConfig) -> None:
    """Refuse options that a built-in set, which is read in one way only, does not take."""
    for what, asked, own in (
        ("pictures of size", config.image_size, rows.image_shape),
        ("divisor", config.divisor, rows.divisor),
    ):
        if asked is not None and asked != own:
            raise ConfigError(f"{config.source}: has {what} {own}, not {asked}. Leave it out.")
    if config.scale not in (None, "auto"):
        raise ConfigError(f"{config.source}: pictures have no `scale`. Leave it out.")
    if config.label or config.row_id or config.ignore or config.kind:
        raise ConfigError(f"{config.source}: has no columns by name. Leave them out.")


def _load(
    source: object,
    options: ReadOptions,
    test_fraction: float,
    seed: int,
    schema: Schema | None,
    **where: Any,
) -> tuple[dict[str, Rows], Callable[[int], DrawnSplit], DataConfig]:
    """Return parts, the split of one without, and how all were read; what is wrong is named."""
    problems, config = Problems(), DataConfig()
    if schema is not None:
        require_type("schema", schema, Schema, "Give that of a run, run.schema.", DataError)
    if isinstance(source, Rows) and (options or schema is not None):
        raise ConfigError(
            f"{source.name}: these are Rows, which are read already. Give what they were made of, "
            "or leave the options and the schema out."
        )
    with problems:
        config = _config(source, options)
    if not 0 < test_fraction < 1:
        problems.found.append(f"test_fraction must be > 0 and < 1. Got {test_fraction}.")
    if not 0 <= seed < 2**63:
        problems.found.append(f"split_seed must be >= 0 and below 2**63. Got {seed}.")
    problems.require_none()
    split = partial(DrawnSplit, test_fraction=test_fraction, seed=seed)
    return load_parts(config, source=source, schema=schema, split=split, **where), split, config


def _joined(parts: Sequence[Rows]) -> Rows:
    """Return the parts as one table, in the order of the source where all come from one."""
    if (windows := joined_windows(parts)) is not None:
        return windows
    # what comes in parts is in memory: built-in sets, and those of an archive
    labels = [rows.labels for rows in parts if rows.labels is not None]
    joined = replace(
        parts[0],
        values=torch.cat([rows.values for rows in parts if isinstance(rows.values, Tensor)]),
        labels=torch.cat(labels) if len(labels) == len(parts) else None,
        numbers=None,
    )
    numbers = torch.cat([rows.source_numbers for rows in parts])
    order = numbers.argsort()
    if not torch.equal(numbers[order], torch.arange(len(numbers))):
        return joined  # each part counts its own rows
    return replace(joined.subset(order), numbers=None)
