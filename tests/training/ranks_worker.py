"""What each of several ranks does in test_ranks.py."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from discretevae.config import ModelConfig, SaveEvery, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.estimators import make_estimator
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import elbo
from discretevae.system.randomness import generator_for
from discretevae.system.ranks import Ranks, joined
from discretevae.training import state, train

REPEATS = 3000
LATENTS = ("categorical:4", "bernoulli:3")


def grey(n: int) -> Dataset:
    rows = Rows.from_array(np.random.default_rng(0).random((n, 6)).astype(np.float32))
    return Dataset("grey", rows.subset(slice(0, n - 6)), rows.subset(slice(n - 6, n)))


def fresh(latent: str) -> DiscreteVAE:
    config = ModelConfig(n_features=6, latent=latent, hidden=(5,), prior="factorized")
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


def gradients(ranks: Ranks, out: Path, latent: str, estimator: str) -> None:
    """The gradients of every step of a short training, as the optimizer meets them."""
    met: list[torch.Tensor] = []

    class Watched(state.Adam):
        def step(self) -> None:
            met.append(torch.cat([p.grad.flatten() for p in self.param_groups[0]["params"]]))
            super().step()

    state.Adam = Watched
    config = TrainConfig(epochs=2, batch_size=7, estimator=estimator, lr=1e-6)
    train(fresh(latent), grey(21), config, ranks=ranks)  # batches of 7, 7 and 1 row
    if ranks.is_first:
        np.save(out, torch.stack(met).numpy())


def moments(ranks: Ranks, out: Path, latent: str, estimator: str) -> None:
    """Mean and standard error of the gradient of one batch over many draws."""
    model, member = fresh(latent), make_estimator(estimator, kind="bernoulli")
    x = grey(13).train.batch(slice(None)).tensor_split(ranks.count)[ranks.rank]
    generator = generator_for(0, "samples", ranks.rank)
    sums = squares = torch.zeros(())
    for _ in range(REPEATS):
        model.zero_grad()
        loss = elbo(model, x, member, generator=generator).loss
        (loss * (len(x) * ranks.count / 7)).backward()
        grads = [p.grad for p in model.parameters()]
        ranks.average(grads)
        flat = torch.cat([g.flatten() for g in grads]).double()
        sums, squares = sums + flat, squares + flat.square()
    mean = sums / REPEATS
    se = ((squares / REPEATS - mean.square()).clamp_min(0) / REPEATS).sqrt()
    if ranks.is_first:
        np.save(out, torch.stack([mean, se]).numpy())


def run(ranks: Ranks, out: Path, latent: str, stop_after: str) -> None:
    """A training that is saved after every step, and that ends after some of them if asked to."""
    calls = 0

    def count(_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == int(stop_after):
            os._exit(7)

    config = TrainConfig(epochs=3, batch_size=5, estimator="disarm", lr=0.01, average=0.9)
    train(
        fresh(latent), grey(21).binarized("dynamic"), config, out=out, resume=True, ranks=ranks,
        save_every=SaveEvery(seconds=None, steps=1), progress=count,
    )  # fmt: skip


def told(ranks: Ranks, out: Path, *_: str) -> None:
    """Every message once."""
    tensor = torch.full((2, 2), float(ranks.rank))
    ranks.average([tensor])
    totals = ranks.total([float(ranks.rank), 0.5])
    gathered = [part.tolist() for part in ranks.gather(torch.tensor([ranks.rank]))]
    shared = [ranks.share(b"abc" if ranks.is_first else None), ranks.share(None)]
    copied = torch.full((2,), float(ranks.rank))
    ranks.copy_first([copied])
    ranks.wait()
    (out / f"{ranks.rank}.txt").write_text(
        repr((tensor.tolist(), totals, gathered, shared, copied.tolist()))
    )


def alone(function, *args: object) -> None:
    """One of these functions, as one of several ranks."""
    with joined("cpu") as ranks:
        function(ranks, *args)


def everything(out: Path) -> None:
    """All of them, and what threads are left at the end."""
    with joined("cpu") as ranks:
        told(ranks, out)
        for latent in LATENTS:
            gradients(ranks, out / f"{latent}.npy", latent, "exact")
        moments(ranks, out / "moments.npy", "bernoulli:3", "disarm")
        run(ranks, out / "whole", "bernoulli:4", "0")
    left = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    (out / f"threads-{ranks.rank}.txt").write_text(" ".join(left))
