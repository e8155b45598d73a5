"""Lossless compression with a trained model: rows to bytes and back, to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from discretevae.codes.compression.bits_back import Scheme
from discretevae.codes.compression.coders import Models, Stack, seed_words
from discretevae.codes.compression.containers import MAX_LANES, Header, Lane, pack, unpack
from discretevae.codes.fingerprints import fingerprint
from discretevae.data import Rows
from discretevae.data.objects import RowsLike, refuse_frame, require_array
from discretevae.data.stores.sparse import is_sparse
from discretevae.errors import ConfigError, DataError
from discretevae.evaluation.bounds import DECODER_ROWS
from discretevae.model.row_checks import require_fit, require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.system.arrays import Array
from discretevae.system.files import as_path

DEFAULT_LANES = 16
ROWS_PER_LANE = 256
"""By default there is one lane for so many rows, and there are at most 16: a lane costs some 20
bytes, so that they are well below 1 % of the file."""

EXTRA_SEEDS = 32


def compress(
    model: DiscreteVAE,
    rows: RowsLike,
    *,
    lanes: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> bytes:
    """Return rows as the content of a ``.dvz`` file, from which `decompress` makes them again.

    Bits back with ANS: each row costs about

        −log₂ p(x|z) − log₂ p(z) + log₂ q(z|x),   z ~ q(z|x),

    −ELBO / ln 2 bits in the mean. Any rows of the model's width come back exactly, noise too;
    what the model did not learn only costs more.

    The networks are evaluated in whole numbers, so that neither threads nor lanes nor the machine
    matter to what is decoded.

    Args:
        model: with a discrete code; on any device, it is evaluated on the CPU.
        rows: N rows. Whole numbers k, ``[N, P]``: 0 and 1 under a Bernoulli likelihood, 0 … 255
            under one of 8-bit values; or x = k, x = k/255 as floats or `Rows`. Of
            binarized `Rows` the binary ones come back, 1 where x > 0.5.
        lanes: L, stacks that are worked on side by side, row n on stack n mod L. More are faster
            and cost some 20 bytes each. None for one for each 256 rows, at most 16.
        progress: called with the number of rows done.

    Raises:
        ConfigError: the code has a part of real numbers, the likelihood is a density, the prior
            gives no probabilities, or ``lanes`` is out of range.
        DataError: no rows, another width than the model's, or values that the likelihood gives no
            probability, such as grey ones under Bernoulli.
        MissingExtraError: constriction is not installed.

    Example:
        >>> from discretevae.data import load_data
        >>> rows = (load_data("digits").test.batch(slice(0, 20)) > 0.5).byte().numpy()
        >>> model = DiscreteVAE.for_data(load_data("digits"), latent="bernoulli:4")
        >>> content = compress(model, rows)
        >>> bool((decompress(model, content) == rows).all())
        True

    Source: Townsend, Bird & Barber, "Practical lossless compression with latent variables using
    bits back coding" (ICLR 2019), section 2.2 and appendix C. Implementations differ in their
    latents, which are continuous there and rounded; in the coder; and in what they assume of
    floating-point arithmetic, of which nothing is assumed here.
    """
    require_model(model)
    scheme = Scheme(model)
    k = _symbols(model, scheme.pixels.top, rows)
    if lanes is None:
        lanes = max(1, min(DEFAULT_LANES, len(k) // ROWS_PER_LANE))
    if not isinstance(lanes, int) or not 1 <= lanes <= MAX_LANES:
        raise ConfigError(f"`lanes` must be an int from 1 to {MAX_LANES:,}. Got {lanes}.")
    lanes = min(lanes, len(k))
    n_seeds = scheme.n_variables + EXTRA_SEEDS
    while (stacks := _pushed(scheme, k, lanes, n_seeds, progress)) is None:
        n_seeds *= 2
    header = Header(
        rows=len(k),
        features=k.shape[1],
        seed_words=n_seeds,
        model=fingerprint(model),
        rows_sha256=hashlib.sha256(k.tobytes()).hexdigest(),
    )
    return pack(header, [_lane(stack, i, n_seeds) for i, stack in enumerate(stacks)])


@torch.no_grad()
def _pushed(
    scheme: Scheme, k: Array, lanes: int, n_seeds: int, progress: Callable[[int], object] | None
) -> list[Stack] | None:
    """Return all rows on their stacks, the last one first; None if a stack ran dry meanwhile."""
    models = Models()
    stacks = [models.stack(seed_words(lane, n_seeds)) for lane in range(lanes)]
    for start in reversed(range(0, len(k), lanes)):
        rows = k[start : start + lanes]
        scheme.push(stacks[: len(rows)], rows)
        if _is_dry(stacks[: len(rows)]):
            return None
        if progress is not None:
            progress(len(k) - start)
    return stacks


def _is_dry(stacks: list[Stack]) -> bool:
    """Return whether a stack is down to the coder's own state, of two words.

    Symbols could then be taken off for ever. Both ends look at the same moments.
    """
    return any(stack.num_words() <= 2 for stack in stacks)


def _lane(stack: Stack, lane: int, n_seeds: int) -> Lane:
    words, seeds = stack.get_compressed(), seed_words(lane, n_seeds)
    common = min(len(words), n_seeds)
    different = np.flatnonzero(words[:common] != seeds[:common])
    kept = int(different[0]) if len(different) else common
    return Lane(kept, words[kept:])


def decompress(
    model: DiscreteVAE,
    source: bytes | bytearray | memoryview | Path | str,
    *,
    progress: Callable[[int], object] | None = None,
) -> Array:
    """Return the rows that `compress` was given, checked against their SHA-256.

    Args:
        model: the very model; on any device, any number of threads.
        source: a file, or its content.
        progress: called with the number of rows done.

    Returns:
        uint8 ``[N, P]``: whole numbers k, 0 and 1 or 0 … 255.

    Raises:
        DataError: the file is missing, truncated or damaged, of another model, or its rows do not
            come back as they were.
        MissingExtraError: constriction is not installed.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> decompress(DiscreteVAE(ModelConfig(n_features=4, latent="bernoulli:3")), b"not it")
        Traceback (most recent call last):
        ...
        discretevae.errors.DataError: the compressed bytes: no file of compressed rows, or a \
damaged one (its header is longer than the file). Fetch it again, or compress again.
    """
    require_model(model)
    name, content = _read(source)
    header, lanes = unpack(content, name)
    scheme = _scheme_of(header, model, name)
    stacks = [_stack(lane, i, header.seed_words) for i, lane in enumerate(lanes)]
    wrong = DataError(
        f"{name}: the rows do not come back as they were; the file was made otherwise than it "
        "says. Compress again."
    )
    k = _popped(scheme, stacks, header, progress)
    # every stack must be where it started
    if k is None or any(
        not np.array_equal(stack.get_compressed(), seed_words(lane, header.seed_words))
        for lane, stack in enumerate(stacks)
    ):
        raise wrong
    if hashlib.sha256(k.tobytes()).hexdigest() != header.rows_sha256:
        raise wrong
    return k


def _read(source: bytes | bytearray | memoryview | Path | str) -> tuple[str, bytes]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "the compressed bytes", bytes(source)
    source = as_path(source, "source")
    try:
        return str(source), Path(source).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{source}: no such file. Check the path.") from None
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror}). Check the path.") from None


def _scheme_of(header: Header, model: DiscreteVAE, name: str) -> Scheme:
    if header.model != fingerprint(model):
        raise DataError(
            f"{name}: compressed with another model: its fingerprint begins with "
            f"{header.model[:12]}, this one's with {fingerprint(model)[:12]}. Give the run that "
            "it was compressed with."
        )
    if header.features != model.config.n_features:
        raise DataError(f"{name}: its header does not fit the model that it names. Compress again.")
    return Scheme(model)


def _stack(lane: Lane, number: int, n_seeds: int) -> Stack:
    words = np.concatenate((seed_words(number, n_seeds)[: lane.kept_seeds], lane.words))
    if not len(words) or words[-1] == 0:
        words = np.append(words, np.uint32(1))  # no stack of ours: its end will be wrong
    return Models().stack(words)


@torch.no_grad()
def _popped(
    scheme: Scheme, stacks: list[Stack], header: Header, progress: Callable[[int], object] | None
) -> Array | None:
    """Return all rows, the first one first; None if a stack runs dry, which ours do not."""
    # gathered as they come: what a header promises is not allocated
    parts: list[Array] = []
    for start in range(0, header.rows, len(stacks)):
        n_rows = min(len(stacks), header.rows - start)
        parts.append(scheme.pop(stacks[:n_rows]))
        if _is_dry(stacks[:n_rows]):
            return None
        if progress is not None:
            progress(start + n_rows)
    return np.concatenate(parts)


def _symbols(model: DiscreteVAE, top: int, rows: Any) -> Array:
    """Return the rows as whole numbers, uint8 ``[N, P]``; errors as of `compress`."""
    if not isinstance(rows, Rows):
        refuse_frame(rows)
        array = rows if is_sparse(rows) else require_array(rows, "the rows", "rows must be Rows")
        # whole numbers are k itself
        divisor = top if array.dtype.kind in "biu" else None
        rows = Rows.from_array(array, divisor=divisor, name="the rows")
    rows = require_fit(model, rows)
    chunks = rows.deterministic().chunks(DECODER_ROWS)
    return np.concatenate([_whole(x.cpu(), top, rows.name) for x in chunks])


def _whole(x: Tensor, top: int, name: str) -> Array:
    """Return x of 0 … 1 as k = top · x."""
    scaled = x.double() * top
    k = torch.floor(scaled + 0.5)
    is_fine = (k >= 0) & (k <= top) & ((scaled - k).abs() < 1e-3)
    if not bool(is_fine.all()):
        found = scaled[~is_fine][0].item()
        if top == 1:
            raise DataError(
                f"{name}: holds values other than 0 and 1, such as {found:g}, and a Bernoulli "
                "likelihood codes no others. Train with `binarize='threshold'` to compress 0 "
                "and 1, or with `likelihood='beta-binomial'` for 8-bit values."
            )
        raise DataError(
            f"{name}: holds values other than k/255, such as {found / top:g}. Give whole numbers "
            "from 0 to 255."
        )
    return k.to(torch.uint8).numpy()
