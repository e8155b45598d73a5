"""Kills a training again and again, at random moments and in the middle of a write.

    python tests/training/kill.py --kills 50

Each time the training is resumed. It must never be lost, and end with the weights that it has when
nobody disturbs it, to the bit. `test_kill.py` beside it runs a short form.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch

from discretevae.config import DataConfig, ModelConfig, RunConfig, SaveEvery, TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.experiments.run import run
from discretevae.run_folder.checkpoint import STATES

LEFT = ("model.safetensors", "schema.json", "config.json")
"""Files that must be those of an undisturbed run."""


def rows() -> Dataset:
    values = np.random.default_rng(0).random((230, 30)).astype(np.float32)
    both = Rows.from_array(values, name="mine")
    return Dataset("mine", both.subset(slice(0, 200)), both.subset(slice(200, 230)))


def config(seed: int) -> RunConfig:
    """A code of bits, a chain for each row, dynamic draws, averaged weights: all that a resume
    must get right."""
    return RunConfig(
        model=ModelConfig(n_features=30, latent="bernoulli:20", hidden=(300, 300)),
        training=TrainConfig(
            epochs=6, batch_size=10, objective="jsa", samples=2, average=0.99,
            lr=0.01, lr_schedule="cosine", validation=0.1, patience=6, seed=seed,
        ),
        data=DataConfig(source="mine", binarize="dynamic"),
    )  # fmt: skip


def train(folder: Path, seed: int) -> None:
    """The whole training, or what is left of it."""
    os.environ["MPLBACKEND"] = "agg"
    resume = (folder / "config.json").exists()
    run(
        rows(), config(seed), out=folder, resume=resume, samples=2,
        save_every=SaveEvery(seconds=None, steps=7),
    )  # fmt: skip


def begin(folder: Path, seed: int) -> int:
    """The same in a process of its own, whose number is returned."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # warnings have been seen once
        train(folder, seed)
        status = 0
    finally:
        os._exit(status)


def is_writing(folder: Path) -> bool:
    """Whether a state is half on the disk."""
    return any((folder / STATES).glob(".*.tmp"))


def wait_for(pid: int, seconds: float, folder: Path | None) -> int | None:
    """Waits so long, or until a state is being written to a folder; the status of a process that
    ended by itself."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (folder is not None and is_writing(folder)):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.0002)
    return None


def torment(kills: int, seed: int) -> dict[str, int]:
    """Kills trainings so many times; how many were lost or came out different."""
    draw = random.Random(seed)
    found = {"kills": 0, "while_writing": 0, "runs": 0, "failed": 0, "different": 0}
    with tempfile.TemporaryDirectory() as temporary:
        while found["kills"] < kills:
            number = found["runs"]
            whole, folder = (Path(temporary) / f"{what}{number}" for what in ("whole", "killed"))
            began = time.monotonic()
            train(whole, number)
            takes = time.monotonic() - began
            while True:
                pid = begin(folder, number)
                in_a_write = draw.random() < 0.5
                status = None
                if found["kills"] < kills:
                    # one that waits for a write first lets some time go by, or it would always
                    # meet the first
                    before = draw.uniform(0, 0.4 * takes)
                    status = wait_for(pid, before, None)
                    if status is None and in_a_write:
                        status = wait_for(pid, takes, folder)
                    if status is None:
                        found["while_writing"] += is_writing(folder)
                        os.kill(pid, signal.SIGKILL)
                        _, status = os.waitpid(pid, 0)
                        found["kills"] += 1
                else:
                    _, status = os.waitpid(pid, 0)
                if os.WIFSIGNALED(status):
                    continue
                found["failed"] += os.WEXITSTATUS(status) != 0
                break
            found["runs"] += 1
            same = all((whole / f).read_bytes() == (folder / f).read_bytes() for f in LEFT)
            found["different"] += not same
            shutil.rmtree(whole)
            shutil.rmtree(folder)
    return found


@click.command()
@click.option("--kills", default=50, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
def main(kills: int, seed: int) -> None:
    """Print what came of it as JSON; exit with status 1 if a run was lost or came out different."""
    torch.set_num_threads(1)
    found = torment(kills, seed)
    print(json.dumps(found))
    raise SystemExit(1 if found["failed"] or found["different"] else 0)


if __name__ == "__main__":
    main()
