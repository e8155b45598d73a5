"""Rows as the page paints them: bytes of a picture, or the values of a table's row."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from discretevae.config import sides_of
from discretevae.data import Rows
from discretevae.data.columns import TableScale
from discretevae.errors import ConfigError, DataError
from discretevae.model.vae import DiscreteVAE

Picture = dict[str, Any]

MAX_VALUES = 1 << 24
"""Values of all pictures in one answer: 16 MiB of pixels, 22 MiB as text."""


@dataclass(frozen=True)
class Canvas:
    """The conversion of rows of P values to pictures and back.

    A value x becomes the pixel 255 (x − low) / (high − low), rounded and held within 0 … 255.
    ``shape`` is None where rows are no pictures. Of rows with ``columns`` of several kinds the
    share of the range of each column is shown, beside what stands in its cells.
    """

    shape: tuple[int, int, int] | None
    n_values: int
    low: float
    high: float
    columns: TableScale | None = None

    def pictures(self, x: Tensor) -> list[Picture]:
        """Return rows ``[N, P]``, each as ``shape`` and ``pixels`` (base64), or as ``values``.

        Of columns of several kinds there are ``cells`` besides, texts; missing ones are empty.

        Too many are refused (`ConfigError`), and values that are not finite (`DataError`), which a
        decoder can give for a far-off code.
        """
        self.require_few(len(x))
        is_missing = x.isnan() & (self.columns is not None)
        if not bool((x.isfinite() | is_missing).all()):
            raise DataError(
                "the decoder's values for this code are beyond float32. Choose real variables "
                "nearer to 0."
            )
        if self.columns is not None:
            low, high = torch.tensor([column.ends for column in self.columns.columns]).T
            shares = ((x.cpu() - low) / (high - low)).clamp(0, 1).nan_to_num(nan=0.0)
            cells = [["" if cell is None else str(cell) for cell in row]
                     for row in self.columns.restore(x)]  # fmt: skip
            return [
                {"values": values, "cells": texts}
                for values, texts in zip(shares.tolist(), cells, strict=True)
            ]
        if self.shape is None:
            return [{"values": values} for values in x.tolist()]
        scaled = (x.double() - self.low) * (255 / (self.high - self.low))
        pixels = scaled.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        shape = list(self.shape)
        return [
            {"shape": shape, "pixels": base64.b64encode(row.tobytes()).decode("ascii")}
            for row in pixels
        ]

    def picture(self, x: Tensor) -> Picture:
        """Return one row, ``[P]``; see `pictures`."""
        return self.pictures(x.unsqueeze(0))[0]

    def from_pixels(self, pixels: bytes) -> Tensor:
        """Return the values that bytes stand for, ``[1, P]``."""
        values = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).double()
        return (self.low + values * (self.high - self.low) / 255).float().unsqueeze(0)

    def require_few(self, n: int) -> None:
        """Refuse an answer of more than `MAX_VALUES` values (`ConfigError`)."""
        if n * self.n_values > MAX_VALUES:
            raise ConfigError(
                f"{n:,} pictures of {self.n_values:,} values are too many for one answer. "
                f"Ask for at most {max(1, MAX_VALUES // self.n_values):,}."
            )


def canvas_for(model: DiscreteVAE, rows: Rows) -> Canvas:
    """Return the canvas of a model: from 0 to 1 for grey values, else the range of the rows."""
    size = model.config.image_shape
    shape = None if size is None else sides_of(size)
    low, high = 0.0, 1.0
    if isinstance(rows.scale, TableScale):
        return Canvas(None, model.config.n_features, low, high, rows.scale)
    if not model.likelihood.needs_unit_interval:
        low, high = rows.value_range
        high = high if low < high else low + 1
    return Canvas(shape, model.config.n_features, low, high)
