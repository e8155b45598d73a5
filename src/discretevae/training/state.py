"""Everything that a training changes: weights, moments, random states, position, history."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from discretevae.errors import RunError
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import Chains
from discretevae.run_folder.checkpoint import install_state, pack_state
from discretevae.run_folder.history import EpochMetrics
from discretevae.system.randomness import generator_for
from discretevae.training.adam import Adam
from discretevae.training.averaging import Average
from discretevae.training.position import Position
from discretevae.training.preparation import PreparedTraining
from discretevae.training.sums import Sums

GENERATORS = ("samples", "data")
"""Sources of random numbers: the codes z, and what is drawn for a batch (binarization, distortion,
neighbors). They are two, so that the data do not depend on the number of samples."""


@dataclass(eq=False)
class TrainingState:
    """Everything that a training changes, and a checkpoint holds.

    What a training does without is None: the part of the estimator that learns or remembers, the
    moving average of the weights, the weights of the best epoch, and the codes of the training
    rows that the objective ``jsa`` keeps. Generators are by name, see `GENERATORS`.
    """

    model: DiscreteVAE
    estimator: nn.Module | None
    average: Average | None
    best_model: DiscreteVAE | None
    chains: Chains | None
    optimizer: torch.optim.Optimizer
    generators: dict[str, torch.Generator]
    sums: Sums
    position: Position = field(default_factory=Position)
    history: list[EpochMetrics] = field(default_factory=list)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything that has weights or buffers, by the name that a checkpoint gives it."""
        average = None if self.average is None else self.average.model
        parts = {
            "model": self.model, "estimator": self.estimator, "average": average,
            "best": self.best_model, "chains": self.chains,
        }  # fmt: skip
        return {name: module for name, module in parts.items() if module is not None}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Everything that the optimizer moves."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def evaluated_model(self) -> DiscreteVAE:
        """The weights that are evaluated after an epoch: their average, if there is one."""
        return self.model if self.average is None else self.average.model

    @property
    def final_model(self) -> DiscreteVAE:
        """The weights that a user gets: those of the best epoch, if one is kept."""
        return self.best_model or self.evaluated_model

    def shared_tensors(self) -> list[Tensor]:
        """Return what processes average: gradients, and what is remembered of batches."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        buffers = [] if self.estimator is None else list(self.estimator.buffers())
        buffers += [] if self.model.quantizer is None else list(self.model.quantizer.buffers())
        return gradients + [buffer for buffer in buffers if buffer.is_floating_point()]

    def pack(
        self, generators: dict[str, list[Tensor]] | None = None, position: Position | None = None
    ) -> bytes:
        """Return the state as the content of a checkpoint.

        The states of the generators of all processes, by name, and the position with their sums are
        those of this process where they are not given.
        """
        if generators is None:
            generators = {name: [g.get_state()] for name, g in self.generators.items()}
        values = asdict(position or self.position)
        return pack_state(self.modules, self.optimizer, generators, values)

    def restore(self, content: bytes, path: Path, rank: int = 0) -> None:
        """Take over what `pack` returned, except the history (`RunError` if of another model)."""
        values = install_state(content, path, self.modules, self.optimizer, self.generators, rank)
        try:
            self.position = Position.from_dict(values)
        except ValueError as error:
            raise RunError(f"{path}: corrupt checkpoint ({error}). Train again.") from None


def start_state(prepared: PreparedTraining) -> TrainingState:
    """Let the estimator make its parameters, and return the state before the first step."""
    model, config, device = prepared.model, prepared.config, prepared.device
    n, ranks = len(prepared.train_rows), prepared.ranks
    of_rank = () if ranks.is_first else (ranks.rank,)
    eta = torch.zeros(1, *model.family.eta_shape, device=device)
    prepared.estimator.prepare(model.family, eta)
    estimator = None
    if isinstance(prepared.estimator, nn.Module):
        estimator = prepared.estimator.to(device)
    learned = [*model.parameters(), *(() if estimator is None else estimator.parameters())]
    return TrainingState(
        model=model,
        estimator=estimator,
        average=None if config.average is None else Average(model, config.average),
        best_model=copy.deepcopy(model).requires_grad_(False) if config.patience else None,
        chains=Chains(model.family, n, device) if config.objective == "jsa" else None,
        optimizer=_adam(learned, config.lr, is_recorded=config.graph, device=device),
        generators={
            name: generator_for(config.seed, name, *of_rank, device=device) for name in GENERATORS
        },
        sums=Sums(device),
    )


def _adam(
    parameters: list[nn.Parameter], lr: float, *, is_recorded: bool, device: torch.device
) -> torch.optim.Optimizer:
    rate: float | Tensor = lr
    if is_recorded:
        # A recording reads the rate from memory. torch's Adam takes float32 on a GPU, and any type
        # on a CPU, where float64 is the very number that a float would be.
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        rate = torch.tensor(lr, dtype=dtype, device=device)
    return Adam(parameters, lr=rate, fused=True, capturable=is_recorded)
