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
    from discretevae.augmentation import distort
    from discretevae.checkpoint import Run, load_run
    from discretevae.code_sizes import Choice, SizeResult, SizeRun, Step, choose_size
    from discretevae.codes.cluster_scores import ClusterScores, match_clusters
    from discretevae.codes.clusters import Clusters, cluster_centers, clusters
    from discretevae.codes.columns import write_parquet
    from discretevae.codes.compression import compress, decompress
    from discretevae.codes.fingerprints import fingerprint
    from discretevae.codes.outliers import Outliers, OutlierScores, fit_outliers, input_complexity
    from discretevae.codes.packing import decode_codes, encode_rows, pack_codes, unpack_codes
    from discretevae.codes.retrieval import RetrievalScores, mean_average_precision
    from discretevae.codes.search import CodeIndex, Neighbors
    from discretevae.comparison import Comparison, compare
    from discretevae.config import (
        DataConfig,
        LatentSpec,
        LikelihoodSpec,
        ModelConfig,
        PriorSpec,
        RunConfig,
        SaveEvery,
        TrainConfig,
        parse_latent,
        parse_likelihood,
        parse_prior,
    )
    from discretevae.config.augmentations import Augment, parse_augment
    from discretevae.config.targets import Target, parse_target
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
    from discretevae.estimator_api import BaseVAE, BernoulliVAE, CategoricalVAE, HybridVAE
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
        PartWise,
        ReinMax,
        Reparametrized,
        Reuse,
        STGumbel,
        StraightThrough,
        UnorderedSet,
        estimator_for,
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
    from discretevae.exporting import OnnxExport, export_onnx
    from discretevae.families import (
        Bernoulli,
        Categorical,
        Family,
        Gaussian,
        Product,
        family_of,
        parts_of,
    )
    from discretevae.gradient_reports import GradientReport, measure_gradients
    from discretevae.gradients import GradientNoise, encoder_gradient_noise
    from discretevae.history import EpochMetrics, read_metrics
    from discretevae.information import KLSplit, kl_split
    from discretevae.integrands import LogJoint, LogLikelihood
    from discretevae.likelihoods import (
        BernoulliLikelihood,
        BetaBinomialLikelihood,
        ContinuousBernoulliLikelihood,
        GaussianLikelihood,
        LearnedGaussianLikelihood,
        Likelihood,
        LogisticLikelihood,
        bits_per_dimension,
    )
    from discretevae.model import DiscreteVAE
    from discretevae.neighbors import NeighborGraph, mutual_neighbors
    from discretevae.networks import MLP
    from discretevae.objectives import Terms, elbo, marginal, multi_sample, pretraining, wake_sleep
    from discretevae.placement import place_mixture
    from discretevae.prior_fitting import fit_prior
    from discretevae.priors import (
        AutoregressivePrior,
        FactorizedPrior,
        LayeredPrior,
        MixturePrior,
        Prior,
        make_prior,
    )
    from discretevae.ranks import Ranks
    from discretevae.refitting import Refitted, refit_prior
    from discretevae.retrieval import RetrievalEntry, RetrievalReport, measure_retrieval
    from discretevae.runs import RunResult, run
    from discretevae.sharing import from_pretrained, push_to_hub, save_pretrained
    from discretevae.sweeps import Sweep, sweep
    from discretevae.training import Progress, train
    from discretevae.usage import CodeUsage

__version__ = "0.1.0"

_EXPORTS = {
    "augmentation": ("distort",),
    "checkpoint": (
        "Run",
        "load_run",
    ),
    "code_sizes": (
        "Choice",
        "SizeResult",
        "SizeRun",
        "Step",
        "choose_size",
    ),
    "codes.cluster_scores": (
        "ClusterScores",
        "match_clusters",
    ),
    "codes.clusters": (
        "Clusters",
        "cluster_centers",
        "clusters",
    ),
    "codes.columns": ("write_parquet",),
    "codes.compression": (
        "compress",
        "decompress",
    ),
    "codes.fingerprints": ("fingerprint",),
    "codes.outliers": (
        "OutlierScores",
        "Outliers",
        "fit_outliers",
        "input_complexity",
    ),
    "codes.packing": (
        "decode_codes",
        "encode_rows",
        "pack_codes",
        "unpack_codes",
    ),
    "codes.retrieval": (
        "RetrievalScores",
        "mean_average_precision",
    ),
    "codes.search": (
        "CodeIndex",
        "Neighbors",
    ),
    "comparison": (
        "Comparison",
        "compare",
    ),
    "config": (
        "DataConfig",
        "LatentSpec",
        "LikelihoodSpec",
        "ModelConfig",
        "PriorSpec",
        "RunConfig",
        "SaveEvery",
        "TrainConfig",
        "parse_latent",
        "parse_likelihood",
        "parse_prior",
    ),
    "config.augmentations": (
        "Augment",
        "parse_augment",
    ),
    "config.targets": (
        "Target",
        "parse_target",
    ),
    "convolutional": (
        "ConvDecoder",
        "ConvEncoder",
    ),
    "data": (
        "Dataset",
        "Rows",
        "binarize",
        "load_data",
        "load_rows",
    ),
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
    "estimator_api": (
        "BaseVAE",
        "BernoulliVAE",
        "CategoricalVAE",
        "HybridVAE",
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
        "PartWise",
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
        "estimator_for",
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
    "exporting": (
        "OnnxExport",
        "export_onnx",
    ),
    "families": (
        "Bernoulli",
        "Categorical",
        "Family",
        "Gaussian",
        "Product",
        "family_of",
        "parts_of",
    ),
    "gradient_reports": (
        "GradientReport",
        "measure_gradients",
    ),
    "gradients": (
        "GradientNoise",
        "encoder_gradient_noise",
    ),
    "history": (
        "EpochMetrics",
        "read_metrics",
    ),
    "information": (
        "KLSplit",
        "kl_split",
    ),
    "integrands": (
        "LogJoint",
        "LogLikelihood",
    ),
    "likelihoods": (
        "BernoulliLikelihood",
        "BetaBinomialLikelihood",
        "ContinuousBernoulliLikelihood",
        "GaussianLikelihood",
        "LearnedGaussianLikelihood",
        "Likelihood",
        "LogisticLikelihood",
        "bits_per_dimension",
    ),
    "model": ("DiscreteVAE",),
    "neighbors": (
        "NeighborGraph",
        "mutual_neighbors",
    ),
    "networks": ("MLP",),
    "objectives": (
        "Terms",
        "elbo",
        "marginal",
        "multi_sample",
        "pretraining",
        "wake_sleep",
    ),
    "placement": ("place_mixture",),
    "prior_fitting": ("fit_prior",),
    "priors": (
        "AutoregressivePrior",
        "FactorizedPrior",
        "LayeredPrior",
        "MixturePrior",
        "Prior",
        "make_prior",
    ),
    "ranks": ("Ranks",),
    "refitting": (
        "Refitted",
        "refit_prior",
    ),
    "retrieval": (
        "RetrievalEntry",
        "RetrievalReport",
        "measure_retrieval",
    ),
    "runs": (
        "RunResult",
        "run",
    ),
    "sharing": (
        "from_pretrained",
        "push_to_hub",
        "save_pretrained",
    ),
    "sweeps": (
        "Sweep",
        "sweep",
    ),
    "training": (
        "Progress",
        "train",
    ),
    "usage": ("CodeUsage",),
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
