"""The paper to cite for each estimator, from ``references.bib``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("references.bib")

ENTRY = re.compile(r"^@\w+{(?P<key>\w+),\n(?P<fields>.*?)^}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^  (\w+) = {(.*)},$", re.MULTILINE)


@dataclass(frozen=True)
class Reference:
    """A paper.

    Args:
        key: of the BibTeX entry.
        fields: of the BibTeX entry, by name.

    Example:
        >>> str(references()["disarm"])
        'Dong et al. 2020'
    """

    key: str
    fields: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Return authors and year."""
        fields = dict(self.fields)
        names = [author.partition(",")[0] for author in fields["author"].split(" and ")]
        first = " & ".join(names) if len(names) <= 2 else f"{names[0]} et al."
        return f"{first} {fields['year']}"

    def bibtex(self) -> str:
        """Return the BibTeX entry."""
        lines = "".join(f"  {name} = {{{value}}},\n" for name, value in self.fields)
        return f"@inproceedings{{{self.key},\n{lines}}}"


def references() -> Mapping[str, Reference]:
    """Return the paper to cite for each estimator, by the name of the estimator."""
    found: dict[str, Reference] = {}
    for entry in ENTRY.finditer(FILE.read_text(encoding="utf-8")):
        fields = dict(FIELD.findall(entry["fields"]))
        names = fields.pop("keywords").split(", ")
        found |= dict.fromkeys(names, Reference(entry["key"], tuple(fields.items())))
    return found
