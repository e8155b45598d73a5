"""What a run folder withstands: damage, two writers, its own removal; and stopping early."""

from __future__ import annotations

import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch

from discretevae.config import (
    DataConfig,
    ModelConfig,
    RunConfig,
    SaveEvery,
    TrainConfig,
)
from discretevae.data import Dataset, Rows
from discretevae.errors import CheckpointWarning, ConfigError, RunError, TrainingError
from discretevae.evaluation.bounds import evaluate
from discretevae.experiments.run import run
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import elbo
from discretevae.run_folder.checkpoint import read_newest, state_paths
from discretevae.run_folder.history import EpochMetrics, read_metrics
from discretevae.run_folder.saved_run import CONFIG
from discretevae.system.locks import is_locked, writing
from discretevae.system.tensor_files import read_tensors, write_tensors
from discretevae.training import state, train

ALWAYS = SaveEvery(seconds=None, steps=1)


def grey(n: int = 40, seed: int = 0) -> Dataset:
    values = np.random.default_rng(seed).random((n, 9)).astype(np.float32)
    rows = Rows.from_array(values, name="grey")
    return Dataset("grey", rows.subset(slice(0, n - 8)), rows.subset(slice(n - 8, n)))


DATA = grey()


def fresh(latent: str = "bernoulli:4") -> DiscreteVAE:
    config = ModelConfig(n_features=9, latent=latent, hidden=(6,), prior="factorized")
    return DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


def settings(**changes: object) -> TrainConfig:
    return TrainConfig(**({"epochs": 3, "batch_size": 8, "lr": 0.01} | changes))


def same(one: DiscreteVAE, other: DiscreteVAE) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# --- files that know when they were damaged ----------------------------------------------------


@pytest.mark.parametrize("at", [0.3, 0.6, 0.99])
def test_a_changed_byte_is_noticed(at, tmp_path):
    """Where safetensors itself sees nothing wrong: in the middle of the numbers."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.rand(1000)}, {"epoch": 3})
    tensors, head = read_tensors(path)
    assert head == {"epoch": 3}
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="checksum does not fit"):
        read_tensors(path)
    assert tensors["a"].shape == (1000,)


def test_a_changed_head_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.zeros(2)}, {"epoch": 3})
    path.write_bytes(path.read_bytes().replace(b'epoch\\": 3', b'epoch\\": 4'))
    with pytest.raises(RunError, match="checksum does not fit"):
        read_tensors(path)


def test_the_same_tensors_make_the_same_file(tmp_path):
    for name in ("a", "b"):
        write_tensors(tmp_path / name, {"x": torch.ones(3), "y": torch.ones(())}, {"k": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_of_another_program_is_read(tmp_path):
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "a")
    tensors, head = read_tensors(tmp_path / "a")
    assert tensors["a"].tolist() == [1, 1]
    assert head == {}


# --- two states are kept -----------------------------------------------------------------------


def test_two_states_are_kept_and_the_older_replaces_a_damaged_one(tmp_path):
    whole = fresh()
    train(whole, DATA, settings(epochs=4))
    train(fresh(), DATA, settings(epochs=3), out=tmp_path, save_every=ALWAYS)
    newest, before = state_paths(tmp_path)
    assert (newest.stem, before.stem) == ("000000000012", "000000000011")
    newest.write_bytes(newest.read_bytes()[:-9])
    resumed = fresh()
    with pytest.warns(CheckpointWarning, match=r"000000000012.*corrupt.*000000000011"):
        train(resumed, DATA, settings(epochs=4), out=tmp_path, resume=True)
    assert same(resumed, whole)
    assert len(read_metrics(tmp_path)) == 4


def test_when_both_are_damaged_nothing_is_made_up(tmp_path):
    train(fresh(), DATA, settings(), out=tmp_path, save_every=ALWAYS)
    for path in state_paths(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(RunError, match=r"000000000012\.safetensors: corrupt or truncated"):
        train(fresh(), DATA, settings(epochs=4), out=tmp_path, resume=True)


def test_no_state_is_the_beginning(tmp_path):
    assert read_newest(tmp_path) is None


@pytest.mark.parametrize(
    ("every", "expected"),
    [("1steps", [1, 2, 3, 4, 5, 6, 7, 8]), ("3 steps", [3, 6, 8]), ("1h", [8])],
)
def test_how_often_is_saved(every, expected, tmp_path, monkeypatch):
    from discretevae.training import checkpointer

    saved, original = [], checkpointer.save_state
    monkeypatch.setattr(
        checkpointer,
        "save_state",
        lambda folder, step, *args: (saved.append(step), original(folder, step, *args)),
    )
    train(fresh(), DATA, settings(epochs=2), out=tmp_path, save_every=SaveEvery.of(every))
    assert sorted(set(saved)) == expected


def test_what_a_crash_left_half_written_is_removed(tmp_path):
    train(fresh(), DATA, settings(epochs=1), out=tmp_path)
    leftovers = [tmp_path / ".model.safetensors.abc.tmp", tmp_path / "checkpoint" / ".x.tmp"]
    for path in leftovers:
        path.write_bytes(b"half")
    train(fresh(), DATA, settings(epochs=2), out=tmp_path, resume=True)
    assert not any(path.exists() for path in leftovers)


# --- one folder, one writer --------------------------------------------------------------------


def hold(folder):
    with writing(folder):
        (folder / "lock").with_suffix(".held").touch()
        time.sleep(100)


@pytest.fixture
def other_writer(forked, tmp_path):
    process = forked(hold, tmp_path)
    process.wait_until(lambda: (tmp_path / "lock.held").exists())
    (tmp_path / "lock.held").unlink()
    yield process
    process.kill()


def test_a_second_writer_is_refused_until_the_first_has_crashed(tmp_path, other_writer):
    assert is_locked(tmp_path)
    with pytest.raises(RunError, match=rf"process {other_writer.pid} on .* is writing to it"):
        train(fresh(), DATA, settings(), out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"lock"}
    other_writer.kill()
    assert not is_locked(tmp_path)
    train(fresh(), DATA, settings(), out=tmp_path)


def test_a_process_may_lock_what_it_has_locked(tmp_path):
    with writing(tmp_path), writing(tmp_path):
        assert not is_locked(tmp_path)  # by another, that is
    with writing(tmp_path):
        pass


# --- folders that vanish or cannot be written to -----------------------------------------------


def test_a_folder_that_was_removed_is_made_again(tmp_path):
    folder = tmp_path / "run"
    config = RunConfig(
        model=ModelConfig(n_features=9, latent="bernoulli:4", hidden=(6,)),
        training=settings(),
        data=DataConfig(source="grey"),
    )

    def remove(told) -> None:
        if (told.epoch, told.step, told.metrics) == (2, 2, None):
            shutil.rmtree(folder)

    with pytest.warns(CheckpointWarning, match="was removed or renamed"):
        run(DATA, config, out=folder, samples=2, save_every=ALWAYS, progress=remove)
    assert {path.name for path in folder.iterdir()} >= {CONFIG, "summary.json", "checkpoint"}
    run(DATA, config, out=folder, samples=2, resume=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(TrainingError, match="cannot be written to"):
        train(fresh(), DATA, settings(), out=tmp_path / "run")


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(TrainingError, match=r"run: cannot be written to"):
        train(fresh(), DATA, settings(), out=tmp_path / "run")


# --- stopping early ----------------------------------------------------------------------------


def test_the_best_epoch_is_kept_and_training_stops(tmp_path):
    """At this step size the validation ELBO soon falls; every epoch is compared with a replay."""
    config = settings(epochs=60, lr=0.05, validation=0.25, patience=4)
    model, weights = fresh(), []
    history = train(
        model, DATA, config, out=tmp_path,
        progress=lambda told: told.metrics and weights.append(
            {name: value.clone() for name, value in model.state_dict().items()}
        ),
    )  # fmt: skip
    values = [m.validation_elbo for m in history]
    best = int(np.argmax(values))
    assert len(history) == best + 1 + 4 < 60
    assert all(torch.equal(v, weights[best][name]) for name, v in model.state_dict().items())
    kept, _ = read_tensors(tmp_path / "model.safetensors")
    assert torch.equal(kept["decoder.0.weight"], weights[best]["decoder.0.weight"])
    # going on changes nothing: it has stalled
    again = fresh()
    assert len(train(again, DATA, config, out=tmp_path, resume=True)) == len(history)
    assert same(again, model)


def test_the_validation_rows_are_held_out(monkeypatch):
    learned = []
    original = Rows.epoch
    monkeypatch.setattr(
        Rows, "epoch", lambda self, *args: (learned.append(self), original(self, *args))[1]
    )
    history = train(fresh(), DATA, settings(epochs=1, validation=0.25))
    (rows,) = learned
    everything = {tuple(row.tolist()) for row in DATA.train.values}
    used = {tuple(row.tolist()) for row in rows.values}
    assert len(used) == 24
    assert used < everything
    assert isinstance(history[0], EpochMetrics)
    assert history[0].validation_elbo is not None
    held = torch.tensor(sorted(everything - used))
    model = fresh()
    train(model, DATA, settings(epochs=1, validation=0.25))
    expected = evaluate(model, Rows(held), samples=1).elbo.value
    assert history[0].validation_elbo == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("validation", [0.001, 0.999])
def test_a_part_without_rows_is_refused(validation):
    with pytest.raises(ConfigError, match="of 32 rows leaves"):
        train(fresh(), DATA, settings(validation=validation))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"patience": 3}, "`patience` needs rows to judge by"),
        ({"patience": 0, "validation": 0.1}, "`patience` must be an int >= 1"),
        ({"validation": 1.0}, "`validation` must be >= 0 and < 1"),
        ({"clip": 0.0}, "`clip` must be > 0"),
        ({"kl_warmup": -1.0}, "`kl_warmup` must be > 0"),
        ({"free_bits": float("nan")}, "`free_bits` must be > 0"),
        ({"free_bits": 0.1, "objective": "marginal"}, "change the ELBO"),
    ],
    ids=str,
)
def test_options_out_of_range(values, says):
    with pytest.raises(ConfigError, match=says):
        TrainConfig(**values)


# --- the weight of the KL, clipping ------------------------------------------------------------


@pytest.mark.parametrize("latent", ["bernoulli:4", "categorical:2x3", "gaussian:3"])
def test_the_kl_of_each_variable_adds_up(latent):
    model = fresh(latent)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            )
    eta = model.eta(DATA.train.batch(slice(None)))
    parts = model.prior.kl_per_variable(eta)
    assert parts.shape == (32, model.family.n_variables)
    assert (parts > 0).all()
    torch.testing.assert_close(parts.sum(1), model.prior.kl(eta))


@pytest.mark.parametrize("latent", ["categorical:3", "bernoulli:3"])
def test_a_shaped_kl_is_that_of_its_definition(latent):
    from discretevae.estimators import Exact

    model, x = fresh(latent), DATA.train.batch(slice(None))
    parts = model.prior.kl_per_variable(model.eta(x))
    free = parts.mean(0).median().item() * 1.001  # some variables are below, some above
    terms = elbo(model, x, Exact(), generator=None, kl_weight=0.3, free_bits=free)
    plain = elbo(model, x, Exact(), generator=None)
    penalty = 0.3 * parts.mean(0).clamp_min(free).sum()
    expected = plain.log_likelihood.mean() - penalty
    torch.testing.assert_close(-terms.loss, expected)
    torch.testing.assert_close(terms.kl, plain.kl)
    found, wanted = (
        torch.autograd.grad(loss, [model.encoder[0].weight, model.prior.raw], retain_graph=True)
        for loss in (terms.loss, penalty - plain.surrogate.mean() - plain.kl.mean())
    )
    correction = torch.autograd.grad(
        model.prior.kl(model.eta(x)).mean(), [model.encoder[0].weight, model.prior.raw]
    )
    for mine, theirs, kl in zip(found, wanted, correction, strict=True):
        torch.testing.assert_close(mine, theirs - kl)


def test_the_weight_rises_over_the_epochs(monkeypatch):
    from discretevae.training import step_settings

    weights = []

    def watched(*args, kl_weight, free_bits, **kwargs):
        weights.append((kl_weight, free_bits))
        return elbo(*args, kl_weight=kl_weight, free_bits=free_bits, **kwargs)

    monkeypatch.setattr(step_settings, "elbo", watched)
    train(fresh(), DATA, settings(kl_warmup=2.0, free_bits=0.05))
    assert [w for w, _ in weights] == [min(1.0, (step + 1) / 8) for step in range(12)]
    assert {free for _, free in weights} == {0.05}


def test_gradients_are_clipped(monkeypatch):
    norms = []

    class Watched(state.Adam):
        def step(self):
            grads = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(torch.cat([g.flatten() for g in grads]).norm().item())
            return super().step()

    monkeypatch.setattr(state, "Adam", Watched)
    train(fresh(), DATA, settings())
    free, norms[:] = list(norms), []
    assert max(free) > 0.5
    train(fresh(), DATA, settings(clip=0.5))
    assert max(norms) == pytest.approx(0.5, rel=1e-4)


# --- stopping on request -----------------------------------------------------------------------


def test_sigterm_saves_and_says_how_to_go_on(forked, tmp_path):
    folder = tmp_path / "run"
    process = forked(
        None, "train", "--hidden", "16", "--latent", "bernoulli:4", "--epochs", "100000",
        "--save-every", "0.2s", "--out", folder,
    )  # fmt: skip
    process.wait_until(lambda: state_paths(folder))
    process.send(signal.SIGTERM)
    said = process.end()
    assert said.status == 130
    assert f"discretevae train --resume {folder}" in said.err
    assert read_newest(folder) is not None
