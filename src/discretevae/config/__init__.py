"""Options of a model and of a training run: spelled, checked, written to JSON. No tensors here.

Everything that the command line needs before it starts any work lives in this module, which
imports nothing heavy, so that help texts and misspelled options are answered at once.
"""

from __future__ import annotations

from discretevae.config.latents import LATENT_KINDS, LatentKind, LatentSpec, parse_latent
from discretevae.config.likelihoods import LikelihoodSpec, parse_likelihood
from discretevae.config.model_config import (
    NETWORKS,
    PRESETS,
    ModelConfig,
    Network,
    Preset,
    preset,
)
from discretevae.config.priors import PriorSpec, parse_prior
from discretevae.config.run_config import (
    BINARIZE_MODES,
    BinarizeMode,
    DataConfig,
    RunConfig,
    run_config_from,
    to_dict,
)
from discretevae.config.saving import SaveEvery, parse_save_every
from discretevae.config.train_config import (
    OBJECTIVES,
    PRECISIONS,
    STARTS,
    Precision,
    Start,
    TrainConfig,
    auto_batch_size,
)

__all__ = [
    "BINARIZE_MODES",
    "LATENT_KINDS",
    "NETWORKS",
    "OBJECTIVES",
    "PRECISIONS",
    "PRESETS",
    "STARTS",
    "BinarizeMode",
    "DataConfig",
    "LatentKind",
    "LatentSpec",
    "LikelihoodSpec",
    "ModelConfig",
    "Network",
    "Precision",
    "Preset",
    "PriorSpec",
    "RunConfig",
    "SaveEvery",
    "Start",
    "TrainConfig",
    "auto_batch_size",
    "parse_latent",
    "parse_likelihood",
    "parse_prior",
    "parse_save_every",
    "preset",
    "run_config_from",
    "to_dict",
]
