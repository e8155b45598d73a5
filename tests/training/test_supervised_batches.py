"""Batches with labels, and a training with labels that is resumed."""

from __future__ import annotations

import dataclasses

import torch

from discretevae.config import ModelConfig, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.model.vae import fresh_model
from discretevae.training import choose_method, prepare_training, train
from discretevae.training.batches import BatchMaker

CONFIG = TrainConfig(objective="semi-supervised", epochs=2, batch_size=16, lr=0.01, seed=3)


def data_and_model(n_known):
    """Rows whose first value is their label, and whose second value says whether it is known."""
    labels = torch.arange(100) % 3
    known = torch.arange(100) < n_known
    x = torch.rand(100, 6, generator=torch.Generator().manual_seed(0))
    x[:, 0], x[:, 1] = labels / 2, known.float()
    rows = Rows.from_array(x, labels=torch.where(known, labels, -1))
    config = ModelConfig(n_features=6, latent="categorical:3+bernoulli:2", hidden=(8,))
    return Dataset("mine", rows, rows), fresh_model(config, seed=3)


def batches(n_known):
    data, model = data_and_model(n_known)
    prepared = prepare_training(model, data, choose_method(model.family, CONFIG))
    maker = BatchMaker(prepared, torch.Generator().manual_seed(0))
    maker.start_epoch(1)
    return [maker.make(step) for step in range(7)]


def test_every_row_has_its_own_label_and_every_step_labeled_rows():
    for n_known, n_drawn in ((5, 5), (40, 16)):
        found = batches(n_known)
        assert sum(int((batch.labels >= 0).sum()) for batch in found) == n_known
        for batch in found:
            known = batch.target[:, 1] == 1
            own = (2 * batch.target[:, 0]).long()
            assert torch.equal(batch.labels, torch.where(known, own, -1))
            x, labels = batch.labeled
            assert len(x) == len(labels) == n_drawn
            assert torch.equal(labels, (2 * x[:, 0]).long())
            assert (x[:, 1] == 1).all()
            assert len(torch.unique(x, dim=0)) == n_drawn


def test_labeled_rows_change_from_step_to_step_and_all_are_drawn():
    drawn = torch.cat([batch.labeled[0] for batch in batches(40)])
    # each of 40 is left out of 7 draws of 16 with probability 0.6⁷; 31 or fewer: 2 in 10⁶
    assert len(torch.unique(drawn, dim=0)) > 31


def test_a_resumed_training_ends_with_the_same_weights(tmp_path):
    (data, whole), (_, parts) = data_and_model(40), data_and_model(40)
    train(whole, data, CONFIG)
    train(parts, data, dataclasses.replace(CONFIG, epochs=1), out=tmp_path)
    train(parts, data, CONFIG, out=tmp_path, resume=True)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)
