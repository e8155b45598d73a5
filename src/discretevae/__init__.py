"""Variational autoencoders with discrete latent codes.

    >>> import discretevae as dv
    >>> data = dv.load_data("digits")
    >>> model = dv.DiscreteVAE.for_data(data, latent="gaussian:2", hidden=(32,))
    >>> history = dv.train(model, data, dv.TrainConfig(epochs=3))
    >>> dv.evaluate(model, data.test).elbo.value > history[0].test_elbo
    True

Names are loaded when they are first used, so that ``import discretevae`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from discretevae.checkpoint import Run, load_run
    from discretevae.code_sizes import Choice, SizeResult, SizeRun, Step, choose_size
    from discretevae.codes.packing import decode_codes, encode_rows, pack_codes, unpack_codes
    from discretevae.codes.search import CodeIndex, Neighbors
    from discretevae.comparison import Comparison, compare
    from discretevae.config import (
        DataConfig,
        LatentSpec,
        ModelConfig,
        RunConfig,
        SaveEvery,
        TrainConfig,
        parse_latent,
    )
    from discretevae.convolutional import ConvDecoder, ConvEncoder
    from discretevae.data import Dataset, Rows, binarize, load_data, load_rows
    from discretevae.errors import (
        CheckpointWarning,
        CollapseWarning,
        ConfigError,
        DataError,
        DataWarning,
        DiscreteVAEError,
        DiscreteVAEWarning,
        DownloadError,
        MissingExtraError,
        ObjectiveWarning,
        RunError,
        TrainingError,
        TrainingInterrupted,
    )
    from discretevae.estimators import (
        ARM,
        ARMS,
        ARSM,
        CARMS,
        EMA,
        ESTIMATORS,
        NVIL,
        REBAR,
        RELAX,
        RLOO,
        RODEO,
        VIMCO,
        VQ,
        DisARM,
        DisARMIW,
        DisARMSB,
        DoubleCV,
        Estimate,
        Estimator,
        Exact,
        GappedST,
        GumbelRao,
        GumbelSoftmax,
        Importance,
        Integrand,
        LocalExpectation,
        MuProp,
        ReinMax,
        Reparametrized,
        Reuse,
        STGumbel,
        StraightThrough,
        UnorderedSet,
        make_estimator,
        with_gradient_of,
    )
    from discretevae.estimators.contract import check_estimator_contract
    from discretevae.evaluation import (
        Evaluation,
        Measured,
        RowScores,
        evaluate,
        row_scores,
        score_samples,
    )
    from discretevae.families import Bernoulli, Categorical, Family, Gaussian, family_of
    from discretevae.gradient_reports import GradientReport, measure_gradients
    from discretevae.gradients import GradientNoise, encoder_gradient_noise
    from discretevae.history import EpochMetrics, read_metrics
    from discretevae.likelihoods import BernoulliLikelihood, GaussianLikelihood, Likelihood
    from discretevae.integrands import LogJoint, LogLikelihood
    from discretevae.model import DiscreteVAE
    from discretevae.networks import MLP
    from discretevae.objectives import Terms, elbo, marginal, multi_sample, wake_sleep
    from discretevae.priors import FactorizedPrior
    from discretevae.ranks import Ranks
    from discretevae.runs import RunResult, run
    from discretevae.sweeps import Sweep, sweep
    from discretevae.training import Progress, train

__version__ = "0.1.0"

_EXPORTS = {
    "checkpoint": ("Run", "load_run"),
    "code_sizes": ("Choice", "SizeResult", "SizeRun", "Step", "choose_size"),
    "codes.packing": ("decode_codes", "encode_rows", "pack_codes", "unpack_codes"),
    "codes.search": ("CodeIndex", "Neighbors"),
    "comparison": ("Comparison", "compare"),
    "config": (
        "DataConfig",
        "LatentSpec",
        "ModelConfig",
        "RunConfig",
        "SaveEvery",
        "TrainConfig",
        "parse_latent",
    ),
    "convolutional": ("ConvDecoder", "ConvEncoder"),
    "data": ("Dataset", "Rows", "binarize", "load_data", "load_rows"),
    "errors": (
        "CheckpointWarning",
        "CollapseWarning",
        "ConfigError",
        "DataError",
        "DataWarning",
        "DiscreteVAEError",
        "DiscreteVAEWarning",
        "DownloadError",
        "MissingExtraError",
        "ObjectiveWarning",
        "RunError",
        "TrainingError",
        "TrainingInterrupted",
    ),
    "estimators": (
        "ARM",
        "ARMS",
        "ARSM",
        "CARMS",
        "DisARM",
        "DisARMIW",
        "DisARMSB",
        "DoubleCV",
        "EMA",
        "ESTIMATORS",
        "Estimate",
        "Estimator",
        "Exact",
        "GappedST",
        "GumbelRao",
        "GumbelSoftmax",
        "Importance",
        "Integrand",
        "LocalExpectation",
        "MuProp",
        "NVIL",
        "REBAR",
        "RELAX",
        "RLOO",
        "RODEO",
        "ReinMax",
        "Reparametrized",
        "Reuse",
        "STGumbel",
        "StraightThrough",
        "UnorderedSet",
        "VIMCO",
        "VQ",
        "make_estimator",
        "with_gradient_of",
    ),
    "estimators.contract": ("check_estimator_contract",),
    "evaluation": (
        "Evaluation",
        "Measured",
        "RowScores",
        "evaluate",
        "row_scores",
        "score_samples",
    ),
    "families": ("Bernoulli", "Categorical", "Family", "Gaussian", "family_of"),
    "gradient_reports": ("GradientReport", "measure_gradients"),
    "gradients": ("GradientNoise", "encoder_gradient_noise"),
    "history": ("EpochMetrics", "read_metrics"),
    "likelihoods": ("BernoulliLikelihood", "GaussianLikelihood", "Likelihood"),
    "integrands": ("LogJoint", "LogLikelihood"),
    "model": ("DiscreteVAE",),
    "networks": ("MLP",),
    "objectives": ("Terms", "elbo", "marginal", "multi_sample", "wake_sleep"),
    "priors": ("FactorizedPrior",),
    "ranks": ("Ranks",),
    "runs": ("RunResult", "run"),
    "sweeps": ("Sweep", "sweep"),
    "training": ("Progress", "train"),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'discretevae' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"discretevae.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
