"""Everything that the documentation shows works: Python blocks run, commands parse, names exist."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import discretevae
from discretevae.cli import group
from discretevae.cli.own_estimators import EstimatorName

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if path.is_file() and "_build" not in path.parts
]
FENCE = re.compile(r"^(`{3,})(\S*)[^\n]*\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """The line number and the text of every block of a language."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match[2] == language:
            yield text.count("\n", 0, match.start(3)) + 1, match[3]


def commands(page: Path) -> Iterator[tuple[int, str]]:
    """Every line of a console block that begins with ``$ discretevae``."""
    for first, text in blocks(page, "console"):
        for number, line in enumerate(text.splitlines(), first):
            if line.startswith("$ discretevae"):
                yield number, line.removeprefix("$ ")


def parse(line: str) -> None:
    """Parses a command as the command line would, without running it."""
    _, *words = shlex.split(line, comments=True)
    words = words[: next((i for i, word in enumerate(words) if word in "|>;"), len(words))]
    context = click.Context(group, info_name="discretevae")
    if not words or words[0].startswith("-"):
        assert words in ([], ["--help"], ["-h"], ["--version"]), line
        return
    name, command, rest = group.resolve_command(context, words)
    assert command is not None
    command.make_context(name, rest, parent=context)


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(blocks(page, "python"))], ids=page_id
)
def test_python_blocks_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    # dataclasses look their module up by name
    monkeypatch.setitem(sys.modules, "page", _Module(namespace))
    for line, text in blocks(page, "python"):
        # what a page shows does not depend on how long it trains
        text = re.sub(r"\bepochs=\d+", "epochs=2", text)
        # blank lines ahead, so that a traceback names the line of the page
        code = compile("\n" * (line - 1) + text, str(page), "exec")
        exec(code, namespace)  # noqa: S102 - the project's own pages


class _Module:
    """Stands for the page among the modules."""

    def __init__(self, namespace: dict[str, object]) -> None:
        self.__dict__ = namespace


COMMANDS = [(page, number, line) for page in PAGES for number, line in commands(page)]


def test_commands_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    # the files that a page speaks of are not there
    monkeypatch.setattr(EstimatorName, "convert", lambda _, value, *__: value)
    wrong = []
    for page, number, line in COMMANDS:
        try:
            parse(line)
        except click.UsageError as error:
            wrong.append(f"{page_id(page)}:{number}: {line}: {error.format_message()}")
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        "discretevae trian",
        "discretevae train --epoches 3",
        "discretevae train --epochs many",
        "discretevae evaluate",
        "discretevae encode runs/digits",
    ],
)
def test_wrong_commands_do_not_parse(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line)


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 10


def test_python_blocks_are_found() -> None:
    assert sum(1 for page in PAGES for _ in blocks(page, "python")) > 10


def test_every_public_name_has_an_entry() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\.\. auto\w+:: discretevae\.\S*?(\w+)$", text, re.MULTILINE))
    public = set(discretevae.__all__) - {"__version__"}
    assert public <= listed, f"missing in docs/api.md: {sorted(public - listed)}"
    assert listed <= public | {"errors"}, f"no longer public: {sorted(listed - public)}"


def test_the_photographs_of_the_practitioner_are_told_apart_by_what_was_measured() -> None:
    text = (ROOT / "docs" / "start" / "practitioner.md").read_text(encoding="utf-8")
    measured = json.loads((ROOT / "docs" / "results" / "photographs.json").read_text())
    assert f"$ {measured['command']}\n" in text
    shares = measured["percent of the same kind"]
    assert re.findall(r"^\| .+ \| (\d+\.\d) \|$", text, re.MULTILINE) == list(
        map(str, shares.values())
    )
    assert shares["codes"] > shares["color histograms"] + 5
    assert (ROOT / "docs" / "start" / "photographs.png").stat().st_size < 300_000
