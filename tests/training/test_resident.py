"""Rows that lie on the device where they are needed: the batches are the same, and made there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from discretevae.config import TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.model.vae import DiscreteVAE
from discretevae.training import selection, train
from discretevae.training.selection import resident

KINDS = {
    "grey": ((60, 9), np.uint8, 255.0),
    "an odd divisor": ((60, 9), np.uint8, 7.0),
    "bits": ((60, 9), np.bool_, 1.0),
    "floats": ((60, 9), np.float32, 3.0),
}


def rows_of(kind: str) -> Rows:
    shape, dtype, divisor = KINDS[kind]
    numbers = np.random.default_rng(0).integers(0, 2 if dtype is np.bool_ else 8, shape)
    return Rows.from_array(numbers.astype(dtype), divisor=divisor, name=kind)


class NeverFromTheHost(TorchDispatchMode):
    """Refuses to gather rows of one device by numbers that lie on another."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if op is torch.ops.aten.index_select.default:
            values, _, index = args
            assert values.device == index.device
        return op(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_makes_a_batch_happens_where_the_values_lie(kind):
    """Tensors of the device ``meta`` meet only their like."""
    rows = rows_of(kind)
    there = Rows(rows.values.to("meta"), rows.divisor, name=kind)
    batches = there.epoch(0, 1, 16)
    assert batches.order._order_on_device.device.type == "meta"  # sent once, not at every step
    with NeverFromTheHost():
        batch = batches.take(2)
        others = there.batch(torch.tensor([3, 1])), there.batch(slice(0, 9))
    assert batch.shape == rows.epoch(0, 1, 16).take(2).shape
    for made in (batch, *others):
        assert made.device.type == "meta"
        assert made.dtype == torch.float32


def test_only_what_fits_is_sent(monkeypatch):
    rows = rows_of("grey")
    assert resident(rows, torch.device("cpu")) is rows
    room = rows.values.nbytes / selection.RESIDENT_SHARE
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (room - 1, 10**9))
    assert resident(rows, torch.device("cuda")) is rows
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (room, 10**9))
    sent = []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: sent.append(device) or self)
    resident(rows, torch.device("cuda"))
    assert sent == [torch.device("cuda")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_the_batches_are_the_same_to_the_bit(kind):
    rows = rows_of(kind)
    there = resident(rows, torch.device("cuda"))
    assert there.values.device.type == "cuda"
    for step in range(4):
        taken = there.epoch(5, 2, 16).take(step)
        assert taken.device.type == "cuda"
        assert torch.equal(taken.cpu(), rows.epoch(5, 2, 16).take(step))
    assert torch.equal(there.batch(slice(3, 50)).cpu(), rows.batch(slice(3, 50)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_a_training_is_the_same_from_either_place(monkeypatch):
    rows = rows_of("grey")
    data = Dataset("grey", rows, rows.subset(slice(0, 20))).binarized("dynamic")
    losses = []
    for share in (selection.RESIDENT_SHARE, 0.0):
        monkeypatch.setattr(selection, "RESIDENT_SHARE", share)
        model = DiscreteVAE.for_data(data, latent="bernoulli:4", hidden=(8,)).cuda()
        config = TrainConfig(epochs=3, batch_size=16, graph=True)
        losses.append([(m.loss, m.test_elbo) for m in train(model, data, config)])
    assert losses[0] == losses[1]
