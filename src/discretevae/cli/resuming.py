"""A run that is resumed with options: its own are accepted, others refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from discretevae.config import LatentSpec, RunConfig, TrainConfig, preset
from discretevae.config.checks import read
from discretevae.config.spelling import short
from discretevae.errors import ConfigError

MAY_CHANGE = {"epochs", "graph"}
"""Options that a resumed run takes anew, beside those that no configuration holds."""

_OF_PRESET = {"latent", "network", "hidden"}


def resumed_config(there: RunConfig, given: Mapping[str, Any], out: Path) -> RunConfig:
    """Return the configuration of a run in ``out`` that is resumed with the options given.

    All options that differ from the run's are refused together (`ConfigError`).
    """
    problems = []
    if "data" in given:
        source = _source(there.data.source, given["data"])
        given = {**given, "source": source}
        if Path(there.data.source).is_absolute() and Path(source).is_absolute():
            # whether they are the same data, or may be others, is seen when they are read
            there = dataclasses.replace(there, data=dataclasses.replace(there.data, source=source))
    for part in (there.model, there.training, there.data):
        for name, value in _asked(part, given).items():
            own = getattr(part, name)
            if own == value or (name == "estimator" and _is_same_estimator(there, value)):
                continue
            is_by_preset = name in _OF_PRESET and name not in given
            problems.append(
                f"`{'data' if name == 'source' else name}` is {_spelled(name, own)} in {out}, and "
                f"{_spelled(name, value)} was given"
                + (f" by `preset={given['preset']!r}`" if is_by_preset else "")
            )
    if problems:
        it = "it" if len(problems) == 1 else "them"
        raise ConfigError(f"{'; '.join(problems)}. Leave {it} out, or start a new run.")
    changes = {name: given[name] for name in MAY_CHANGE & given.keys()}
    return dataclasses.replace(there, training=dataclasses.replace(there.training, **changes))


def _asked(part: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what options ask of the fields of a part of a configuration."""
    names = [field.name for field in dataclasses.fields(part)]
    asked: dict[str, Any] = {}
    if "preset" in given:
        base = preset(given["preset"])
        latent = LatentSpec.of(given.get("latent", base.latent))
        network, hidden = base.networks(latent, given.get("network"))
        asked |= {"latent": latent, "network": network, "hidden": hidden}
        asked = {name: value for name, value in asked.items() if name in names}
    # "auto" leaves a choice to the program, and for this run it is made
    asked |= {
        name: read(type(part), name, given[name])
        for name in names
        if name in given and name not in MAY_CHANGE and given[name] != "auto"
    }
    if asked.get("scale") == "none":
        asked |= {"scale": None, "divisor": 1.0}  # which is how it is kept
    return asked


def _source(there: str, data: str) -> str:
    """Return the source of a resumed run's data: its own, if ``--data`` names that, else the other.

    A file may be spelled in another way, such as from the folder that holds it.
    """
    from discretevae.data import builtin_name

    if (name := builtin_name(data)) is not None:
        return name
    own, asked = Path(there), Path(data)
    # what is not absolute is a built-in name
    is_same = own.is_absolute() and own.exists() and asked.exists() and own.samefile(asked)
    return there if is_same else str(asked.absolute())


def _is_same_estimator(there: RunConfig, estimator: str) -> bool:
    """Return whether an estimator is that of a run, spelled in another way."""
    from discretevae.families import family_of
    from discretevae.objectives import choose_estimator

    def spec(training: TrainConfig) -> str:
        return choose_estimator(family_of(there.model.latent), training).spec

    try:
        asked = dataclasses.replace(there.training, estimator=estimator)
        return spec(asked) == spec(there.training)
    except ConfigError:  # it is no estimator of this code
        return False


def _spelled(name: str, value: object) -> str:
    """Return the value of a field as it is written on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ("x" if name == "image_size" else ",").join(map(str, value)) or "none"
    return "not set" if value is None else short(value)
