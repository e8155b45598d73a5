"""The scripts in examples/ run to their end on what comes with the package, and stay short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

SAID = {
    "images": ["nats per row", "of 20 bits are in use", "nearest code has the same label: "],
    "bag_of_words": ["ssl is near ", "least likely: ", " adds "],
    "own_estimator": ["MedianBaseline: unbiased", "Cheating: caught", "RLOO: ELBO "],
}


def test_every_script_is_known_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_a_script_runs_and_says_what_it_found(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for words in SAID[name]:
        assert words in done.stdout
    left = [path.name for path in tmp_path.iterdir()]
    assert left == (["images.png"] if name == "images" else [])


@pytest.mark.parametrize("name", SAID)
def test_a_script_has_at_most_a_hundred_lines(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 100
