"""Reranking of candidates by how well the decoder explains the query from their codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from discretevae.codes.packing import unpack_codes
from discretevae.data import Rows
from discretevae.evaluation.bounds import DECODER_ROWS
from discretevae.model.vae import DiscreteVAE

Array = np.ndarray[Any, np.dtype[Any]]


@torch.no_grad()
def log_likelihoods(model: DiscreteVAE, rows: Rows, candidates: Array, depth: int) -> Array:
    """ln p(x_q|z_qr) of every query under the codes of its own candidates, nats.

    Args:
        model: whose decoder is asked.
        rows: Q queries, binarized as in training.
        candidates: packed codes, ``[Q·R, ·]``, those of one query together.
        depth: R.

    Returns:
        float64 ``[Q, R]``.
    """
    out = np.empty((len(rows), depth))
    done = 0
    for x in rows.deterministic().chunks(max(1, DECODER_ROWS // depth)):
        x = x.to(model.device)
        packed = candidates[done * depth : (done + len(x)) * depth]
        codes = unpack_codes(model.family, packed).to(model.device)
        z = model.family.from_codes(codes).to(x)
        z = z.reshape(len(x), depth, *model.family.z_shape).transpose(0, 1)
        out[done : done + len(x)] = model.log_likelihood(x)(z).T.double().cpu().numpy()
        done += len(x)
    return out
