"""Two tables of one kind: what is learned from, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from discretevae.config import BinarizeMode, DataConfig, ImageShape
from discretevae.config.checks import FRACTION, an_int, problems_of, refuse
from discretevae.data.objects import rows_alike
from discretevae.data.rows import Rows
from discretevae.data.split import held_out
from discretevae.errors import ConfigError, DataError, require_type


@dataclass(frozen=True)
class DrawnSplit:
    """Draw of the test rows of a source without parts; see `held_out`.

    Args:
        rows: of the source then; those that came later are training rows.
        test_fraction: share of the test rows.
        seed: of the draw.

    Raises:
        ConfigError: a number out of its range.
    """

    rows: int = field(metadata=an_int(2))
    test_fraction: float = field(metadata=FRACTION)
    seed: int = field(metadata=an_int(0))

    def __post_init__(self) -> None:
        refuse(problems_of(self))

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return the numbers of the training rows and of the test rows, each in order.

        Example:
            >>> train, test = DrawnSplit(10, 0.2, 0).draw()
            >>> len(train), len(test)
            (8, 2)
        """
        n_test = min(max(round(self.rows * self.test_fraction), 1), self.rows - 1)
        return held_out(self.rows, n_test, self.seed)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from and rows held out, of one kind.

    Args:
        name: of the data.
        train: rows to learn from. What `load_rows` takes in memory, such as an array or a data
            frame, becomes `Rows`.
        test: rows held out; what is no `Rows` is read as the training rows were.
        split: how the test rows were drawn; None where the source has its own.
        is_builtin: whether this is a built-in set.

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
    split: DrawnSplit | None = None
    is_builtin: bool = False

    def __post_init__(self) -> None:
        require_type("name", self.name, str, "Write Dataset(name, train, test).", DataError)
        if not (isinstance(self.train, Rows) and isinstance(self.test, Rows)):
            parts = rows_alike(self.train, self.test, self.name)
            for part, rows in zip(("train", "test"), parts, strict=True):
                object.__setattr__(self, part, rows)  # the dataclass is frozen
        for what in ("n_features", "columns", "image_shape", "divisor", "binarize"):
            ours, theirs = getattr(self.train, what), getattr(self.test, what)
            if ours != theirs:
                raise DataError(
                    f"{self.name}: train and test differ in {what}: {ours} and {theirs}. "
                    "Both parts must hold the same features on the same scale."
                )

    def __repr__(self) -> str:
        """Return the data in one line."""
        sizes = f"{len(self.train):,} + {len(self.test):,} × {self.n_features:,}"
        return f"Dataset({self.name!r}, {sizes}, {self.train.kind_of_values})"

    @property
    def n_first(self) -> int:
        """The number of training rows that were there when the data were split."""
        return len(self.train) if self.split is None else len(self.split.draw()[0])

    @property
    def n_features(self) -> int:
        """P, the number of values in a row."""
        return self.train.n_features

    @property
    def image_shape(self) -> ImageShape | None:
        """(height, width) of a row, or (height, width, channels); None of rows that are none."""
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


def require_dataset(data: object) -> None:
    """Refuse what is no `Dataset`: nothing else says which rows are held out (`DataError`)."""
    advice = "Make one with load_data, which holds out a tenth, or with Dataset(name, train, test)."
    require_type("data", data, Dataset, advice, DataError)
