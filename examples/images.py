"""Pictures in 20 bits: train, measure, flip a bit, find neighbors, draw new ones.

    python examples/images.py [FOLDER]

FOLDER holds pictures of your own; without it the 8×8 digits that come with scikit-learn are used.
Writes images.png. Takes about half a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import discretevae as dv

COLUMNS = 8


def load() -> dv.Dataset:
    """Digits, or a folder of pictures of one's own at 28×28 grey pixels."""
    if len(sys.argv) > 1:
        return dv.load_data(sys.argv[1], image_size=(28, 28))
    return dv.load_data("digits")


def show(rows: list[tuple[str, Tensor]], shape: tuple[int, int], path: Path) -> None:
    """One strip of pictures under the other, each with its name."""
    figure, axes = plt.subplots(len(rows), COLUMNS, figsize=(COLUMNS, 1.1 * len(rows)))
    for (name, pictures), line in zip(rows, axes, strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture.reshape(shape).numpy(), cmap="gray_r", vmin=0, vmax=1)
            axis.axis("off")
        line[0].set_title(name, loc="left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Everything in the order of the first line."""
    data = load()
    model = dv.DiscreteVAE.for_data(data, latent="bernoulli:20", hidden=(256,))
    dv.train(model, data, dv.TrainConfig(epochs=60, lr=0.002))  # exact or low-variance gradients

    result = dv.evaluate(model, data.test, samples=100)
    print(f"ELBO {result.elbo.value:.1f} ± {result.elbo.se:.1f} nats per row")
    print(f"100-sample bound on ln p(x) {result.bound.value:.1f} ± {result.bound.se:.1f}")
    print(f"{result.usage.active_units} of 20 bits are in use")

    x = data.test.batch(slice(0, COLUMNS))
    codes = model.encode(x)  # uint8 {0, 1}, [8, 20]
    strips = [("test pictures", x), ("from their 20 bits", model.decode(codes))]

    # the bit whose flip changes these pictures the most
    flips = []
    for bit in range(codes.shape[1]):
        flipped = codes.clone()
        flipped[:, bit] = 1 - flipped[:, bit]
        flips.append(model.decode(flipped))
    change = torch.stack([(flip - strips[1][1]).abs().mean() for flip in flips])
    strongest = int(change.argmax())
    strips.append((f"bit {strongest} flipped", flips[strongest]))

    # the training row whose code is nearest to each
    gallery = model.encode(data.train.batch(slice(0, len(data.train))))
    distance = (codes[:, None] != gallery[None]).sum(-1)
    strips.append(("nearest training rows by code", data.train.batch(distance.argmin(1))))
    labels, nearest = data.test.labels, data.train.labels
    if labels is not None and nearest is not None:
        every = model.encode(data.test.batch(slice(0, len(data.test))))
        found = nearest[(every[:, None] != gallery[None]).sum(-1).argmin(1)]
        print(f"nearest code has the same label: {(found == labels).float().mean():.1%}")

    samples = model.sample(COLUMNS, generator=torch.Generator().manual_seed(0))
    strips.append(("drawn from the prior", samples))
    path = Path("images.png")
    show(strips, data.image_shape or (1, data.n_features), path)
    print(path)


if __name__ == "__main__":
    main()
