"""The process that reads: ``python -m fuzzing.reader CORPUS SECONDS [bare]``."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import discretevae
from discretevae.errors import DiscreteVAEError
from fuzzing.judge import Outcome
from fuzzing.readers import CARELESS, MEMORY, READERS, NonsenseError

LONGEST_MESSAGE = 1500


class _TimeUp(BaseException):
    """No handler of the package may take it for an error of its own."""


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _TimeUp

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def judged(read: Callable[[Path, Path], None], given: Path, seconds: float) -> Outcome:
    """What becomes of one file."""
    scratch = given.parent / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        with _alarm(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(given, scratch)
    except DiscreteVAEError as error:
        fine = 0 < len(str(error)) <= LONGEST_MESSAGE
        return _outcome("refused" if fine else "message", error, given.parent)
    except _TimeUp as error:
        return _outcome("hang", error, given.parent)
    except MemoryError as error:
        return _outcome("memory", error, given.parent)
    except NonsenseError as error:
        return Outcome("nonsense", str(error)[:300])
    except BaseException as error:
        return _outcome("raised", error, given.parent)
    if _peak() > _peak_allowed:
        return Outcome("memory", f"peak: {_peak() >> 20} MB")
    return Outcome("read")


def _outcome(verdict: str, error: BaseException, corpus: Path) -> Outcome:
    text = str(error).replace(f"{corpus / 'scratch'}/", "")
    inside = f"{Path(discretevae.__file__).parent}{os.sep}"
    ours = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(inside)]
    where = f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else ""
    return Outcome(verdict, f"{type(error).__name__}: {text}"[:300], where)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


_peak_allowed = 0


def main(corpus: Path, seconds: float, *, bare: bool) -> None:
    """Answers one line of JSON for every line with a kind."""
    global _peak_allowed
    readers = READERS | {name: read for name, (read, _) in CARELESS.items()}
    if not bare:  # before memory is limited
        import torch

        import discretevae.codes.packing
        import discretevae.data
        import discretevae.training  # noqa: F401 - what the readers need

        torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    _limit(resource.RLIMIT_CORE, 0)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _limit(resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + MEMORY)
    _peak_allowed = _peak() + MEMORY
    answers.write("ready\n")
    for line in sys.stdin:
        outcome = judged(readers[line.strip()], corpus / "given", seconds)
        answers.write(json.dumps(outcome._asdict()) + "\n")


def _limit(what: int, size: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (size, hard))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), bare=sys.argv[3:] == ["bare"])
