"""What several test files share: the command line in this process, and small trained runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import hypothesis
import processes
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from processes import Said

from discretevae.cli import call

# small matrices are faster on one thread, and the same to the bit in other processes
torch.set_num_threads(1)

# a busy machine is no fault of the code
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

SMALL = ("--hidden", "16", "--lr", "0.01", "--seed", "3")


def pytest_terminal_summary(terminalreporter):
    """Says how long scripts/check took, above the closing line."""
    began = os.environ.get("CHECK_BEGAN")
    if began is not None:
        minutes, seconds = divmod(int(time.time()) - int(began), 60)
        terminalreporter.write_line(f"scripts/check: {minutes} min {seconds} s until here")


@pytest.fixture
def passes():
    """Count the passes forwards and backwards through a network."""

    def counted(network: torch.nn.Sequential) -> dict[str, int]:
        calls = {"forward": 0, "backward": 0}

        def count(*args: object) -> None:
            calls["forward"] += 1
            if isinstance(output := args[-1], torch.Tensor) and output.requires_grad:
                output.register_hook(lambda _: calls.update(backward=calls["backward"] + 1))

        network.register_forward_hook(count)
        return calls

    return counted


@pytest.fixture
def cli(capsys):
    """The command line, run in this process."""

    def run(*args: object) -> Said:
        capsys.readouterr()
        status = call([str(arg) for arg in args])
        return Said(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    """A function, or with None the command line, in a process of its own; see `processes`."""
    started: list[processes.Process] = []

    def start(function, *args, env=(), cwd=None) -> processes.Process:
        folder = tmp_path_factory.mktemp("process")
        started.append(processes.Process(folder, function, args, dict(env), cwd))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture(scope="session")
def ranks(forked):
    """So many processes that find each other as those of torchrun do; what each of them said."""

    def run(count, function, *args, **options) -> list[Said]:
        alike = processes.environments(count)
        started = [forked(function, *args, env=env, **options) for env in alike]
        return [process.end() for process in started]

    return run


@pytest.fixture
def python():
    """Another Python process, on one thread; standard error is no terminal there."""

    def run(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", *map(str, args)],
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
            **options,
        )

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a run on digits with this code, trained once for all tests. Do not change it.

    Two epochs.
    """
    made: dict[str, Path] = {}

    def folder(latent: str) -> Path:
        if latent not in made:
            out = tmp_path_factory.mktemp("runs") / latent.replace(":", "")
            args = ["train", "--latent", latent, "--epochs", "2", *SMALL, "--out", str(out)]
            assert call(args) == 0
            made[latent] = out
        return made[latent]

    return folder


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of such a run, to be changed or destroyed; ``run`` in the test's own folder."""

    def copy(latent: str, name: str = "run") -> Path:
        return Path(shutil.copytree(trained(latent), tmp_path / name))

    return copy


@pytest.fixture(scope="session", autouse=True)
def drawing():
    """Within it pictures are drawn. Else they are blank: they take longer than a small training."""
    draw, blank = Figure.savefig, Image.new("L", (1, 1))

    def save_blank(figure, file, **_):
        blank.save(file, format="png")

    @contextlib.contextmanager
    def switched():
        Figure.savefig = draw
        yield
        Figure.savefig = save_blank

    Figure.savefig = save_blank
    yield switched
    Figure.savefig = draw


@pytest.fixture(autouse=True)
def _draws(request, drawing):
    """A test that looks at pictures is marked."""
    if request.node.get_closest_marker("draws") is None:
        yield
        return
    with drawing():
        yield


@pytest.fixture(autouse=True)
def _no_downloads(monkeypatch, tmp_path_factory):
    """No test reads the user's data folder or a run folder that happens to lie about."""
    monkeypatch.delenv("DISCRETEVAE_DATA", raising=False)
