"""The library names parameters, the command line options: over all strings of the source."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

import discretevae
from discretevae.cli import COMMANDS, group
from discretevae.cli.ending import OPTIONS, in_options
from discretevae.config import ModelConfig, TrainConfig

ROOT = Path(discretevae.__file__).parent
LIBRARY = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT / "cli")

OF_PYTHON = {"n_features", "encoder", "decoder"}
"""Parameters that no command passes on, so that its messages need no option for them."""

REACHED = [path for path in LIBRARY if path.parent != ROOT / "scikit_learn"]
"""Files whose messages a command may show."""

PAGES = ("sharing/card.py", "experiments/comparison_report.py", "experiments/paper/markdown.py")
"""Write Markdown, in which backquotes are something else."""


def options_of(command: str) -> set[str]:
    """Return all spellings of a command's options."""
    found = group.get_command(None, command)
    return {text for param in found.params for text in (*param.opts, *param.secondary_opts)}


EVERY_OPTION = set().union(*map(options_of, COMMANDS))


def strings(path: Path) -> list[tuple[int, str]]:
    """Return the line and text of every string of a file; X stands for what is filled in."""
    found, parts = [], set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(value) for value in node.values}
            pieces = (v.value if isinstance(v, ast.Constant) else "X" for v in node.values)
            found.append((node.lineno, "".join(map(str, pieces))))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # the walk meets a formatted string before its parts
            found += [] if id(node) in parts else [(node.lineno, node.value)]
    return found


def docstrings(path: Path) -> set[str]:
    """Return the strings that stand alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def test_the_library_knows_no_options_and_no_commands():
    known = re.compile(rf"(?<![\w-])--[a-z]|discretevae ({'|'.join(COMMANDS)})\b")
    found = [
        f"{path}:{line}: {text}"
        for path in LIBRARY
        for line, text in strings(path)
        if known.search(text)
    ]
    assert found == []


def test_every_parameter_of_a_message_is_an_option():
    for path in REACHED:
        # the functions of checks.py put in names of fields, which are looked at below
        if path.name == "checks.py" or path.relative_to(ROOT).as_posix() in PAGES:
            continue
        described = docstrings(path)
        for line, text in strings(path):
            for each in re.findall(r"`([^`]*)`", text) if text not in described else ():
                if each.partition("=")[0] not in OF_PYTHON | {"X"}:
                    flag = in_options(f"`{each}`").split()[0]
                    assert flag in EVERY_OPTION, f"{path}:{line}: {text}"


@pytest.mark.parametrize("config", [ModelConfig, TrainConfig])
def test_every_field_of_a_configuration_is_an_option(config):
    for field in dataclasses.fields(config):
        if field.name not in OF_PYTHON:
            assert in_options(f"`{field.name}`") in EVERY_OPTION, field.name


def test_other_names_are_those_of_options():
    for name, option in OPTIONS.items():
        assert f"--{option.replace('_', '-')}" in EVERY_OPTION
        assert f"--{name.replace('_', '-')}" not in EVERY_OPTION


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("`lr` must be > 0. Got -1.", "--lr must be > 0. Got -1."),
        ("`n_seeds` and `image_shape`", "--seeds and --image-size"),
        ("Choose `estimator='disarm'`.", "Choose --estimator disarm."),
        ("Give `samples=4`.", "Give --samples 4."),
        ("Pass `image_size=(28, 32)`.", "Pass --image-size 28x32."),
        ("`graph=False` or `resume=True`", "--no-graph or --resume"),
        ("a ` b `not this` c", "a ` b `not this` c"),
    ],
)
def test_parameters_become_options(message, expected):
    assert in_options(message) == expected
