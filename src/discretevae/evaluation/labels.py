"""Labels that a semi-supervised model infers, and how often they are right."""

from __future__ import annotations

import torch
from torch import Tensor

from discretevae.data.classes import is_known
from discretevae.data.objects import RowsLike
from discretevae.evaluation.measured import Measured, measured
from discretevae.families.product import label_logits
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE

CHUNK_ROWS = 4096


@torch.no_grad()
def label_probabilities(model: DiscreteVAE, rows: RowsLike) -> Tensor:
    """Return q(y|x) of each row, ``[N, K]``: y is the first category of the code.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> model = DiscreteVAE(ModelConfig(n_features=4, latent="categorical:3+bernoulli:2"))
        >>> label_probabilities(model, torch.rand(5, 4)).shape
        torch.Size([5, 3])
    """
    rows = require_fit(model, rows).deterministic()
    etas = [model.eta(x.to(model.device)).cpu() for x in rows.chunks(CHUNK_ROWS)]
    return torch.softmax(label_logits(model.family, torch.cat(etas)), 1)


def accuracy(model: DiscreteVAE, rows: RowsLike) -> Measured | None:
    """Return the share of rows whose most likely label is theirs; None where no label is known."""
    rows = require_fit(model, rows)
    if rows.labels is None or not (known := is_known(rows.labels)).any():
        return None
    inferred = label_probabilities(model, rows).argmax(1)
    return measured((inferred == rows.labels)[known].double())
