"""Texts as rows that count their words: a folder of .txt files, or a column of a table."""

from __future__ import annotations

import csv
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from discretevae.data.classes import natural_key
from discretevae.data.readers.request import Request
from discretevae.data.readers.roles import take_apart
from discretevae.data.rows import Rows
from discretevae.data.stores.values import check_size
from discretevae.errors import DataError, DataWarning, count

MAX_WORDS = 10_000


def texts_of(path: Path) -> list[Path]:
    """Return the files in a folder and those below in natural order, if all are .txt, else none."""
    files = [f for f in path.glob("**/*") if f.is_file() and not f.name.startswith(".")]
    are_texts = all(file.suffix.lower() == ".txt" for file in files)
    return sorted(files, key=lambda file: natural_key(str(file))) if are_texts else []


def read_texts(path: Path, request: Request) -> Rows:
    """Count the words of each .txt file of a folder, or of each cell of the column asked for.

    Words are those of scikit-learn's `CountVectorizer`. Kept are the 10,000 most frequent in the
    rows to learn from that stand in two of them and in no more than half; of a run its own.
    Sub-folders are classes if every file lies in one. Rows without a known word are warned of.

    Raises:
        DataError: no such column, no words that are kept, no CSV in UTF-8, or too large.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    name, known = str(path), request.columns
    texts, ids, labels = _folder(path) if path.is_dir() else _column(path, request)
    words = CountVectorizer(max_features=MAX_WORDS, max_df=0.5, min_df=2, vocabulary=known)
    learned = range(len(texts)) if request.fit_rows is None else request.fit_rows(len(texts))
    try:
        words.fit([texts[i] for i in learned])
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise DataError(f"{name}: no words to count ({reason}). Give more texts.") from None
    counts = words.transform(texts)
    empty = np.flatnonzero(counts.sum(1) == 0)
    if known and len(empty):
        what = f"{count(len(empty), 'row')} without a word that the run knows, the first"
        warnings.warn(f"{name}: {what} {empty[0]} (counted from 0).", DataWarning, stacklevel=2)
    columns = words.get_feature_names_out().tolist()
    return Rows.from_array(counts, scale="none", labels=labels, ids=ids, name=name, columns=columns)


def _folder(path: Path) -> tuple[Any, Any, Any]:
    """Return texts, ids and labels of files."""
    files = texts_of(path)
    check_size(str(path), (sum(file.stat().st_size for file in files),), 1)
    ids = [file.relative_to(path).as_posix() for file in files]
    labels = [file.parent.name for file in files] if all("/" in each for each in ids) else None
    return [file.read_bytes().decode(errors="replace") for file in files], np.array(ids), labels


def _column(path: Path, request: Request) -> tuple[Any, Any, Any]:
    """Return texts, ids and labels of a table, cells separated by commas, in .tsv by tabs."""
    mark = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names, *cells = [row for row in csv.reader(file, delimiter=mark) if row]
        table = np.array(cells, object).reshape(len(cells), len(names))
    except (csv.Error, ValueError) as error:
        raise DataError(f"{path}: no table of texts ({error}). Save it as UTF-8 CSV.") from None
    if request.text not in names:
        raise DataError(f"{path}: no column {request.text!r}. It has {', '.join(names)}.")
    parts = take_apart(names, replace(request, columns=None), str(path), lambda i: table[:, i])
    return table[:, names.index(request.text)], parts.ids, parts.labels
