"""A process that reads damaged files, and one that watches it: what `test_fuzz.py` stands on.

The reader is a process of its own, because what is to be found out may be a crash, a hang or a
memory that fills up. It may take 2 GB of address space over what it has when it starts, and each
file must be done with within a time limit, first by its own alarm and then by that of the watcher.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FINE = ("read", "refused")
"""A file that is still good, or one that is refused with an error of ours."""


class Outcome(NamedTuple):
    """What became of a file.

    Args:
        verdict: one of `FINE`, or ``raised`` (an exception that is not ours), ``memory``,
            ``hang``, ``crash``, ``nonsense`` (accepted, but it should not have been), ``message``
            (an error that says nothing or far too much).
        what: the exception and its message.
        where: the deepest line of ours that it came from.
    """

    verdict: str
    what: str = ""
    where: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether all is as it should be."""
        return self.verdict in FINE

    @property
    def bug(self) -> tuple[str, str, str]:
        """The same for all files that fail alike."""
        return self.verdict, self.what.partition(":")[0], self.where


class Judge:
    """Hands files to the reader and says what became of them; starts a new reader if need be.

    Args:
        corpus: the folder that `build_corpus` filled.
        seconds: the time limit of a file; the process itself is ended after twice as long.
        bare: for readers that need neither torch nor the package, so that it starts at once.
    """

    def __init__(self, corpus: Path, *, seconds: float = 20.0, bare: bool = False) -> None:
        self.corpus, self.seconds, self.bare = corpus, seconds, bare
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __call__(self, kind: str, content: bytes) -> Outcome:
        """Reads ``content`` as a file of this kind."""
        process = self._started()
        given = self.corpus / "given"
        given.write_bytes(content)
        assert process.stdin is not None
        process.stdin.write(f"{kind}\n")
        process.stdin.flush()
        line = self._line(process, 2 * self.seconds)
        if line is None:
            self.stop()
            return Outcome("hang", "no answer")
        if not line:
            status = process.wait()
            self.stop()
            return Outcome("crash", f"status {status}")
        outcome = Outcome(**json.loads(line))
        if outcome.verdict in ("hang", "memory"):
            self.stop()  # what it still holds must not count for the next file
        return outcome

    def stop(self) -> None:
        """Ends the reader."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _started(self) -> subprocess.Popen[str]:
        if self.process is None:
            path = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "fuzzing.reader", self.corpus, str(self.seconds),
                    *["bare"][: self.bare],
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ
                | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, path))},
            )  # fmt: skip
            if not self._line(self.process, 120):
                raise RuntimeError("the reading process did not start")
        return self.process

    def _line(self, process: subprocess.Popen[str], seconds: float) -> str | None:
        """The next line, an empty one at the end, None when the time is up."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            return process.stdout.readline() if selector.select(seconds) else None
