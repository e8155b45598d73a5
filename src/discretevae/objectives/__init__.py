"""Objectives: functions of a batch that training maximizes.

An objective asks a gradient estimator for the expectation over codes and for its gradient.

Where KL(q ‖ p) has no closed form, as under an autoregressive prior, ln p(z) joins what the
estimator integrates, and the entropy of q, which has one, stays outside.

======================  ==========================================  =====================
objective               per row                                     estimators
======================  ==========================================  =====================
``elbo``                E_q ln p(x|z) − KL(q(z|x) ‖ p(z))           all but ``vimco``
``multi-sample``        E ln 1/K Σ_k p(x, z_k)/q(z_k|x)             ``vimco``
``marginal``            ln p(x), exactly                            ``exact``
``wake-sleep``          the K-sample bound, self-normalized         ``importance``
``jsa``                 ln p(x), at codes from a chain per row      ``importance``
``vq``                  ln p(x|z) at the nearest vectors, and what  ``straight-through``
                        holds encoder and vectors together
``semi-supervised``     the ELBO, where a category is the label     exact in the category
                        if that is known, and its classification
======================  ==========================================  =====================
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from discretevae.config import TrainConfig
from discretevae.objectives.bounds import (
    elbo as elbo,
    jsa as jsa,
    marginal as marginal,
    multi_sample as multi_sample,
    pretraining as pretraining,
    wake_sleep as wake_sleep,
)
from discretevae.objectives.chains import Chains as Chains
from discretevae.objectives.choosing import (
    DEFAULT_ESTIMATORS as DEFAULT_ESTIMATORS,
    check_pair as check_pair,
    choose_estimator as choose_estimator,
    estimator_name as estimator_name,
)
from discretevae.objectives.quantized import vector_quantized as vector_quantized
from discretevae.objectives.semi_supervised import semi_supervised as semi_supervised
from discretevae.objectives.terms import Objective as Objective, Terms as Terms

OBJECTIVES: Mapping[str, Objective] = {
    "elbo": elbo,
    "multi-sample": multi_sample,
    "marginal": marginal,
    "wake-sleep": wake_sleep,
    "jsa": jsa,
    "vq": vector_quantized,
    "semi-supervised": semi_supervised,
}
"""Every objective by its name."""


def objective_of(config: TrainConfig) -> Objective:
    """Return the objective of a training, with its options.

    Example:
        >>> objective_of(TrainConfig(objective="marginal")) is marginal
        True
    """
    if config.objective == "vq":
        return partial(vector_quantized, options=config.vq)
    if config.objective == "semi-supervised":
        return partial(semi_supervised, options=config.supervision)
    return OBJECTIVES[config.objective]
