"""The README's commands, run as they stand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from discretevae import cli

README = Path(__file__).resolve().parent.parent / "README.md"


def starts_to_serve(line):
    """Whether a command that runs until Ctrl-C says where it can be reached."""
    command = [sys.executable, "-m", "discretevae", *shlex.split(line), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        process.terminate()
    return "at http://127.0.0.1:" in said


def test_readme_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^\$ discretevae (.+)$", README.read_text(), re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        if line.startswith("explore "):
            assert starts_to_serve(line), line
            continue
        status = cli.call(shlex.split(line))
        out, err = capsys.readouterr()
        assert status == 0, f"{line}: {err}"
        assert out, line
    assert (tmp_path / "runs/codes.npy").is_file()
    assert (tmp_path / "runs/decoded.png").read_bytes()[1:4] == b"PNG"
