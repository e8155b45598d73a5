"""Runs and rows of data that commands read."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from discretevae.errors import ConfigError

if TYPE_CHECKING:
    from discretevae.config import DataConfig, ImageShape
    from discretevae.data import Dataset, Rows, Schema, Split
    from discretevae.run_folder.saved_run import Run


@dataclass(frozen=True)
class Inputs:
    """The run and the rows that the arguments of a command name.

    ``data`` is None for the data that the run was trained on; ``divisor`` takes the place of the
    run's own.
    """

    folder: Path
    data: str | None
    split: Split
    device: str
    data_dir: Path | None
    divisor: float | None = None

    @cached_property
    def run(self) -> Run:
        """Configuration and model of the run."""
        return open_run(self.folder, self.device)

    @property
    def name(self) -> str:
        """Name or path of the data."""
        return self.data or self.run.config.data.source

    @property
    def image_shape(self) -> ImageShape | None:
        """Height, width and channels of a row, or None."""
        return self.run.config.model.image_shape

    def rows(self) -> Rows:
        """Load the rows."""
        return self.load(self.data, self.split)

    def load(self, data: str | None, split: Split) -> Rows:
        """Load rows, read as those that the run was trained on, and checked against its model.

        Without ``data`` they are the run's own.
        """
        from discretevae.data import load_rows, load_run_rows
        from discretevae.model.row_checks import require_fit

        own, schema = self.run.config.data, self.run.schema
        if self.divisor is not None and data is not None:
            own = replace(own, divisor=self.divisor, scale=None)
            schema = None if schema is None else schema.with_divisor(self.divisor)
        if schema is None:
            source = replace(own, source=data or own.source)
            rows = load_rows(source, split=split, data_dir=self.data_dir, progress=True)
        else:
            rows = load_run_rows(
                own, schema, split, source=data, data_dir=self.data_dir, progress=True
            )
        require_fit(self.run.model, rows)
        return rows

    def check_output(self, path: Path | None, option: str, *suffixes: str) -> None:
        """Refuse a file to write that has another suffix, or that is read (`ConfigError`)."""
        if path is None:
            return
        require_suffix(path, *suffixes, option=option)
        for source in (self.name, self.run.config.data.source):
            refuse_same_file(path, source, "data", option=option)

    def check_picture(self, path: Path | None, option: str = "--picture") -> None:
        """Refuse a picture of rows that are none (`ConfigError`), as well as `check_output`."""
        if path is not None and self.image_shape is None:
            raise ConfigError(f"{path}: the model's rows are no pictures. Leave {option} out.")
        self.check_output(path, option, ".png")


def check_device(name: str) -> str:
    """Refuse a device that torch does not know or this machine does not have (`ConfigError`)."""
    import torch

    try:
        torch.empty(0, device=name)
        torch.Generator(name)
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if reason.startswith("Expected one of"):  # followed by twenty that nobody has
            reason = "there is no such kind"
        raise ConfigError(
            f"device {name!r} cannot be used: {reason.rstrip('.')}. Pass --device cpu."
        ) from None
    return name


def open_run(folder: Path, device: str) -> Run:
    """Load a run's configuration and model to a device."""
    from discretevae.run_folder.saved_run import load_run

    return load_run(folder, device=check_device(device))


def load_dataset_of(
    config: DataConfig, schema: Schema | None, data_dir: Path | None, **options: bool
) -> Dataset:
    """Load the data of a run; ``options`` of `load_run_data` are for one that has a schema."""
    from discretevae.data import load_data, load_run_data

    if schema is None:
        return load_data(config, data_dir=data_dir, progress=True)
    return load_run_data(config, schema, data_dir=data_dir, progress=True, **options)


def require_suffix(path: Path, *suffixes: str, option: str = "--out") -> None:
    """Refuse a file name of another kind (`ConfigError`)."""
    if path.suffix.lower() not in suffixes:
        endings = " or ".join(suffixes)
        raise ConfigError(f"{path}: must end in {endings}. Choose another {option}.")


def refuse_same_file(
    out: Path, source: str | Path | None, what: str, *, option: str = "--out"
) -> None:
    """Refuse to write over what is read, by whatever name it is called (`ConfigError`)."""
    if source is None:
        return
    with contextlib.suppress(OSError):
        if out.samefile(source):
            raise ConfigError(f"{out}: is the file of the {what}. Choose another {option}.")
