"""The page on a run and its data shows what the commands really print."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_docs import FENCE, ROOT

from discretevae.cli.ending import in_options
from discretevae.errors import DataWarning

PAGE = ROOT / "docs" / "guide" / "your-data.md"


def steps(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """What the page does, in its order: Python, or a command with the lines shown below it."""
    for match in FENCE.finditer(text):
        if match[2] == "python":
            yield "python", match[3], []
        elif match[2] == "console":
            first, *others = re.split(r"^\$ ", match[3], flags=re.MULTILINE)
            assert first == ""
            for command in others:
                line, *shown = command.rstrip("\n").split("\n")
                yield "command", line, shown


def pattern(shown: str) -> re.Pattern[str]:
    """A line that is shown, in which … stands for whatever a machine may make of it."""
    return re.compile(".*".join(map(re.escape, shown.rstrip().split("…"))))


def test_commands_print_what_the_page_shows(cli, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("constriction")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    n_refused = 0
    for kind, text, shown in steps(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            exec(re.sub(r"\bepochs=\d+", "epochs=2", text), names)  # noqa: S102 - our own page
            continue
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", DataWarning)
            said = cli(*shlex.split(text)[1:])
        news = [f"Warning: {in_options(str(warning.message))}" for warning in warned]
        printed = iter([*news, *said.out.splitlines(), *said.err.splitlines()])
        for line in shown:
            assert any(pattern(line).fullmatch(other) for other in printed), (text, line, said)
        refused = any(line.startswith("Error: ") for line in shown)
        n_refused += refused
        assert (said.status, said.err.count("Error: ")) == ((2, 1) if refused else (0, 0)), text
        # what is not shown is no news
        assert len(news) == sum(line.startswith("Warning: ") for line in shown), (text, news)
    assert n_refused >= 12
