"""Run folders: there and back, and never half."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from discretevae.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from discretevae.errors import RunError
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder import checkpoint
from discretevae.run_folder.history import EpochMetrics, read_metrics
from discretevae.run_folder.saved_run import (
    is_run,
    load_config,
    load_run,
    save_config,
    save_weights,
)
from discretevae.system import files
from discretevae.system.tensor_files import read_tensors, write_tensors

STATE = "checkpoint/000000000001.safetensors"
LATENTS = ("bernoulli:5", "categorical:4", "categorical:3x4", "gaussian:3")


def config_of(latent: str = "bernoulli:5", prior: str = "factorized") -> RunConfig:
    return RunConfig(
        model=ModelConfig(
            n_features=6, latent=latent, hidden=(4, 3), prior=prior, image_shape=(2, 3)
        ),
        training=TrainConfig(epochs=7, samples=2, estimator="importance:tau=0.3", lr=0.1 + 0.2),
        data=DataConfig(source="/ä/b c.npy", image_size=(2, 3), divisor=255.0),
    )


def fresh(config: RunConfig, seed: int = 0) -> DiscreteVAE:
    return DiscreteVAE(config.model, generator=torch.Generator().manual_seed(seed))


def made(folder: Path, config: RunConfig) -> DiscreteVAE:
    model = fresh(config)
    save_config(folder, config)
    save_weights(folder, model)
    return model


def save_state(folder, modules, optimizer, generator, position):
    generators = {"samples": [generator.get_state()]}
    checkpoint.save_state(
        folder, 1, checkpoint.pack_state(modules, optimizer, generators, position)
    )


def load_state(folder, modules, optimizer, generator):
    content = checkpoint.read_newest(folder)
    assert content is not None
    return checkpoint.install_state(
        content, folder / "checkpoint", modules, optimizer, {"samples": generator}
    )


def stepped(model: DiscreteVAE) -> torch.optim.Optimizer:
    """An optimizer that has moments."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    model.likelihood.mean(model.output(model.family.mode(model.eta(torch.ones(2, 6))))).sum()
    for parameter in model.parameters():
        parameter.grad = torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("prior", ["fixed", "factorized"])
@pytest.mark.parametrize("latent", LATENTS)
def test_a_run_goes_there_and_back(latent, prior, tmp_path):
    config = config_of(latent, prior)
    model = made(tmp_path, config)
    random = torch.get_rng_state()
    run = load_run(str(tmp_path))
    assert torch.equal(torch.get_rng_state(), random)
    assert run.config == config
    assert run.folder == tmp_path
    assert not run.model.training
    assert is_run(tmp_path)
    own, loaded = model.state_dict(), run.model.state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(own[name], loaded[name]) for name in own)
    trainable = [name for name, p in run.model.named_parameters() if p.requires_grad]
    assert trainable == [name for name, _ in model.named_parameters()]
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(run.model.reconstruct(x), model.reconstruct(x))


@pytest.mark.parametrize("latent", LATENTS)
def test_the_state_goes_there_and_back(latent, tmp_path):
    config = config_of(latent)
    model = fresh(config)
    optimizer = stepped(model)
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    position = {"epoch": 3, "step": 1, "kl": 0.1 + 0.2, "has_ess": True}
    save_state(tmp_path, {"model": model}, optimizer, generator, position)
    other = fresh(config, seed=8)
    fresh_optimizer = torch.optim.Adam(other.parameters(), lr=0.1, fused=True)
    restored = torch.Generator()
    assert load_state(tmp_path, {"model": other}, fresh_optimizer, restored) == position
    assert torch.equal(torch.rand(3, generator=restored), torch.rand(3, generator=generator))
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        for key, value in optimizer.state[a].items():
            assert torch.equal(value, fresh_optimizer.state[b][key])


def test_a_state_whose_moments_do_not_fit_is_refused(tmp_path):
    config = config_of()
    model = fresh(config)
    optimizer, generator = stepped(model), torch.Generator()
    save_state(tmp_path, {"model": model}, optimizer, generator, {})
    path = tmp_path / STATE
    tensors, head = read_tensors(path)
    tensors["optimizer.model.encoder.0.weight.exp_avg"] = torch.zeros(2)
    write_tensors(path, tensors, head)
    with pytest.raises(RunError, match=r"encoder\.0\.weight\.exp_avg is \[2\].* is \[\d+, \d+\]"):
        load_state(tmp_path, {"model": model}, optimizer, generator)


@pytest.mark.parametrize("change", ["gone", "short", "float"])
def test_a_state_without_a_random_state_is_refused(change, tmp_path):
    config = config_of()
    model = fresh(config)
    optimizer, generator = stepped(model), torch.Generator()
    save_state(tmp_path, {"model": model}, optimizer, generator, {})
    path = tmp_path / STATE
    tensors, head = read_tensors(path)
    state = tensors.pop("generator.samples.0")
    if change != "gone":
        tensors["generator.samples.0"] = state[:9] if change == "short" else state.float()
    write_tensors(path, tensors, head)
    with pytest.raises(RunError, match="random state"):
        load_state(tmp_path, {"model": model}, optimizer, generator)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_files(step, tmp_path, monkeypatch):
    config = config_of()
    model = made(tmp_path, config)
    optimizer, generator = stepped(model), torch.Generator()
    save_state(tmp_path, {"model": model}, optimizer, generator, {})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((files.os, "fsync") if step == "fsync" else (Path, "replace")), fails)
    other = fresh(config, seed=1)
    for save in (
        lambda: save_config(tmp_path, config_of("gaussian:3")),
        lambda: save_weights(tmp_path, other),
        lambda: save_state(tmp_path, {"model": other}, optimizer, generator, {"epoch": 4}),
    ):
        with pytest.raises(OSError, match="No space left"):
            save()
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


# --- damage ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    config = config_of("categorical:3")
    model = made(folder, config)
    save_state(folder, {"model": model}, stepped(model), torch.Generator(), {"epoch": 2})
    metrics = EpochMetrics(1, 2.0, 3.0, 4.0, 5.0, None, 6.0, None, 1.0, 1, 2, 0.5, 7.0, 8.0, 9.0)
    (folder / "metrics.jsonl").write_text(json.dumps(vars(metrics)) + "\n")
    return folder


NAMES = ("config.json", "model.safetensors", STATE, "metrics.jsonl")


@given(
    name=st.sampled_from(NAMES),
    where=st.floats(0, 1, exclude_max=True),
    in_head=st.booleans(),
    damage=st.one_of(st.just("cut"), st.integers(0, 7), st.binary(min_size=1, max_size=3)),
)
@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_damage_is_met_by_a_run_error_or_does_no_harm(small_run, name, where, in_head, damage):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(small_run, Path(temporary) / "run"))
        path = folder / name
        content = bytearray(path.read_bytes())
        # the head is where damage matters most
        at = int(where * (min(500, len(content)) if in_head else len(content)))
        if damage == "cut":
            del content[at:]
        elif isinstance(damage, int):
            content[at] ^= 1 << damage
        else:
            content[at : at + len(damage)] = damage
        path.write_bytes(content)
        expected = fresh(load_config(small_run))
        try:
            if name == STATE:
                model = expected
                optimizer = torch.optim.Adam(model.parameters(), fused=True)
                position = load_state(folder, {"model": model}, optimizer, torch.Generator())
                assert isinstance(position, dict)
                for parameter in model.parameters():
                    parameter.grad = torch.zeros_like(parameter)
                optimizer.step()  # moments that were read can be used
            elif "metrics" in name:
                assert all(isinstance(m, EpochMetrics) for m in read_metrics(folder))
            else:
                run = load_run(folder)
                if name == "model.safetensors":
                    for own, loaded in zip(
                        expected.state_dict().values(), run.model.state_dict().values(), strict=True
                    ):
                        assert own.shape == loaded.shape
                        assert own.dtype == loaded.dtype
                        assert loaded.isfinite().all()
        except RunError as error:
            assert str(folder) in str(error)  # noqa: PT017 - not every damage is met
            assert "\n" not in str(error)  # noqa: PT017
