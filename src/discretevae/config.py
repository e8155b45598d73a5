"""Options of a model and of a training run: spelled, checked, written to JSON. No tensors here.

Everything that the command line needs before it starts any work lives in this module, which
imports nothing heavy, so that ``--help`` and a misspelled option answer at once.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from discretevae.activations import parse_activation
from discretevae.errors import ConfigError, did_you_mean
from discretevae.schedules import parse_schedule

LatentKind = Literal["bernoulli", "categorical", "gaussian"]
Network = Literal["mlp", "cnn"]
BinarizeMode = Literal["none", "threshold", "dynamic"]
Start = Literal["random", "mean"]

LATENT_KINDS: tuple[LatentKind, ...] = ("bernoulli", "categorical", "gaussian")
NETWORKS: tuple[Network, ...] = ("mlp", "cnn")
LIKELIHOODS = ("bernoulli", "gaussian")
PRIORS = ("fixed", "factorized")
OBJECTIVES = ("elbo", "multi-sample", "marginal", "wake-sleep")
BINARIZE_MODES: tuple[BinarizeMode, ...] = ("none", "threshold", "dynamic")
STARTS: tuple[Start, ...] = ("random", "mean")
MAX_LATENT_SIZE = 1_000_000


@dataclass(frozen=True)
class LatentSpec:
    """The latent code in words: its kind, its number of variables, its categories.

    Args:
        kind: ``bernoulli``, ``categorical`` or ``gaussian``.
        n_variables: D, the number of latent variables.
        n_categories: K, the categories of each variable; 0 unless categorical.

    Example:
        >>> parse_latent("categorical:20x10")
        LatentSpec(kind='categorical', n_variables=20, n_categories=10)
        >>> str(parse_latent("categorical:100"))
        'categorical:100'
    """

    kind: LatentKind
    n_variables: int
    n_categories: int = 0

    def __str__(self) -> str:
        """The spelling that `parse_latent` reads back."""
        if self.kind != "categorical":
            return f"{self.kind}:{self.n_variables}"
        if self.n_variables == 1:
            return f"categorical:{self.n_categories}"
        return f"categorical:{self.n_variables}x{self.n_categories}"


def parse_latent(text: str) -> LatentSpec:
    """Reads ``bernoulli:50``, ``categorical:100``, ``categorical:20x10`` or ``gaussian:16``.

    ``categorical:20x10`` is 20 variables of 10 categories each.

    Raises:
        ConfigError: the text is none of these, or a size is out of range.

    Example:
        >>> parse_latent("bernoulli:50").n_variables
        50
    """
    kind, colon, size = text.strip().partition(":")
    if kind not in LATENT_KINDS:
        raise ConfigError(f"latent kind {kind!r} is unknown. {did_you_mean(kind, LATENT_KINDS)}")
    pattern = r"(\d+)(?:x(\d+))?" if kind == "categorical" else r"(\d+)"
    match = re.fullmatch(pattern, size)
    if not colon or match is None:
        shape = "categorical:100 or categorical:20x10" if kind == "categorical" else f"{kind}:50"
        raise ConfigError(f"latent {text!r} has no readable size. Write it like {shape}.")
    if kind != "categorical":
        spec = LatentSpec(kind, int(size))
    elif match.group(2) is None:
        spec = LatentSpec(kind, 1, int(match.group(1)))
    else:
        spec = LatentSpec(kind, int(match.group(1)), int(match.group(2)))
    if spec.n_variables < 1:
        raise ConfigError(f"latent {text!r} must have at least 1 variable. Got {spec.n_variables}.")
    if kind == "categorical" and spec.n_categories < 2:
        raise ConfigError(
            f"latent {text!r} must have at least 2 categories, or it can say nothing. "
            f"Got {spec.n_categories}."
        )
    if spec.n_variables * max(spec.n_categories, 1) > MAX_LATENT_SIZE:
        raise ConfigError(
            f"latent {text!r} is larger than {MAX_LATENT_SIZE:,} units. Ask for less."
        )
    return spec


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All that is needed to build a `DiscreteVAE` with fresh weights.

    Args:
        n_features: P, observed dimensions of a row.
        latent: the code, spelled as `parse_latent` reads it.
        network: ``mlp``, or ``cnn``: the paper's convolutional layers, for pictures of any size.
        hidden: widths of the MLP encoder's hidden layers, None for (1024,), () for a linear one;
            the decoder mirrors them. A CNN has none.
        activation: between the layers of an MLP, as `parse_activation` reads it.
        likelihood: ``bernoulli`` for values in [0, 1], ``gaussian`` for N(x̂, 1).
        prior: ``fixed`` (uniform; standard normal for a Gaussian code) or ``factorized`` (learned).
        image_shape: (height, width) of a row, or None when rows are no pictures.

    Raises:
        ConfigError: one or several values are wrong; all are named.

    Example:
        >>> ModelConfig(n_features=64, latent="bernoulli:50").hidden
        (1024,)
        >>> ModelConfig(n_features=784, network="cnn", image_shape=(28, 28)).hidden is None
        True
    """

    n_features: int
    latent: str = "bernoulli:50"
    network: Network = "mlp"
    hidden: tuple[int, ...] | None = None
    activation: str = "relu"
    likelihood: str = "bernoulli"
    prior: str = "fixed"
    image_shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Checks every value, and says all that is wrong at once."""
        if self.hidden is None and self.network != "cnn":
            object.__setattr__(self, "hidden", (1024,))  # the dataclass is frozen
        problems = []
        problems += _problems_of(parse_latent, self.latent)
        if not _is_int(self.n_features, 1):
            problems.append(_must("n_features", "an int >= 1", self.n_features))
        problems += _choice("network", self.network, NETWORKS)
        if self.network == "cnn":
            problems += self._cnn_problems()
        elif self.hidden is None or not all(_is_int(width, 1) for width in self.hidden):
            problems.append(_must("hidden", "ints >= 1", self.hidden))
        problems += _problems_of(parse_activation, self.activation)
        problems += _choice("likelihood", self.likelihood, LIKELIHOODS)
        problems += _choice("prior", self.prior, PRIORS)
        if self.image_shape is not None and math.prod(self.image_shape) != self.n_features:
            problems.append(
                f"image_shape must hold {self.n_features} pixels. Got {self.image_shape}."
            )
        if problems:
            raise ConfigError(problems)

    def _cnn_problems(self) -> list[str]:
        problems = []
        if self.hidden is not None:
            problems.append(
                "hidden must be left out for a cnn, whose layers are the paper's. Got "
                f"{self.hidden}. Leave it out, or choose an fc preset."
            )
        if self.activation != "relu":
            problems.append(f"activation must be left out for a cnn. Got {self.activation}.")
        if self.image_shape is None:
            problems.append(
                f"a cnn needs rows that are pictures. Got rows of {self.n_features} values without "
                "height and width. Choose an fc preset, or give the pictures' size, such as "
                "--image-size 28x28."
            )
        elif len(self.image_shape) != 2 or not all(_is_int(side, 1) for side in self.image_shape):
            problems.append(_must("image_shape", "two ints >= 1", self.image_shape))
        return problems


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
        binarize: ``none`` (values as they are), ``threshold`` (x > 0.5) or ``dynamic`` (x
            redrawn as Bernoulli(x) every time it is met).
        average: decay of an exponential moving average of the weights, which is what is evaluated
            and kept; None keeps the weights themselves.
        start: ``random``, or ``mean``: the decoder's last bias starts where x̂ is the mean of the
            training rows.
        seed: every random draw of the run follows from it.

    Raises:
        ConfigError: one or several values are wrong; all are named.

    Example:
        >>> try:
        ...     TrainConfig(epochs=0, lr=-1.0)
        ... except ConfigError as error:
        ...     print(error)
        epochs must be an int >= 1. Got 0.; lr must be > 0. Got -1.0.
    """

    epochs: int = 50
    batch_size: int | None = None
    lr: float = 1e-3
    lr_schedule: str = "constant"
    warmup: int = 0
    average: float | None = None
    start: Start = "random"
    objective: str = "elbo"
    estimator: str | None = None
    samples: int | None = None
    binarize: BinarizeMode = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks every value, and says all that is wrong at once."""
        problems = []
        if not _is_int(self.epochs, 1):
            problems.append(_must("epochs", "an int >= 1", self.epochs))
        if self.batch_size is not None and not _is_int(self.batch_size, 1):
            problems.append(_must("batch_size", "an int >= 1", self.batch_size))
        if not (math.isfinite(self.lr) and self.lr > 0):
            problems.append(_must("lr", "> 0", self.lr))
        problems += _problems_of(parse_schedule, self.lr_schedule)
        if not _is_int(self.warmup, 0):
            problems.append(_must("warmup", "an int >= 0", self.warmup))
        if self.average is not None and not 0 < self.average < 1:
            problems.append(_must("average", "> 0 and < 1", self.average))
        problems += _choice("start", self.start, STARTS)
        if self.samples is not None and not _is_int(self.samples, 1):
            problems.append(_must("samples", "an int >= 1", self.samples))
        if not (_is_int(self.seed, 0) and self.seed < 2**63):
            problems.append(_must("seed", "an int from 0 to 2**63 - 1", self.seed))
        problems += _choice("objective", self.objective, OBJECTIVES)
        problems += _choice("binarize", self.binarize, BINARIZE_MODES)
        if problems:
            raise ConfigError(problems)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data a run was trained on.

    Args:
        source: a built-in name or a path.
        image_size: (height, width) that a folder of images is resized to, or None.
        divisor: what the stored values were divided by, so that new rows are read alike.

    Example:
        >>> DataConfig(source="mnist").image_size is None
        True
    """

    source: str = "digits"
    image_size: tuple[int, int] | None = None
    divisor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run folder's ``config.json`` holds.

    Example:
        >>> config = RunConfig(model=ModelConfig(n_features=64))
        >>> run_config_from(to_dict(config)) == config
        True
    """

    model: ModelConfig
    training: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)


@dataclass(frozen=True)
class Preset:
    """A model of the paper by its name."""

    latent: str
    network: Network
    hidden: tuple[int, ...] | None
    about: str


PRESETS: Mapping[str, Preset] = {
    "fc-bvae": Preset(
        "bernoulli:50", "mlp", (1024,), "the paper's fully connected VAE with 50 bits"
    ),
    "fc-cvae": Preset(
        "categorical:100", "mlp", (1024,), "the paper's VAE with one 100-way category"
    ),
    "fc-gvae": Preset("gaussian:50", "mlp", (1024,), "the Gaussian VAE that the paper starts from"),
    "cnn-bvae": Preset("bernoulli:50", "cnn", None, "the paper's convolutional VAE with 50 bits"),
    "cnn-cvae": Preset("categorical:100", "cnn", None, "the same with one 100-way category"),
    "cnn-gvae": Preset("gaussian:50", "cnn", None, "the same with a Gaussian code"),
}


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: there is none of that name.

    Example:
        >>> preset("fc-cvae").latent
        'categorical:100'
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown. {did_you_mean(name, PRESETS)}")
    return PRESETS[name]


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


def to_dict(config: ModelConfig | TrainConfig | DataConfig | RunConfig) -> dict[str, Any]:
    """A configuration as plain values for JSON.

    Example:
        >>> to_dict(TrainConfig(epochs=3))["epochs"]
        3
    """
    return dataclasses.asdict(config)


def run_config_from(values: Mapping[str, Any]) -> RunConfig:
    """A `RunConfig` from what `to_dict` gave, after a trip through JSON.

    Raises:
        ConfigError: a key is unknown or missing, or a value is wrong.

    Example:
        >>> values = {"model": {"n_features": 64, "hidden": [128]}, "training": {}, "data": {}}
        >>> run_config_from(values).model.hidden
        (128,)
    """
    try:
        return RunConfig(
            model=ModelConfig(**_tuples(values["model"])),
            training=TrainConfig(**_tuples(values["training"])),
            data=DataConfig(**_tuples(values["data"])),
        )
    except KeyError as error:
        raise ConfigError(f"part {error} is missing") from None
    except (TypeError, AttributeError) as error:
        # an unknown key, or a value of a type that cannot even be compared
        raise ConfigError(str(error)) from None


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only; configurations hold tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _problems_of(parse: Callable[[str], object], text: str) -> list[str]:
    try:
        parse(text)
    except ConfigError as error:
        return error.problems
    return []


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _must(name: str, what: str, got: object) -> str:
    return f"{name} must be {what}. Got {got}."


def _choice(name: str, got: str, choices: tuple[str, ...]) -> list[str]:
    if got in choices:
        return []
    return [f"{name} {got!r} is unknown. {did_you_mean(str(got), choices)}"]
