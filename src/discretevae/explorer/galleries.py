"""Rows that are kept to be looked at, with their codes and averages of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from discretevae.codes.packing import CHUNK_VALUES
from discretevae.data import Rows
from discretevae.errors import DataError
from discretevae.evaluation.bounds import DECODER_ROWS
from discretevae.evaluation.usage import kl_per_variable
from discretevae.families import Gaussian, parts_of, parts_with_eta
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE


@dataclass(frozen=True, eq=False)
class Gallery:
    """N rows, as they are stored, of ``n_available``, and what the encoder makes of them.

    ``codes`` are the most likely ones, ``[N, V]`` as `DiscreteVAE.encode` gives them. ``usage`` of
    a bit is mean_n q(1|x_n), of a category mean_n q(k|x_n) ``[K]``, and of a real variable the
    standard deviation of its posterior mean over the rows. ``kl`` is mean_n KL(q(z_d|x_n) ‖ p(z_d))
    in nats, with p the prior or, where that has no such parts, uniform or standard normal.
    """

    rows: Rows
    n_available: int
    codes: Tensor
    usage: list[float | list[float]]
    kl: list[float]
    is_kl_of_prior: bool

    def __len__(self) -> int:
        return len(self.rows)

    def x(self, index: Tensor | slice) -> Tensor:
        """Return rows as they were before any binarization, to be looked at: ``[B, P]``."""
        return self.rows.binarized("none").batch(index)


def spread(n: int, most: int) -> Tensor:
    """Return at most so many of the numbers 0 … n−1, evenly spread and in order; int64."""
    if n <= most:
        return torch.arange(n)
    return torch.arange(most) * n // most


@torch.no_grad()
def gallery_of(
    model: DiscreteVAE,
    rows: Rows,
    *,
    max_rows: int,
    progress: Callable[[int], object] | None = None,
) -> Gallery:
    """Keep at most ``max_rows`` rows, evenly spread, and encode them."""
    require_fit(model, rows)
    chosen = spread(len(rows), max_rows)
    kept = rows if len(chosen) == len(rows) else rows.subset(chosen)
    size = max(1, min(DECODER_ROWS, CHUNK_VALUES // rows.n_features))
    chunks = kept.deterministic().chunks(size, progress=progress)
    family, parts = model.family, parts_of(model.family)
    pieces, kl, sums = [], torch.zeros(()), [torch.zeros(())] * len(parts)
    for x in chunks:  # probabilities of a large code, of all rows, would take gigabytes
        eta = model.eta(x.to(model.device))
        if not bool(eta.isfinite().all()):
            raise DataError(f"{rows.name}: codes of rows are beyond float32. Rescale their values.")
        pieces.append(family.to_codes(family.mode(eta)).cpu())
        kl = kl + kl_per_variable(model, eta).double().sum(0).cpu()
        for i, (part, own) in enumerate(parts_with_eta(family, eta)):
            if not isinstance(part, Gaussian):
                sums[i] = sums[i] + part.mean(own).double().sum(0).cpu()
    codes, usage = torch.cat(pieces), list[float | list[float]]()
    for part, total in zip(parts, sums, strict=True):
        if isinstance(part, Gaussian):
            own = codes[:, len(usage) : len(usage) + part.n_variables]
            usage += own.double().std(0, correction=0).tolist()
        else:
            usage += (total / len(kept)).tolist()
    return Gallery(
        kept, len(rows), codes, usage, (kl / len(kept)).tolist(), model.prior.has_closed_kl
    )
