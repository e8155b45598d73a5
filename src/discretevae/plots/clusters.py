"""Clusters in pictures: the center of each, its surest members and its most doubtful ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from discretevae.codes.cluster_scores import ClusterScores
from discretevae.codes.clusters import Clusters
from discretevae.codes.ids import ids_of, short_name
from discretevae.config import ImageShape
from discretevae.data import Rows
from discretevae.data.classes import class_name
from discretevae.errors import count
from discretevae.plots.pictures import blank, gap_of, mosaic, show_picture

MAX_LINES = 30
"""Clusters in one picture; of more the largest are shown."""

CERTAIN, UNCERTAIN = 10, 5

INCHES, CAPTION_INCHES, HEAD_INCHES = 9.0, 2.1, 0.5
LEAST_INCHES = 0.46
"""Three lines of text and some air."""

NAME_LENGTH = 24
"""Characters that fit into a caption."""

MAX_INCHES = 45


ShownCluster = tuple[int, list[int], list[int]]
"""A cluster, its most probable rows, the first one first, and the least probable of the others."""


def shown_clusters(
    found: Clusters, *, certain: int = CERTAIN, uncertain: int = UNCERTAIN, limit: int = MAX_LINES
) -> list[ShownCluster]:
    """Return the rows that stand for each of ``limit`` clusters, the largest cluster first.

    Clusters of one size come in the order of their numbers.
    """
    lines = []
    for cluster in np.argsort(-found.sizes, kind="stable")[:limit].tolist():
        members = found.members(cluster).tolist()
        rest = members[certain:]
        first = max(0, len(rest) - uncertain)
        lines.append((cluster, members[:certain], rest[first:]))
    return lines


def cluster_figure(
    found: Clusters,
    centers: Tensor,
    rows: Rows,
    image_shape: ImageShape,
    *,
    scores: ClusterScores | None = None,
) -> Figure:
    """Return a line for each cluster, the largest first: its center ``[P]``, and rows in it.

    Behind the center as the decoder draws it stand the 10 rows with the highest probability of
    the cluster, then, of its other rows, the 5 with the lowest. On the left are its number, its
    rows and their share, with ``scores`` its largest class with the share of it, and the id of the
    first row that is drawn.
    """
    height, width = image_shape[:2]
    gap = gap_of(image_shape)
    aside = max(2, width // 3)
    starts = np.cumsum([0, *(n * (width + gap) + gap + aside for n in (1, CERTAIN))]).tolist()
    full = starts[2] + UNCERTAIN * (width + gap) + gap
    scale = (INCHES - CAPTION_INCHES) / full
    # flat pictures lie so far apart that captions do not touch, and of high ones fewer are shown
    line_height = max(height + 3 * gap, math.ceil(LEAST_INCHES / scale))
    limit = max(1, min(MAX_LINES, int(MAX_INCHES / (line_height * scale))))
    lines = shown_clusters(found, limit=limit)
    ground = blank(len(lines) * line_height, full, image_shape, 1.0)
    for number, (cluster, *of_cluster) in enumerate(lines):
        blocks = [centers[cluster : cluster + 1]]
        for members in of_cluster:
            blocks.append(rows.deterministic().batch(torch.tensor(members).long()))
        top = number * line_height
        for start, block in zip(starts, blocks, strict=True):
            if len(block):
                band = mosaic(block, image_shape, len(block))
                ground[top : top + len(band), start : start + band.shape[1]] = band
    size = (INCHES, len(ground) * scale + HEAD_INCHES)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    show_picture(axes, ground, _title(found, len(lines)))
    axes.xaxis.tick_top()
    names = ("center", "most certain", "least certain")
    axes.set_xticks(starts, names, fontsize=8, ha="left", color="0.3")
    middles = np.arange(len(lines)) * line_height + height / 2 + gap
    captions = _captions(found, lines, scores, rows)
    axes.set_yticks(middles, captions, fontsize=7.5, linespacing=1.25, parse_math=False)
    return figure


def _title(found: Clusters, shown: int) -> str:
    many = {"component": "components", "category": "categories", "cluster": "clusters of codes"}
    used = int((found.sizes > 0).sum())
    text = f"{len(found):,} rows in {used} of {found.n_clusters} {many[found.kind]}"
    return text if shown == found.n_clusters else f"{text}, the {shown} largest shown"


def _captions(
    found: Clusters, lines: Sequence[ShownCluster], scores: ClusterScores | None, rows: Rows
) -> list[str]:
    """Return the text beside each line."""
    ids = ids_of(rows)
    majority = {} if scores is None else scores.majority
    captions = []
    for cluster, certain, _ in lines:
        size = int(found.sizes[cluster])
        share_of_all = 100 * size / len(found)
        text = f"{found.kind} {cluster}: {count(size, 'row')}, {share_of_all:.1f} %"
        if cluster in majority:
            of, share = majority[cluster]
            what = "label" if rows.classes is None else "class"
            name = short_name(class_name(of, rows.classes), NAME_LENGTH)
            text += f"\n{what} {name}: {100 * share:.1f} % of them"
        if certain:
            text += f"\nsurest row: {short_name(ids[certain[0]], NAME_LENGTH)}"
        captions.append(text)
    return captions
