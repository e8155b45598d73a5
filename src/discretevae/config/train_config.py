"""Options of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from discretevae.config.augmentations import Augment
from discretevae.config.checks import (
    FLAG,
    FRACTION,
    POSITIVE,
    SHARE,
    Option,
    an_int,
    is_int,
    one_of,
    problems_of,
    refuse,
    rule,
)
from discretevae.config.quantizers import VQTraining
from discretevae.config.schedules import Schedule
from discretevae.config.supervision import Supervision
from discretevae.config.targets import RowTarget, Target
from discretevae.errors import ConfigError

ObjectiveName = Literal[
    "elbo", "multi-sample", "marginal", "wake-sleep", "jsa", "vq", "semi-supervised"
]
Precision = Literal["float32", "tf32", "bf16"]
Start = Literal["random", "mean"]

OBJECTIVE_NAMES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
STARTS: tuple[Start, ...] = get_args(Start)


def _estimator(value: object) -> str:
    """Return the spelling of an estimator; what it names is known where tensors are."""
    spelling = getattr(value, "spec", value)
    if not isinstance(spelling, str):
        raise ConfigError(
            "`estimator` must be an estimator or its spelling, such as rloo:samples=4. "
            f"Got {value!r}."
        )
    return spelling


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Options of a training.

    Args:
        epochs: passes over the training rows.
        batch_size: B; None chooses one by `auto_batch_size`.
        lr: step size of Adam.
        lr_schedule: how it falls, a `Schedule`: ``constant``, ``linear``, ``cosine:0.4`` …
        warmup: steps over which it first rises.
        objective: what is maximized: ``elbo``, ``multi-sample``, ``marginal``, ``wake-sleep``
            ``jsa``, ``vq``, the loss of the VQ-VAE, for models with a quantizer, or
            ``semi-supervised``, where the first part of the code is the label.
        vq: options of the objective ``vq``, a `VQTraining`: ``beta=0.25,decay=0.99,revive=0.05``.
        supervision: options of the objective ``semi-supervised``, a `Supervision`:
            ``alpha=0.1,consistency=1,labels=100``.
        estimator: the gradient estimator, ``rloo:samples=4`` or ``RLOO(samples=4)``, of which the
            spelling is kept; None takes the default for the objective and the code.
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
        augment: random distortions of the rows that the encoder is shown, an `Augment`:
            ``light``, ``strong`` …
        target: what is to be explained from the code of a row, a `Target`: the ``row`` itself, or
            one of its neighbors, ``neighbors:5x50``. What is maximized is the ELBO of what is to be
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

    epochs: int = field(default=50, metadata=an_int(1))
    batch_size: int | None = field(default=None, metadata=an_int(1))
    lr: float = field(default=1e-3, metadata=POSITIVE)
    lr_schedule: Option[Schedule] = Option(Schedule.of, Schedule("constant"))
    warmup: int = field(default=0, metadata=an_int(0))
    clip: float | None = field(default=None, metadata=POSITIVE)
    average: float | None = field(default=None, metadata=FRACTION)
    start: Start = field(default="random", metadata=one_of(STARTS))
    validation: float = field(default=0.0, metadata=SHARE)
    patience: int | None = field(default=None, metadata=an_int(1))
    kl_warmup: float | None = field(default=None, metadata=POSITIVE)
    free_bits: float | None = field(default=None, metadata=POSITIVE)
    augment: Option[Augment | None] = Option(Augment.of, None)
    target: Option[Target] = Option(Target.of, RowTarget())
    pretrain: int = field(default=0, metadata=an_int(0))
    objective: ObjectiveName = field(default="elbo", metadata=one_of(OBJECTIVE_NAMES))
    vq: Option[VQTraining] = Option(VQTraining.of, VQTraining())
    supervision: Option[Supervision] = Option(Supervision.of, Supervision())
    estimator: Option[str | None] = Option(_estimator, None)
    samples: int | None = field(default=None, metadata=an_int(1))
    seed: int = field(
        default=0,
        # what a generator of torch takes
        metadata=rule("an int from 0 to 2**63 - 1", lambda seed: is_int(seed, 0) and seed < 2**63),
    )
    precision: Precision = field(default="float32", metadata=one_of(PRECISIONS))
    graph: bool = field(default=False, metadata=FLAG)

    def __post_init__(self) -> None:
        problems = problems_of(self, "`")
        if not problems and self.pretrain >= self.epochs:
            problems.append(
                f"`pretrain` must be below `epochs`, {self.epochs}. Got {self.pretrain}."
            )
        if self.patience is not None and self.validation == 0:
            problems.append("`patience` needs rows to judge by. Give `validation`, such as 0.1.")
        is_supervised = self.objective == "semi-supervised"
        names = ["kl_warmup", "free_bits", "pretrain", "graph" if is_supervised else "augment"]
        shaping = {name: bool(getattr(self, name)) for name in names}
        if not is_supervised:
            shaping["target"] = self.target != RowTarget()
        asked = [f"`{name}`" for name, is_asked in shaping.items() if is_asked]
        if self.objective != "elbo" and asked:
            problems.append(
                f"{' and '.join(asked)} change the ELBO. Got `objective={self.objective!r}`."
            )
        if self.objective != "vq" and self.vq != VQTraining():
            problems.append(f"`vq` belongs to `objective='vq'`. Got objective {self.objective!r}.")
        if not is_supervised and self.supervision != Supervision():
            problems.append(
                f"`supervision` belongs to `objective='semi-supervised'`. Got objective "
                f"{self.objective!r}."
            )
        refuse(problems)


def auto_batch_size(n_rows: int) -> int:
    """Return 128 for large data, else the power of two next to a tenth of the rows.

    With fewer than ten steps an epoch Adam hardly moves; below 32 rows a step is all overhead. With
    the paper's 2048 rows an epoch of MNIST has a sixteenth of the steps: the results page shows
    what that costs.

    Example:
        >>> [auto_batch_size(n) for n in (60_000, 1_500, 40)]
        [128, 128, 32]
    """
    return min(128, max(32, 1 << int(math.log2(max(n_rows / 10, 1)))))
