"""Output in every encoding, and output that nobody takes."""

from __future__ import annotations

import ast
import errno
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import discretevae
from discretevae.cli import COMMANDS, main
from discretevae.cli.ending import status_of
from discretevae.cli.streams import READABLE, prepare_streams
from discretevae.errors import CollapseWarning, DataWarning, ObjectiveWarning

BITS = "bernoulli:6"
TINY = ("--latent", "bernoulli:4", "--hidden", "4", "--epochs", "1")
NO_TEXT = os.fsdecode(b"d\xff\xc3\xa9")
"""The name of a file whose bytes are no UTF-8."""

ENCODINGS = ("ascii", "cp1252", "latin-1", "utf-16", "utf-8")


@pytest.fixture
def ends(monkeypatch):
    """The command line with these streams: its status."""

    def run(out, err, *args) -> int:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setattr(sys, "argv", ["discretevae", *map(str, args)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # it is replaced
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    return run


@pytest.fixture
def encoded(ends):
    """The command line in an encoding: status, output, errors, which must be of that encoding."""

    def run(encoding, *args) -> tuple[int, str, str]:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
        status = ends(out, err, *args)
        err.flush()
        return status, *(stream.buffer.getvalue().decode(encoding) for stream in (out, err))

    return run


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_help_can_be_read(encoding, encoded):
    for name in ("", *COMMANDS):
        status, out, err = encoded(encoding, *filter(None, [name]), "--help")
        assert (status, err) == (0, "")
        assert "Usage: discretevae" in out
        assert "\\u" not in out
        if name == "train":
            sign = "σ" if encoding.startswith("utf") else "sigma"
            assert f"with {sign} = 1" in " ".join(out.split())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_commands_speak_every_encoding(encoding, encoded, trained, tmp_path, monkeypatch):
    run = trained(BITS)
    monkeypatch.chdir(tmp_path)
    sign = "+/-" if encoding == "ascii" else "±"
    said = encoded(encoding, "train", *TINY, "--out", "run")
    assert said[0] == 0, said
    assert sign in said[1]
    assert "100-sample bound" in said[1]
    for args in [
        ("evaluate", run), ("evaluate", run, "--json"), ("evaluate", run, "--with", "run"),
        ("encode", run, "--out", "c.npy"), ("decode", run, "c.npy", "--out", "x.npy"),
        ("index", run, "--out", "i.index"), ("search", "i.index", "--run", run),
        ("outliers", run, "--out", "o.csv"), ("sample", run, "--out", "s.npy"),
        ("runs", "."), ("retrieval", run), ("estimators",),
        ("reconstruct", run, "--out", "r.npy"), ("prior", run, "--out", "p", "--epochs", "1"),
    ]:  # fmt: skip
        status, out, err = encoded(encoding, *args)
        assert (status, err) == (0, ""), args
        assert out, args
        assert "\\u" not in out, args


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_names_and_columns_of_any_kind(encoding, encoded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = ["ηλικία", "名前", "é"]
    rows = np.random.default_rng(0).random((30, 3)).round(3)
    for name in (NO_TEXT, "中σ"):
        lines = [",".join(columns), *(",".join(map(str, row)) for row in rows.tolist())]
        Path(f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
        pq.write_table(pa.table(dict(zip(columns, rows.T, strict=True))), "t.parquet")
        Path("t.parquet").rename(f"{name}.parquet")
        for suffix in ("csv", "parquet"):
            out = f"{name}-{suffix}"
            said = encoded(encoding, "train", "--data", f"{name}.{suffix}", *TINY, "--out", out)
            assert said[0] == 0, said
            assert encoded(encoding, "evaluate", out)[0] == 0
            assert encoded(encoding, "outliers", out, "--out", f"{out}.csv")[0] == 0
        lines[3] = "1,x,3"
        Path(f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
        status, _, err = encoded(encoding, "evaluate", f"{name}-csv")
        assert (status, err.count("\n")) == (2, 1)
    assert encoded(encoding, "runs", ".")[0] == 0
    said = encoded(
        encoding, "compare", "--data", f"{NO_TEXT}.parquet", *TINY, "--out", f"{NO_TEXT}-compared",
        "--estimators", "exact,disarm",
    )  # fmt: skip
    assert said[0] == 0, said


def test_what_another_package_cannot_name_is_one_line(capsys):
    with_no_text = click.Command("tool", callback=lambda: NO_TEXT.encode())
    assert status_of(with_no_text, "tool", []) == 2
    assert "'d\\udcffé' is no utf-8 text. Rename" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", "a 1+/-2, sigma, \\u4e2d\\xe9\\udcff\\U0001f600"),
        ("ascii:strict", "a 1+/-2, sigma, \\u4e2d\\xe9\\udcff\\U0001f600"),
        ("ascii:surrogateescape", "a 1+/-2, sigma, \\u4e2d\\xe9\\udcff\\U0001f600"),
        ("cp1252", "a 1±2, sigma, \\u4e2dé\\udcff\\U0001f600"),
        ("latin-1:strict", "a 1±2, sigma, \\u4e2dé\\udcff\\U0001f600"),
        ("gbk", "a 1±2, σ, 中é\\udcff\\U0001f600"),
        ("utf-8:strict", "a 1±2, σ, 中é\\udcff😀"),
        ("utf-16", "a 1±2, σ, 中é\\udcff😀"),
    ],
)
def test_a_character_that_cannot_be_written_is_replaced(encoding, expected, monkeypatch):
    encoding, _, errors = encoding.partition(":")
    streams = [io.TextIOWrapper(io.BytesIO(), encoding, errors or None) for _ in range(2)]
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, stream)
    prepare_streams()
    for is_error, stream in enumerate(streams):
        click.echo("a 1±2, σ, 中é\udcff😀", err=bool(is_error))
        assert stream.buffer.getvalue().decode(encoding).strip() == expected


def test_every_character_that_is_printed_has_a_replacement():
    """Those in the strings of `cli`, where all that is printed is worded."""
    folder = Path(discretevae.__file__).parent
    printed = set()
    for path in folder.glob("cli/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                printed |= {one for one in node.value if not one.isascii()}
    assert printed <= READABLE.keys()
    assert all(text.isascii() for text in READABLE.values())


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_a_bar_in_a_terminal_of_any_encoding(encoding, ends, tmp_path):
    out, err = io.StringIO(), _Terminal(io.BytesIO(), encoding, write_through=True)
    data = tmp_path / f"{NO_TEXT}中.npy"
    np.save(data, np.random.default_rng(0).random((30, 3)))
    assert ends(out, err, "compare", "--data", data, *TINY, "--out", tmp_path / "c中") == 0
    shown = err.buffer.getvalue().decode(encoding)
    assert "starting" in shown


# output that nobody takes


class _Failing(io.StringIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


def test_closed_streams_are_silent(ends, trained):
    for status, run in ((0, trained(BITS)), (2, "nowhere")):
        assert ends(None, None, "evaluate", run) == status
        sys.stdout.close()
        sys.stderr.close()


def test_a_full_disk_is_one_line(ends, trained):
    err = io.StringIO()
    assert ends(_Failing(errno.ENOSPC), err, "evaluate", trained(BITS)) == 2
    assert err.getvalue() == "Error: No space left on device. Check the path and the free space.\n"


def test_a_pipe_that_nobody_reads_is_silent(ends, trained):
    err = io.StringIO()
    assert ends(_Failing(errno.EPIPE), err, "evaluate", trained(BITS)) == 1
    assert err.getvalue() == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
def test_warnings_that_nobody_takes_do_not_stop_a_training(number, ends, tmp_path):
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        said = ("train", *TINY, "--kl-warmup", "1", "--out", tmp_path / "run")
        assert ends(out, _Failing(number), *said) == 0
    assert "100-sample bound" in out.getvalue()
    assert ends(out, _Failing(number), "evaluate", "nowhere") == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(("shell", "said"), [
    (">/dev/full", "Error: No space left on device. Check the path and the free space.\n"),
    (">&-", ""), ("| true", ""), (">/dev/full 2>&1", ""), (">&- 2>&-", ""),
])  # fmt: skip
def test_the_end_of_python_adds_nothing(shell, said):
    command = f"'{sys.executable}' -W error -m discretevae train --help {shell}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", said)


# warnings that are errors


@pytest.mark.parametrize(
    "category", [DataWarning, CollapseWarning, ObjectiveWarning, RuntimeWarning, FutureWarning]
)
def test_a_warning_that_is_an_error_is_one_line(category, capsys):
    def warn():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.warn("`lr` is\n odd.", category, stacklevel=1)

    assert status_of(click.Command("tool", callback=warn), "tool", []) == 2
    why = f"({category.__name__}, which -W or PYTHONWARNINGS makes an error.)"
    assert capsys.readouterr().err == f"Error: --lr is odd. {why}\n"


def test_warnings_of_commands_that_are_errors(cli, tmp_path):
    out = tmp_path / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = cli("train", *TINY, "--kl-warmup", "1", "--out", out)
        assert (said.status, said.err.count("\n")) == (2, 1)
        assert "ObjectiveWarning" in said.err
        said = cli("train", *TINY, "--lr", "1e-9", "--out", out)
        assert (said.status, said.err.count("\n")) == (2, 1)
        assert "CollapseWarning" in said.err
        table = tmp_path / "t.csv"
        table.write_text("a,label\n" + "0.5,0.25\n0.25,0.5\n" * 20)
        said = cli("train", "--data", table, *TINY, "--out", tmp_path / "other")
        assert (said.status, said.err.count("\n")) == (2, 1)
        assert "DataWarning" in said.err
