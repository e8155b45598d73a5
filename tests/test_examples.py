"""The scripts in examples/ run to their end on what comes with the package, and stay short."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from matplotlib import pyplot

import discretevae

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
EPOCHS = 6
"""Instead of 30 to 80: what a script says does not depend on it."""

SAID = {
    "images": ["nats per row", "of 20 bits are in use", "nearest code has the same label: "],
    "photographs": ["420 photographs of 12 kinds"],
    "bag_of_words": ["ssl is near ", "least likely: ", " adds "],
    "own_estimator": ["MedianBaseline: unbiased", "Cheating: caught", "RLOO: ELBO "],
    "optuna_search": ["ELBO -", "'bits': "],
}


def test_every_script_is_known_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.draws
@pytest.mark.parametrize("name", SAID)
def test_a_script_runs_and_says_what_it_found(name, tmp_path, monkeypatch, capsys):
    if name == "optuna_search":
        pytest.importorskip("optuna", reason="optuna is no dependency")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name])
    for shortened in ("TrainConfig", "BernoulliVAE"):
        original = getattr(discretevae, shortened)
        monkeypatch.setattr(
            discretevae,
            shortened,
            lambda *args, epochs, original=original, **options: original(
                *args, epochs=min(epochs, EPOCHS), **options
            ),
        )
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    pyplot.close("all")
    out, err = capsys.readouterr()
    assert err == ""
    for words in SAID[name]:
        assert words in out
    left = [path.name for path in tmp_path.iterdir()]
    assert left == {"images": ["images.png"], "photographs": ["photographs"]}.get(name, [])


class Trial:
    """The part of a trial of Optuna that the example uses: each suggestion is its smallest."""

    def suggest_int(self, name, low, high, log=False):
        return low

    def suggest_float(self, name, low, high, log=False):
        return low

    def suggest_categorical(self, name, choices):
        return choices[0]


def test_what_optuna_maximizes_is_the_elbo_of_rows_held_out():
    found = runpy.run_path(str(EXAMPLES / "optuna_search.py"))["objective"](Trial())
    assert -40 < found < -20  # two bits of digits in black and white


@pytest.mark.parametrize("name", SAID)
def test_a_script_has_at_most_a_hundred_lines(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 100
