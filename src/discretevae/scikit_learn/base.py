"""What the classes have in common: everything but the code's kind."""

from __future__ import annotations

import copy
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from discretevae.codes.packing import Array, encode_rows, unpack_codes
from discretevae.config import (
    LatentSpec,
    LikelihoodSpec,
    ModelConfig,
    ObjectiveName,
    PriorSpec,
    RunConfig,
    Target,
    TrainConfig,
)
from discretevae.config.run_config import DataConfig
from discretevae.data import Rows
from discretevae.errors import CollapseWarning, ConfigError, DataError, RunError
from discretevae.evaluation.bounds import DECODER_ROWS, score_samples
from discretevae.families import Bernoulli, Categorical, parts_of
from discretevae.model.vae import DiscreteVAE, fresh_model
from discretevae.run_folder.checkpoint import CONFIG
from discretevae.run_folder.history import EpochMetrics, collapse_advice
from discretevae.scikit_learn.folders import Fitted, corrupt, read_fitted, write_fitted
from discretevae.scikit_learn.parameters import is_int, require, seed_from
from discretevae.scikit_learn.reading import NAME, Reading
from discretevae.scikit_learn.sessions import train_on
from discretevae.system.randomness import generator_for
from discretevae.training import Progress

SCORE_SAMPLES = 100
"""S of `BaseVAE.score_samples` where ln p(x) is not exact."""


class BaseVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """What `BernoulliVAE`, `CategoricalVAE` and `HybridVAE` have in common; make one of those.

    ``X`` is always a numeric matrix ``[n, P]``: an array, a data frame, a nested list or, if all
    its values lie in [0, 1], a sparse matrix. What is said of a row does not depend on the rows
    that are given with it.

    Args:
        hidden: widths of the encoder's hidden layers, mirrored by the decoder's; () for a linear
            model.
        likelihood: p(x|z), a `LikelihoodSpec` or its spelling, for values as they are; or ``auto``:
            ``bernoulli`` where all values lie in [0, 1] (a surrogate, unless all are 0 or 1), else
            ``gaussian:learned`` on columns that are standardized inside.
        prior: p(z), a `PriorSpec` or its spelling.
        estimator: the gradient estimator by name and options; None takes the default for the
            objective and the code.
        objective: ``elbo``, ``multi-sample``, ``marginal`` or ``wake-sleep``.
        target: ``row``: the code of a row explains the row itself. ``neighbors:5x5``: it explains
            where a random walk of 5 steps among 5 nearest neighbors ends, and so keeps what a row
            has in common with others: for search and for clusters. The more rows there are, the
            longer a walk may be.
        epochs: passes over the rows.
        batch_size: B; None chooses one from the number of rows.
        lr: step size of Adam.
        samples: S, samples of z per row and step; None leaves the estimator's own default.
        random_state: None for fresh entropy, an int, or a numpy ``RandomState``. An int is the
            seed itself, as in `TrainConfig`. Global random states are never touched.
        verbose: 1 prints a line per epoch.

    Attributes:
        model_: the trained `DiscreteVAE`.
        history_: one `EpochMetrics` per epoch; up to 256 of the training rows stand for test rows.
        seed_: the seed that all random draws follow from.
        n_features_in_: P.
        feature_names_in_: of the columns, where ``X`` had names that are all texts.
    """

    model_: DiscreteVAE
    history_: list[EpochMetrics]
    seed_: int
    n_features_in_: int
    _config: RunConfig
    _reading: Reading
    _state: bytes

    hidden: tuple[int, ...]
    likelihood: str | LikelihoodSpec
    prior: str | PriorSpec
    estimator: str | None
    objective: ObjectiveName
    target: str | Target
    epochs: int
    batch_size: int | None
    lr: float
    samples: int | None
    random_state: Any
    verbose: int

    @abstractmethod
    def _latent(self) -> LatentSpec:
        """Return the code."""

    @abstractmethod
    def _sizes(self) -> dict[str, int]:
        """The parameters that are sizes of the code, and the least that each can be."""

    @abstractmethod
    def _code_names(self) -> list[str]:
        """A name for each column of the codes."""

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803 - scikit-learn's own names
        """Trains a fresh model on the rows of ``X``.

        Args:
            X: ``[n, P]``.
            y: not looked at.

        Raises:
            ConfigError: one or several parameters are wrong; all are named.
            DataError: the values do not suit the likelihood.
            TrainingError: the loss is no longer finite.

        Warns:
            CollapseWarning: the code carries little.
        """
        require(self, self._sizes())
        values = self._validated(X, reset=True)
        model, rows = self._start(values)
        self._train(model, rows, None, [], int(self.epochs))
        advice = collapse_advice(self.model_.family.spec, self.history_[-1])
        if advice is not None:
            warnings.warn(advice, CollapseWarning, stacklevel=2)
        self._look_at(rows)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """One pass over the rows of ``X``; goes on where the last call, or ``fit``, ended.

        The first call settles everything that ``fit`` would, such as the likelihood and the mean of
        each column; later ones only follow ``lr``, ``batch_size`` and ``verbose``. Adam's moments
        and the random state go on, so that ``epochs`` calls with the same rows do what ``fit``
        does. A call that fails leaves the object as it was.

        Args:
            X: ``[n, P]``.
            y: not looked at.

        Raises:
            ConfigError: one or several parameters are wrong; all are named.
            DataError: the values do not suit the likelihood.
            TrainingError: the loss is no longer finite.
        """
        require(self, self._sizes())
        is_first = not hasattr(self, "model_")
        values = self._validated(X, reset=is_first)
        if is_first:
            model, rows = self._start(values)
            self._train(model, rows, None, [], 1)
        else:
            model = copy.deepcopy(self.model_)
            rows = self._reading.rows_for(model, values)
            done = self.history_
            self._train(model, rows, self._state, done, len(done) + 1)
        self._look_at(rows)
        return self

    def transform(self, X: Any) -> Array:  # noqa: N803
        """The most likely code of each row, ``[n, D]``.

        Raises:
            DataError: the values do not suit the model.
        """
        return self._codes(self._rows(X))

    def inverse_transform(self, X: Any) -> Array:  # noqa: N803
        """E[x|z] of codes as `transform` gives them, ``[n, D]`` to ``[n, P]``, in the units of X.

        Raises:
            DataError: they are not codes of the model.
        """
        check_is_fitted(self)
        codes = self._checked_codes(X)
        parts = [
            self.model_.decode(codes[start : start + DECODER_ROWS])
            for start in range(0, len(codes), DECODER_ROWS)
        ]
        return self._reading.values(torch.cat(parts))

    def score_samples(self, X: Any) -> Array:  # noqa: N803
        """Return how normal each row is, in nats, float32 ``[n]``; higher is more normal.

        ln p(x) where the code can be enumerated, else the bound ln 1/S Σ_s p(x|z_s) p(z_s)/q(z_s|x)
        with S = 100, the same draws for every row. Of standardized columns it is the density of the
        values that were given: Σ_p ln scale_p is taken off.

        Raises:
            DataError: the values do not suit the model.

        Source: Burda et al., "Importance Weighted Autoencoders" (ICLR 2016), eq. 8.
        """
        rows, model = self._rows(X), self.model_
        scores = score_samples(model, rows, samples=SCORE_SAMPLES, seed=self.seed_, same_draws=True)
        nats: Array = (scores.numpy() + self._reading.log_jacobian(model)).astype(np.float32)
        return nats

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """The mean of `score_samples`, nats per row.

        Args:
            X: ``[n, P]``.
            y: not looked at.
        """
        return float(self.score_samples(X).mean(dtype=np.float64))

    def sample(self, n_samples: int = 1, *, noise: bool = False) -> Array:
        """Rows that the model makes up, ``[n_samples, P]``, in the units of X.

        Codes are drawn from the prior. An int as ``random_state`` gives the same rows every time.

        Args:
            n_samples: how many.
            noise: whether to draw x ~ p(x|z); else E[x|z] is given.

        Raises:
            ConfigError: ``n_samples`` is no int >= 1.
        """
        check_is_fitted(self)
        if not is_int(n_samples, 1):
            raise ConfigError(f"n_samples must be an int >= 1. Got {n_samples!r} instead.")
        generator = generator_for(seed_from(self.random_state), "samples of x")
        model = self.model_
        with torch.no_grad():
            output = model.output(model.prior.sample(int(n_samples), generator=generator))
            if noise:
                x = model.likelihood.sample(output, generator=generator)
            else:
                x = model.likelihood.mean(output)
        return self._reading.values(x)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """A name for each column of the codes.

        Args:
            input_features: checked against the columns that were fitted; else without effect.
        """
        super().get_feature_names_out(input_features)
        return np.asarray(self._code_names(), dtype=object)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a folder of JSON and safetensors that `load` reads; nothing is pickled.

        It is a run folder, with the optimizer's state beside the weights, so that ``partial_fit``
        can go on. A ``RandomState`` is not written: ``random_state`` will then be None.

        Raises:
            RunError: the folder holds something else, or cannot be written to.
        """
        check_is_fitted(self)
        fitted = Fitted(
            class_name=type(self).__name__,
            parameters=self.get_params(deep=False),
            config=self._config,
            model=self.model_,
            history=self.history_,
            state=self._state,
            seed=self.seed_,
            reading=self._reading,
            feature_names=getattr(self, "feature_names_in_", None),
            labels=getattr(self, "labels_", None),
        )
        write_fitted(Path(path), fitted)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote.

        Raises:
            RunError: the folder is missing, corrupt, of a newer format, or of another class.
        """
        folder = Path(path)
        fitted = read_fitted(folder)
        known = {known.__name__: known for known in _subclasses(BaseVAE)}
        name = fitted.class_name
        try:
            if name not in known:
                raise ValueError(f"class {name!r} is unknown")
            if not issubclass(known[name], cls):
                raise RunError(f"{folder}: holds a {name}. Call {name}.load.")
            loaded: Self = known[name](**fitted.parameters)
            require(loaded, loaded._sizes())
            if fitted.config.model.latent != loaded._latent():
                raise ValueError(f"its code is {loaded._latent()}, that of {CONFIG} another")
        except RunError:
            raise
        except (ValueError, TypeError) as error:
            raise corrupt(folder, error) from None
        loaded._config, loaded._reading = fitted.config, fitted.reading
        loaded._state = fitted.state
        loaded.model_, loaded.history_, loaded.seed_ = fitted.model, fitted.history, fitted.seed
        loaded.n_features_in_ = fitted.config.model.n_features
        if fitted.feature_names is not None:
            loaded.feature_names_in_ = fitted.feature_names
        if fitted.labels is not None:
            loaded.labels_ = fitted.labels
        return loaded

    @property
    def _n_features_out(self) -> int:
        return len(self._code_names())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _validated(self, X: Any, *, reset: bool) -> Any:  # noqa: N803
        values = validate_data(self, X, reset=reset, accept_sparse="csr", dtype="numeric")
        if values.dtype.kind not in "biuf":  # such as a pandas column of categories
            raise DataError(
                f"{NAME}: must hold numbers. Got values of dtype {values.dtype}. Encode columns of "
                "texts first, such as with OneHotEncoder."
            )
        return values

    def _rows(self, X: Any) -> Rows:  # noqa: N803
        check_is_fitted(self)
        return self._reading.rows_for(self.model_, self._validated(X, reset=False))

    def _start(self, values: Any) -> tuple[DiscreteVAE, Rows]:
        """A fresh model with everything that the first rows settle."""
        reading = Reading.of(values, self.likelihood)
        seed = seed_from(self.random_state)
        config = RunConfig(
            model=ModelConfig(
                n_features=values.shape[1],
                latent=self._latent(),
                hidden=tuple(int(width) for width in self.hidden),
                likelihood=reading.likelihood,
                prior=self.prior,
            ),
            training=TrainConfig(
                epochs=int(self.epochs),
                objective=self.objective,
                target=self.target,
                estimator=self.estimator,
                samples=None if self.samples is None else int(self.samples),
                seed=seed,
            ),
            data=DataConfig(source=NAME, divisor=reading.divisor),
        )
        model = fresh_model(config.model, seed=seed)
        rows = reading.rows_for(model, values)
        self._config, self._reading, self.seed_ = config, reading, seed
        return model, rows

    def _train(
        self,
        model: DiscreteVAE,
        rows: Rows,
        state: bytes | None,
        history: list[EpochMetrics],
        epochs: int,
    ) -> None:
        config = replace(
            self._config.training,
            epochs=epochs,
            batch_size=None if self.batch_size is None else int(self.batch_size),
            lr=float(self.lr),
        )
        told = self._print if self.verbose else None
        done, after = train_on(model, rows, config, state=state, history=history, progress=told)
        self._config = replace(self._config, training=config)
        self.model_, self.history_, self._state = model, done, after

    def _print(self, now: Progress) -> None:
        if now.metrics is not None:
            m = now.metrics
            print(f"{type(self).__name__}: epoch {m.epoch}  loss {m.loss:.3f}  KL {m.kl:.3f} nats")

    def _look_at(self, rows: Rows) -> None:
        """What is learned from the rows once the model is trained."""

    def _codes(self, rows: Rows) -> Array:
        codes: Array = unpack_codes(self.model_.family, encode_rows(self.model_, rows)).numpy()
        return codes

    def _checked_codes(self, codes: Any) -> torch.Tensor:
        family, name = self.model_.family, type(self).__name__
        table: Array = check_array(codes, dtype="numeric", input_name="codes")
        if table.shape[1] != family.n_variables:
            raise DataError(
                f"codes have {table.shape[1]} columns, but this {name} has {family.n_variables}. "
                "Give what transform returned."
            )
        first = 0
        for part in parts_of(family):
            columns = table[:, first : first + part.n_variables]
            first += part.n_variables
            if not isinstance(part, (Bernoulli, Categorical)):
                continue
            most = part.n_categories - 1 if isinstance(part, Categorical) else 1
            if (columns != np.rint(columns)).any() or columns.min() < 0 or columns.max() > most:
                raise DataError(
                    f"codes of this {name} are whole numbers from 0 to {most}, in "
                    f"{', '.join(map(str, self._code_names()[:1]))} and the like. Got values from "
                    f"{columns.min():g} to {columns.max():g}. Give what transform returned."
                )
        whole = family.n_states is not None
        return torch.from_numpy(table.astype(np.int64 if whole else np.float32))


def _subclasses(cls: Any) -> Iterator[Any]:
    """Yield every class that inherits from a class."""
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


__all__ = ["SCORE_SAMPLES", "BaseVAE"]
