"""Damaged files of every kind: an error of ours or success, within time and memory, never a crash.

`benchmarks/fuzz.py` does the same for as many files as one likes. Here Hypothesis makes the draws,
the same ones every time, and looks for a smaller file when one fails.
"""

from __future__ import annotations

import io
import sys
import zipfile
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing.blind import BLIND
from fuzzing.corpus import build_corpus, sparse_npz
from fuzzing.judge import Judge
from fuzzing.mutations import AWARE, mutated, shrunk
from fuzzing.readers import CARELESS, READERS
from hypothesis import HealthCheck, given, settings, strategies as st

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits and signals of Linux"
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with a small run, and good files of every kind."""
    folder = tmp_path_factory.mktemp("corpus")
    return folder, build_corpus(folder)


@pytest.fixture(scope="module")
def judge(corpus):
    with Judge(corpus[0]) as found:
        yield found


@pytest.mark.parametrize("kind", READERS)
def test_good_files_are_read(kind, corpus, judge):
    for content in corpus[1][kind]:
        assert judge(kind, content).verdict == "read"


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_or_refused(kind, corpus, judge):
    seeds = corpus[1][kind]

    @settings(
        max_examples=25,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def check(rng: Random) -> None:
        outcome = judge(kind, mutated(kind, seeds, rng))
        assert outcome.is_fine, outcome

    check()


def _zip_of_no_text() -> bytes:
    """An archive in which the name of a member is no text, though it is said to be."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("é.npy", b"")
    return out.getvalue().replace("é".encode(), b"\xff\xff")


def _parquet_of_no_text() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"é": [0.5, 1.0]}), out, store_schema=False)
    return out.getvalue().replace("é".encode(), b"\xff\xff")


def _npy_of_shape(shape: str) -> bytes:
    header = f"{{'descr': '>f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00v\x00" + header.encode() + bytes(16)


FOUND = {
    "a name that is no text": ("npz", _zip_of_no_text()),
    "a column that is no text": ("parquet", _parquet_of_no_text()),
    "the same, streamed": ("parquet-stream", _parquet_of_no_text()),
    "a side that is no number": ("npy", _npy_of_shape("(True, 4)")),
    "the same, streamed .npy": ("npy-stream", _npy_of_shape("(True, 4)")),
    "a side that is a fraction": ("npy", _npy_of_shape("(1.0, 4)")),
    "a header of gigabytes": ("npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"),
    "starts that overflow": (
        "npz",
        sparse_npz(indptr=np.array([0, 2**63 - 1, 2**64 - 2, 4], np.uint64), shape=(3, 4)),
    ),
    "rows without end": ("npz", sparse_npz(kind="coo", shape=(100_000_000, 4))),
}
"""Files that once raised what is not ours, took all memory or ended the process."""


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_is_refused(name, judge):
    kind, content = FOUND[name]
    outcome = judge(kind, content)
    assert outcome.verdict == "refused", outcome


@pytest.mark.parametrize("name", CARELESS)
def test_a_reader_that_does_what_must_not_happen_is_found_out(name, tmp_path):
    _, verdict = CARELESS[name]
    # only what hangs has to be waited for: all else has the time that a busy machine needs
    with Judge(tmp_path, seconds=0.5 if verdict == "hang" else 60, bare=True) as bare:
        outcome = bare(name, b"\x93NUMPY\x01\x00\x05\x00{'de'")
        assert outcome.verdict == verdict
        assert not outcome.is_fine
        # and the next file gets a fair trial, by a new reader if there was a hang
        bare.seconds = 60
        assert bare("careless", b"").verdict == "raised"


@pytest.mark.parametrize("kind", READERS)
def test_mutations_follow_from_their_seed_and_change_the_file(kind, corpus):
    seeds = corpus[1][kind]
    files = [mutated(kind, seeds, Random(number)) for number in range(50)]
    assert files == [mutated(kind, seeds, Random(number)) for number in range(50)]
    assert sum(file not in seeds for file in files) > 25


@pytest.mark.parametrize("kind", READERS)
def test_mutations_take_what_others_left(kind, corpus):
    for content in corpus[1][kind]:
        for cut in (0, 1, 7, 12, 20, 40, 100, len(content) - 1):
            for mutation in (*BLIND, *AWARE.get(kind, ())):
                for number in range(5):
                    assert isinstance(mutation(content[:cut], Random(number)), bytes)


def test_shrinking_keeps_what_fails():
    content = bytes(range(200))
    assert shrunk(content, lambda shorter: b"\x42" in shorter and b"\x43" in shorter) == b"\x42\x43"
