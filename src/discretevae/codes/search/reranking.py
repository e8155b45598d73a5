"""How well the codes of candidates explain a query: what the decoder says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from discretevae.codes.packing import unpack_codes
from discretevae.config import BinarizeMode
from discretevae.data import Rows, most_likely
from discretevae.evaluation.bounds import DECODER_ROWS
from discretevae.model.vae import DiscreteVAE

Array = np.ndarray[Any, np.dtype[Any]]


@torch.no_grad()
def log_likelihoods(
    model: DiscreteVAE,
    rows: Rows,
    candidates: Array,
    depth: int,
    *,
    binarize_mode: BinarizeMode = "none",
) -> Array:
    """ln p(x_q|z_qr) of every query under the codes of its own candidates, nats.

    Args:
        model: whose decoder is asked.
        rows: Q queries.
        candidates: packed codes, ``[Q·R, ·]``, those of one query together.
        depth: R.
        binarize_mode: as in training.

    Returns:
        float64 ``[Q, R]``.

    Example:
        >>> from discretevae import encode_rows, load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="bernoulli:8", hidden=(16,))
        >>> own = encode_rows(model, data.test)                # of each query, its own code
        >>> log_likelihoods(model, data.test, own, 1).shape
        (297, 1)
    """
    out = np.empty((len(rows), depth))
    step = max(1, DECODER_ROWS // depth)
    for start in range(0, len(rows), step):
        x = most_likely(rows.batch(slice(start, start + step)), binarize_mode).to(model.device)
        packed = candidates[start * depth : (start + len(x)) * depth]
        codes = unpack_codes(model.family, packed).to(model.device)
        z = model.family.from_codes(codes).to(x)
        z = z.reshape(len(x), depth, *model.family.z_shape).transpose(0, 1)
        out[start : start + step] = model.log_likelihood(x)(z).T.double().cpu().numpy()
    return out
