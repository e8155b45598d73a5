"""A prior under which the variables of a code depend on one another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from discretevae.config.activations import RELU, Activation
from discretevae.config.model_config import Init
from discretevae.errors import ConfigError
from discretevae.families import Family, parts_of
from discretevae.priors.base import Prior, discrete_widths, draw, log_conditionals, require_sampling
from discretevae.priors.masked import MaskedNetwork

DEFAULT_HIDDEN = (256, 256)
MAX_COLUMNS = 16_384  # each meets each, in a matrix of a gigabyte


class AutoregressivePrior(Prior):
    """p(z) = Π_d p(z_d|z_<d), all conditionals by one masked network; exact.

        ln p(z) = Σ_d z_d l_d − softplus(l_d)                  bits, l_d a function of z_<d
        ln p(z) = Σ_d Σ_k z_dk log_softmax(l_d)_k              categories

    One pass of the network gives ln p(z), D passes give a sample. Both lines are smooth in z, so
    that relaxed codes have their gradient. Real variables beside the discrete ones are standard
    normal and independent of them.

    Args:
        family: of bits or categories, or a product with such parts.
        hidden: widths of the hidden layers; () for logistic regressions.
        activation: between the layers.
        init: how the initial weights are drawn, as `initialize` has it.
        generator: the source of the initial weights; None takes torch's global one.

    Raises:
        ConfigError: the code has neither bits nor categories, or too many.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> from discretevae.families import Bernoulli
        >>> prior = AutoregressivePrior(Bernoulli(3), hidden=(16,), generator=generator)
        >>> round(prior.log_prob_table().exp().sum().item(), 4)
        1.0
        >>> prior.sample(2, generator=generator).shape
        torch.Size([2, 3])

    Source: Germain, Gregor, Murray & Larochelle, "MADE" (ICML 2015); as the prior of a
    discrete code, van den Oord, Vinyals & Kavukcuoglu, "Neural Discrete Representation Learning"
    (NeurIPS 2017), section 3.3.
    """

    sample_options = ("top_k",)

    def __init__(
        self,
        family: Family,
        *,
        hidden: Sequence[int] = DEFAULT_HIDDEN,
        activation: Activation = RELU,
        init: Init = "torch",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(family)
        self.widths = discrete_widths(family)
        if sum(self.widths) > MAX_COLUMNS:
            raise ConfigError(f"{family.spec} is too large for this prior. Choose transformer.")
        self.network = MaskedNetwork(
            self.widths, hidden=hidden, activation=activation, init=init, generator=generator
        )

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ln p(z), ``[S, B]``, from one pass of the network."""
        lead = z.shape[: z.ndim - len(self.family.z_shape)]
        codes, real = self._apart(z.reshape(lead.numel(), -1))
        log_p = self._log_conditionals(codes, self.network(codes))
        if real is not None:
            log_p = log_p - 0.5 * (real.square() + math.log(2 * math.pi)).sum(-1)
        return log_p.reshape(lead)

    @torch.no_grad()
    def sample(
        self, n: int, *, generator: torch.Generator | None, temperature: float = 1.0,
        top_k: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Draw ``n`` codes, ``[n, *z_shape]``, each variable from its k likeliest values or all."""
        require_sampling(temperature, top_k)
        like = self._like()
        codes = like.new_zeros((n, sum(self.widths)))
        start = 0
        for width in self.widths:
            stop = start + width
            logits = self.network(codes)[:, start:stop]
            codes[:, start:stop] = draw(logits, temperature, top_k, generator)
            start = stop
        pieces, start = [], 0
        for part, n_columns in self._parts():
            if part.n_states is None:
                noise = like.new_empty((n, n_columns)).normal_(generator=generator)
                pieces.append(math.sqrt(temperature) * noise)
            else:
                pieces.append(codes[:, start : start + n_columns])
                start += n_columns
        return torch.cat(pieces, 1).reshape(n, *self.family.z_shape)

    def _parts(self) -> list[tuple[Family, int]]:
        """Return the code's parts, and the columns of a flat z that each of them takes."""
        return [(part, math.prod(part.z_shape)) for part in parts_of(self.family)]

    def _apart(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split flat codes into discrete columns ``[N, Σ widths]`` and real ones, if any."""
        parts = self._parts()
        pieces = torch.split(rows, [n_columns for _, n_columns in parts], -1)
        real = [piece for (p, _), piece in zip(parts, pieces, strict=True) if p.n_states is None]
        if not real:
            return rows, None
        found = [piece for (p, _), piece in zip(parts, pieces, strict=True) if p.n_states]
        return torch.cat(found, -1), torch.cat(real, -1)

    def _log_conditionals(self, codes: Tensor, logits: Tensor) -> Tensor:
        """Return Σ_d ln p(z_d|z_<d), ``[N]``; variables of one width are summed together."""
        total = logits.new_zeros(len(codes))
        start = 0
        for width, run in itertools.groupby(self.widths):
            stop = start + width * len(list(run))
            shape = (len(codes), -1, width)
            z, given = (each[:, start:stop].reshape(shape) for each in (codes, logits))
            total = total + log_conditionals(z, given)
            start = stop
        return total
