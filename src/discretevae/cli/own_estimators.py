"""Estimators in files of the user's own, imported where an option of this very call names them."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import click

from discretevae.errors import ConfigError, did_you_mean, kind_of

_OWN = re.compile(r"((?:\b[A-Za-z]:)?[^:]+\.py)\b(?::(\w*))?")


class EstimatorName(click.ParamType[str]):
    """``NAME[:option=value,…]``; the name ``./file.py:Class`` becomes ``file.py:Class``."""

    name = "text"

    def convert(self, value: Any, param: Any, ctx: click.Context | None) -> str:
        """Import the files that are named, except where a shell completes the line."""
        if ctx is None or ctx.resilient_parsing:
            return str(value)
        return _OWN.sub(lambda found: _named(found[1], found[2], ctx.find_root()), str(value))


def _named(text: str, name: str | None, ctx: click.Context) -> str:
    """Make a class known until the call ends, and return the name that a run keeps of it."""
    from discretevae.estimators import OWN, Estimator

    before, plus = "", ""
    if not Path(text).is_file():  # the part before it may be the estimator of another part
        before, plus, text = text.rpartition("+")
    path = Path(text)
    if not name:
        raise ConfigError(f"`estimator` {text} names no class. Write {text}:Class.")
    module = _imported(path, ctx)
    found = getattr(module, name, None)
    if found is None:
        classes = [
            each
            for each, cls in inspect.getmembers(module, inspect.isclass)
            if issubclass(cls, Estimator) and cls.__module__ == module.__name__
        ]
        raise ConfigError(f"{path}: no class {name}. {did_you_mean(name, classes or ['none'])}")
    if not (inspect.isclass(found) and issubclass(found, Estimator)):
        raise ConfigError(
            f"{path}: {name} must be a class that inherits from discretevae.Estimator. "
            f"Got {kind_of(found)}."
        )
    own = f"{path.name}:{name}"
    if OWN.setdefault(own, found) is not found:
        raise ConfigError(f"{own} is in two files. Rename a file or a class.")
    ctx.call_on_close(lambda: OWN.pop(own, None))
    return before + plus + own


class _Source(SourceFileLoader):
    """Reads the file itself: no compiled copy of it is used or left behind."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _imported(path: Path, ctx: click.Context) -> ModuleType:
    """Import a file, once in a call; its error is one of ours (`ConfigError`), with the line."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Check the path.")
    path, shown = path.resolve(), path
    name = f"{path.stem} of {path.parent}"  # which no import statement can spell
    if name in sys.modules:
        return sys.modules[name]
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(path)
    ctx.call_on_close(lambda: sys.modules.pop(name, None))
    try:
        _Source(name, str(path)).exec_module(module)
    except (Exception, SystemExit) as error:
        calls, own, reason = traceback.walk_tb(error.__traceback__), str(path), str(error)
        lines = [line for frame, line in calls if frame.f_code.co_filename == own]
        if isinstance(error, SyntaxError) and error.filename == own and error.lineno is not None:
            lines, reason = [error.lineno], error.msg
        where = f"{shown}, line {lines[-1]}" if lines else f"{shown}"
        raise ConfigError(f"{where}: {type(error).__name__}: {reason}. Mend the file.") from None
    return module
