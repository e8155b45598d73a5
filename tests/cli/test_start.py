"""How soon a training begins: nothing heavy beside torch is imported before the first step."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import sys
from discretevae.cli import call
from discretevae.training.adam import Adam

class Begun(Exception):
    pass

def step(*_):
    raise Begun

Adam.step = step
try:
    call(sys.argv[1:])
except Begun:
    print("begun", *(name for name in {heavy} if name in sys.modules))
"""
HEAVY = (
    "sklearn",
    "scipy",
    "matplotlib",
    "pandas",
    "pyarrow",
    "sympy",
    "torch._dynamo",
    "torch.onnx",
)


@pytest.mark.parametrize("data", ["digits", "own.csv", "own.npy"])
def test_nothing_heavy_is_imported_before_the_first_step(data, tmp_path):
    values = np.random.default_rng(0).random((60, 5))
    np.savetxt(tmp_path / "own.csv", values, delimiter=",")
    np.save(tmp_path / "own.npy", values)
    script = SCRIPT.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script, "train", "--data", data, "--epochs", "1"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "begun"), done.stderr
