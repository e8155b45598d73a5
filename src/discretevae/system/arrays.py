"""The type of arrays of NumPy in annotations: of any shape, of any kind of values."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
