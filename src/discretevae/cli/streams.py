"""Standard output and error that take every character, whatever their encoding."""

from __future__ import annotations

import codecs
import io
import os
import sys
from pathlib import Path

READABLE = {
    "−": "-", "–": "-", "·": "|", "…": "...", "±": "+/-", "×": "x", "≤": "<=", "∞": "inf",
    "√": "sqrt ", "‖": "||", "σ": "sigma", "“": '"', "”": '"',
}  # fmt: skip
"""Replacements of our own characters where an encoding lacks them."""

_ERRORS = "discretevae.readable"
_ASCII = "discretevae_ascii"


def prepare_streams() -> None:
    """Let standard output and error write a replacement where their encoding lacks a character.

    Characters of ours become readable ones (``±``: ``+/-``), others an escape. A stream that
    was closed before Python began swallows what is written.
    """
    codecs.register_error(_ERRORS, _replaced)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # opened at once: else the next file would get the stream's number, and what C prints
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if is_ascii else None, errors=_ERRORS)


def abandon_stdout() -> None:
    """Send standard output nowhere; else Python, at its end, would try once more to write it."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    readable = "".join(READABLE.get(one, one) for one in characters)
    return readable.encode("ascii", "backslashreplace").decode(), error.end


def _find_ascii(name: str) -> codecs.CodecInfo | None:
    """Return ASCII under a name of ours: into what is called ``ascii``, click writes UTF-8."""
    if name != _ASCII:
        return None
    ascii_ = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_.encode,
        ascii_.decode,
        incrementalencoder=ascii_.incrementalencoder,
        incrementaldecoder=ascii_.incrementaldecoder,
        name=_ASCII,
    )


codecs.register(_find_ascii)
