"""Packed codes as arrays and files, checked without torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from discretevae.config import LatentSpec
from discretevae.errors import DataError, require_type
from discretevae.system.arrays import Array


def packed_dtype(spec: LatentSpec) -> type[np.generic]:
    """Return the type of packed codes: the least that holds all values of every variable."""
    if spec.n_states is None:
        return np.float32
    most = max(part.n_categories for part in spec.all_parts)
    if most <= 256:
        return np.uint8
    return np.uint16 if most <= 65_536 else np.int64


def require_packed(spec: LatentSpec, packed: Array) -> None:
    """Refuse codes that are not packed codes of this kind (`DataError`)."""
    require_type("codes", packed, np.ndarray, "Give what pack_codes returns.", DataError)
    n, is_bits, dtype = spec.n_variables, spec.kind == "bernoulli", packed_dtype(spec)
    width = -(-n // 8) if is_bits else n
    if packed.dtype != dtype or packed.ndim != 2 or packed.shape[1] != width:
        raise DataError(
            f"codes are {packed.dtype} {list(packed.shape)}, but {spec} needs "
            f"{np.dtype(dtype).name} [rows, {width}]. Give codes that the same model made."
        )
    if is_bits:
        if n % 8 and (packed[:, -1] & (0xFF >> n % 8)).any():
            raise DataError(f"codes hold more than {n} bits. Give codes that a model made.")
        return
    first = 0
    for part in spec.all_parts:
        columns = packed[:, first : first + part.n_variables]
        first += part.n_variables
        if columns.size:
            _require_values(part, columns)


def _require_values(part: LatentSpec, columns: Array) -> None:
    if part.kind == "gaussian":
        if not np.isfinite(columns).all():
            raise DataError("codes hold NaN or infinite values. Give codes that a model made.")
        return
    count = part.n_categories or 2
    if not 0 <= columns.min() <= columns.max() < count:
        raise DataError(
            f"codes hold categories from {columns.min()} to {columns.max()}, but the model has "
            f"0 to {count - 1}. Give codes that this model made."
        )
    if columns.dtype.kind == "f" and (columns != np.rint(columns)).any():
        raise DataError("codes hold fractions for categories. Give codes that a model made.")


def map_npy(path: Path, advice: str) -> Any:
    """Map a ``.npy`` file into memory, read-only; of an ``.npz`` the open archive comes back.

    Another file is refused (`DataError`); ``advice`` ends the message.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy guesses at odd headers, and warns that it did
            return np.load(path, allow_pickle=False, mmap_mode="r")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Check the path.") from None
    except Exception as error:
        # a damaged header makes numpy raise almost anything, MemoryError and TokenError too
        reason = next(iter(str(error).splitlines()), "truncated").rstrip(".")
        if "allow_pickle" in reason:  # numpy's advice for what has no header of its own
            reason = "it has no header of one"
        raise DataError(f"{path}: no readable .npy file ({reason}). {advice}") from None
