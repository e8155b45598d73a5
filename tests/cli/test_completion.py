"""Words that a shell completes, asked for as bash does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from discretevae.cli.arguments import DATA_NAMES
from discretevae.data import BUILTIN_NAMES

VARIABLE = "_DISCRETEVAE_COMPLETE"


def offered(*words):
    """What bash would be given for the last of these words."""
    done = subprocess.run(
        [sys.executable, "-m", "discretevae"],
        env=os.environ
        | {
            VARIABLE: "bash_complete",
            "COMP_WORDS": " ".join(("discretevae", *words)),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["comp"], ["plain,compress", "plain,compare"]),
        (["train", "--lat"], ["plain,--latent"]),
        (["train", "--data", "binarized"], ["plain,binarized-mnist"]),
        (["train", "--binarize", "t"], ["plain,threshold"]),
        (["encode", "runs/a", "my"], ["file,my"]),
    ],
    ids=" ".join,
)
def test_what_is_offered(words, expected):
    assert sorted(offered(*words)) == sorted(expected)


def test_the_names_are_those_of_the_built_in_sets():
    assert set(DATA_NAMES) == set(BUILTIN_NAMES)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_by_the_variable(shell):
    done = subprocess.run(
        [sys.executable, "-m", "discretevae"],
        env=os.environ | {VARIABLE: f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert VARIABLE in done.stdout
    program = shutil.which(shell)
    if program is not None:  # the shell itself finds no fault with it
        subprocess.run([program, "-n"], input=done.stdout, text=True, check=True)
