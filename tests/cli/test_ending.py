"""How commands and benchmark scripts end: what is said, and the exit status."""

from __future__ import annotations

import errno
import runpy
import sys
import warnings
from pathlib import Path

import click
import pytest

from discretevae.cli.ending import finish, status_of
from discretevae.errors import ConfigError, TrainingInterrupted

ROOT = Path(__file__).resolve().parents[2]


class OutOfMemoryError(RuntimeError):
    """As torch has it."""


ENDS = {
    "a mistake": (ConfigError("k is\n  0."), 2, "Error: k is 0."),
    "a wrong option": (click.BadParameter("no."), 2, "Error: Invalid value: no. See tool --help."),
    "an interrupted training": (
        TrainingInterrupted("all is saved."),
        130,
        "Stopped: all is saved.",
    ),
    "Ctrl-C": (KeyboardInterrupt(), 130, "Stopped: nothing more was written."),
    "memory": (
        OutOfMemoryError("CUDA out of memory."),
        2,
        "Error: out of memory (CUDA out of memory.). Ask for less at a time.",
    ),
    "a full disk": (
        OSError(errno.ENOSPC, "No space left on device", "a.npy"),
        2,
        "Error: a.npy: No space left on device. Check the path and the free space.",
    ),
}


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize("kind", ["function", "click"])
@pytest.mark.parametrize("end", ENDS)
def test_what_is_the_users_is_told_in_one_line(end, kind, capsys):
    error, status, said = ENDS[end]
    function = raising(error)
    if kind == "function":
        assert status_of(function, "tool") == status
    else:
        assert status_of(click.Command("tool", callback=function), "tool", []) == status
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", said)


def test_what_is_not_the_users_keeps_its_traceback():
    for error in (RuntimeError("shapes differ"), ZeroDivisionError()):
        with pytest.raises(type(error)):
            status_of(raising(error))


def test_a_command_that_is_done_ends_with_its_own_status():
    assert status_of(lambda: None) == 0
    assert status_of(lambda: 3) == 3
    assert status_of(click.Command("tool", callback=lambda: None), "tool", ["--help"]) == 0


def test_finish_exits(monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # it is replaced
    with pytest.raises(SystemExit) as ended:
        finish(raising(ConfigError("no.")))
    assert ended.value.code == 2


SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("scripts/*")]
    if 'if __name__ == "__main__":' in path.read_text()
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_end_as_commands_do(script):
    end = (ROOT / script).read_text().partition('if __name__ == "__main__":\n')[2]
    # what a benchmark starts for a peer in an environment of its own has no such thing
    assert end == "    finish(main)\n" or script == "benchmarks/peers/worker.py"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("c", "--method", "mine"), "c has no method 'mine'. Choices: ours."),
        (("c", "--device", "nowhere"), "nowhere"),
        (("z",), "'z' is not one of"),
    ],
)
def test_a_wrong_benchmark_is_one_line_and_status_2(arguments, said, tmp_path, monkeypatch, capsys):
    script = str(ROOT / "benchmarks/published/run.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    monkeypatch.setattr(sys, "path", [str(Path(script).parent), *sys.path])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # it is replaced
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not list(tmp_path.iterdir())
