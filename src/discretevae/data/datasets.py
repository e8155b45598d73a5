"""Two tables of one kind: what is learned from, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from discretevae.config import BinarizeMode, DataConfig
from discretevae.data.rows import Rows
from discretevae.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from and rows held out, of one kind.

    Raises:
        DataError: the two parts differ in width, picture shape, divisor or binarization.

    Example:
        >>> rows = Rows.from_array([[0, 1], [1, 1], [1, 0]])
        >>> Dataset("mine", rows.subset(slice(0, 2)), rows.subset(slice(2, 3))).n_features
        2
    """

    name: str
    train: Rows
    test: Rows

    def __post_init__(self) -> None:
        for what in ("n_features", "image_shape", "divisor", "binarize"):
            ours, theirs = getattr(self.train, what), getattr(self.test, what)
            if ours != theirs:
                raise DataError(
                    f"{self.name}: train and test differ in {what}: {ours} and {theirs}. "
                    "Both parts must hold the same features on the same scale."
                )

    @property
    def n_features(self) -> int:
        """P, the number of values in a row."""
        return self.train.n_features

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """(height, width) of a row, or None if rows are no pictures."""
        return self.train.image_shape

    @property
    def binarize(self) -> BinarizeMode:
        """The binarization of both parts."""
        return self.train.binarize

    def binarized(self, mode: BinarizeMode) -> Dataset:
        """Return both parts with this binarization, see `Rows.binarized`.

        Raises:
            ConfigError: unknown mode.

        Example:
            >>> rows = Rows.from_array([[0.0, 0.7]])
            >>> Dataset("mine", rows, rows).binarized("threshold").test.batch(slice(None))
            tensor([[0., 1.]])
        """
        return replace(self, train=self.train.binarized(mode), test=self.test.binarized(mode))

    def binarized_by(self, config: DataConfig) -> Dataset:
        """Return the data binarized as the configuration of a run says.

        Raises:
            ConfigError: they are binarized already, in another way.
        """
        if self.binarize not in ("none", config.binarize):
            raise ConfigError(
                f"the data are binarized {self.binarize}, and the configuration says "
                f"{config.binarize}. Pass DataConfig(binarize={self.binarize!r}) in the RunConfig."
            )
        return self.binarized(config.binarize)
