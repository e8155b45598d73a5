"""From a name, a file, a folder or an array to rows: what a model learns from.

```
load_data("mnist")            a Dataset with a train and a test part
load_rows("mine.csv")         all rows of a file
Rows.from_array(array)        an array in memory
```
"""

from __future__ import annotations

from discretevae.config import BINARIZE_MODES, BinarizeMode
from discretevae.data.binarization import binarize
from discretevae.data.builtin import BUILTIN_NAMES
from discretevae.data.datasets import Dataset
from discretevae.data.loading import BUILTIN, ReadOptions, Split, builtin_name, load_data, load_rows
from discretevae.data.readers.formats import READABLE
from discretevae.data.rows import Rows
from discretevae.data.run_data import load_run_data, load_run_rows
from discretevae.data.schema import Schema

__all__ = [
    "BINARIZE_MODES",
    "BUILTIN",
    "BUILTIN_NAMES",
    "READABLE",
    "BinarizeMode",
    "Dataset",
    "ReadOptions",
    "Rows",
    "Schema",
    "Split",
    "binarize",
    "builtin_name",
    "load_data",
    "load_rows",
    "load_run_data",
    "load_run_rows",
]
