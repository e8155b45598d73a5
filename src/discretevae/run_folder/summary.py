"""``summary.json``: what a finished run measured on its test rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from discretevae.errors import RunError
from discretevae.system.files import read_json

SUMMARY = "summary.json"

MEASURED = ("elbo", "log_likelihood", "kl", "rate", "distortion", "bound")
WHERE_KNOWN = ("log_px", "bits_per_dimension")
"""Means with standard errors, which every summary holds, and which are null in some."""


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Return the summary of a run, or refuse it (`RunError`); None where there is none."""
    path = folder / SUMMARY
    if not path.is_file():
        return None
    summary = read_json(path)
    try:
        last, test = summary["last_epoch"], summary["test"]
        if last is not None:  # of a prior that was fitted to a model without a history
            _require_numbers(last["epoch"], last["seconds"])
        for name in (*MEASURED, *WHERE_KNOWN):
            if test[name] is not None or name in MEASURED:
                _require_numbers(test[name]["value"], test[name]["se"] or 0)
        _require_numbers(test["rows"], test["active_units"], test["bound"]["samples"])
        _require_numbers(test["codes_used"] or 0, test["is_surrogate"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: corrupt ({type(error).__name__}: {error}). Restore it, or delete it and run "
            "again."
        ) from None
    return summary


def _require_numbers(*values: Any) -> None:
    for value in values:
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{value!r:.40} is no number")
