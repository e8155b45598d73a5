"""Damaged files of every kind: an error of ours or success, within time and memory, never a crash.

`benchmarks/fuzz.py` does the same for as many files as one likes. Here Hypothesis makes the draws,
the same ones every time, and looks for a smaller file when one fails.
"""

from __future__ import annotations

import sys
from random import Random

import pytest
from fuzzing.blind import BLIND
from fuzzing.corpus import build_corpus
from fuzzing.judge import Judge
from fuzzing.mutations import AWARE, mutated, shrunk
from fuzzing.readers import CARELESS, READERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize("name", CARELESS)
def test_a_reader_that_does_what_must_not_happen_is_found_out(name, tmp_path):
    _, verdict = CARELESS[name]
    with Judge(tmp_path, seconds=0.5, bare=True) as bare:
        outcome = bare(name, b"\x93NUMPY\x01\x00\x05\x00{'de'")
        assert outcome.verdict == verdict
        assert not outcome.is_fine
        # and the next file gets a fair trial
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
