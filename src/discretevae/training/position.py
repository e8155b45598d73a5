"""Where a training stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

SUMS = ("rows", "loss", "log_likelihood", "kl", "ess", "cpu_seconds")
"""What every rank adds up by itself."""


@dataclass
class Position:
    """The next step to take, and the sums of the epoch so far.

    Args:
        epoch: from 1.
        step: steps taken in it.
        rows: met in it, like all that follows up to ``ess``.
        loss: summed over rows.
        log_likelihood: likewise.
        kl: likewise.
        ess: likewise.
        has_ess: whether there are importance weights.
        epoch_seconds: of the steps of this epoch.
        seconds: of the steps of all epochs before.
        cpu_seconds: what the processor worked on all steps.
        best: the largest validation ELBO; None before the first.
        best_epoch: when that was; 0 before the first.
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
    best: float | None = None
    best_epoch: int = 0

    def next_epoch(self) -> Position:
        """The start of the next one.

        Example:
            >>> Position(epoch=2, step=7, rows=70, seconds=1.5, epoch_seconds=0.5).next_epoch()
            Position(epoch=3, step=0, rows=0, loss=0.0, log_likelihood=0.0, kl=0.0, ess=0.0, \
has_ess=False, epoch_seconds=0.0, seconds=2.0, cpu_seconds=0.0, best=None, best_epoch=0)
        """
        return Position(
            epoch=self.epoch + 1,
            seconds=self.seconds + self.epoch_seconds,
            cpu_seconds=self.cpu_seconds,
            best=self.best,
            best_epoch=self.best_epoch,
        )

    def sums(self) -> list[float]:
        """What every rank adds up by itself, in the order of `SUMS`."""
        return [getattr(self, name) for name in SUMS]

    def with_sums(self, sums: list[float]) -> Position:
        """The same with other sums."""
        return replace(self, **dict(zip(SUMS, sums, strict=True)))  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Position:
        """From plain values.

        Raises:
            ValueError: a value is missing, unknown or of another type.

        Example:
            >>> here = Position(epoch=3, kl=0.5)
            >>> Position.from_dict(here.to_dict()) == here
            True
        """
        known = {f.name for f in fields(cls)}
        if set(values) != known:
            raise ValueError(f"it holds {sorted(values)}, not {sorted(known)}")
        for name, value in values.items():
            if isinstance(value, bool) != (name == "has_ess") or not (
                isinstance(value, (int, float)) or (name == "best" and value is None)
            ):
                raise ValueError(f"{name} is {value!r}")
        if not (isinstance(values["epoch"], int) and isinstance(values["step"], int)):
            raise ValueError("epoch and step must be whole numbers")
        if values["epoch"] < 1 or values["step"] < 0:
            raise ValueError(f"epoch {values['epoch']}, step {values['step']}")
        return cls(**values)


__all__ = ["Position"]
