"""A bag of words in 24 bits: which modules of Python's standard library are alike by their words.

    python examples/bag_of_words.py

A row is a module, a column is a word, and a value says whether the word occurs in the module's
docstrings. The texts come with Python, so nothing is downloaded. Takes about half a minute.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

import discretevae as dv


def docstrings(module: str) -> str:
    """All docstrings of a module's own file; nothing is imported or run."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
    return "\n".join(text for text in found if text)


def bag_of_words() -> tuple[list[str], sparse.csr_matrix, list[str]]:
    """Names of modules, the table, and its words."""
    texts = {name: docstrings(name) for name in sorted(sys.stdlib_module_names)}
    texts = {name: text for name, text in texts.items() if len(text) > 500}
    words = CountVectorizer(binary=True, min_df=4, max_df=0.3, stop_words="english")
    table = words.fit_transform(texts.values()).astype(np.float32)
    return list(texts), table, words.get_feature_names_out().tolist()


def main() -> None:
    """Learns codes, then shows nearest modules, the oddest ones, and what a bit stands for."""
    names, table, words = bag_of_words()
    print(
        f"{table.shape[0]} modules, {table.shape[1]} words, {table.nnz / table.shape[0]:.0f} each"
    )

    vae = dv.BernoulliVAE(24, hidden=(64,), epochs=80, batch_size=32, lr=0.003, random_state=0)
    codes = vae.fit_transform(table)

    for name in ("ssl", "imaplib", "zipfile", "random"):
        if name in names:
            distance = (codes != codes[names.index(name)]).sum(1)
            near = [names[i] for i in np.argsort(distance, kind="stable") if names[i] != name][:5]
            print(f"{name:>12} is near {', '.join(near)}")

    scores = vae.score_samples(table)  # a bound on ln p(x), nats; long texts have less of it
    print("least likely:", ", ".join(names[i] for i in np.argsort(scores)[:5]))

    usage = codes.mean(0)
    bit = int(np.argmin(np.abs(usage - 0.5)))
    on, off = codes[:5].copy(), codes[:5].copy()
    on[:, bit], off[:, bit] = 1, 0
    change = (vae.inverse_transform(on) - vae.inverse_transform(off)).mean(0)
    ordered = np.argsort(-change)
    print(f"bit {bit} adds", ", ".join(words[i] for i in ordered[:6]))
    print(f"bit {bit} takes", ", ".join(words[i] for i in ordered[-6:]))


if __name__ == "__main__":
    main()
