"""A training that is killed again and again ends as if nobody had disturbed it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_kills_lose_nothing():
    """The short form of tests/kill.py, in a process that may fork: no thread was started in it."""
    found = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kill.py")), "--kills", "5", "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stdout + found.stderr
    counts = json.loads(found.stdout.splitlines()[-1])
    assert counts["kills"] == 5
    assert counts["while_writing"] >= 1
    assert counts["failed"] == counts["different"] == 0
