"""Whose numbers are to be beaten, under which protocol, and what ours does differently.

A protocol fixes what may not be changed: data, model size, batch size, number of passes and the
decoder evaluations per row. A method is what may be chosen: estimator, step size and schedule,
prior, start, averaging of weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from discretevae.config import BinarizeMode, DataConfig, ModelConfig, RunConfig, TrainConfig

TRAINING = "training −ELBO"
VALIDATION = "best validation −ELBO"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to train under a protocol.

    Args:
        training: what it sets in `TrainConfig`.
        prior: ``fixed`` or ``factorized``.
        about: one line, for the table.
        without: what a control leaves out of ``ours``; empty for a method in its own right.
    """

    training: Mapping[str, object]
    prior: str = "fixed"
    about: str
    without: str = ""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where numbers were published.

    Args:
        authors: the first one's name and the others', shortened.
        arxiv: its number, whose first four digits are year and month.
    """

    authors: str
    arxiv: str

    @property
    def date(self) -> str:
        """Year and month, as in 2022-02."""
        return f"20{self.arxiv[:2]}-{self.arxiv[2:4]}"


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A published number.

    Args:
        method: whose.
        value: that of `Protocol.quantity`, nats per row.
        paper: that printed the number; of a method of others, not the paper of the method.
        mark: S, read in the authors' repository or paper; M, remembered and unverified.
    """

    method: str
    value: float
    paper: Paper
    mark: str


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What may not be changed.

    Args:
        name: of the command line.
        title: of the table.
        source: built-in data.
        binarize: how grey values are met.
        n_train: rows to learn from; what is left of the training part is for validation.
        latent: the code.
        hidden: widths of the encoder, mirrored by the decoder.
        activation: between the layers.
        batch_size: B.
        epochs: the published length.
        metric: which ELBO of ours stands beside the published number: that of the ``train`` rows
            at the end, or the best one of the ``validation`` rows.
        reported: the published numbers, best last.
        methods: ours first.
        note: what has to be known to compare, for the page.
    """

    name: str
    title: str
    source: str
    binarize: BinarizeMode = "none"
    n_train: int
    latent: str
    hidden: tuple[int, ...]
    activation: str = "relu"
    batch_size: int
    epochs: int
    metric: str
    reported: tuple[Reported, ...]
    methods: Mapping[str, Method] = field(default_factory=dict)
    note: str = ""

    @property
    def quantity(self) -> str:
        """What the published numbers are, and what of ours is compared with them."""
        return {"train": TRAINING, "validation": VALIDATION}[self.metric]

    def config(
        self, method: str, seed: int, epochs: int | None, *, graph: bool = False
    ) -> RunConfig:
        """The configuration of a run; ``graph`` replays its steps on a GPU."""
        chosen = self.methods[method]
        training = TrainConfig(
            epochs=epochs or self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            graph=graph,
        )
        return RunConfig(
            model=ModelConfig(
                n_features=784,
                latent=self.latent,
                hidden=self.hidden,
                activation=self.activation,
                prior=chosen.prior,
                image_shape=(28, 28),
            ),
            training=dataclasses.replace(training, **chosen.training),  # type: ignore[arg-type]
            data=DataConfig(source=self.source, divisor=255.0, binarize=self.binarize),
        )


def _grey(shape: str, reported: tuple[Reported, ...]) -> Protocol:
    """D: grey values, 512-256, batches of 100, 160 passes over 60,000 rows."""
    variables, categories = shape.split("x")
    return Protocol(
        name=f"d-{shape}",
        title=f"D. grey MNIST, {shape.replace('x', ' × ')} categorical",
        source="mnist",
        n_train=60_000,
        latent=f"categorical:{shape}",
        hidden=(512, 256),
        batch_size=100,
        epochs=160,
        metric="train",
        reported=reported,
        note=f"{variables} variables of {categories} categories; ReinMax' authors print the "
        f"categories first, {categories} × {variables}. Their number is older than ReinMax-Rao and "
        "ReinMax-CV ([Wang and Bui, 2026-03](https://arxiv.org/abs/2603.08257)), tested on these "
        "sizes too, whose figures we have not read.",
        methods={
            "ours": Method(
                training={
                    "estimator": "reinmax:tau=1.3",
                    "lr": 1e-3,
                    "lr_schedule": "linear:0.5",
                    "average": 0.999,
                    "start": "mean",
                },
                prior="factorized",
                about="ReinMax at τ = 1.3; learned prior; start at the mean; lr 1e-3 falling to 0 "
                "over the second half; weights averaged (0.999)",
            ),
            "reinmax": Method(
                training={"estimator": "reinmax", "lr": 5e-4},
                about="ReinMax with Adam at a constant 5e-4 and the uniform prior",
            ),
        },
    )


RELAX = Paper(authors="Grathwohl et al.", arxiv="1711.00123")
ARSM = Paper(authors="Yin et al.", arxiv="1905.01413")
RODEO = Paper(authors="Shi et al.", arxiv="2202.09497")
REINMAX = Paper(authors="Liu et al.", arxiv="2304.08612")


def _reported(paper: Paper, *pairs: tuple[str, float], mark: str = "M") -> tuple[Reported, ...]:
    return tuple(
        Reported(method=method, value=value, paper=paper, mark=mark) for method, value in pairs
    )


_BITS_BY = {2: ("disarm", "DisARM"), 3: ("arms:samples=3", "ARMS of three samples")}
"""Our estimator for so many evaluations; ARMS of two samples is DisARM."""


def _our_bits(
    evaluations: int,
    lr: float,
    *,
    prior: str = "factorized",
    start: str = "mean",
    schedule: str = "linear:0.5",
    average: float | None = 0.999,
    without: str = "",
) -> Method:
    """Ours for bits, with an estimator that evaluates the decoder as often as the row may."""
    estimator, named = _BITS_BY[evaluations]
    falling = "" if schedule == "constant" else " falling to 0 over the second half"
    return Method(
        training={
            "estimator": estimator,
            "lr": lr,
            "lr_schedule": schedule,
            "average": average,
            "start": start,
        },
        prior=prior,
        without=without,
        about="; ".join(
            (
                named,
                "uniform prior" if prior == "fixed" else "learned prior",
                "start at the mean" if start == "mean" else "start at random",
                f"lr {lr:g}{falling}",
                f"weights averaged ({average})" if average else "weights not averaged",
            )
        ),
    )


def _dynamic(
    name: str, source: str, lr: float, evaluations: int, reported: tuple[Reported, ...]
) -> Protocol:
    """A: dynamic binarization, 200 bits, 784-200-200-200, batches of 100, 1,000,000 steps."""
    title = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}[source]
    estimator, named = _BITS_BY[evaluations]
    return Protocol(
        name=name,
        title=f"A. dynamic {title}, 200 bits, {'two' if evaluations == 2 else 'three'} evaluations",
        source=source,
        binarize="dynamic",
        n_train=50_000,
        latent="bernoulli:200",
        hidden=(200, 200),
        activation="leaky-relu:0.3",
        batch_size=100,
        epochs=2000,
        metric="train",
        reported=reported,
        methods={
            "ours": _our_bits(evaluations, 1e-3),
            "uniform": _our_bits(evaluations, 1e-3, prior="fixed", without="learned prior"),
            "random-start": _our_bits(
                evaluations, 1e-3, start="random", without="start at the mean"
            ),
            "constant-lr": _our_bits(
                evaluations, 1e-3, schedule="constant", without="falling step size"
            ),
            "not-averaged": _our_bits(evaluations, 1e-3, average=None, without="averaged weights"),
            estimator.partition(":")[0]: Method(
                training={"estimator": estimator, "lr": lr},
                about=f"{named} as published: Adam at a constant {lr:g}, uniform prior",
            ),
        },
    )


def _fixed(name: str, hidden: tuple[int, ...], reported: tuple[Reported, ...]) -> Protocol:
    """B: fixed binarization, 200 bits, batches of 24, 2,000,000 steps."""
    what = "linear" if not hidden else f"nonlinear ({len(hidden)} × {hidden[0]} tanh)"
    return Protocol(
        name=name,
        title=f"B. fixed binarization, 200 bits, {what}",
        source="binarized-mnist",
        n_train=50_000,
        latent="bernoulli:200",
        hidden=hidden,
        activation="tanh",
        batch_size=24,
        epochs=960,
        metric="validation",
        reported=reported,
        note="The code of RELAX' authors, `binary_vae_multilayer_per_layer_add_new_loss.py` in "
        "their repository, takes the ELBO of one sample in the mean over the validation rows, and "
        "keeps the best epoch: so that is compared, not a bound of many samples. REBAR and RELAX "
        "evaluate the decoder three times.",
        methods={
            "ours": _our_bits(3, 3e-4),
            "rebar": Method(training={"estimator": "rebar", "lr": 1e-3}, about="REBAR as it is"),
            "relax": Method(training={"estimator": "relax", "lr": 1e-3}, about="RELAX as it is"),
        },
    )


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        _dynamic(
            "a-mnist", "mnist", 1e-3, 2,
            _reported(RODEO, ("DisARM", 102.75), ("Double CV", 102.14), ("RODEO", 101.89)),
        ),
        _dynamic(
            "a-mnist-3", "mnist", 1e-3, 3,
            _reported(RODEO, ("Double CV", 100.94), ("ARMS", 100.84), ("RODEO", 100.46)),
        ),
        _dynamic(
            "a-fashion", "fashion-mnist", 3e-4, 2,
            _reported(RODEO, ("DisARM", 237.68), ("Double CV", 237.55), ("RODEO", 237.44)),
        ),
        _dynamic(
            "a-fashion-3", "fashion-mnist", 3e-4, 3,
            _reported(RODEO, ("Double CV", 237.40), ("ARMS", 237.05), ("RODEO", 236.88)),
        ),
        _fixed("b-linear", (), _reported(RELAX, ("REBAR", 114.32), ("RELAX", 113.62), mark="S")),
        _fixed(
            "b-nonlinear", (200, 200),
            _reported(RELAX, ("RELAX", 119.19), ("REBAR", 111.12), mark="S"),
        ),
        Protocol(
            name="c",
            title="C. threshold MNIST, 20 × 10 categorical",
            source="mnist",
            binarize="threshold",
            n_train=50_000,
            latent="categorical:20x10",
            hidden=(512, 256),
            activation="leaky-relu:0.2",
            batch_size=200,
            epochs=1000,
            metric="validation",
            reported=_reported(ARSM, ("ARSM", 86.59), mark="S"),
            note="The published number is the lowest of 1,000 epochs in the log of ARSM's "
            "authors, `vae/ARSM.out` in their repository, where it was put in December 2019; the "
            "training −ELBO of its last epoch is 78.40.",
            methods={
                "ours": Method(
                    training={
                        "estimator": "reinmax", "lr": 5e-4, "lr_schedule": "linear:0.5",
                        "average": 0.999, "start": "mean",
                    },
                    prior="factorized",
                    about="ReinMax; learned prior; start at the mean; lr 5e-4 falling to 0 over "
                    "the second half; weights averaged (0.999)",
                ),
            },
        ),
        _grey(
            "30x10",
            _reported(
                REINMAX, ("straight-through", 112.63), ("Gumbel-Rao", 102.02), ("ST-Gumbel", 99.63),
                ("GST", 98.64), ("ReinMax", 98.37),
            ),
        ),
        _grey("4x8", _reported(REINMAX, ("ReinMax", 124.66))),
        _grey("24x4", _reported(REINMAX, ("ReinMax", 99.77))),
        _grey("16x8", _reported(REINMAX, ("ReinMax", 97.70))),
        _grey("12x16", _reported(REINMAX, ("ReinMax", 98.06))),
        _grey("8x64", _reported(REINMAX, ("ReinMax", 100.71))),
    )
}  # fmt: skip

__all__ = ["PROTOCOLS", "TRAINING", "VALIDATION", "Method", "Paper", "Protocol", "Reported"]
