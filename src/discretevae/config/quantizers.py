"""A quantizer and the training of its codebook, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from discretevae.config.checks import NOT_NEGATIVE, SHARE, an_int, one_of
from discretevae.config.latents import LatentKind
from discretevae.config.spelling import Spec, short, spell

QuantizerKind = Literal["vector", "levels", "signs", "sphere"]

MISSING = (
    "`objective='vq'` needs a quantizer. Give one, such as `quantizer='vector:16'` with "
    "`latent='categorical:16x32'`."
)
"""What is wrong with a model for that objective."""


@dataclass(frozen=True)
class QuantizerSpec(Spec):
    """The quantizer between networks and code, in words.

    | spelling | what the numbers of the encoder's network are rounded to |
    |---|---|
    | ``vector:16`` | a learned codebook: a vector of 16 numbers for each category |
    | ``levels`` | categories: evenly spaced levels (finite scalar quantization) |
    | ``signs`` | bits: −1 and 1 (lookup-free quantization) |
    | ``sphere`` | bits: the same, after scaling to a sphere (binary spherical quantization) |

    All variables of a code share them.

    Args:
        kind: ``vector``, ``levels``, ``signs`` or ``sphere``.
        dim: E, numbers in a vector.

    Raises:
        ConfigError: a size is out of range.

    Example:
        >>> QuantizerSpec.of("vector:16")
        QuantizerSpec(kind='vector', dim=16)
    """

    option = "quantizer"
    form = "vector:16, levels, signs or sphere"

    kind: QuantizerKind = field(metadata=one_of(get_args(QuantizerKind)))
    dim: int = field(default=1, metadata=an_int(1, 100_000))

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return what makes the quantizer of each kind from its sizes."""

        def vector(dim: int) -> QuantizerSpec:
            return cls("vector", dim)

        return {
            "vector": vector, "levels": cls("levels"), "signs": cls("signs"),
            "sphere": cls("sphere"),
        }  # fmt: skip

    @property
    def latent_kind(self) -> LatentKind:
        """The kind of code that is rounded to."""
        return "categorical" if self.kind in ("vector", "levels") else "bernoulli"

    def __str__(self) -> str:
        return spell(self.kind, *[self.dim] * (self.kind == "vector"))


class Figures(Spec):
    """Base of options that are spelled as figures, such as ``beta=1,decay=0``."""

    @classmethod
    def split(cls, text: str) -> tuple[str, str | None]:
        """Return a text of figures as the arguments of a nameless constructor."""
        return "", text

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return what takes figures."""
        return {"": cls}

    def __str__(self) -> str:
        return ",".join(f"{name}={short(value)}" for name, value in vars(self).items())


@dataclass(frozen=True)
class VQTraining(Figures):
    """Options of the objective ``vq``, in words.

    Args:
        beta: β ≥ 0, weight of the commitment of the encoder to the chosen vectors.
        decay: of the moving averages that the vectors follow, in [0, 1); 0 for vectors that learn
            from the gradient of their own loss.
        revive: a vector that is used less than this share of the mean takes over a half of the
            rows of a vector that is used much; 0 lets it die.
        entropy: γ ≥ 0, weight of the information between rows and a code that is drawn softly: that
            all values are used, and each row is certain of its own. For fixed points.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> VQTraining.of("decay=0,beta=1")
        VQTraining(beta=1.0, decay=0.0, revive=0.05, entropy=0.0)
    """

    option = "vq"
    form = "beta=0.25,decay=0.99,revive=0.05,entropy=0"

    beta: float = field(default=0.25, metadata=NOT_NEGATIVE)
    decay: float = field(default=0.99, metadata=SHARE)
    revive: float = field(default=0.05, metadata=SHARE)
    entropy: float = field(default=0.0, metadata=NOT_NEGATIVE)
