"""An estimator in a file of one's own, named on the command line and imported from nowhere else."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from discretevae.cli.own_estimators import EstimatorName
from discretevae.config import TrainConfig
from discretevae.errors import ConfigError
from discretevae.estimators import OWN, RLOO, Estimator, make_estimator

TRAIN = ("train", "--latent", "bernoulli:4", "--hidden", "8", "--epochs", "1")
MINE = """
from __future__ import annotations
from dataclasses import dataclass
import torch
import discretevae as dv

@dataclass(frozen=True, kw_only=True)
class Mine(dv.Estimator):
    samples: int = 2
    is_unbiased = True
    kinds = ("bernoulli",)

    def __call__(self, family, eta, f, *, generator):
        return dv.RLOO(samples=self.samples)(family, eta, f, generator=generator)

class Learned(torch.nn.Module, dv.Estimator):
    is_unbiased, kinds = True, ("bernoulli",)

    def __init__(self, samples=1, start=0.0):
        super().__init__()
        self.samples, self.start = samples, torch.nn.Parameter(torch.tensor(start))

    def forward(self, family, eta, f, *, generator):
        raise NotImplementedError

class Abstract(dv.Estimator):
    samples = 1

class Failing(Mine):
    def __post_init__(self):
        raise OSError("no such luck")

class Other:
    pass

number = 3
"""
FILES = {
    "mine.py": MINE,
    "other/mine.py": MINE,
    "a folder/c++/mine.py": MINE,
    "name.py": "import os\n\nx = undefined\n",
    "deep.py": "def f():\n    return 1 / 0\n\nf()\n",
    "syntax.py": "x = 1\ndef f(:\n",
    "module.py": "import no_such_module\n",
    "leaving.py": "raise SystemExit(3)\n",
    "bytes.py": "x = '\x00'\n",
    "empty.py": "",
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    modules = set(sys.modules)
    yield tmp_path
    assert not OWN, "known after the call"
    assert not [name for name in sys.modules.keys() - modules if str(tmp_path) in name]
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_run_is_trained_evaluated_and_resumed(files, cli):
    assert cli(*TRAIN, "--estimator", "rloo:samples=3", "--out", "same").status == 0
    done = cli(*TRAIN, "--estimator", "./mine.py:Mine:samples=3", "--out", "run")
    assert done.status == 0, done.err
    assert "mine.py:Mine:samples=3" in done.out
    # the same draws, and so the same weights
    assert Path("run/model.safetensors").read_bytes() == Path("same/model.safetensors").read_bytes()
    kept = json.loads(Path("run/config.json").read_text())["training"]
    assert kept["estimator"] == "mine.py:Mine:samples=3"
    for command in (("evaluate", "run", "--samples", "2"), ("runs", ".")):
        assert cli(*command).status == 0
    further = ("train", "--resume", "run", "--epochs", "2")
    for args, says in (
        ((), "imports by itself. Name the file, --estimator FOLDER/mine.py:Mine:samples=3, or in"),
        (("--estimator", "./mine.py:Mine"), "--estimator is mine.py:Mine:samples=3 in run, and"),
    ):
        status, _, err = cli(*further, *args)
        assert status == 2
        assert says in err
    # the file may lie elsewhere meanwhile
    shutil.move("mine.py", "a folder/mine.py")
    done = cli(*further, "--estimator", "a folder/mine.py:Mine:samples=3")
    assert done.status == 0, done.err
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 2


def test_the_commands_of_the_page_run(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs/extending.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(from dataclasses.*?)assert", text, re.DOTALL)
    Path("critical.py").write_text(code[1], encoding="utf-8")
    assert len(code[1].splitlines()) < 30
    lines = re.findall(r"^\$ discretevae (.*critical.py.*)$", text, re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["train", "train", "compare"]
    for line in lines:
        few = re.sub(r"--epochs \d+", f"--epochs {1 + ('--resume' in line)}", line)
        few += "" if "--resume" in few else " --hidden 8"
        few += " --repeats 8" if "compare" in few else ""
        done = cli(*shlex.split(few))
        assert done.status == 0, done.err


def test_a_configuration_imports_nothing(files):
    for name in ("./mine.py:Mine", "mine.py:Mine", f"{files}/mine.py:Mine:samples=3"):
        with pytest.raises(ConfigError, match="which no run and no configuration imports"):
            make_estimator(TrainConfig(estimator=name).estimator, kind="bernoulli")


@pytest.mark.parametrize(
    "args",
    [
        ("./mine.py:Mine", "--samples", "3"),
        ("./mine.py:Mine:samples=3", "--samples", "3"),
        ("a folder/c++/mine.py:Mine",),
        ("./mine.py:Mine+reinmax", "--latent", "bernoulli:3+categorical:3"),
        ("reinmax+./mine.py:Mine:samples=3", "--latent", "categorical:3+bernoulli:3"),
        ("./mine.py:Mine+./mine.py:Failing", "--latent", "bernoulli:3+bernoulli:2"),
        ("./mine.py:Learned:samples=2,start=-4.5",),
        ("./mine.py:Learned", "--samples", "2"),
    ],
)
def test_spellings(args, files, cli, monkeypatch):
    """Read as far as the data, which are not there."""
    status, _, err = cli(*TRAIN, "--data", "nowhere.npy", "--estimator", *args)
    assert status == 2
    says = "OSError: no such luck" if "Failing" in args[0] else "nowhere.npy: no such file"
    assert says in err, err


MISTAKES = {
    "./none.py:Mine": "none.py: no such file. Check the path.",
    "./mine.py": "--estimator ./mine.py names no class. Write ./mine.py:Class.",
    "./mine.py:": "--estimator ./mine.py names no class.",
    "./mine.py:mine": "mine.py: no class mine. Did you mean Mine? Choices: Abstract, Failing, Lea",
    "./empty.py:Mine": "empty.py: no class Mine. Choices: none.",
    "./mine.py:Other": "Other must be a class that inherits from discretevae.Estimator. Got the cl",
    "./mine.py:number": "inherits from discretevae.Estimator. Got int.",
    "./name.py:A": "name.py, line 3: NameError: name 'undefined' is not defined.",
    "./deep.py:A": "deep.py, line 2: ZeroDivisionError: division by zero.",
    "./syntax.py:A": "syntax.py, line 2: SyntaxError: ",
    "./module.py:A": "module.py, line 1: ModuleNotFoundError: No module named 'no_such_module'.",
    "./leaving.py:A": "leaving.py, line 1: SystemExit: 3.",
    "./bytes.py:A": "bytes.py",
    "./mine.py:Mine:sample=4": "'sample=4' is unknown. Did you mean samples?",
    "./mine.py:Mine:samples=x": "samples must be an int. Got 'x'.",
    "./mine.py:Learned:start=x": "start must be a number. Got 'x'.",
    "./mine.py:Abstract": "TypeError: Can't instantiate abstract class Abstract",
    "./mine.py:Failing": "'mine.py:Failing': OSError: no such luck.",
    "./mine.py:Mine+./other/mine.py:Mine": "mine.py:Mine is in two files. Rename",
    "./mine.py:Mine+./mine.py:Learned": "is unknown.",
}


@pytest.mark.parametrize("spelling", MISTAKES)
def test_a_mistake_is_one_line(spelling, files, cli):
    status, out, err = cli(*TRAIN, "--out", "new", "--estimator", spelling)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert MISTAKES[spelling] in err
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--latent", "categorical:3"), "'mine.py:Mine' cannot handle a categorical code."),
        (("--objective", "marginal"), "objective marginal cannot be estimated by Mine."),
        (("--samples", "x"), "'x' is not a valid integer"),
    ],
)
def test_what_does_not_go_together(args, says, files, cli):
    status, _, err = cli(*TRAIN, *args, "--estimator", "./mine.py:Mine")
    assert status == 2
    assert says in err


def test_a_shell_that_completes_the_line_imports_nothing(files):
    from discretevae.cli.train import command

    args = ["--estimator", "./leaving.py:A"]
    ctx = command.make_context("train", args, resilient_parsing=True)
    assert ctx.params["estimator"] == "./leaving.py:A"
    assert EstimatorName().convert("./leaving.py:A", None, None) == "./leaving.py:A"


def test_a_class_of_ones_own_is_never_mistaken_for_another():
    class Mine(RLOO):
        pass

    class Bare(Estimator):
        samples, is_unbiased, kinds = 1, True, ("bernoulli",)

        def __call__(self, family, eta, f, *, generator):
            raise NotImplementedError

    for estimator in (Mine(), Mine(samples=3), Bare()):
        with pytest.raises(ConfigError, match="has no spelling"):
            TrainConfig(estimator=estimator)
