"""Draw 420 color photographs of 12 kinds, to try things on.

    python examples/photographs.py [FOLDER]

A kind is a shape, and a folder of 35 JPEG files. Color, size, place and turn are drawn at random,
and so are ground, light and noise. Favorite colors of the kinds overlap.
"""

from __future__ import annotations

import colorsys
import sys
from math import cos, pi, sin
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE, EACH = 96, 35
FINE = 4 * SIDE  # shapes are drawn larger, for smooth edges

KINDS = {  # figures in [-1, 1]²: polygons, and circles (x, y, radius); those after "-" are holes
    "arrow": [[(-1, -0.25), (0, -0.25), (0, -0.8), (1, 0), (0, 0.8), (0, 0.25), (-1, 0.25)]],
    "ball": [(0, 0, 0.9)],
    "bone": [[(-0.7, -0.18), (0.7, -0.18), (0.7, 0.18), (-0.7, 0.18)],
             *((x, y, 0.28) for x in (-0.75, 0.75) for y in (-0.22, 0.22))],
    "cross": [[(-0.3, -1), (0.3, -1), (0.3, 1), (-0.3, 1)],
              [(-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)]],
    "fish": [(-0.25, 0, 0.62), [(0.2, 0), (1, -0.65), (1, 0.65)]],
    "heart": [(-0.43, -0.35, 0.48), (0.43, -0.35, 0.48),
              [(-0.86, -0.13), (0.86, -0.13), (0, 0.95)]],
    "house": [[(-0.7, -0.1), (0.7, -0.1), (0.7, 0.9), (-0.7, 0.9)],
              [(-1, -0.1), (0, -0.95), (1, -0.1)]],
    "moon": [(0, 0, 0.95), "-", (0.5, -0.1, 0.75)],
    "ring": [(0, 0, 0.95), "-", (0, 0, 0.55)],
    "star": [[(r * cos(pi * i / 5 - pi / 2), r * sin(pi * i / 5 - pi / 2))
              for i, r in enumerate([1, 0.4] * 5)]],
    "tree": [[(-0.15, 0.2), (0.15, 0.2), (0.15, 1), (-0.15, 1)],
             [(-0.8, 0.45), (0, -1), (0.8, 0.45)]],
    "window": [[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)], "-",
               *([(x, y), (x + 0.6, y), (x + 0.6, y + 0.6), (x, y + 0.6)]
                 for x in (-0.7, 0.1) for y in (-0.7, 0.1))],
}  # fmt: skip


def silhouette(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return how much of each pixel the shape covers, [SIDE, SIDE, 1]."""
    turn, size = np.deg2rad(rng.uniform(-20, 20)), rng.uniform(0.28, 0.36) * FINE
    middle = FINE / 2 + rng.uniform(-0.07, 0.07, 2) * FINE
    across = np.array([[cos(turn), sin(turn)], [-sin(turn), cos(turn)]]) * size
    draw, ink = ImageDraw.Draw(image := Image.new("L", (FINE, FINE))), 255
    for part in KINDS[kind]:
        if part == "-":
            ink = 0
        elif isinstance(part, list):
            draw.polygon([tuple(np.array(point) @ across + middle) for point in part], fill=ink)
        else:
            (x, y), r = np.array(part[:2]) @ across + middle, part[2] * size
            draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    return np.asarray(image.resize((SIDE, SIDE)), float)[..., None] / 255


def cloth(hue: float, bright: float, rng: np.random.Generator) -> np.ndarray:
    """Return a surface of one color with soft spots, [SIDE, SIDE, 3] in [0, 1]."""
    color = np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.25, 0.8), bright))
    coarse = Image.fromarray(rng.uniform(0.75, 1.25, (6, 6)).astype(np.float32))
    return color * np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))[..., None]


def photograph(kind: str, rng: np.random.Generator) -> Image.Image:
    """Return one picture of a kind."""
    shape, favorite = silhouette(kind, rng), [*KINDS].index(kind) / len(KINDS)
    thing = cloth(rng.normal(favorite, 0.12), rng.uniform(0.65, 1), rng)
    ground = cloth(rng.uniform(), rng.uniform(0.15, 0.5), rng)
    direction = rng.uniform(0, 2 * pi)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    light = 1 + rng.uniform(0, 0.3) * (x * cos(direction) + y * sin(direction))
    scene = (shape * thing + (1 - shape) * ground) * light[..., None]
    scene = np.clip(scene + rng.normal(0, 0.04, scene.shape), 0, 1)
    return Image.fromarray(np.rint(255 * scene).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(0.5)
    )


def main() -> None:
    """Write the folder, one folder in it for each kind."""
    folder, rng = (
        Path(sys.argv[1] if len(sys.argv) > 1 else "photographs"),
        np.random.default_rng(0),
    )
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(EACH):
            photograph(kind, rng).save(folder / kind / f"{number}.jpg", quality=90)
    print(f"{folder}: {EACH * len(KINDS)} photographs of {len(KINDS)} kinds")


if __name__ == "__main__":
    main()
