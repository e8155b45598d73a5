"""A quantizer and the training of its codebook, in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from discretevae.config.checks import NOT_NEGATIVE, SHARE, an_int, one_of
from discretevae.config.spelling import Spec, short, spell


@dataclass(frozen=True)
class QuantizerSpec(Spec):
    """The quantizer between networks and code, in words.

    ``vector:16`` is a learned codebook of vectors of 16 numbers, one for each category. All
    variables of the code share it.

    Args:
        kind: ``vector``.
        dim: E, numbers in a vector.

    Raises:
        ConfigError: a size is out of range.

    Example:
        >>> QuantizerSpec.of("vector:16")
        QuantizerSpec(kind='vector', dim=16)
    """

    option = "quantizer"
    form = "vector:16"

    kind: Literal["vector"] = field(metadata=one_of(("vector",)))
    dim: int = field(metadata=an_int(1, 100_000))

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return what makes the quantizer of each kind from its sizes."""

        def vector(dim: int) -> QuantizerSpec:
            return cls("vector", dim)

        return {"vector": vector}

    def __str__(self) -> str:
        return spell(self.kind, self.dim)


@dataclass(frozen=True)
class VQTraining(Spec):
    """Options of the objective ``vq``, in words.

    Args:
        beta: β ≥ 0, weight of the commitment of the encoder to the chosen vectors.
        decay: of the moving averages that the vectors follow, in [0, 1); 0 for vectors that learn
            from the gradient of their own loss.
        revive: a vector that is used less than this share of the mean takes over a half of the
            rows of a vector that is used much; 0 lets it die.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> VQTraining.of("decay=0,beta=1")
        VQTraining(beta=1.0, decay=0.0, revive=0.05)
    """

    option = "vq"
    form = "beta=0.25,decay=0.99,revive=0.05"

    beta: float = field(default=0.25, metadata=NOT_NEGATIVE)
    decay: float = field(default=0.99, metadata=SHARE)
    revive: float = field(default=0.05, metadata=SHARE)

    @classmethod
    def split(cls, text: str) -> tuple[str, str | None]:
        """Return a text of figures as the arguments of a nameless constructor."""
        return "", text

    @classmethod
    def constructors(cls) -> dict[str, Any]:
        """Return what takes figures."""
        return {"": cls}

    def __str__(self) -> str:
        return ",".join(f"{name}={short(value)}" for name, value in asdict(self).items())
