"""How a model is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from discretevae.config.augmentations import parse_augment
from discretevae.config.checks import choice, is_int, must, problems_of
from discretevae.config.schedules import parse_schedule
from discretevae.config.targets import parse_target
from discretevae.errors import ConfigError

Start = Literal["random", "mean"]
Precision = Literal["float32", "tf32", "bf16"]

OBJECTIVES = ("elbo", "multi-sample", "marginal", "wake-sleep")
STARTS: tuple[Start, ...] = ("random", "mean")
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bf16")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained.

    Args:
        epochs: passes over the training rows.
        batch_size: B; None chooses one by `auto_batch_size`.
        lr: step size of Adam.
        lr_schedule: how it falls, as `parse_schedule` reads it.
        warmup: steps over which it first rises.
        objective: what is maximized: ``elbo``, ``multi-sample``, ``marginal`` or ``wake-sleep``.
        estimator: name and options of the gradient estimator; None takes the default for the
            objective and the code.
        samples: S, samples of z per row; None leaves the estimator's own default.
        clip: the largest norm that a gradient may have; None leaves it as it is.
        average: decay of an exponential moving average of the weights, which is what is evaluated
            and kept; None keeps the weights themselves.
        start: ``random``, or ``mean``: the decoder's last bias starts where x̂ is the mean of the
            training rows.
        validation: share of the training rows that is held out and measured after every epoch.
        patience: epochs without a better validation ELBO after which training ends; what is kept
            are the weights of the best epoch. None trains to the end.
        kl_warmup: epochs over which the weight of the KL rises to 1; None for 1 from the start.
        free_bits: nats of each latent variable's KL, in the mean over a batch, that cost nothing.
        augment: random distortions of the pictures that the encoder is shown, as `parse_augment`
            reads them.
        target: what is to be explained from the code of a row, as `parse_target` reads it: the
            ``row`` itself, or one of its neighbors. What is maximized is the ELBO of what is to be
            explained, a bound on its ln p(x) for any q.
        pretrain: epochs at the start under a standard normal prior that weighs a tenth; then a
            mixture prior is placed on the clusters of the codes, and trained with the rest.
        seed: every random draw of the run follows from it.
        precision: what products are formed in: ``float32``; ``tf32``, on a GPU; or ``bf16``, those
            of encoder and decoder in bfloat16.
        graph: whether the step is recorded as a CUDA graph and replayed; on a GPU.

    Raises:
        ConfigError: one or several values are wrong; all are named.

    Example:
        >>> try:
        ...     TrainConfig(epochs=0, lr=-1.0)
        ... except ConfigError as error:
        ...     print(error)
        `epochs` must be an int >= 1. Got 0.; `lr` must be > 0. Got -1.0.
    """

    epochs: int = 50
    batch_size: int | None = None
    lr: float = 1e-3
    lr_schedule: str = "constant"
    warmup: int = 0
    clip: float | None = None
    average: float | None = None
    start: Start = "random"
    validation: float = 0.0
    patience: int | None = None
    kl_warmup: float | None = None
    free_bits: float | None = None
    augment: str | None = None
    target: str = "row"
    pretrain: int = 0
    objective: str = "elbo"
    estimator: str | None = None
    samples: int | None = None
    seed: int = 0
    precision: Precision = "float32"
    graph: bool = False

    def __post_init__(self) -> None:
        """Checks every value, and says all that is wrong at once."""
        problems = []
        if not is_int(self.epochs, 1):
            problems.append(must("epochs", "an int >= 1", self.epochs))
        if self.batch_size is not None and not is_int(self.batch_size, 1):
            problems.append(must("batch_size", "an int >= 1", self.batch_size))
        if not (math.isfinite(self.lr) and self.lr > 0):
            problems.append(must("lr", "> 0", self.lr))
        problems += problems_of(parse_schedule, self.lr_schedule)
        if not is_int(self.warmup, 0):
            problems.append(must("warmup", "an int >= 0", self.warmup))
        if self.average is not None and not 0 < self.average < 1:
            problems.append(must("average", "> 0 and < 1", self.average))
        problems += choice("start", self.start, STARTS)
        if self.augment is not None:
            problems += problems_of(parse_augment, self.augment)
        problems += problems_of(parse_target, self.target)
        if not (is_int(self.pretrain, 0) and (self.pretrain == 0 or self.pretrain < self.epochs)):
            problems.append(must("pretrain", "an int >= 0 below epochs", self.pretrain))
        problems += self._further_problems()
        if self.samples is not None and not is_int(self.samples, 1):
            problems.append(must("samples", "an int >= 1", self.samples))
        if not (is_int(self.seed, 0) and self.seed < 2**63):
            problems.append(must("seed", "an int from 0 to 2**63 - 1", self.seed))
        problems += choice("objective", self.objective, OBJECTIVES)
        problems += choice("precision", self.precision, PRECISIONS)
        if not isinstance(self.graph, bool):
            problems.append(must("graph", "true or false", self.graph))
        if problems:
            raise ConfigError(problems)

    def _further_problems(self) -> list[str]:
        problems = []
        if not 0 <= self.validation < 1:
            problems.append(must("validation", ">= 0 and < 1", self.validation))
        if self.patience is not None:
            if not is_int(self.patience, 1):
                problems.append(must("patience", "an int >= 1", self.patience))
            if self.validation == 0:
                problems.append(
                    "`patience` needs rows to judge by. Give `validation`, such as 0.1."
                )
        for name in ("clip", "kl_warmup", "free_bits"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                problems.append(must(name, "> 0", value))
        names = ("kl_warmup", "free_bits", "augment", "pretrain")
        asked = [name for name in names if getattr(self, name)]
        if self.target != "row":
            asked.append("target")
        if self.objective != "elbo" and asked:
            problems.append(
                f"{' and '.join(f'`{name}`' for name in asked)} change the ELBO. Got "
                f"`objective={self.objective!r}`."
            )
        return problems


def auto_batch_size(n_rows: int) -> int:
    """128 where the data are large enough; else the power of two next to a tenth of the rows.

    With fewer than ten steps an epoch Adam hardly moves; below 32 rows a step is all overhead. With
    the paper's 2048 rows an epoch of MNIST has a sixteenth of the steps: the results page shows
    what that costs.

    Example:
        >>> [auto_batch_size(n) for n in (60_000, 1_500, 40)]
        [128, 128, 32]
    """
    return min(128, max(32, 1 << int(math.log2(max(n_rows / 10, 1)))))


__all__ = [
    "OBJECTIVES",
    "PRECISIONS",
    "STARTS",
    "Precision",
    "Start",
    "TrainConfig",
    "auto_batch_size",
]
