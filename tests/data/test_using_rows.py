"""Training, evaluation and pictures do not know where rows lie."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import scipy.sparse
import torch

import discretevae as dv
from discretevae.data import Dataset, Rows, load_data
from discretevae.errors import TrainingInterrupted
from discretevae.training import train

CONFIG = dv.TrainConfig(epochs=2, batch_size=64, lr=0.003)


@pytest.fixture(scope="module")
def digits():
    return dv.load_rows("digits")


@pytest.fixture
def on_disk(digits, tmp_path, monkeypatch):
    """The digits as a file that is streamed, in windows of 200 rows."""
    np.save(tmp_path / "a.npy", digits.values)
    monkeypatch.setattr("discretevae.data.stores.streamed.IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("discretevae.data.stores.streamed.WINDOW_BYTES", 200 * 64)
    monkeypatch.setattr("discretevae.data.readers.npy.BLOCK_BYTES", 10 * 64)
    data = load_data(tmp_path / "a.npy", divisor=16, image_size=(8, 8))
    assert data.train.is_streamed
    return data


@pytest.fixture
def in_memory(on_disk, digits):
    """The same rows in memory."""
    train, test = on_disk.train.values.selection, on_disk.test.values.selection
    parts = (digits.subset(torch.from_numpy(index)) for index in (train, test))
    return Dataset("a", *parts)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def fresh(data, latent="bernoulli:6"):
    return dv.DiscreteVAE.for_data(data, latent=latent, hidden=(16,))


@pytest.mark.parametrize("latent", ["bernoulli:6", "categorical:5"])
def test_evaluation_is_the_same_to_the_bit(on_disk, in_memory, latent):
    model = fresh(in_memory, latent)
    for mode in ("none", "dynamic"):
        one, other = (
            dv.evaluate(model, data.test.binarized(mode), samples=7)
            for data in (on_disk, in_memory)
        )
        assert one == other


def test_pictures_are_the_same(on_disk, in_memory):
    from discretevae.plots.pictures import reconstructions

    model = fresh(in_memory)
    one, other = (
        reconstructions(model, data.test, n=24).axes[0].images[0].get_array()
        for data in (on_disk, in_memory)
    )
    assert np.array_equal(one, other)


def test_training_from_a_file_that_was_interrupted_is_the_same_to_the_bit(on_disk, tmp_path):
    """In the middle of a window, of which nothing was kept."""
    whole = fresh(on_disk)
    train(whole, on_disk, CONFIG)

    def stop(progress):
        if (progress.epoch, progress.step) == (2, 9):
            signal.raise_signal(signal.SIGINT)

    first = fresh(on_disk)
    with pytest.raises(TrainingInterrupted):
        train(first, on_disk, CONFIG, out=tmp_path / "run", progress=stop)
    assert not torch.equal(weights(first), weights(whole))
    resumed = fresh(on_disk)
    train(resumed, on_disk, CONFIG, out=tmp_path / "run", resume=True)
    assert torch.equal(weights(resumed), weights(whole))


def test_training_from_a_file_learns_as_well(on_disk, in_memory):
    """Not the same order of rows, but the same rows: the ELBOs are near."""
    ends = []
    for data in (on_disk, in_memory):
        model = fresh(data)
        ends.append(train(model, data, CONFIG)[-1].test_elbo)
    assert ends[0] == pytest.approx(ends[1], abs=1.0)


def test_training_on_sparse_rows_is_training_on_full_ones(in_memory):
    sparse = Dataset(
        "a",
        *(
            Rows.from_array(scipy.sparse.csr_array(rows.values.numpy()), divisor=16)
            for rows in (in_memory.train, in_memory.test)
        ),
    )
    models = [fresh(data) for data in (sparse, sparse)]
    train(models[0], sparse, CONFIG)
    train(models[1], Dataset("a", *map(_plain, (in_memory.train, in_memory.test))), CONFIG)
    assert torch.equal(weights(models[0]), weights(models[1]))


def _plain(rows):
    return Rows(rows.values, rows.divisor)
