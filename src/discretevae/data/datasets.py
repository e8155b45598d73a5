"""Two tables of one kind: what is learned from, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass

from discretevae.data.rows import Rows
from discretevae.errors import DataError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from and rows held out, of one kind.

    Raises:
        DataError: the two parts differ in width, picture shape or divisor.

    Example:
        >>> rows = Rows.from_array([[0, 1], [1, 1], [1, 0]])
        >>> Dataset("mine", rows.subset(slice(0, 2)), rows.subset(slice(2, 3))).n_features
        2
    """

    name: str
    train: Rows
    test: Rows

    def __post_init__(self) -> None:
        for what in ("n_features", "image_shape", "divisor"):
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


__all__ = ["Dataset"]
