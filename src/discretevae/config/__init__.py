"""Options of a model and of a training run: spelled, checked, written to JSON. No tensors here.

Everything that the command line needs before it starts any work lives in this room, which imports
nothing heavy, so that help texts and misspelled options are answered at once.
"""

from __future__ import annotations

from discretevae.config.activations import RELU, Activation
from discretevae.config.augmentations import Augment
from discretevae.config.data_config import (
    BINARIZE_MODES,
    SCALE_MODES,
    BinarizeMode,
    DataConfig,
    ScaleMode,
    scale_for,
)
from discretevae.config.latents import LatentKind, LatentSpec
from discretevae.config.likelihoods import LikelihoodSpec
from discretevae.config.model_config import (
    DECODERS,
    INITS,
    NETWORKS,
    Init,
    ModelConfig,
)
from discretevae.config.pictures import COLOR_MODES, ColorMode, ImageShape, sides_of, spell_shape
from discretevae.config.presets import PRESETS, preset
from discretevae.config.priors import PriorSpec
from discretevae.config.quantizers import QuantizerSpec, VQTraining
from discretevae.config.run_config import RunConfig, run_config_from, to_dict
from discretevae.config.saving import SaveEvery
from discretevae.config.schedules import Schedule
from discretevae.config.supervision import Supervision
from discretevae.config.targets import NeighborTarget, RowTarget, Target
from discretevae.config.train_config import (
    OBJECTIVE_NAMES,
    PRECISIONS,
    STARTS,
    ObjectiveName,
    Precision,
    TrainConfig,
    auto_batch_size,
)

__all__ = [
    "BINARIZE_MODES",
    "COLOR_MODES",
    "DECODERS",
    "INITS",
    "NETWORKS",
    "OBJECTIVE_NAMES",
    "PRECISIONS",
    "PRESETS",
    "RELU",
    "SCALE_MODES",
    "STARTS",
    "Activation",
    "Augment",
    "BinarizeMode",
    "ColorMode",
    "DataConfig",
    "ImageShape",
    "Init",
    "LatentKind",
    "LatentSpec",
    "LikelihoodSpec",
    "ModelConfig",
    "NeighborTarget",
    "ObjectiveName",
    "Precision",
    "PriorSpec",
    "QuantizerSpec",
    "RowTarget",
    "RunConfig",
    "SaveEvery",
    "ScaleMode",
    "Schedule",
    "Supervision",
    "Target",
    "TrainConfig",
    "VQTraining",
    "auto_batch_size",
    "preset",
    "run_config_from",
    "scale_for",
    "sides_of",
    "spell_shape",
    "to_dict",
]
