"""The position of a training."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

SUMS = ("rows", "loss", "log_likelihood", "kl", "ess", "cpu_seconds")
"""Names of the sums that every process keeps by itself."""


@dataclass
class Position:
    """The next step to take, and the sums of the epoch so far.

    ``epoch`` counts from 1, ``step`` and ``rows`` in this epoch; ``loss``, ``log_likelihood``,
    ``kl`` and ``ess`` are summed over those rows. ``seconds`` is the duration of the steps of all
    epochs before, ``cpu_seconds`` the processor time of all steps. ``train_rows`` is 0 before the
    first step, and ``best_epoch`` before the first validation.
    """

    epoch: int = 1
    step: int = 0
    rows: float = 0
    loss: float = 0.0
    log_likelihood: float = 0.0
    kl: float = 0.0
    ess: float = 0.0
    has_ess: bool = False
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    train_rows: int = 0
    best_elbo: float | None = None
    best_epoch: int = 0

    @property
    def is_start(self) -> bool:
        """True if no step was taken yet."""
        return self.is_start_of(1)

    def is_start_of(self, epoch: int) -> bool:
        """Return whether the first step of an epoch is next."""
        return self.epoch == epoch and self.step == 0

    def next_epoch(self) -> Position:
        """Return the start of the next epoch."""
        return Position(
            epoch=self.epoch + 1,
            seconds=self.seconds + self.epoch_seconds,
            cpu_seconds=self.cpu_seconds,
            train_rows=self.train_rows,
            best_elbo=self.best_elbo,
            best_epoch=self.best_epoch,
        )

    def same_epoch(self) -> Position:
        """Return the start of this epoch."""
        return replace(self.next_epoch(), epoch=self.epoch, seconds=self.seconds, train_rows=0)

    def sums(self) -> list[float]:
        """Return the sums, in the order of `SUMS`."""
        return [getattr(self, name) for name in SUMS]

    def with_sums(self, sums: list[float]) -> Position:
        """Return the position with other sums."""
        return replace(self, **dict(zip(SUMS, sums, strict=True)))  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Position:
        """Make a position from plain values (`ValueError`)."""
        known = {f.name for f in fields(cls)}
        if set(values) != known:
            raise ValueError(f"it holds {sorted(values)}, not {sorted(known)}")
        for name, value in values.items():
            if isinstance(value, bool) != (name == "has_ess") or not (
                isinstance(value, (int, float)) or (name == "best_elbo" and value is None)
            ):
                raise ValueError(f"{name} is {value!r}")
        if not (all(isinstance(values[name], int) for name in ("epoch", "step", "train_rows"))):
            raise ValueError("epoch, step and train_rows must be whole numbers")
        if values["epoch"] < 1 or values["step"] < 0:
            raise ValueError(f"epoch {values['epoch']}, step {values['step']}")
        return cls(**values)
