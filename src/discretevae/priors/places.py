"""Priors on codes of many places, one after the other: a transformer, or masked convolutions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import Tensor, nn

from discretevae.config.model_config import Init
from discretevae.config.priors import PriorSpec
from discretevae.errors import ConfigError
from discretevae.families import Bernoulli, Categorical, Family
from discretevae.networks.layers import initialize
from discretevae.priors.base import Prior, choices_for, draw, log_conditionals, require_sampling
from discretevae.priors.causal import GatedConvolutions, Transformer
from discretevae.priors.masked import MaskedNetwork

CHUNK = 256
"""Codes in one go: a layer's numbers of more would fill the memory."""


class PlacePrior(Prior):
    """p(z) = Π_i p(z_i|z_<i) over places i, by a causal network; exact.

        x_i = W z_{i−1} + a_i + c_y,   h = network(x),   z_i ~ p(z_i|h_i)

    A place of a grid has one or several variables; of a flat code each variable is a place. Within
    a place, a variable sees those before it by a masked network of h_i and z_i: bits that are
    independent given the other places would miss what they have in common. One pass gives ln p(z),
    which is smooth in z, so that relaxed codes have their gradient.

    Conditioned on labels y, with shares p(y) of the classes, it is exact both ways: ln p(z|y) of
    given labels, and else ln p(z) = ln Σ_y p(y) p(z|y), which takes a pass for each class.

    Args:
        family: of bits or of categories.
        spec: ``transformer``, or ``convolution`` for a grid, and its sizes.
        grid: (height, width) of the code in places; None of a flat code.
        init: how the initial weights are drawn, as `initialize` has it. At first p(z) is uniform.
        generator: the source of the initial weights; None takes torch's global one.

    Attributes:
        counts: rows of each class, ``[C]``.

    Raises:
        ConfigError: the code is of another kind, or flat for convolutions.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> spec = PriorSpec.of("transformer:1x16")
        >>> prior = PlacePrior(Bernoulli(12), spec, grid=(2, 2), generator=generator)
        >>> round(prior.log_prob_table().exp().sum().item(), 4)
        1.0
        >>> prior.sample(5, generator=generator, top_k=1).shape
        torch.Size([5, 12])

    Source: van den Oord, Vinyals & Kavukcuoglu, "Neural Discrete Representation Learning" (NeurIPS
    2017); Esser, Rombach & Ommer, "Taming Transformers for High-Resolution Image Synthesis" (2021).
    """

    counts: Tensor

    def __init__(
        self, family: Family, spec: PriorSpec, *, grid: tuple[int, int] | None = None,
        init: Init = "torch", generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(family)
        needed = "a code of bits or of categories"
        if is_discrete := isinstance(family, Bernoulli | Categorical):
            needed = "a grid of codes, such as bernoulli:9@8x8"
        if not is_discrete or (grid is None and spec.kind == "convolution"):
            raise ConfigError(
                f"a {spec.kind} prior needs {needed}. Got {family.spec}. "
                f"Choose {choices_for(family)}."
            )
        self.grid, self.n_classes, (n_layers, width) = grid, spec.classes, spec.hidden or (2, 128)
        self.n_places = family.n_variables if grid is None else math.prod(grid)
        n_columns = family.n_categories if isinstance(family, Categorical) else 1
        self.widths = (n_columns,) * (family.n_variables // self.n_places)
        self.network: nn.Module
        with torch.device("meta"):
            self.embedding = nn.Linear(sum(self.widths), width, bias=False)
            if grid is None or spec.kind == "transformer":
                self.network, self.lr = Transformer(n_layers, width), 2e-3
            else:
                self.network = GatedConvolutions(n_layers, width, grid[1])
        for part in (self.embedding, self.network):
            initialize(part, init, generator)
        earlier = [d for d in range(1, len(self.widths)) for _ in range(n_columns)]
        self.head = MaskedNetwork(
            self.widths, inputs=[0] * width + earlier, hidden=(2 * width,) * bool(earlier),
            init=init, generator=generator,
        )  # fmt: skip
        vectors = torch.empty(self.n_places + self.n_classes, width)
        vectors = vectors.normal_(0, 1 / math.sqrt(width), generator=generator)
        self.positions = nn.Parameter(vectors[: self.n_places].clone())
        self.sample_options = ("top_k", *["label"] * bool(self.n_classes))
        if self.n_classes:
            self.classes = nn.Parameter(vectors[self.n_places :].clone())
            self.register_buffer("counts", torch.ones(self.n_classes))

    def log_prob(self, z: Tensor, *, label: Tensor | None = None) -> Tensor:
        """Return ln p(z), ``[S, B]``; given labels, int64 ``[B]``, ln p(z|y)."""
        if self.n_classes and label is None:
            shares = (self.counts / self.counts.sum()).log()
            each = [self.log_prob(z, label=torch.tensor(y)) for y in range(self.n_classes)]
            return torch.stack([a + b for a, b in zip(each, shares, strict=True)]).logsumexp(0)
        lead = z.shape[: z.ndim - len(self.family.z_shape)]
        labels = None if label is None else label.expand(lead).flatten()
        codes, found = z.reshape(lead.numel(), self.n_places, -1), []
        for i in range(0, len(codes), CHUNK):
            part = codes[i : i + CHUNK]
            start = self._start(None if labels is None else labels[i : i + CHUNK])
            h = self.network(start + F.pad(self.embedding(part[:, :-1]), (0, 0, 1, 0)))
            logits = self.head(torch.cat((h, part[..., : -self.widths[0]]), -1))
            pair = (each.reshape(len(part), -1, self.widths[0]) for each in (part, logits))
            found.append(log_conditionals(*pair))
        return torch.cat(found).reshape(lead)

    @torch.no_grad()
    def sample(
        self, n: int, *, generator: torch.Generator | None, temperature: float = 1.0,
        top_k: int | None = None, label: Tensor | int | None = None,
    ) -> Tensor:  # fmt: skip
        """Draw ``n`` codes, ``[n, *z_shape]``, each variable from its k likeliest values or all.

        ``label`` is that of all codes, or of each ``[n]``; None draws them by their shares.
        """
        require_sampling(temperature, top_k)
        if self.n_classes and label is None:
            label = torch.multinomial(self.counts, n, replacement=True, generator=generator)
        if label is not None:
            label = torch.as_tensor(label, device=self.positions.device).expand(n)
            if not 0 <= label.min() <= label.max() < self.n_classes:
                raise ConfigError(f"`label` must be from 0 to {self.n_classes - 1}.")
        cache: dict[int, Tensor] = {}
        x = self._start(label).repeat(1 if label is not None else n, 1, 1)
        codes = x.new_zeros(n, self.n_places, sum(self.widths))
        for i in range(self.n_places):
            if i:
                x[:, i] += self.embedding(codes[:, i - 1])
            if isinstance(self.network, Transformer):
                h = self.network(x[:, i : i + 1], cache)[:, -1]
            else:
                h = self.network(x[:, : i + 1])[:, -1]
            place, width = codes[:, i], self.widths[0]
            for d in range(0, sum(self.widths), width):
                logits = self.head(torch.cat((h, place[:, :-width]), 1))[:, d : d + width]
                place[:, d : d + width] = draw(logits, temperature, top_k, generator)
        return codes.reshape(n, *self.family.z_shape)

    def _start(self, label: Tensor | None) -> Tensor:
        """Return a + c, ``[P, W]``, or ``[N, P, W]`` of labels."""
        return self.positions if label is None else self.positions + self.classes[label, None]
