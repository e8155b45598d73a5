"""Fitting a prior to the codes of a trained model, whose networks stay as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from discretevae.config.checks import must
from discretevae.config.schedules import Schedule
from discretevae.data.objects import RowsLike
from discretevae.data.rows import Rows
from discretevae.errors import ConfigError, DataError, TrainingError, require_type
from discretevae.model.row_checks import require_fit
from discretevae.model.vae import DiscreteVAE
from discretevae.priors import PlacePrior, Prior
from discretevae.system.randomness import generator_for
from discretevae.training.adam import Adam


@dataclass(frozen=True)
class PriorEpoch:
    """One pass over the rows, counted from 1, and the mean over its steps of E_q ln p(z) [nats].

    Each step's is taken before its update.
    """

    epoch: int
    log_prob: float


def fit_prior(
    model: DiscreteVAE,
    rows: RowsLike,
    prior: Prior,
    *,
    epochs: int = 20,
    batch_size: int = 256,
    lr: float | None = None,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> list[PriorEpoch]:
    """Fit ``prior`` in place by maximum likelihood to the codes of ``rows``; return its epochs.

        max E_x E_q(z|x) ln p(z),   z ~ q(z|x) drawn anew each time;  ln p(z|y) given the labels y

    which is least KL between the aggregate posterior q(z) = E_x q(z|x) and p(z). Of the ELBO only
    E_q ln p(z) depends on the prior, so that it rises by as much as this does. Adam, with a
    learning rate that falls to 0 along half a cosine. The same seed on the same machine gives the
    same weights to the bit.

    Args:
        model: its encoder gives q(z|x) and is not changed.
        rows: N rows, binarized as in training; dynamic ones are drawn anew in every pass.
        prior: of the model's own family, or the model's own prior; it must have parameters.
            One that is conditioned on labels learns the shares of the classes as well.
        epochs: passes over the rows.
        batch_size: B.
        lr: learning rate of the first step; None for 5e-3, or 2e-3 of a transformer.
        seed: of order and draws.
        progress: called after every step with the number of rows done in all passes so far.

    Raises:
        ConfigError: an option is out of range, the prior has nothing to learn, or is one of
            another code or grid.
        DataError: the rows do not fit the model, or have no labels that the prior could take.
        TrainingError: ln p(z) or a weight is no longer finite.

    Example:
        >>> from discretevae.data import load_data
        >>> from discretevae.priors import make_prior
        >>> data, generator = load_data("digits"), torch.Generator().manual_seed(0)
        >>> model = DiscreteVAE.for_data(data, latent="bernoulli:6", hidden=(16,))
        >>> prior = make_prior("autoregressive:32", model.family, generator=generator)
        >>> history = fit_prior(model, data.train, prior, epochs=5)
        >>> history[-1].log_prob > history[0].log_prob
        True
    """
    rows = require_fit(model, rows)
    lr = getattr(prior, "lr", 0.0) if lr is None else lr
    _check(model, prior, epochs, batch_size, lr)
    labels = _labels(rows, prior.n_classes)
    if labels is not None and isinstance(prior, PlacePrior):
        prior.counts.copy_(torch.bincount(labels, minlength=prior.n_classes))
    parameters = list(prior.parameters())
    device = parameters[0].device
    generator = generator_for(seed, "prior draws", device=device)
    pixels = generator_for(seed, "prior binarization")
    optimizer = Adam(parameters, lr=lr, fused=True)
    schedule, n_steps = Schedule("cosine"), math.ceil(len(rows) / batch_size)
    history, done = [], 0
    was_training = prior.training
    prior.train()
    for epoch in range(1, epochs + 1):
        batches, total = rows.epoch(seed, epoch, batch_size), 0.0
        for step in range(n_steps):
            given = {}
            if labels is not None:
                given["label"] = labels[batches.numbers(step)].to(device)
            with torch.no_grad():
                x = batches.take(step, generator=pixels).to(device)
                z = model.family.sample(model.eta(x), 1, generator=generator)
            for group in optimizer.param_groups:
                global_step = (epoch - 1) * n_steps + step
                group["lr"] = lr * schedule.factor(global_step, epochs * n_steps)
            log_prob = prior.log_prob(z, **given)
            optimizer.zero_grad()
            (-log_prob.mean()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += log_prob.sum().item()
            done += len(x)
            if progress is not None:
                progress(done)
        optimizer.zero_grad()
        if not (math.isfinite(total) and all(bool(p.isfinite().all()) for p in parameters)):
            raise TrainingError(
                f"the prior's weights or ln p(z) became NaN or infinite in epoch {epoch}. Try a "
                "smaller `lr`."
            )
        history.append(PriorEpoch(epoch, total / len(rows)))
    prior.train(was_training)
    return history


def _labels(rows: Rows, n_classes: int) -> Tensor | None:
    """Return the labels that a prior is conditioned on, None for 0 classes."""
    labels = rows.labels if n_classes else None
    if n_classes and (labels is None or not 0 <= labels.min() <= labels.max() < n_classes):
        got = "They have none" if labels is None else "Some have none, or another"
        raise DataError(
            f"{rows.name}: a prior given labels needs one of {n_classes} classes for every row. "
            f"{got}. Leave `condition` out."
        )
    return labels


def _check(model: DiscreteVAE, prior: Prior, epochs: int, batch_size: int, lr: float) -> None:
    require_type("prior", prior, Prior, "Make it with make_prior(…, model.family).")
    latent, ours = model.config.latent, prior.family.spec
    grid = getattr(prior, "grid", latent.grid)
    if prior.family != model.family or grid != latent.grid:
        raise ConfigError(
            f"the prior is one of {ours}{f' in {grid}' if grid else ''}, the model's code is "
            f"{latent}. Make it with make_prior(…, model.family, grid=model.config.latent.grid)."
        )
    problems = [
        must(name, "an int >= 1", value)
        for name, value in (("epochs", epochs), ("batch_size", batch_size))
        if value < 1
    ]
    if not 0 < lr < math.inf:
        problems.append(f"`lr` must be > 0 and finite. Got {lr}.")
    if not any(True for _ in prior.parameters()):
        problems.append(
            "a fixed prior has nothing to learn. Give one that has, such as "
            'make_prior("factorized", model.family).'
        )
    if problems:
        raise ConfigError(problems)
