"""The base of the scikit-learn classes: everything but the kind of code."""

from __future__ import annotations

import copy
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from discretevae.codes.imputing import impute
from discretevae.codes.packing import encode_rows, unpack_codes
from discretevae.codes.tails import ColumnTails, drawn_rows, is_table
from discretevae.config import (
    LatentSpec,
    LikelihoodSpec,
    ObjectiveName,
    PriorSpec,
    RunConfig,
    ScaleMode,
    Target,
    TrainConfig,
)
from discretevae.config.checks import is_int, must
from discretevae.data import Rows, Schema
from discretevae.data.columns import TableScale
from discretevae.errors import CollapseWarning, ConfigError, DataError, RunError
from discretevae.estimators import Estimator
from discretevae.evaluation.bounds import DECODER_ROWS, score_samples
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.run_folder.history import EpochMetrics, collapse_advice
from discretevae.run_folder.saved_run import CONFIG
from discretevae.scikit_learn import reading
from discretevae.scikit_learn.fitting import (
    configure,
    plain_parameters,
    seed_from,
    train_in_memory,
)
from discretevae.scikit_learn.folders import corrupt, read_fitted, write_fitted
from discretevae.scikit_learn.reading import NAME, read_codes, weighted_rows
from discretevae.system.arrays import Array
from discretevae.system.randomness import generator_for
from discretevae.training import Progress

SCORE_SAMPLES = 100
"""S of `BaseVAE.score_samples` where ln p(x) is not exact."""

CALIBRATION_ROWS = 1000
"""Training rows whose scores say how far they spread."""


MIXED = ("auto", "mixed")
"""Likelihoods that columns of several kinds can be learned with."""


class _Learned:
    """Attributes that `BaseVAE.fit` sets; kept apart from the parameters, the dataclass fields."""

    model_: DiscreteVAE
    history_: list[EpochMetrics]
    seed_: int
    n_features_in_: int
    labels_: Array
    _tails: ColumnTails | None
    _config: RunConfig
    _schema: Schema
    _state: bytes
    _table: TableScale | None


# a dataclass writes the constructors: they only store, as scikit-learn asks
@dataclass(eq=False, repr=False, kw_only=True)
class BaseVAE(_Learned, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """The base of `BernoulliVAE`, `CategoricalVAE` and `ClusterVAE`; make one of those.

    ``X`` is a matrix ``[n, P]``: an array, a data frame, a nested list or, if its values are
    counts or lie in [0, 1], a sparse matrix. Columns of texts or categories are taken from data
    frames, and NaN is a missing cell; each column then is modeled by its kind, a `ColumnSpec`.
    Results for a row do not depend on the rows beside it.

    Args:
        hidden: widths of the encoder's hidden layers, mirrored by the decoder's; () for a linear
            model; None for (128,) under the likelihood ``student``, else (512,).
        likelihood: p(x|z), a `LikelihoodSpec` or its spelling; or ``auto``: ``bernoulli`` for 0 and
            1 and for grey values (whole numbers from 0 to 255, or k/255), ``multinomial`` for
            counts (whole numbers in a sparse matrix), ``mixed`` for columns of texts and for
            missing cells, ``student`` for other scaled columns, but ``gaussian:learned`` under a
            single category, and else.
        scale: of the columns: ``standard`` (mean 0, deviation 1), ``minmax`` (0 to 1), ``none``; or
            ``auto``, which standardizes what is neither grey nor 0 and 1, for likelihoods of real
            values.
        prior: p(z), a `PriorSpec` or its spelling.
        estimator: the gradient estimator by name and options; None takes the default for the
            objective and the code.
        objective: ``elbo``, ``multi-sample``, ``marginal``, ``wake-sleep`` or ``jsa``.
        target: ``row``: the code of a row explains the row itself. ``neighbors:5x5``: it explains
            the end of a random walk of 5 steps among 5 nearest neighbors, and so keeps what a row
            has in common with others: for search and clusters. More rows allow longer walks.
        epochs: passes over the rows.
        batch_size: B; None chooses one from the number of rows.
        lr: learning rate of Adam; None for 0.003 under ``student``, else 0.001.
        samples: S, samples of z per row and step; None leaves the estimator's own default.
        random_state: None for fresh entropy, an int, which is the seed itself, or a numpy
            ``RandomState``. Global random states are never touched.
        verbose: 1 prints a line per epoch.

    Attributes:
        model_: the trained `DiscreteVAE`.
        history_: one `EpochMetrics` per epoch; up to 256 of the training rows stand for test rows.
        seed_: the seed of all random draws.
        n_features_in_: P.
        feature_names_in_: of the columns, where ``X`` had names that are all texts.
    """

    hidden: tuple[int, ...] | None = None
    likelihood: str | LikelihoodSpec = "auto"
    scale: ScaleMode | None = "auto"
    prior: str | PriorSpec = "fixed"
    estimator: str | Estimator | None = None
    objective: ObjectiveName = "elbo"
    target: str | Target = "row"
    epochs: int = 50
    batch_size: int | None = None
    lr: float | None = None
    samples: int | None = None
    random_state: Any = None
    verbose: int = 0

    _sizes: ClassVar[dict[str, int]]
    """Parameters that are sizes of the code, and the least that each can be."""

    @abstractmethod
    def _latent(self) -> LatentSpec:
        """Return the code."""

    @abstractmethod
    def _code_names(self) -> list[str]:
        """Return a name for each column of the codes."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train a fresh model on the rows of ``X``, whose order does not matter.

        Args:
            X: ``[n, P]``.
            y: ignored, but by `ClusterVAE` with ``objective='semi-supervised'``.
            sample_weight: how many rows each row counts for, ``[n]``, a number for all, or None for
                1. Whole numbers are as good as so many copies of the row, 0 as none; others weigh
                its loss, over the mean weight, so that a step is as large as without weights.

        Raises:
            ValueError: weights that are negative, NaN, all 0 or of another number.
            ConfigError: one or several parameters are wrong; all are named.
            DataError: the values do not suit the likelihood.
            TrainingError: the loss is no longer finite.

        Warns:
            CollapseWarning: the code carries little.
        """
        values = self._validated(X, reset=True)
        self._train(*self._start(values, y, sample_weight), self._config.training)
        self._learn_labels(values)
        advice = collapse_advice(self.model_.family.spec, self.history_[-1])
        if advice is not None:
            warnings.warn(advice, CollapseWarning, stacklevel=2)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train for one pass over the rows of ``X``, from where the last call or ``fit`` ended.

        They may be other rows, and more or fewer: rows of earlier calls are not kept. Their number
        decides the steps of a pass, and B where ``batch_size`` is None; options of an estimator
        that change from step to step count the steps of passes like this one.

        The first call settles everything that ``fit`` would, such as the likelihood and the mean of
        each column; later ones only follow ``lr``, ``batch_size`` and ``verbose``. Adam's moments
        and the random state go on, so that ``epochs`` calls with the same rows do what ``fit``
        does. A call that fails leaves the object as it was.

        Args:
            X: ``[n, P]``.
            y: ignored.
            sample_weight: as for `fit`.

        Raises:
            ConfigError: one or several parameters are wrong; all are named.
            DataError: the values do not suit the likelihood.
            TrainingError: the loss is no longer finite.
        """
        is_first = not hasattr(self, "model_")
        values = self._validated(X, reset=is_first)
        if is_first:
            model, rows = self._start(values, y, sample_weight)
            self._train(model, rows, replace(self._config.training, epochs=1))
            self._learn_labels(values)
            return self
        model = copy.deepcopy(self.model_)
        given = plain_parameters(self)
        config = replace(
            self._config.training,
            epochs=len(self.history_) + 1,
            batch_size=given["batch_size"],
            lr=given["lr"] or self._config.training.lr,
        )
        labels = self._known_labels(y, values.shape[0])
        part, weights, labels = weighted_rows(values, sample_weight, labels)
        rows = replace(reading.new_rows(part, self._schema, model, weights), labels=labels)
        self._train(model, rows, config, self._state, self.history_)
        self._learn_labels(values)
        return self

    def transform(self, X: Any) -> Array:  # noqa: N803
        """Return the most likely code of each row, ``[n, D]``.

        Raises:
            DataError: the values do not suit the model.
        """
        rows = self._rows(X)
        codes: Array = unpack_codes(self.model_.family, encode_rows(self.model_, rows)).numpy()
        return codes

    def inverse_transform(self, X: Any) -> Any:  # noqa: N803
        """Return E[x|z] of codes from `transform`, ``[n, D]`` to ``[n, P]``, in the units of X.

        Of a frame with columns of several kinds it is a frame of pandas, of their names and types.

        Raises:
            DataError: they are not codes of the model.
        """
        check_is_fitted(self)
        codes = read_codes(X, self.model_.family.spec, self._code_names())
        parts = [
            self.model_.decode(codes[start : start + DECODER_ROWS])
            for start in range(0, len(codes), DECODER_ROWS)
        ]
        return reading.in_source_units(self._schema, torch.cat(parts))

    def impute(self, X: Any, *, draw: bool = False) -> Any:  # noqa: N803
        """Return X with its missing cells filled, of the type that `inverse_transform` returns.

        A frame keeps the index of X. An int as ``random_state`` gives the same cells every time.

        Args:
            X: ``[n, P]``.
            draw: whether to fill in draws in place of the mean or likeliest level.

        Raises:
            ConfigError: the object was fitted to a table without texts and missing cells.
            DataError: the values do not suit the model.
        """
        rows = self._rows(X)
        seed = seed_from(self.random_state)
        x = impute(self.model_, rows, draw=draw, seed=seed)
        return reading.in_source_units(self._schema, x, like=X)

    def score_samples(self, X: Any) -> Array:  # noqa: N803
        """Return how normal each row is, in nats, float32 ``[n]``; higher is more normal.

        ln p(x) where the code can be enumerated, else the bound ln 1/S Σ_s p(x|z_s) p(z_s)/q(z_s|x)
        with S = 100, the same draws for every row. Densities are those of the values as given. Of
        tables whose columns were scaled it is lower where columns lie far out among the training
        rows, `ColumnTails`: a score for outliers, of which `score` takes no notice.

        Raises:
            DataError: the values do not suit the model.

        Source: Burda et al., "Importance Weighted Autoencoders" (ICLR 2016), eq. 8.
        """
        rows = self._rows(X)
        nats = self._log_px(rows, self.model_)
        if self._tails is not None:
            nats = np.minimum(nats, self._tails.scores(rows))
        return nats.astype(np.float32)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the mean of ln p(x), or of the bound that `score_samples` has, nats per row.

        Args:
            X: ``[n, P]``.
            y: ignored.
            sample_weight: weights of the rows in the mean, ``[n]``; None for equal ones.
        """
        nats = self._log_px(self._rows(X), self.model_)
        weights = _check_sample_weight(sample_weight, nats[:, None], ensure_non_negative=True)
        return float(np.average(nats, weights=weights))

    def sample(self, n_samples: int = 1, *, noise: bool = False) -> Any:
        """Return rows for codes drawn from the prior, ``[n_samples, P]``, in the units of X.

        They are of the type that `inverse_transform` returns. An int as ``random_state`` gives the
        same rows every time.

        Args:
            n_samples: number of rows.
            noise: whether to draw x ~ p(x|z) instead of returning E[x|z].

        Raises:
            ConfigError: ``n_samples`` is no int >= 1.
        """
        check_is_fitted(self)
        if not is_int(n_samples, 1):
            raise ConfigError(must("n_samples", "an int >= 1", n_samples))
        generator = generator_for(seed_from(self.random_state), "samples of x")
        model = self.model_
        with torch.no_grad():
            output = model.output(model.prior.sample(n_samples, generator=generator))
            if noise:
                x = model.likelihood.sample(output, generator=generator)
            else:
                x = model.likelihood.mean(output)
        return reading.in_source_units(self._schema, x)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return a name for each column of the codes; ``input_features`` are only checked."""
        super().get_feature_names_out(input_features)
        return np.asarray(self._code_names(), dtype=object)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder of JSON and safetensors that `load` reads; nothing is pickled.

        It is a run folder, with the optimizer's state beside the weights, so that ``partial_fit``
        can go on. A ``RandomState`` is not written: ``random_state`` will then be None.

        Raises:
            RunError: the folder holds something else, or cannot be written to.
        """
        check_is_fitted(self)
        write_fitted(Path(path), self, plain_parameters(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            RunError: the folder is missing, corrupt, of a newer format, or of another class.
        """
        folder = Path(path)
        name, parameters, attributes = read_fitted(folder)
        known = {known.__name__: known for known in _subclasses(BaseVAE)}
        if name in known and not issubclass(known[name], cls):
            raise RunError(f"{folder}: holds a {name}. Call {name}.load.")
        try:
            loaded: Self = known[name](**parameters)
            if attributes["_config"].model.latent != loaded._latent():
                raise ValueError(f"its code is {loaded._latent()}, that of {CONFIG} another")
        except (KeyError, ValueError, TypeError) as error:
            raise corrupt(folder, error) from None
        loaded.__dict__.update(attributes)
        return loaded

    @property
    def _n_features_out(self) -> int:
        return len(self._code_names())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _validated(self, X: Any, *, reset: bool) -> Any:  # noqa: N803
        """Return X as a matrix; of columns of several kinds as x, on the scale of `_table`."""
        if reset:
            is_free = self.scale in ("auto", "columns") and str(self.likelihood) in MIXED
            self._table = None
            is_mixed = is_free and (self.likelihood == "mixed" or reading.has_cells(X))
        else:
            scale = self._schema.scale
            self._table = scale if isinstance(scale, TableScale) else None
            is_mixed = self._table is not None
        if is_mixed:
            validate_data(self, X, reset=reset, skip_check_array=True)
            values, self._table = reading.cells_of(X, self._table)
            return values
        values = validate_data(self, X, reset=reset, accept_sparse="csr", dtype="numeric")
        if values.dtype.kind not in "biuf":  # such as a pandas column of categories
            raise DataError(
                f"{NAME}: must hold numbers. Got values of dtype {values.dtype}. Encode columns of "
                "texts first, such as with OneHotEncoder."
            )
        return values

    def _rows(self, X: Any) -> Rows:  # noqa: N803
        check_is_fitted(self)
        return reading.new_rows(self._validated(X, reset=False), self._schema, self.model_)

    def _log_px(self, rows: Rows, model: DiscreteVAE) -> Array:
        """Return ln p(x) of rows, or the bound, nats, float64 ``[n]``."""
        scores = score_samples(model, rows, samples=SCORE_SAMPLES, seed=self.seed_, same_draws=True)
        nats: Array = scores.numpy() + reading.log_jacobian(model, self._schema)
        return nats

    def _start(self, values: Any, y: Any, sample_weight: Any) -> tuple[DiscreteVAE, Rows]:
        """Return a fresh model and the rows to learn from."""
        labels = self._known_labels(y, values.shape[0])
        values, weights, labels = weighted_rows(values, sample_weight, labels)
        parameters = plain_parameters(self)
        columns = getattr(self, "feature_names_in_", None)
        config, schema = configure(
            parameters, self._sizes, self._latent, values, columns, weights, self._table
        )
        seed = config.training.seed
        model = fresh_model(config.model, seed=seed)
        rows = replace(reading.new_rows(values, schema, model, weights), labels=labels)
        self._config, self._schema, self.seed_ = config, schema, seed
        return model, rows

    def _known_labels(self, y: Any, n: int) -> Tensor | None:
        """Return the labels of n rows, where the class learns from some."""
        return None

    def _train(
        self,
        model: DiscreteVAE,
        rows: Rows,
        config: TrainConfig,
        state: bytes | None = None,
        history: list[EpochMetrics] | None = None,
    ) -> None:
        progress = self._print if self.verbose else None
        done, after = train_in_memory(
            model, rows, config, state=state, history=history or [], progress=progress
        )
        self._config = replace(self._config, training=config)
        tails = None
        if is_table(model, rows):
            some = drawn_rows(rows, CALIBRATION_ROWS, self.seed_)
            tails = ColumnTails.fit(rows, self.seed_).calibrated(some, self._log_px(some, model))
        self.model_, self.history_, self._state, self._tails = model, done, after, tails

    def _print(self, now: Progress) -> None:
        if now.metrics is not None:
            m = now.metrics
            print(f"{type(self).__name__}: epoch {m.epoch}  loss {m.loss:.3f}  KL {m.kl:.3f} nats")

    def _learn_labels(self, values: Any) -> None:
        """Set ``labels_``, where the class has clusters."""


def _subclasses(cls: Any) -> Iterator[Any]:
    """Yield every class that inherits from a class."""
    for each in cls.__subclasses__():
        yield from (each, *_subclasses(each))
