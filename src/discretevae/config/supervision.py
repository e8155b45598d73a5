"""Options of the objective ``semi-supervised``, in words."""

from __future__ import annotations

from dataclasses import dataclass, field

from discretevae.config.checks import NOT_NEGATIVE, an_int
from discretevae.config.quantizers import Figures


@dataclass(frozen=True)
class Supervision(Figures):
    """Options of the objective ``semi-supervised``, in words.

    Args:
        alpha: weight of the classification of rows whose label is known, over the number of all
            rows; the paper's α is this times N.
        consistency: weight of the agreement between the label that is inferred from what the
            encoder is shown, such as a distorted picture, and that from what is to be explained.
        labels: number of training rows whose labels are used, as many of each class, drawn by the
            run's seed; 0 for all that are known.

    Raises:
        ConfigError: a number is out of range.
    """

    option = "supervision"
    form = "alpha=0.1,consistency=1,labels=100"

    alpha: float = field(default=0.1, metadata=NOT_NEGATIVE)
    consistency: float = field(default=0.0, metadata=NOT_NEGATIVE)
    labels: int = field(default=0, metadata=an_int(0))
