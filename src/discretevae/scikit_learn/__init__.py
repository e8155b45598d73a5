"""The package in scikit-learn's terms: ``fit``, ``transform``, ``predict``, ``score_samples``.

| class | code z | `transform` gives |
|---|---|---|
| `BernoulliVAE` | D bits | uint8 ``[n, D]`` of {0, 1} |
| `CategoricalVAE` | D categories of K | int64 ``[n, D]`` |
| `ClusterVAE` | one category of K, the cluster | int64 ``[n, 1]`` |

These are shells: the model is a `DiscreteVAE`, trained by the loop that `train` runs.
"""

from __future__ import annotations

from discretevae.scikit_learn.base import BaseVAE
from discretevae.scikit_learn.classes import BernoulliVAE, CategoricalVAE, ClusterVAE

__all__ = ["BaseVAE", "BernoulliVAE", "CategoricalVAE", "ClusterVAE"]
