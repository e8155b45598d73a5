"""The README's commands, run as they stand."""

import re
import shlex
import signal
from pathlib import Path

import pytest

from discretevae import cli

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.mark.draws
def test_readme_commands_run(tmp_path, monkeypatch, capsys, forked):
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^\$ discretevae (.+)$", README.read_text(), re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        if line.startswith("explore "):
            # it runs until Ctrl-C, and says where it can be reached
            process = forked(None, *shlex.split(line), "--no-browser", cwd=tmp_path)
            process.wait_until(lambda out=process.out: "at http://127.0.0.1:" in out.read_text())
            process.send(signal.SIGINT)
            assert process.end().status == 130
            continue
        status = cli.call(shlex.split(line))
        out, err = capsys.readouterr()
        assert status == 0, f"{line}: {err}"
        assert out, line
    assert (tmp_path / "runs/codes.npy").is_file()
    assert (tmp_path / "runs/decoded.png").read_bytes()[1:4] == b"PNG"
