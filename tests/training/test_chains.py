"""The chains of a training: one for each row, in its checkpoints, the same after a resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_training import ALWAYS, DATA, Stop, assert_same, fresh, settings, without_timings

from discretevae.data import Dataset, load_rows
from discretevae.errors import ConfigError
from discretevae.families import Bernoulli
from discretevae.run_folder.checkpoint import read_newest
from discretevae.system.ranks import Ranks
from discretevae.system.tensor_files import parse_tensors
from discretevae.training import choose_method, train

ASKED = {"objective": "jsa", "estimator": None, "samples": 2}


def kept(folder):
    """The codes of a run's newest checkpoint, and which rows have one."""
    tensors, _ = parse_tensors(read_newest(folder), folder)
    return tensors["chains.codes"], tensors["chains.is_begun"]


def stopped(after, model, data, config, out):
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) > after:
            raise Stop

    with pytest.raises(Stop):
        train(model, data, config, out=out, progress=stop, save_every=ALWAYS)


@pytest.mark.parametrize("after", [1, 6, 11])
@pytest.mark.parametrize(
    ("latent", "changes", "binarize"),
    [
        ("bernoulli:5", {}, "dynamic"),
        ("categorical:3x4", {}, "none"),
        ("bernoulli:3+categorical:4", {}, "none"),
        ("bernoulli:5", {"validation": 0.2, "patience": 3, "average": 0.9}, "none"),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(latent, changes, binarize, after, tmp_path):
    config, data = settings(**ASKED, **changes), DATA.binarized(binarize)
    whole, resumed = fresh(latent), fresh(latent, seed=99)
    expected = train(whole, data, config, out=tmp_path / "whole")
    stopped(after, fresh(latent), data, config, tmp_path / "run")
    history = train(resumed, data, config, out=tmp_path / "run", resume=True)
    assert_same(resumed, whole)
    assert without_timings(history) == without_timings(expected)
    for one, other in zip(kept(tmp_path / "run"), kept(tmp_path / "whole"), strict=True):
        assert torch.equal(one, other)


def test_chains_that_are_lost_would_be_noticed(tmp_path, monkeypatch):
    config = settings(**ASKED)
    whole, resumed = fresh("bernoulli:5"), fresh("bernoulli:5")
    train(whole, DATA, config)
    stopped(6, fresh("bernoulli:5"), DATA, config, tmp_path)
    monkeypatch.setattr("discretevae.objectives.chains.Chains._load_from_state_dict", _nothing)
    train(resumed, DATA, config, out=tmp_path, resume=True)
    with pytest.raises(AssertionError):
        assert_same(resumed, whole)


def _nothing(*_):
    """In place of taking over what was saved."""


def test_every_row_has_one_byte_for_each_bit_in_a_checkpoint(tmp_path):
    stopped(2, fresh("bernoulli:5"), DATA, settings(**ASKED), tmp_path)
    codes, is_begun = kept(tmp_path)
    assert (codes.dtype, codes.shape) == (torch.uint8, (48, 5))
    assert int(is_begun.sum()) == 26  # two steps of 13 rows
    assert codes[is_begun].float().mean() > 0
    assert not codes[~is_begun].any()


def test_a_row_meets_its_own_chain_again(tmp_path, monkeypatch):
    """Where no proposal is ever accepted, each row stays where it was in the first epoch."""
    train(fresh("bernoulli:5"), DATA, settings(**ASKED, epochs=1), out=tmp_path)
    codes, is_begun = kept(tmp_path)
    assert bool(is_begun.all())

    def stay(log_weight, *, generator):
        return torch.zeros_like(log_weight[1:]).long()

    monkeypatch.setattr("discretevae.objectives.bounds.independence_sampler", stay)
    train(fresh("bernoulli:5"), DATA, settings(**ASKED, epochs=3), out=tmp_path, resume=True)
    assert torch.equal(kept(tmp_path)[0], codes)


def test_with_other_rows_the_chains_begin_anew(tmp_path):
    fewer = Dataset("grey", DATA.train.subset(slice(0, 40)), DATA.test)
    stopped(2, fresh("bernoulli:5"), fewer, settings(**ASKED), tmp_path)
    history = train(fresh("bernoulli:5"), DATA, settings(**ASKED), out=tmp_path, resume=True)
    assert len(history) == 3
    codes, is_begun = kept(tmp_path)
    assert (len(codes), bool(is_begun.all())) == (48, True)


def test_rows_on_disk_have_chains_too(tmp_path, monkeypatch):
    for name, value in (("IN_MEMORY_BYTES", 0), ("WINDOW_BYTES", 9 * 4 * 17)):
        monkeypatch.setattr(f"discretevae.data.stores.streamed.{name}", value)
    monkeypatch.setattr("discretevae.data.readers.npy.BLOCK_BYTES", 9 * 4 * 5)
    np.save(tmp_path / "rows.npy", DATA.train.batch(slice(None)).numpy())
    rows = load_rows(tmp_path / "rows.npy").subset(torch.arange(48).flip(0))
    assert rows.is_streamed
    data, config = Dataset("rows", rows, DATA.test), settings(**ASKED)
    whole, resumed = fresh("bernoulli:5"), fresh("bernoulli:5", seed=99)
    train(whole, data, config, out=tmp_path / "whole")
    assert bool(kept(tmp_path / "whole")[1].all())
    stopped(6, fresh("bernoulli:5"), data, config, tmp_path / "run")
    train(resumed, data, config, out=tmp_path / "run", resume=True)
    assert_same(resumed, whole)


def test_several_processes_are_refused():
    with pytest.raises(ConfigError, match=r"in one process\. Got 2 processes\. Choose another"):
        choose_method(Bernoulli(5), settings(**ASKED), ranks=Ranks(count=2))


def test_a_real_code_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="keeps codes of bits and categories"):
        train(fresh("gaussian:3"), DATA, settings(**ASKED), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
