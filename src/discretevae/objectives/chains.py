"""Markov chains whose stationary distribution is the posterior: one for each training row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from discretevae.errors import ConfigError
from discretevae.families import Family


class Chains(nn.Module):
    """The codes at which the chains of N rows stand: N·D small integers, kept in checkpoints.

    ``codes`` are ``[N, D]``, uint8 for bits and up to 256 categories; ``is_begun``, ``[N]``, says
    which rows have one.

    Raises:
        ConfigError: the code is not discrete.

    Example:
        >>> from discretevae.families import Bernoulli
        >>> chains = Chains(Bernoulli(2), 3)
        >>> chains.move(torch.tensor([2]), torch.tensor([[0.0, 1.0]]))
        >>> chains.codes.tolist(), chains.is_begun.tolist()
        ([[0, 0], [0, 0], [0, 1]], [False, False, True])
    """

    codes: Tensor
    is_begun: Tensor

    def __init__(self, family: Family, n_rows: int, device: torch.device | None = None) -> None:
        super().__init__()
        if family.n_states is None:
            raise ConfigError(
                f"`objective='jsa'` keeps codes of bits and categories. Got latent {family.spec}. "
                "Choose `objective='elbo'`, or a discrete code."
            )
        self.family = family
        largest = max(max(part.n_categories, 2) - 1 for part in family.spec.all_parts)
        types = (torch.uint8, torch.int16, torch.int32)
        dtype = next(each for each in types if largest <= torch.iinfo(each).max)
        shape = n_rows, family.n_variables
        self.register_buffer("codes", torch.zeros(shape, dtype=dtype, device=device))
        self.register_buffer("is_begun", torch.zeros(n_rows, dtype=torch.bool, device=device))

    def move(self, rows: Tensor, z: Tensor) -> None:
        """Move the chains of distinct rows ``[B]`` to z, ``[B, *z_shape]``."""
        self.codes.index_copy_(0, rows, self.family.to_codes(z).to(self.codes.dtype))
        self.is_begun.index_fill_(0, rows, True)


def independence_sampler(log_weight: Tensor, *, generator: torch.Generator | None) -> Tensor:
    """Return the state after each of S moves of a Metropolis independence sampler, ``[S, B]``.

    Move s goes from state r to state s with probability min(1, w_s/w_r), and else stays. Where the
    states 1 to S are draws from q and w = p(x, z)/q(z|x), a move leaves p(z|x) as it is. Of ln w,
    ``[S + 1, B]``, the first is where the chain stands; −∞ there makes the first move certain.
    """
    u = torch.rand(
        log_weight[1:].shape, dtype=log_weight.dtype, device=log_weight.device, generator=generator
    )
    state = torch.zeros_like(log_weight[0], dtype=torch.int64)
    states = []
    for s in range(1, len(log_weight)):
        here = log_weight.gather(0, state.unsqueeze(0))[0]
        state = torch.where(u[s - 1] < (log_weight[s] - here).exp(), s, state)
        states.append(state)
    return torch.stack(states)
