"""Two processes train as one would: real ones, which torchrun starts and gloo connects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ranks_worker
import torch
from ranks_worker import LATENTS

from discretevae.errors import ConfigError
from discretevae.estimators import make_estimator
from discretevae.objectives import elbo
from discretevae.run_folder.checkpoint import state_paths
from discretevae.system.ranks import Ranks, joined
from discretevae.system.tensor_files import read_tensors
from discretevae.training import state


@pytest.fixture(scope="module")
def two(ranks, tmp_path_factory):
    """What two ranks left."""
    folder = tmp_path_factory.mktemp("two")
    assert [said.status for said in ranks(2, ranks_worker.everything, folder)] == [0, 0]
    return folder


def test_every_message_arrives(two):
    for rank in range(2):
        found = eval((two / f"{rank}.txt").read_text())  # noqa: S307 - our own worker's
        mean, totals, gathered, shared, copied = found
        assert mean == [[0.5, 0.5], [0.5, 0.5]]
        assert totals == [1.0, 1.0]
        assert gathered == [[0], [1]]
        assert shared == [b"abc", None]
        assert copied == [0, 0]


@pytest.mark.parametrize("latent", LATENTS)
def test_exact_gradients_are_those_of_one_process(latent, two, tmp_path, monkeypatch):
    """Also of a last batch of one row, of which the second rank gets nothing."""
    monkeypatch.setattr(state, "Adam", state.Adam)  # the worker puts in its own
    ranks_worker.gradients(Ranks(), tmp_path / "one.npy", latent, "exact")
    alone, together = np.load(tmp_path / "one.npy"), np.load(two / f"{latent}.npy")
    assert alone.shape == together.shape
    assert len(alone) == 2 * 3
    assert np.abs(alone).max() > 1e-2
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_sampled_gradients_have_the_mean_of_one_process(two):
    """z-test against the exact gradient: false alarm 1e-5 over all coordinates."""
    mean, se = np.load(two / "moments.npy")
    model = ranks_worker.fresh("bernoulli:3")
    x = ranks_worker.grey(13).train.batch(slice(None))
    elbo(model, x, make_estimator("exact", kind="bernoulli"), generator=None).loss.backward()
    exact = torch.cat([p.grad.flatten() for p in model.parameters()]).double().numpy()
    limit = 5.7  # two-sided 1e-5 / 800 coordinates
    known = se > 1e-9
    z = (mean - exact)[known] / se[known]
    assert len(exact) < 800
    assert np.abs(z).max() < limit
    np.testing.assert_allclose(mean[~known], exact[~known], atol=1e-6)
    # the power: an error of a tenth of the largest coordinate would be seen
    assert 0.1 * np.abs(exact).max() > 2 * limit * se.max()
    # ranks that forget that their parts differ in size would be caught: 3 rows count like 4
    careless = exact + 0.1 * np.abs(exact).max()
    assert np.abs((mean - careless)[known] / se[known]).max() > limit


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / "model.safetensors")[0]


def test_resumed_ranks_equal_uninterrupted_ones(two, ranks, tmp_path):
    halved, fewer = tmp_path / "halved", tmp_path / "fewer"
    stopped = ranks(2, ranks_worker.alone, ranks_worker.run, halved, "bernoulli:4", "6")
    assert 7 in (said.status for said in stopped)  # the other one may lose its connection first
    assert state_paths(halved)
    shutil.copytree(halved, fewer)
    resumed = ranks(2, ranks_worker.alone, ranks_worker.run, halved, "bernoulli:4", "0")
    assert [said.status for said in resumed] == [0, 0]
    expected = weights(two / "whole")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(halved).items())
    # another number of ranks goes on too, on other draws
    ranks_worker.run(Ranks(), fewer, "bernoulli:4", "0")
    other = weights(fewer)
    assert any(not torch.equal(tensor, expected[name]) for name, tensor in other.items())
    assert (fewer / "metrics.jsonl").read_text().count("\n") == 3


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are looked up in /proc")
def test_no_thread_of_the_connection_outlives_it(two):
    """One that is still at work when Python ends its process makes it abort, now and then."""
    for rank in (0, 1):
        left = (two / f"threads-{rank}.txt").read_text()
        assert "python" in left
        assert "gloo" not in left


def test_the_command_line_in_two_processes(ranks, tmp_path):
    folder = tmp_path / "run"
    job = ("train", "--latent", "bernoulli:4", "--hidden", "8", "--out", folder, "--resume")
    how = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    found = subprocess.run(
        [sys.executable, *how, "-m", "discretevae", *map(str, job), "--epochs", "2", "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count('"run"') == 1  # one of them tells
    assert {path.name for path in folder.iterdir()} >= {"summary.json", "figures", "lock"}
    for _ in range(2):
        resumed = ranks(2, None, *job, "--epochs", "3")
        assert [said.status for said in resumed] == [0, 0]
        assert (folder / "metrics.jsonl").read_text().count("\n") == 3
    assert ["already" in said.err for said in resumed] == [True, False]
    refused = ranks(2, None, *job, "--lr", "0.5")
    assert [said.status for said in refused] == [2, 2]


def test_a_process_alone_needs_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as ranks:
        assert ranks == Ranks()
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE='two'.*torchrun"), joined("cpu"):
        pass
