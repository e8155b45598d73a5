"""Codes as small arrays and files: bits eight to a byte, categories as the least integer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from discretevae.codes.packed import map_npy, packed_dtype, require_packed
from discretevae.codes.refining import refine_codes
from discretevae.data import Rows
from discretevae.data.objects import RowsLike
from discretevae.data.stores.prefetch import ahead
from discretevae.errors import DataError, require_type
from discretevae.evaluation.bounds import DECODER_ROWS
from discretevae.families import Bernoulli, Family, require_family
from discretevae.model.row_checks import require_fit, require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.system.arrays import Array
from discretevae.system.files import as_path, atomic_file
from discretevae.system.precision import computing
from discretevae.system.ranks import Ranks

CHUNK_VALUES = 1 << 24
"""Of rows so wide that `DECODER_ROWS` hold more values than these, fewer are encoded in one go."""


def pack_codes(family: Family, codes: Tensor) -> Array:
    """Return codes ``[N, D]`` as `DiscreteVAE.encode` gives them, made small.

    Returns:
        uint8 ``[N, ⌈D/8⌉]`` for bits, the first bit highest; the least of uint8, uint16 and int64
        that holds K − 1 for categories ``[N, D]``; float32 ``[N, D]`` for a Gaussian code. A code
        of several parts has their columns side by side, one for each bit, in the least of these
        types that holds all of them.

    Example:
        >>> pack_codes(Bernoulli(3), torch.tensor([[1, 0, 1]], dtype=torch.uint8))
        array([[160]], dtype=uint8)
    """
    require_family(family)
    require_type("codes", codes, Tensor, "Give what DiscreteVAE.encode returns.", DataError)
    if codes.ndim != 2 or codes.shape[1] != family.n_variables:
        raise DataError(
            f"codes of {family.spec} must be [N, {family.n_variables}]. Got {list(codes.shape)}. "
            "Give what DiscreteVAE.encode returns."
        )
    array: Array = codes.cpu().numpy()
    if isinstance(family, Bernoulli):
        return np.packbits(array, axis=1)
    return array.astype(packed_dtype(family.spec), copy=False)


def unpack_codes(family: Family, packed: Array) -> Tensor:
    """Return the inverse of `pack_codes`: ``[N, D]``.

    Raises:
        DataError: another type or width than `pack_codes` gives for the family, a category out of
            range, or padding bits that are not zero.

    Example:
        >>> unpack_codes(Bernoulli(3), np.array([[160]], dtype=np.uint8))
        tensor([[1, 0, 1]], dtype=torch.uint8)
    """
    require_family(family)
    require_packed(family.spec, packed)
    if isinstance(family, Bernoulli):
        return torch.from_numpy(np.unpackbits(packed, axis=1, count=family.n_variables))
    whole = family.n_states is not None
    return torch.from_numpy(packed.astype(np.int64 if whole else np.float32))


@computing("float32")
def encode_rows(
    model: DiscreteVAE,
    rows: RowsLike,
    *,
    progress: Callable[[int], object] | None = None,
    look: Callable[[Tensor], object] | None = None,
    out: Path | None = None,
    ranks: Ranks | None = None,
    refine: int = 0,
) -> Array:
    """Return the packed most likely code of every row, in the order of the rows.

    Rows are read in chunks, the next one while the last is encoded. Several ranks take the chunks
    in turn; the codes are those of one process to the bit.

    Args:
        model: the model.
        rows: N rows, binarized as in training; of dynamic ones the most likely values are encoded.
        progress: called with the number of rows done after every chunk.
        look: called with every chunk of rows ``[B, P]`` that this process encodes.
        out: a ``.npy`` file to write, chunk by chunk, so that neither rows nor codes need fit into
            memory; what is there stays until the new file is whole. The first rank writes it.
        ranks: the processes that share the work; None for this one alone.
        refine: sweeps of `refine_codes`, which look for a code that explains a row better.

    Returns:
        As `pack_codes` gives them, on every rank; with ``out`` a read-only map of the file, which
        is empty on all ranks but the first.

    Raises:
        DataError: the rows do not fit the model, or can no longer be read.
        OSError: ``out`` cannot be written.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> encode_rows(DiscreteVAE.for_data(data, latent="bernoulli:50"), data.test).shape
        (297, 7)
    """
    rows = require_fit(model, rows)
    ranks = ranks or Ranks()
    look = look or (lambda _: None)
    parts = _encoded(model, rows.deterministic(), progress, look, ranks, refine)
    if out is None:
        return np.concatenate(list(parts))
    out = as_path(out, "out")
    if not ranks.is_first:
        return np.concatenate([part[:0] for part in parts])
    with atomic_file(out) as file:
        for number, part in enumerate(parts):
            if number == 0:
                descr = np.lib.format.dtype_to_descr(part.dtype)
                shape = (len(rows), *part.shape[1:])
                header = {"descr": descr, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(part.tobytes())
    written: Array = np.load(out, mmap_mode="r", allow_pickle=False)
    return written


def _encoded(
    model: DiscreteVAE,
    rows: Rows,
    progress: Callable[[int], object] | None,
    look: Callable[[Tensor], object],
    ranks: Ranks,
    refine: int,
) -> Iterator[Array]:
    """Yield the packed codes, chunk by chunk; of each round of chunks a rank encodes one."""
    device = model.device
    size = max(1, min(DECODER_ROWS, CHUNK_VALUES // rows.n_features))
    rounds = range(0, max(1, len(rows)), size * ranks.count)

    def read(start: int) -> Tensor:
        # in the last round there may be nothing left: any rows will do, and are not kept
        start = min(start + ranks.rank * size, max(0, len(rows) - 1))
        return rows.batch(slice(start, start + size))

    for start, x in zip(rounds, ahead(read, rounds), strict=True):
        look(x)
        x = x.to(device)
        codes = refine_codes(model, x, model.encode(x), sweeps=refine)
        own = pack_codes(model.family, codes)
        for place, part in enumerate(_of_all(own, size, ranks)):
            left = len(rows) - (start + place * size)
            if left > 0 or start == place == 0:
                yield part[:left]
        if progress is not None:
            progress(min(start + size * ranks.count, len(rows)))


def _of_all(own: Array, size: int, ranks: Ranks) -> list[Array]:
    """Return a chunk of each rank, in their order; all filled up to ``size`` rows."""
    if ranks.is_alone:
        return [own]
    full = np.zeros((size, own.shape[1]), own.dtype)
    full[: len(own)] = own
    found = ranks.gather(torch.from_numpy(full.view(np.uint8)))
    return [part.numpy().view(own.dtype) for part in found]


def decode_codes(model: DiscreteVAE, packed: Array) -> Tensor:
    """Return E[x|z] of packed codes of the model (else `DataError`), ``[N, P]`` on the CPU."""
    require_model(model)
    codes = unpack_codes(model.family, packed)
    parts = [model.decode(codes[i : i + DECODER_ROWS]) for i in range(0, len(codes), DECODER_ROWS)]
    return torch.cat(parts).cpu()


def read_codes(path: Path, family: Family) -> Array:
    """Read a ``.npy`` file of packed codes, and refuse another (`DataError`)."""
    packed = map_npy(path, "Give a file of codes.")
    if isinstance(packed, np.lib.npyio.NpzFile):
        packed.close()
    if not isinstance(packed, np.ndarray) or packed.ndim == 0 or packed.size == 0:
        raise DataError(f"{path}: holds no codes. Give a file of codes.")
    try:
        require_packed(family.spec, packed[:1])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return packed
