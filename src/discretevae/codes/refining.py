"""Codes that explain a row better than the encoder's choice, found by trying others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy.typing as npt
import torch
from torch import Tensor, nn

from discretevae.config import ImageShape, sides_of
from discretevae.config.checks import is_int
from discretevae.errors import ConfigError, DataError
from discretevae.model.inputs import as_x, require_x
from discretevae.model.row_checks import require_model
from discretevae.model.vae import DiscreteVAE

STRIDE = 4
"""Places of a grid that are so far apart hardly share pixels, and are changed at the same time."""


@torch.no_grad()
def refine_codes(
    model: DiscreteVAE,
    x: Tensor | npt.ArrayLike,
    codes: Tensor | npt.ArrayLike,
    *,
    sweeps: int = 1,
    candidates: int = 2,
) -> Tensor:
    """Return codes whose ln p(x|z) is at least that of ``codes``, by changing variables in turn.

        z_d ← argmax_k ln p(x|z_1 … k … z_D)      k: z_d, and the other bit or the likeliest by q

    The encoder looks at a row once; this looks at what the decoder makes of its code. On a grid,
    places `STRIDE` apart are changed together, each judged by the pixels around it, and a row
    keeps the changes if they raise its ln p(x|z) in all.

    Args:
        model: of bits, or of categories.
        x: rows, ``[B, P]``, values as the model sees them.
        codes: ``[B, D]``, as `DiscreteVAE.encode` gives them.
        sweeps: how often every variable is tried; 0 leaves the codes as they are.
        candidates: categories that are tried for each variable.

    Returns:
        ``[B, D]``, of the type of ``codes``.

    Raises:
        ConfigError: the code has real variables or several parts, or a count is out of range.
        DataError: rows or codes do not fit the model, or are not as many.

    Example:
        >>> from discretevae.config import ModelConfig
        >>> model = DiscreteVAE(ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,)))
        >>> x = torch.rand(5, 4)
        >>> refine_codes(model, x, model.encode(x)).shape
        torch.Size([5, 3])

    Source: Besag, "On the Statistical Analysis of Dirty Pictures" (1986), iterated conditional
    modes, without the prior's term.
    """
    require_model(model)
    for name, count, least in (("sweeps", sweeps, 0), ("candidates", candidates, 1)):
        if not is_int(count, least):
            raise ConfigError(f"`{name}` must be an int >= {least}. Got {count!r}.")
    spec, codes = model.config.latent, model.as_codes(codes)
    if sweeps == 0:
        return codes
    if spec.kind not in ("bernoulli", "categorical"):
        raise ConfigError(f"codes of {spec} cannot be refined, only bits or categories.")
    x = as_x(x, model.config.n_features, model.likelihood)
    require_x(x, model.config.n_features)
    x = x.to(next(model.parameters()))
    if len(x) != len(codes):
        raise DataError(f"there are {len(x)} rows and {len(codes)} codes. Give one each.")
    codes, regions = codes.to(x.device), _Regions.of(model)
    eta = model.eta(x) if spec.kind == "categorical" else None
    rows = regions.of_values(x)

    def explained(codes: Tensor) -> Tensor:
        """ln p of every region, ``[B, R]``."""
        output = model.output(model.family.from_codes(codes).to(rows))
        log_p = model.likelihood.log_prob(regions.of_values(output).unsqueeze(0), rows)
        return log_p.reshape(len(codes), regions.n)

    best = explained(codes)
    for columns in regions.groups(spec.variables_per_place) * sweeps:
        proposed, found = codes, best
        for others in _proposals(codes[:, columns], eta, columns, candidates):
            trial = codes.clone()
            trial[:, columns] = others
            value = explained(trial)
            better = value > found
            found = torch.where(better, value, found)
            chosen = torch.where(better[:, regions.of_place[columns]], others, proposed[:, columns])
            proposed = proposed.clone()
            proposed[:, columns] = chosen
        # neighboring regions share some pixels, so that the row has the last word
        value = explained(proposed)
        rises = (value.sum(1) > best.sum(1)).unsqueeze(1)
        codes, best = torch.where(rises, proposed, codes), torch.where(rises, value, best)
    return codes


def _proposals(now: Tensor, eta: Tensor | None, columns: Tensor, candidates: int) -> list[Tensor]:
    """Return what each of the chosen variables may become, ``[B, columns]`` each."""
    if eta is None:
        return [1 - now]
    others = eta[:, columns].scatter(-1, now.unsqueeze(-1), -math.inf)
    n_others = min(candidates, others.shape[-1] - 1)
    return list(others.topk(n_others).indices.unbind(-1)) if n_others else []


@dataclass(frozen=True, eq=False)
class _Regions:
    """Parts of a row, each judged by itself: rectangles of a picture, or the whole row.

    ``of_place`` is the region of each variable, ``[D]``; ``grid`` has the places, and is None where
    a row is one region; ``shape`` is the picture's.
    """

    n: int
    of_place: Tensor
    grid: tuple[int, int] | None = None
    shape: ImageShape = (1, 1)
    down: int = 1
    across: int = 1

    @classmethod
    def of(cls, model: DiscreteVAE) -> _Regions:
        """Return those of a model: of a flat code, or a learned scale for each value, one."""
        config, n_variables = model.config, model.family.n_variables
        whole = cls(1, torch.zeros(n_variables, dtype=torch.long, device=model.device))
        grid, shape = config.latent.grid, config.image_shape
        if grid is None or shape is None or isinstance(model.likelihood, nn.Module):
            return whole
        down, across = (math.ceil(size / STRIDE) for size in grid)
        if grid[0] % down or grid[1] % across or shape[0] % down or shape[1] % across:
            return whole
        row = torch.arange(grid[0]) // (grid[0] // down)
        column = torch.arange(grid[1]) // (grid[1] // across)
        of_place = (row.unsqueeze(1) * across + column).flatten().to(model.device)
        of_variable = of_place.repeat_interleave(config.latent.variables_per_place)
        return cls(down * across, of_variable, grid, shape, down, across)

    def groups(self, per_place: int) -> list[Tensor]:
        """Return the variables that are changed together, one of each region, turn by turn."""
        number = torch.arange(len(self.of_place), device=self.of_place.device)
        if self.grid is None:
            return [number[d : d + 1] for d in range(len(number))]
        height, width = self.grid[0] // self.down, self.grid[1] // self.across
        place = number // per_place
        turn = (place // self.grid[1] % height) * width + place % self.grid[1] % width
        key = turn * per_place + number % per_place
        return [number[key == k] for k in range(height * width * per_place)]

    def of_values(self, values: Tensor) -> Tensor:
        """Return values ``[N, C·P]`` as ``[N·R, C·P/R]``, region by region."""
        if self.grid is None:
            return values
        sides = sides_of(self.shape)
        down, across = self.down, self.across
        parts = values.reshape(
            len(values), -1, down, sides.height // down, across, sides.width // across,
            sides.channels,
        )  # fmt: skip
        return parts.permute(0, 2, 4, 1, 3, 5, 6).reshape(len(values) * self.n, -1)
