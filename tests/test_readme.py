"""The README's commands, run as they stand."""

import re
import shlex
from pathlib import Path

from discretevae import cli

README = Path(__file__).resolve().parent.parent / "README.md"


def test_readme_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^\$ discretevae (.+)$", README.read_text(), re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        status = cli._run(shlex.split(line))
        out, err = capsys.readouterr()
        assert status == 0, f"{line}: {err}"
        assert out, line
    assert (tmp_path / "runs/codes.npy").is_file()
    assert (tmp_path / "runs/decoded.png").read_bytes()[1:4] == b"PNG"
