"""Options of a model and of a training run: spelled, checked, written to JSON. No tensors here.

Everything that the command line needs before it starts any work lives in this room, which imports
nothing heavy, so that help texts and misspelled options are answered at once.
"""

from __future__ import annotations

from discretevae.config.activations import RELU as RELU, Activation as Activation
from discretevae.config.augmentations import Augment as Augment
from discretevae.config.columns import (
    COLUMN_KINDS as COLUMN_KINDS,
    ColumnKind as ColumnKind,
    ColumnSpec as ColumnSpec,
)
from discretevae.config.data_config import (
    BINARIZE_MODES as BINARIZE_MODES,
    SCALE_MODES as SCALE_MODES,
    BinarizeMode as BinarizeMode,
    DataConfig as DataConfig,
    ScaleMode as ScaleMode,
    scale_for as scale_for,
)
from discretevae.config.latents import LatentKind as LatentKind, LatentSpec as LatentSpec
from discretevae.config.likelihoods import LikelihoodSpec as LikelihoodSpec
from discretevae.config.model_config import (
    DECODERS as DECODERS,
    INITS as INITS,
    NETWORKS as NETWORKS,
    Init as Init,
    ModelConfig as ModelConfig,
)
from discretevae.config.pictures import (
    COLOR_MODES as COLOR_MODES,
    ColorMode as ColorMode,
    ImageShape as ImageShape,
    sides_of as sides_of,
    spell_shape as spell_shape,
)
from discretevae.config.presets import (
    PRESETS as PRESETS,
    TABLE_HIDDEN as TABLE_HIDDEN,
    TABLE_LR as TABLE_LR,
    preset as preset,
)
from discretevae.config.priors import PriorSpec as PriorSpec
from discretevae.config.quantizers import QuantizerSpec as QuantizerSpec, VQTraining as VQTraining
from discretevae.config.run_config import (
    RunConfig as RunConfig,
    run_config_from as run_config_from,
    to_dict as to_dict,
)
from discretevae.config.saving import SaveEvery as SaveEvery
from discretevae.config.schedules import Schedule as Schedule
from discretevae.config.supervision import Supervision as Supervision
from discretevae.config.targets import (
    NeighborTarget as NeighborTarget,
    RowTarget as RowTarget,
    Target as Target,
)
from discretevae.config.train_config import (
    OBJECTIVE_NAMES as OBJECTIVE_NAMES,
    PRECISIONS as PRECISIONS,
    STARTS as STARTS,
    ObjectiveName as ObjectiveName,
    Precision as Precision,
    TrainConfig as TrainConfig,
    auto_batch_size as auto_batch_size,
)
