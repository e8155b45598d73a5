"""Codes of models and of yardsticks on the same queries and gallery, measured alike.

The gallery is the training part of the data, so that models and yardsticks have learned from the
rows that are searched; the queries are drawn from the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from discretevae.codes.packing import encode_rows
from discretevae.codes.search.average_precision import RetrievalScores, retrieval_scores
from discretevae.codes.search.baselines import (
    Projection,
    itq,
    nearest_rows,
    principal_axes,
    random_projections,
)
from discretevae.codes.search.hamming import require_searchable, search_bits
from discretevae.config import BinarizeMode, LatentSpec
from discretevae.data import Dataset, Rows
from discretevae.data.classes import is_known
from discretevae.data.datasets import require_dataset
from discretevae.data.neighbors import topic_vectors
from discretevae.errors import ConfigError, DataError
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE
from discretevae.system.arrays import Array

Kind = Literal["model", "itq", "pca sign", "random projections"]

TRUE_NEIGHBORS = 10
"""Exact neighbors of a query in the space of the rows, whose recall is measured."""


@dataclass(frozen=True, eq=False)
class RetrievalEntry:
    """One way of making codes, measured.

    Args:
        name: of the model as it was given, or of the yardstick.
        kind: ``model``, ``itq``, ``pca sign`` or ``random projections``.
        n_bits: bits; of categories log2 of the number of states, rounded up.
        scores: what was measured.
    """

    name: str
    kind: Kind
    n_bits: int
    scores: RetrievalScores


@dataclass(frozen=True, eq=False)
class RetrievalReport:
    """Models and yardsticks on the same queries and gallery.

    Args:
        data: the name of the data.
        queries: how many.
        gallery: how many rows are searched.
        seed: of the choice of queries and of the yardsticks.
        entries: by number of bits, models first.
    """

    data: str
    queries: int
    gallery: int
    seed: int
    entries: tuple[RetrievalEntry, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values for JSON."""
        entries = [
            {"name": e.name, "kind": e.kind, "bits": e.n_bits, **e.scores.to_dict()}
            for e in self.entries
        ]
        return {
            "data": self.data,
            "queries": self.queries,
            "gallery": self.gallery,
            "true_neighbors": min(TRUE_NEIGHBORS, self.gallery),
            "seed": self.seed,
            "methods": entries,
        }


def measure_retrieval(
    models: Mapping[str, tuple[DiscreteVAE, BinarizeMode]],
    data: Dataset,
    *,
    bits: Sequence[int] = (),
    per_label: int | None = 100,
    labels: tuple[Array, Array] | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], object] | None = None,
) -> RetrievalReport:
    """Search the training rows for the test rows by codes, and count what has the same label.

    Yardsticks and true neighbors of rows of counts are those of their `topic_vectors`.

    Args:
        models: by name, each with the binarization of its training.
        data: with labels; the training part is the gallery, of which the yardsticks learn too.
        bits: further numbers of bits at which the yardsticks are measured.
        per_label: queries drawn from the test rows of each label, or all if there are fewer; None
            for all test rows.
        labels: of all test rows and of the training rows in place of their own, as
            `mean_average_precision` takes them; ``per_label`` is then None.
        seed: of the draw, and of the yardsticks' random numbers.
        progress: called with what is being done, how many are done, and how many there are.

    Raises:
        ConfigError: neither models nor bits, a Gaussian code, or a number of bits out of range.
        DataError: no labels, or rows that do not fit a model.

    Example:
        >>> from discretevae import load_data
        >>> report = measure_retrieval({}, load_data("digits"), bits=[8])
        >>> [entry.kind for entry in report.entries]
        ['itq', 'pca sign', 'random projections']
    """
    require_dataset(data)
    sizes = {name: code_bits(model.family.spec) for name, (model, _) in models.items()}
    every = sorted({*sizes.values(), *bits})
    if not every or every[0] < 1:
        raise ConfigError(
            "retrieval needs a model, or `bits` >= 1 for the yardsticks. Got neither."
        )
    for model, _ in models.values():
        require_searchable(model.family.spec)
        require_fit(model, data.train)
    data = data.binarized("none")
    gallery, queries = data.train, _drawn(data.test, per_label, seed)
    labels = labels or (_labels(queries), _labels(gallery))
    report = progress or (lambda what, done, total: None)
    report("exact neighbors", 0, 1)
    if gallery.are_counts:
        x, x_queries = topic_vectors(gallery, queries, n=max(every), seed=seed)
    else:
        x, x_queries = (rows.vectors(slice(None)).numpy() for rows in (gallery, queries))
    true = nearest_rows(x_queries, x, min(TRUE_NEIGHBORS, len(x)))
    mean, axes = principal_axes(x)
    yardsticks: dict[Kind, Callable[[int], Projection]] = {
        "itq": lambda n: itq(x, mean, axes, n, seed=seed),
        "pca sign": lambda n: Projection(mean, axes[:, :n]),
        "random projections": lambda n: random_projections(mean, n, seed=seed),
    }
    jobs: list[tuple[str, Kind, int]] = []
    for n_bits in every:
        jobs += [(name, "model", n_bits) for name in models if sizes[name] == n_bits]
        # there are no more components than features
        few = n_bits <= axes.shape[1]
        kinds = yardsticks if few else ("random projections",)
        jobs += [(kind, kind, n_bits) for kind in kinds]  # type: ignore[misc]
    entries = []
    for number, (name, kind, n_bits) in enumerate(jobs):
        report(f"{name}, {n_bits} bits", number, len(jobs))
        if kind == "model":
            model, mode = models[name]
            packed = (encode_rows(model, rows.binarized(mode)) for rows in (queries, gallery))
            codes = [search_bits(model.family.spec, each) for each in packed]
        else:
            codes = [yardsticks[kind](n_bits).encode(values) for values in (x_queries, x)]
        scores = retrieval_scores(codes[0], codes[1], *labels, true)
        entries.append(RetrievalEntry(name, kind, n_bits, scores))
    return RetrievalReport(gallery.name, len(queries), len(gallery), seed, tuple(entries))


def code_bits(spec: LatentSpec) -> int:
    """Return the bits that tell all states of a discrete code apart: ⌈log₂ of their number⌉."""
    require_searchable(spec)
    return ((spec.n_states or 1) - 1).bit_length()


def query_rows(labels: Array, per_label: int, seed: int) -> Array:
    """Return the rows that are queries: some of each label or all there are, in order."""
    if per_label < 1:
        raise ConfigError(f"`per_label` must be an int >= 1. Got {per_label}.")
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(labels == a))[:per_label] for a in np.unique(labels)]
    return np.sort(np.concatenate(drawn))


def _drawn(rows: Rows, per_label: int | None, seed: int) -> Rows:
    if per_label is None:
        return rows
    return rows.subset(torch.from_numpy(query_rows(_labels(rows), per_label, seed)))


def _labels(rows: Rows) -> Array:
    if rows.labels is None or not is_known(rows.labels).all():
        raise DataError(
            f"{rows.name}: rows have no labels, so nothing says what is to be found. Give data "
            "with a label for every row."
        )
    labels: Array = rows.labels.numpy()
    return labels
