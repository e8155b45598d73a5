"""Outliers: rows that the model gives little probability, with or without regard to complexity.

Scores are those of scikit-learn's detectors in sign: a higher score is a more normal row.
"""

from __future__ import annotations

import io
import lzma
import math
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, get_args

import numpy as np
from PIL import Image

from discretevae.codes.packing import CHUNK_VALUES
from discretevae.codes.tails import ColumnTails, is_table
from discretevae.config import ImageShape
from discretevae.data import Rows
from discretevae.data.objects import RowsLike, as_rows
from discretevae.data.windows import over_times
from discretevae.errors import ConfigError, DataWarning, count, did_you_mean
from discretevae.evaluation.bounds import RowScores, row_scores
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE
from discretevae.system.arrays import Array

Correction = Literal["none", "complexity", "columns"]

NATS_PER_BYTE = 8 * math.log(2)

TOP = 255
"""Of the levels that values are rounded to before they are compressed, from 0."""

CHUNK_ROWS = 512
"""Rows after which progress is told; compressors take them one by one."""

_LZMA = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 0, "lp": 0, "pb": 0}]
"""Contexts of single bytes take longer to learn than a row is long."""

_PNG_FRAME = 8 + 25 + 12 + 6 + 12
"""Bytes around the pixels of a PNG: signature, header, frame of the data, of zlib, and the end."""


@dataclass(frozen=True, eq=False)
class OutlierScores:
    """Scores of N rows in their order, as `Outliers.measure` finds them.

    Args:
        scores: how normal each row is, nats, float64 ``[N]``: ``bound``, with the correction
            ``complexity`` ``bound + complexity``, with ``columns`` the lower of ``bound`` and what
            the `ColumnTails` say. Higher is more normal.
        decisions: score − threshold, nats, float64 ``[N]``.
        labels: 1, or −1 for an outlier, where the decision is below 0; int64 ``[N]``.
        bound: ln p(x) where it is exact, else the S-sample bound, nats, float64 ``[N]``.
        complexity: L(x) as `input_complexity` measures it, nats, float64 ``[N]``.
        is_exact: whether ``bound`` is ln p(x) itself.
        is_surrogate: whether the likelihood is no probability of these rows, as a Bernoulli one of
            grey values is not.

    Example:
        >>> found = OutlierScores(
        ...     np.array([-3.0, -9.0, -5.0]), np.array([3.0, -3.0, 1.0]), np.array([1, -1, 1]),
        ...     np.array([-3.0, -9.0, -5.0]), np.zeros(3), True, False,
        ... )
        >>> found.worst(2), found.n_outliers
        (array([1, 2]), 1)
    """

    scores: Array
    decisions: Array
    labels: Array
    bound: Array
    complexity: Array
    is_exact: bool
    is_surrogate: bool

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def corrected(self) -> Array:
        """``bound + complexity``, whether it decides or not; float64 ``[N]``."""
        total: Array = self.bound + self.complexity
        return total

    @property
    def n_outliers(self) -> int:
        """Rows with the label −1."""
        return int((self.labels == -1).sum())

    def worst(self, n: int) -> Array:
        """Return the rows with the lowest scores, the lowest first; equal ones in their order."""
        order: Array = np.argsort(self.scores, kind="stable")[:n]
        return order


@dataclass(frozen=True, eq=False)
class Outliers:
    """A model with a threshold, as `fit_outliers` makes it.

    Args:
        model: the model; it is not copied.
        threshold: the lowest score of a row that is no outlier, nats.
        contamination: share of the reference rows that lie below the threshold.
        correction: ``none``, ``complexity`` or ``columns``.
        value_range: (low, high), between which values are rounded to 256 levels for L(x).
        n_reference: rows that the threshold comes from.
        samples: S of the bound.
        seed: of the draws.
        tails: of the columns of the reference rows, with the correction ``columns``.
    """

    model: DiscreteVAE
    threshold: float
    contamination: float
    correction: Correction
    value_range: tuple[float, float]
    n_reference: int
    samples: int
    seed: int
    tails: ColumnTails | None = None

    def score_samples(
        self,
        rows: RowsLike,
        *,
        same_draws: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Array:
        """Return how normal each row is, nats, float64 ``[N]``; higher is more normal.

        Of windows of a series, N times are scored: each by the mean over the windows that cover it.

        Args:
            rows: N rows.
            same_draws: whether z is drawn by the same random numbers for every row.
            progress: called with a number of rows that are done, at last with N.

        Raises:
            DataError: the rows do not fit the model, or are too large for it.
        """
        if self.correction == "complexity":
            return self.measure(rows, progress=progress).scores
        rows = require_fit(self.model, rows)
        bound: Array = self._row_scores(rows, progress, same_draws=same_draws).best.numpy()
        return over_times(rows, self._guarded(bound, rows))

    def decision_function(self, rows: Rows) -> Array:
        """Return score − threshold, nats, float64 ``[N]``: below 0 for an outlier."""
        decisions: Array = self.score_samples(rows) - self.threshold
        return decisions

    def predict(self, rows: Rows) -> Array:
        """Return 1 for a normal row, −1 for an outlier, int64 ``[N]``."""
        return _labels(self.decision_function(rows))

    def measure(
        self, rows: RowsLike, *, progress: Callable[[int], object] | None = None
    ) -> OutlierScores:
        """Return both parts of the score and all that follows; arguments as of `score_samples`."""
        rows = require_fit(self.model, rows)
        n, report = len(rows), progress or (lambda done: None)
        found = self._row_scores(rows, lambda done: report(done // 2))
        complexity = input_complexity(
            rows, value_range=self.value_range, progress=lambda done: report((n + done) // 2)
        )
        bound = found.best.numpy()
        is_longer = self.correction == "complexity"
        scores = bound + complexity if is_longer else self._guarded(bound, rows)
        scores, bound, complexity = (over_times(rows, each) for each in (scores, bound, complexity))
        decisions = scores - self.threshold
        return OutlierScores(
            scores=scores,
            decisions=decisions,
            labels=_labels(decisions),
            bound=bound,
            complexity=complexity,
            is_exact=found.log_px is not None,
            is_surrogate=found.is_surrogate,
        )

    def _guarded(self, bound: Array, rows: Rows) -> Array:
        """Return the lower of the bound and the score of the columns, where they have one."""
        return bound if self.tails is None else np.minimum(bound, self.tails.scores(rows))

    def _row_scores(
        self, rows: Rows, progress: Callable[[int], object] | None, *, same_draws: bool = False
    ) -> RowScores:
        return row_scores(
            self.model, rows.deterministic(), samples=self.samples, seed=self.seed,
            same_draws=same_draws, progress=progress,
        )  # fmt: skip


def fit_outliers(
    model: DiscreteVAE,
    reference_rows: RowsLike,
    *,
    contamination: float = 0.05,
    correction: Correction | Literal["auto"] = "auto",
    samples: int = 100,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Outliers:
    """Return a threshold below which rows count as outliers; the model stays as it is.

    The score of a row x, in nats and the higher the more normal, is

        ln p(x)                 with ``correction`` ``none``,
        ln p(x) + L(x)          with ``complexity``,
        min(ln p(x), C(x))      with ``columns``,

    with ln p(x) exact where the code can be enumerated and else the S-sample bound, L(x) the length
    of the row under general lossless compressors, `input_complexity`, and C(x) how far out its
    columns lie, `ColumnTails`. The second is the logarithm of p(x) over the probability exp(−L(x))
    that a compressor gives the row; the third is for tables of real numbers. The
    threshold is the ``contamination`` quantile of the scores of the reference rows, interpolated
    linearly, as in scikit-learn.

    Args:
        model: the model.
        reference_rows: rows held to be normal but for a share: the model's training rows,
            binarized as in training. Dynamic ones are thresholded at 0.5, so that no score hangs
            on a draw of the pixels. Where a model knows these by heart, take rows that it has not
            met: they score lower.
        contamination: that share, in (0, 0.5].
        correction: ``none``, ``complexity`` or ``columns``; ``auto`` takes ``columns`` for tables
            whose columns are real numbers and were scaled, else ``none``.
        samples: S of the bound.
        seed: of the draws of z; the same rows get the same scores, to the bit.
        progress: called with a number of rows that are done.

    Raises:
        ConfigError: ``contamination``, ``correction`` or ``samples`` is out of range.
        DataError: the rows do not fit the model, or are too large for it.

    Example:
        >>> from discretevae.data import load_data
        >>> data = load_data("digits")
        >>> model = DiscreteVAE.for_data(data, latent="categorical:10")
        >>> found = fit_outliers(model, data.train, contamination=0.02)
        >>> (found.predict(data.train) == -1).sum().item()           # 2 % of 1,500
        30

    Source: Serrà et al., "Input complexity and out-of-distribution detection with likelihood-based
    generative models", ICLR 2020. Their S is the negative of the corrected score, in bits, so that
    there a higher value is an outlier.
    """
    if not isinstance(contamination, Real) or not 0 < contamination <= 0.5:
        raise ConfigError(
            f"`contamination` must be a share in (0, 0.5]. Got {contamination!r}. "
            "Give 0.05 for one row in twenty."
        )
    reference_rows = require_fit(model, reference_rows)
    if contamination * len(reference_rows) < 1:
        warnings.warn(
            f"{count(len(reference_rows), 'reference row')} say little of a share of "
            f"{contamination:g}: below the threshold lies less than one of them. Give at least "
            f"{math.ceil(1 / contamination):,}.",
            DataWarning,
            stacklevel=2,
        )
    if correction not in (known := ("auto", *get_args(Correction))):
        raise ConfigError(f"unknown correction {correction!r}. {did_you_mean(correction, known)}")
    if correction == "auto":
        correction = "columns" if is_table(model, reference_rows) else "none"
    elif correction == "columns" and not is_table(model, reference_rows):
        raise ConfigError(
            "`correction='columns'` is for tables of real numbers whose columns were scaled. Got "
            f"{reference_rows.kind_of_values}. Leave it out."
        )
    if reference_rows.is_mixed and correction == "complexity":
        raise ConfigError(
            "`correction` complexity is for rows of values of one kind, such as pictures. Leave it "
            "out."
        )
    low, high = reference_rows.value_range
    found = Outliers(
        model=model,
        threshold=0.0,
        contamination=contamination,
        correction=correction,
        value_range=(min(0.0, low), max(1.0, high)),
        n_reference=len(reference_rows),
        samples=samples,
        seed=seed,
    )
    if correction == "columns":
        log_px = found._row_scores(reference_rows, progress).best.numpy()
        tails = ColumnTails.fit(reference_rows, seed).calibrated(reference_rows, log_px)
        found = replace(found, tails=tails)
        scores = over_times(reference_rows, found._guarded(log_px, reference_rows))
    else:
        scores = found.score_samples(reference_rows, progress=progress)
    return replace(found, threshold=float(np.quantile(scores, contamination)))


def input_complexity(
    rows: RowsLike,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    progress: Callable[[int], object] | None = None,
) -> Array:
    """Return L(x): the length of each row under the best of a few compressors, nats, ``[N]``.

    Values are rounded to 256 levels between ``low`` and ``high``, one byte each; a row of the
    lowest and the highest level only is packed, eight values to a byte. The shortest of these
    counts, 8 ln 2 nats for each byte:

    - the bytes as they are,
    - deflate, at its highest level,
    - LZMA,
    - the pixels of a PNG, for pictures.

    Headers, checksums and the choice itself are the same for all rows, and are not counted.
    Single lengths may differ by some bytes between versions of zlib.

    Args:
        rows: N rows.
        value_range: (low, high); values beyond are taken for the nearer of them.
        progress: called with the number of rows done after every chunk.

    Raises:
        ConfigError: ``high`` is not above ``low``.
        DataError: no `Rows`.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, (1, 64), np.uint8)
        >>> rows = Rows.from_array(np.concatenate((np.full((1, 64), 7, np.uint8), noise)))
        >>> constant, random = (input_complexity(rows) / NATS_PER_BYTE).round().tolist()  # bytes
        >>> constant <= 6, random
        (True, 64.0)
    """
    low, high = value_range
    if not low < high < math.inf or low == -math.inf:
        raise ConfigError(f"value_range must be (low, high) with low < high. Got {value_range}.")
    rows = as_rows(rows)
    lengths = np.empty(len(rows), np.int64)
    chunk = max(1, min(CHUNK_ROWS, CHUNK_VALUES // rows.n_features))
    done = 0
    for x in rows.deterministic().chunks(chunk, progress=progress):
        shares = (x.nan_to_num(nan=low).double().numpy() - low) / (high - low)
        for level in np.rint(TOP * shares.clip(0, 1)).astype(np.uint8):
            lengths[done] = _shortest(level, rows.image_shape)
            done += 1
    return lengths * NATS_PER_BYTE


def _shortest(row: Array, image_shape: ImageShape | None) -> int:
    """Return the bytes of levels ``[P]`` under the best compressor."""
    two_levels = bool(((row == 0) | (row == TOP)).all())
    content = (np.packbits(row > 0) if two_levels else row).tobytes()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)  # negative: without a frame
    lengths = [
        len(content),
        len(deflate.compress(content) + deflate.flush()),
        len(lzma.compress(content, lzma.FORMAT_RAW, filters=_LZMA)),
    ]
    if image_shape is not None:
        image = Image.fromarray(row.reshape(image_shape))
        is_mask = two_levels and len(image_shape) == 2
        lengths.append(_png_pixels(image.convert("1") if is_mask else image))
    return min(lengths)


def _png_pixels(image: Image.Image) -> int:
    """Return the bytes that a PNG takes for the pixels alone."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.tell() - _PNG_FRAME


def _labels(decisions: Array) -> Array:
    return np.where(decisions < 0, np.int64(-1), np.int64(1))
