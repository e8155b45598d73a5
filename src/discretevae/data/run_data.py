"""The data of a run, found again: rows that were held out stay held out."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path

from discretevae.config import DataConfig
from discretevae.data.builtin import BUILTIN_NAMES
from discretevae.data.datasets import Dataset, DrawnSplit
from discretevae.data.loading import (
    BUILTIN,
    DEFAULT_SPLIT,
    Split,
    choose_part,
    load_parts,
    require_split,
)
from discretevae.data.rows import Rows
from discretevae.data.schema import Schema, split_rows
from discretevae.errors import DataError, DataWarning, kind_of, require_type


def load_run_data(
    config: DataConfig,
    schema: Schema,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    extend: bool = False,
    new_data: bool = False,
    progress: bool = False,
) -> Dataset:
    """Load the data that a run goes on learning from.

    Args:
        config: of the run; its source may have moved.
        schema: of the run.
        data_dir: where to look for the files of a built-in set first.
        extend: whether rows that came behind the others are learned from, too.
        new_data: whether other data may stand in the place of the run's; they are split anew.
        progress: draw a bar while fetching.

    Raises:
        DataError: the data have changed, or do not suit the run.

    Warns:
        DataWarning: rows were added and are left out.

    Example:
        >>> from discretevae.data import load_data
        >>> config = DataConfig(source="digits")
        >>> schema = Schema.of(load_data(config))
        >>> data = load_run_data(config, schema)
        >>> len(data.train), len(data.test)
        (1500, 297)
    """
    _require_of_run(config, schema)
    config = _own_source(config, schema)
    parts = load_parts(config, data_dir=data_dir, progress=progress, schema=schema)
    name = next(iter(parts.values())).name
    if new_data:
        split = None if schema.split is None else _same_rule(schema.split, parts)
    else:
        advice = "Give the data of the training, or pass `new_data=True` to split these anew."
        parts, split = _known_parts(parts, schema, name, advice, extend=extend), schema.split
    if "train" in parts:
        is_builtin = not schema.digests
        return Dataset(name, parts["train"], parts["test"], is_builtin=is_builtin)
    rows = parts["all"]
    split = split or DEFAULT_SPLIT(len(rows))
    return Dataset(name, *split_rows(rows, split), split)


def load_run_rows(
    config: DataConfig,
    schema: Schema,
    split: Split,
    *,
    source: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Rows:
    """Load rows to use a run on: a part of its own data, or others, x ``[N, P]``.

    They are read and binarized as those that the run learned from.

    Args:
        config: of the run, or one that says how other data are read.
        schema: of the run.
        split: of its own data, `train` and `test` are those of the training, wherever they lie
            today; other data are split anew.
        source: a built-in name or a path; None for the run's own data.
        data_dir: where to look for the files of a built-in set first.
        progress: draw a bar while fetching.

    Raises:
        DataError: the run's own data have changed, so that it is not known what was held out; or
            rows that are not of the run's kind.

    Warns:
        DataWarning: the run's own data have changed or grown, or the columns of others stand in
            another order.

    Example:
        >>> from discretevae.data import load_data
        >>> config = DataConfig(source="digits", binarize="threshold")
        >>> schema = Schema.of(load_data(config))
        >>> load_run_rows(config, schema, "test").batch(slice(0, 2)).shape
        torch.Size([2, 64])
    """
    _require_of_run(config, schema)
    require_split(split)
    if source is not None and not (isinstance(source, (str, os.PathLike)) and os.fspath(source)):
        raise DataError(f"source must be a name or a path. Got {kind_of(source)}. Give one.")
    source = None if source is None else os.fspath(source)
    asked = replace(config, source=source) if source is not None else _own_source(config, schema)
    parts = load_parts(asked, data_dir=data_dir, progress=progress, schema=schema)
    if not schema.digests:
        return choose_part(parts, split)
    name, is_own = next(iter(parts.values())).name, _is_same(config.source, source)
    if split == "all":
        if is_own:
            _warn_of_change(parts, schema, name)
        return choose_part(parts, split)
    advice = "Pass `split='all'`, or give the data of the training."
    try:
        parts = _known_parts(parts, schema, name, advice, extend=False)
    except DataError:
        if is_own:
            raise
        if "all" in parts:
            warnings.warn(
                f"{name}: not the rows that the run was trained on, or not in their order: the "
                f"{split} rows are drawn from it anew. `split='all'` takes all of it.",
                DataWarning,
                stacklevel=2,
            )
        return choose_part(parts, split)
    if "all" in parts and schema.split is not None:
        train, test = split_rows(parts["all"], schema.split)
        parts = {"train": train, "test": test}
    return choose_part(parts, split)


def _known_parts(
    parts: dict[str, Rows], schema: Schema, name: str, advice: str, *, extend: bool
) -> dict[str, Rows]:
    """Return the rows that a run knows, and with ``extend`` those that came behind them.

    Raises:
        DataError: they are gone or have changed; ``advice`` ends the message.
    """
    try:
        change = schema.compare(_tables(parts), name)
    except DataError as error:
        raise DataError(f"{error} {advice}") from None
    if change == "same" or extend:
        return parts
    known = {part: digest.rows for part, digest in schema.digests.items()}
    n_new = sum(len(parts[part]) - n for part, n in known.items())
    warnings.warn(
        f"{name}: has {n_new:,} rows more than when the run was trained. They are left out; a "
        "training that is resumed with `extend` learns from them, too.",
        DataWarning,
        stacklevel=3,
    )
    return parts | {part: parts[part].subset(slice(0, n)) for part, n in known.items()}


def _tables(parts: dict[str, Rows]) -> dict[str, list[Rows]]:
    # rows of parts are counted in each of them, as in the schema
    return {
        part: [rows if part == "all" else replace(rows, numbers=None)]
        for part, rows in parts.items()
    }


def _warn_of_change(parts: dict[str, Rows], schema: Schema, name: str) -> None:
    try:
        schema.compare(_tables(parts), name)
    except DataError as error:
        warnings.warn(str(error), DataWarning, stacklevel=3)


def _same_rule(split: DrawnSplit, parts: dict[str, Rows]) -> DrawnSplit | None:
    """Return the split of other data by the rule of a run's."""
    return replace(split, rows=len(parts["all"])) if "all" in parts else None


def _require_of_run(config: object, schema: object) -> None:
    """Refuse what is no part of a run.

    Raises:
        DataError: it is something else.
    """
    require_type("config", config, DataConfig, "Give that of a run, run.config.data.", DataError)
    require_type("schema", schema, Schema, "Give that of a run, run.schema.", DataError)


def _own_source(config: DataConfig, schema: Schema) -> DataConfig:
    """Return the configuration of a run, by which its own data are found.

    Raises:
        DataError: the file or folder is gone.
    """
    if config.source in BUILTIN_NAMES and not schema.digests:
        # a file of that name, which came later, is not meant
        return replace(config, source=BUILTIN + config.source)
    if not Path(config.source).exists():
        raise DataError(
            f"{config.source}: the data of the run are not there any more. Say where they are by "
            "`data`."
        )
    return config


def _is_same(own: str, source: str | None) -> bool:
    """Return whether a source is that of the run."""
    if source is None or source == own:
        return True
    if source in BUILTIN_NAMES or own in BUILTIN_NAMES:
        return False
    path, other = Path(own), Path(source)
    return path.exists() and other.exists() and path.samefile(other)
