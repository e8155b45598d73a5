"""Arguments that commands read, and tables that they print."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from discretevae.cli import arguments, outputs
from discretevae.config import ModelConfig
from discretevae.errors import ConfigError


def test_columns_of_numbers_stand_to_the_right(capsys):
    lines = [
        ("name", "ELBO", "note"),
        ("a", "-1.50 ± 0.20", "of at most 4"),
        ("longer", "−12.00", ""),
        ("b", "–", "12"),
    ]
    outputs.print_table(lines, title="three rows")
    assert capsys.readouterr().out.splitlines() == [
        "three rows",
        "name            ELBO  note",
        "a       -1.50 ± 0.20  of at most 4",
        "longer        −12.00",
        "b                  –  12",
    ]


def test_a_table_without_a_head(capsys):
    outputs.print_table([("KL", "3.10"), ("entropy", "12.00")], has_head=False)
    assert capsys.readouterr().out == "KL        3.10\nentropy  12.00\n"


def test_what_was_written_is_listed(capsys, tmp_path):
    outputs.print_paths(written=tmp_path / "a.csv", picture=None)
    assert capsys.readouterr().out == f"written  {tmp_path}/a.csv\n"


def model(image_shape):
    return ModelConfig(n_features=4, image_shape=image_shape)


@pytest.mark.parametrize(("name", "is_one"), [("a.png", True), ("a.PNG", True), ("a.npy", False)])
def test_pictures_are_known_by_their_suffix(name, is_one, tmp_path):
    assert outputs.is_picture(tmp_path / name, model((2, 2))) == is_one


def test_rows_that_are_no_pictures_are_not_drawn(tmp_path):
    with pytest.raises(ConfigError, match=r"no pictures\. Pass --out with \.npy"):
        outputs.is_picture(tmp_path / "a.png", model(None))
    with pytest.raises(ConfigError, match=r"must end in \.png or \.npy"):
        outputs.is_picture(tmp_path / "a.gif", model(None))


@click.command()
@arguments.option("--sizes", "Sizes.", "2,4", type=arguments.Numbers(high=64))
@arguments.option("--n", "Number.", 3, type=arguments.COUNT)
@arguments.option("--name", "Name.  [default: none]", to="title")
@arguments.seed
def tool(sizes: list[int], n: int, title: str | None, seed: int) -> None:
    click.echo(f"{sizes} {n} {title} {seed}")


@pytest.mark.parametrize(
    ("args", "out"),
    [
        ((), "[2, 4] 3 None 0"),
        (("--sizes", "8, 16", "--n", "1", "--name", "x", "--seed", "7"), "[8, 16] 1 x 7"),
    ],
)
def test_options_are_read(args, out):
    assert CliRunner().invoke(tool, args).output == f"{out}\n"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--sizes", "2,65"), "'2,65' must be ints from 1 to 64"),
        (("--sizes", "2,,4"), "'2,,4' must be ints from 1 to 64"),
        (("--n", "0"), "must be an int >= 1. Got 0."),
        (("--n", "one"), "must be an int >= 1. Got one."),
        (("--seed", "-1"), "must be an int >= 0. Got -1."),
        (("--seed", "9" * 30), "must be an int < 2**63."),
    ],
)
def test_wrong_values_are_refused(args, says):
    done = CliRunner().invoke(tool, args)
    assert done.exit_code == 2
    assert says in done.output


def test_help_shows_defaults_once():
    text = CliRunner().invoke(tool, ["--help"]).output
    assert text.count("[default: 2,4]") == text.count("[default: none]") == 1


def test_progress_is_shown_in_a_terminal_only(capsys, monkeypatch):
    with outputs.counting_bar("scoring rows", 10) as progress:
        progress(5)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with outputs.task_bar() as tell:
        tell("fitting", 1, 2)
    assert "fitting" in capsys.readouterr().err
