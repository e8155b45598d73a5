"""Codes as a Parquet table with ids: what a database loads."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from discretevae.codes.fingerprints import fingerprint
from discretevae.codes.ids import ids_of, new_ids
from discretevae.codes.packing import encode_rows
from discretevae.data.objects import RowsLike
from discretevae.errors import needs_extra
from discretevae.families import Bernoulli, Categorical, Family, parts_of
from discretevae.model.row_checks import require_fit, require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.system.arrays import Array
from discretevae.system.files import as_path, atomic_file
from discretevae.system.ranks import Ranks
from discretevae.version import __version__

GROUP_ROWS = 1 << 16
"""Rows of a row group, and fewer where a row has many columns."""

GROUP_BYTES = 1 << 24
"""Of the codes in a row group, before they become columns."""


def write_parquet(
    model: DiscreteVAE,
    rows: RowsLike,
    out: str | Path,
    *,
    ids: Any = None,
    progress: Callable[[int], object] | None = None,
    ranks: Ranks | None = None,
    refine: int = 0,
) -> list[str]:
    """Write the most likely codes of rows, in order, beside ids; return the names of the columns.

    | code | columns |
    |---|---|
    | all | ``id``, int64 or text |
    | bits | ``code``, fixed-size binary, ⌈D/8⌉ bytes, the first bit highest |
    | categories | ``z0`` … ``z{D−1}``, numbers from 0, int32 |
    | real numbers | ``z0`` … ``z{D−1}``, float32 |

    Of a code of several parts the variables are counted through; the bits of part p are ``code_p``
    if there are several parts of bits. The file's metadata name the latent and the fingerprint of
    the model, under the key ``discretevae``.

    The codes go through a temporary file beside ``out``, and from there to the table by row groups:
    neither rows nor codes need fit into memory. What is at ``out`` stays until the new file is
    whole.

    Args:
        model: the model.
        rows: N rows, binarized as in training.
        out: the file.
        ids: whole numbers, one for each row, all different; None for those of the rows: of
            pictures the names of their files, else the numbers in the source.
        progress: called with the number of rows done after every chunk.
        ranks: the processes that share the work; None for this one alone.
        refine: as in `encode_rows`.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: the rows do not fit the model, or the ids do not fit the rows.
        OSError: ``out`` cannot be written.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="bernoulli:12+categorical:3x10")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_parquet(model, data.test, Path(folder) / "codes.parquet")
        ['id', 'code', 'z12', 'z13', 'z14']
    """
    require_model(model)
    out = as_path(out, "out")
    with needs_extra("parquet", f"{out}: Parquet files need pyarrow"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    rows = require_fit(model, rows)
    names, ranks = ids_of(rows) if ids is None else new_ids(ids, len(rows)), ranks or Ranks()
    has_numbers = names.dtype.kind == "i"
    schema = _schema(pa, model, pa.int64() if has_numbers else pa.string())
    encode = partial(encode_rows, model, rows, progress=progress, ranks=ranks, refine=refine)
    if not ranks.is_first:
        encode(out=out)  # which the first rank alone writes
        return list(schema.names)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        packed = encode(out=Path(folder) / "codes.npy")
        with atomic_file(out) as file, pq.ParquetWriter(file, schema) as writer:
            step = max(1, min(GROUP_ROWS, GROUP_BYTES // (8 * packed.shape[1])))
            for start in range(0, len(packed), step):
                own: Any = names[start : start + step]
                if not has_numbers:  # the name of a file may be no text
                    own = [name.encode(errors="backslashreplace").decode() for name in own]
                columns = _columns(pa, model.family, packed[start : start + step])
                table = pa.Table.from_arrays([pa.array(own), *columns], schema=schema)
                writer.write_table(table)
        del packed  # the map of the temporary file
    return list(schema.names)


def _schema(pa: Any, model: DiscreteVAE, of_ids: Any) -> Any:
    fields = [pa.field("id", of_ids, nullable=False)]
    parts = parts_of(model.family)
    has_several = sum(isinstance(part, Bernoulli) for part in parts) > 1
    first = 0
    for number, part in enumerate(parts):
        if isinstance(part, Bernoulli):
            kind = pa.binary(-(-part.n_variables // 8))
            name = f"code_{number}" if has_several else "code"
            fields.append(pa.field(name, kind, nullable=False))
        else:
            kind = pa.int32() if isinstance(part, Categorical) else pa.float32()
            names = [f"z{first + i}" for i in range(part.n_variables)]
            fields += [pa.field(name, kind, nullable=False) for name in names]
        first += part.n_variables
    spec = str(model.family.spec)
    facts = {"version": __version__, "latent": spec, "fingerprint": fingerprint(model)}
    return pa.schema(fields, metadata={"discretevae": json.dumps(facts)})


def _columns(pa: Any, family: Family, packed: Array) -> Iterator[Any]:
    """Return the columns of some rows, from codes as `pack_codes` gives them."""
    if isinstance(family, Bernoulli):
        yield _bits(pa, packed)
        return
    first = 0
    for part in parts_of(family):
        columns = packed[:, first : first + part.n_variables]
        first += part.n_variables
        if isinstance(part, Bernoulli):  # here a column holds a bit
            yield _bits(pa, np.packbits(columns.astype(np.uint8), axis=1))
        else:
            dtype = np.int32 if isinstance(part, Categorical) else np.float32
            for column in columns.T:
                yield pa.array(np.ascontiguousarray(column, dtype))


def _bits(pa: Any, packed: Array) -> Any:
    """Bits ``[rows, ⌈D/8⌉]`` as one column, without a Python object for each row."""
    content = pa.py_buffer(np.ascontiguousarray(packed))
    return pa.Array.from_buffers(pa.binary(packed.shape[1]), len(packed), [None, content])
