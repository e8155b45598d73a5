"""Share of the nearest pictures that are of the same kind: by codes, by colors, by pixels.

python examples/photographs.py photographs
discretevae train --data photographs ... --out runs/photographs   # as on the practitioner's page
python benchmarks/photographs.py photographs runs/photographs photographs.png
"""

from __future__ import annotations

import json
import sys

import numpy as np
from matplotlib.figure import Figure

import discretevae as dv
from discretevae.cli.ending import finish

N_NEAREST = 5


def nearest(distances: np.ndarray) -> np.ndarray:
    """The numbers of the nearest rows of each row but itself; of equal ones the first."""
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, 1, kind="stable")[:, :N_NEAREST]


def main() -> None:
    """Print the shares, and draw six pictures with what is nearest to them by code."""
    folder, run_folder, picture = sys.argv[1:]
    run = dv.load_run(run_folder)
    rows = dv.load_rows(folder, schema=run.schema)
    pixels = rows.values.numpy().reshape(len(rows), -1, 3)
    bits = run.model.encode(rows.batch(slice(None))).numpy().astype(float)
    cubes = [np.histogramdd(p, (4, 4, 4), [(0, 256)] * 3)[0].ravel() for p in pixels]
    flat, colors = pixels.reshape(len(rows), -1) / 255, np.stack(cubes)
    squares = (flat**2).sum(1)
    distances = {
        "codes": (bits[:, None] != bits).sum(-1).astype(float),
        "color histograms": np.abs(colors[:, None] - colors).sum(-1),
        "pixels": squares[:, None] + squares - 2 * flat @ flat.T,
    }
    found = {name: nearest(each) for name, each in distances.items()}
    kinds = rows.labels.numpy()
    shares = {name: (kinds[each] == kinds[:, None]).mean() for name, each in found.items()}
    print(json.dumps({name: round(100 * float(share), 1) for name, share in shares.items()}))
    figure = Figure(figsize=(6, 6))
    for axis, place in zip(figure.subplots(6, 6).flat, np.ndindex(6, 6), strict=True):
        query = place[0] * 70 + 3
        shown = query if place[1] == 0 else found["codes"][query, place[1] - 1]
        axis.imshow(pixels[shown].reshape(*rows.image_shape))
        axis.set_axis_off()
    figure.subplots_adjust(0, 0, 1, 1, 0.04, 0.04)
    figure.savefig(picture, dpi=60)


if __name__ == "__main__":
    finish(main)
