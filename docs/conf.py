"""How the documentation is built: ``sphinx-build -W --keep-going -b html docs docs/_build/html``.

Nothing here needs a network: no intersphinx, no MathJax; mathematics is written in unicode.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "src/discretevae/version.py").read_text(), re.MULTILINE
)

project = "discretevae"
author = "The discretevae authors"
copyright = "The discretevae authors"  # noqa: A001 - the name that Sphinx reads
version = release = VERSION.group(1) if VERSION else "unknown"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"npt.ArrayLike": "ArrayLike"}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
default_role = "literal"  # single backticks in docstrings name code
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"discretevae {version}"
html_copy_source = False
html_show_sourcelink = False
html_extra_path = ["llms.txt"]  # for language models, at the root of the site: llmstxt.org

FENCE = re.compile(r"^\s*```")
TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$")
LONE_LETTER = re.compile(r"(^|: )(\s*)([A-Z])\.$")
BARS = re.compile(r"\(\|([^|`\s]+)\|\)")
GLUED_CODE = re.compile(r"(``[^`]+``)(?=\w)")
TABLE_RULE = re.compile(r"^\s*\|[\s|:-]+\|\s*$")


def as_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turns what is no reStructuredText in docstrings into it: fences, tables, set-off formulas."""
    lines[:] = set_off(tables(fences([inline(line) for line in lines])))


def inline(line: str) -> str:
    """A letter alone, ``D.``, is no list; code may be followed by ``s``; (|a|) is a magnitude."""
    if not line.startswith("    "):
        line = BARS.sub(r"(\\|\1\\|)", line)
    return GLUED_CODE.sub(r"\1\\ ", LONE_LETTER.sub(r"\1\2\\\3.", line))


def fences(lines: list[str]) -> list[str]:
    """Markdown fences as literal blocks."""
    result: list[str] = []
    inside = False
    for line in lines:
        if FENCE.match(line):
            inside = not inside
            result += ["", "::", ""] if inside else [""]
        else:
            result.append(f"    {line}" if inside else line)
    return result


def tables(lines: list[str]) -> list[str]:
    """Markdown tables as list tables."""
    result: list[str] = []
    inside = False
    for line in lines:
        if not TABLE_ROW.match(line):
            inside = False
            result.append(line)
        elif not TABLE_RULE.match(line):
            if not inside:
                result += ["", ".. list-table::", "   :header-rows: 1", ""]
            inside = True
            first, *rest = (cell.strip() for cell in line.strip().strip("|").split("|"))
            result += [f"   * - {first}", *(f"     - {cell}" for cell in rest)]
    return result


def set_off(lines: list[str]) -> list[str]:
    """Formulas that are set off by a blank line and an indent keep their lines."""
    result: list[str] = []
    for i, line in enumerate(lines):
        before = next((text for text in reversed(result) if text.strip()), "")
        starts = (
            line.startswith("    ")
            and bool(before)
            and not lines[i - 1].strip()
            and not before.startswith((" ", ".."))
            and not before.endswith("::")
            and not line.lstrip().startswith(">>>")
        )
        result += ["::", "", line] if starts else [line]
    return result


def plain_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """A protocol is not called, so it shows no arguments; aliases are shown by their names."""
    if what == "class" and getattr(obj, "_is_protocol", False):
        return "", ""
    if not signature:
        return None
    return re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature), returns


def setup(app: Any) -> None:
    """Runs before napoleon, whose priority is the usual 500."""
    app.connect("autodoc-process-docstring", as_rst, priority=400)
    app.connect("autodoc-process-signature", plain_signature)
