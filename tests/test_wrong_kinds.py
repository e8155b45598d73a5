"""Every public function says in one line what it wants, whatever it is given in the place of that.

The table is made from the signatures: a new public function is in it with its first parameter of a
known name.
"""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import discretevae as dv

P = 4
X = np.random.default_rng(0).random((12, P))


class Frame:
    """A data frame of a package that nobody has heard of: a column of texts."""

    columns = ("name",)

    def get_column(self, name):
        return self

    dtype = "String"

    def to_numpy(self):
        return np.array(["a", "b"], object)


def model_of(latent="bernoulli:3", **options):
    config = dv.ModelConfig(n_features=P, latent=latent, hidden=(4,), **options)
    return dv.DiscreteVAE(config, generator=torch.Generator().manual_seed(0))


MODEL, ROWS = model_of(), dv.Rows.from_array(X)
DATA = dv.Dataset("mine", ROWS.subset(slice(0, 8)), ROWS.subset(slice(8, None)))
NARROW = X[:, :2]
RUN = dv.Run(Path("runs/a"), dv.RunConfig(model=MODEL.config), MODEL)
ITEMS = TensorDataset(torch.from_numpy(X))

RIGHT = {
    "model": MODEL,
    "rows": ROWS,
    "reference_rows": ROWS,
    "outliers": dv.Outliers(MODEL, 0, 0.1, "none", (0, 1), 9, 9, 0),
    "data": DATA,
    "x": torch.from_numpy(X).float(),
    "family": MODEL.family,
    "estimator": dv.Importance(),
    "estimators": {"importance": dv.Importance()},
    "latent": "bernoulli:3",
    "prior": "factorized",
    "config": dv.RunConfig(model=MODEL.config),
    "run": RUN,
    "packed": np.zeros((2, 1), np.uint8),
    "codes": torch.zeros(2, 3, dtype=torch.uint8),
    "folder": "no/such/folder",
    "out": "no/such/folder",
    "path": "no/such/file",
    "source": "no/such/file",
    "name": "no/such/folder",
    "schema": None,
    "models": {"a": (MODEL, "none")},
    "query_codes": np.zeros((2, 1), np.uint8),
    "gallery_codes": np.zeros((2, 1), np.uint8),
    "query_labels": [0, 1],
    "gallery_labels": [0, 1],
    "generator": torch.Generator(),
    "repo_id": "user/name",
    "kind": "bernoulli",
    "n_neighbors": 2,
    "sizes": [1, 2],
    "train": ROWS,
    "test": ROWS,
    "k": 1,
}
"""What each parameter takes. None of these ends in a long computation: the other one is wrong."""

OF_RUN = {
    "config": dv.DataConfig(source="no/such/file"),
    "schema": dv.Schema.of(DATA),
    "split": "all",
}
"""What the functions take that read the data of a run."""

ANYTHING = [None, 3, 0.5, {}, object(), np, dv.Rows, len]
WRONG = {
    "model": [*ANYTHING, "runs/a", [], ROWS, X, RUN, torch.nn.Linear(P, P), MODEL.config],
    "rows": [
        *ANYTHING, "digits", Path("a.npy"), [], [1, 2], [[1, 2], [3]], ["a"] * P, DATA, MODEL,
        Frame(), NARROW, X[0], iter(X), 200 * X.round(),
    ],
    "data": [*ANYTHING, "digits", [], X, ROWS, (X, X), ITEMS, MODEL, Frame()],
    "x": [*ANYTHING, "x", [[0.0] * P], X, ROWS, torch.zeros(2, 3), torch.zeros(2, P).int()],
    "family": [*ANYTHING, "bernoulli:3", [], MODEL, MODEL.config.latent],
    "estimator": [*ANYTHING, [], dv.Importance, MODEL],
    "latent": [*ANYTHING, "bernouli", "bernoulli:x", []],
    "prior": [*ANYTHING, "fixd", [], dv.FactorizedPrior],
    "config": [*ANYTHING, "fc-bvae", [], dv.TrainConfig, MODEL, RUN],
    "run": [*ANYTHING, "runs/a", MODEL, []],
    "packed": [*ANYTHING, "codes.npy", [], X, np.zeros((2, 9), np.uint8), np.zeros(3, np.uint8)],
    "codes": [*ANYTHING, "codes.npy", X[:, :1], torch.zeros(2), torch.zeros(2, 9)],
    "path": [None, 3, {}, object(), np, [], X],
    "source": [*ANYTHING, [], [1, 2], b"digits", "", iter(X), MODEL, DATA],
    "schema": [3, "schema.json", {}, RUN, np],
}  # fmt: skip
SAME = {"reference_rows": "rows", "folder": "path", "out": "path", "name": "path"}
SAME |= {"query_codes": "packed", "gallery_codes": "packed"}

FUNCTIONS = {
    name: getattr(dv, name)
    for name in dv.__all__
    if inspect.isfunction(getattr(dv, name)) and name not in ("binarize", "distort")
}
FUNCTIONS |= {
    "DiscreteVAE": dv.DiscreteVAE,
    "DiscreteVAE.for_data": dv.DiscreteVAE.for_data,
    "CodeIndex.build": dv.CodeIndex.build,
    "CodeIndex.load": dv.CodeIndex.load,
    "CodeIndex.from_codes": dv.CodeIndex.from_codes,
    "Outliers.score_samples": dv.Outliers(MODEL, 0, 0.1, "none", (0, 1), 9, 9, 0).score_samples,
    "Outliers.predict": dv.Outliers(MODEL, 0, 0.1, "none", (0, 1), 9, 9, 0).predict,
    "Outliers.measure": dv.Outliers(MODEL, 0, 0.1, "none", (0, 1), 9, 9, 0).measure,
    "encode": MODEL.encode,
    "decode": MODEL.decode,
    "reconstruct": MODEL.reconstruct,
    "eta": MODEL.eta,
    "log_likelihood": MODEL.log_likelihood,
}


def calls():
    for name, function in FUNCTIONS.items():
        parameters = inspect.signature(function).parameters
        for parameter in parameters:
            kind = SAME.get(parameter, parameter)
            if kind in WRONG:
                yield pytest.param(name, parameter, kind, id=f"{name}-{parameter}")


def is_fine(name, parameter, wrong):
    """Return whether something is no mistake there, beside its documented type."""
    default = inspect.signature(FUNCTIONS[name]).parameters[parameter].default
    if wrong is None and default is None:
        return True
    if name == "DiscreteVAE.for_data" and isinstance(wrong, Frame):
        return True  # its texts are levels
    takes_tables = ("encode", "reconstruct", "DiscreteVAE.for_data")
    if name in takes_tables or (name, parameter) == ("refine_codes", "x"):
        is_table = wrong is X or wrong is ROWS or wrong is ITEMS
        return is_table or (isinstance(wrong, (list, torch.Tensor)) and np.shape(wrong)[1:] == (P,))
    if name in ("input_complexity", "mutual_neighbors") and wrong is NARROW:
        return True  # there is no model that it must fit
    return name in ("save_pretrained", "push_to_hub") and wrong is RUN


@pytest.mark.parametrize(("name", "parameter", "kind"), list(calls()))
def test_what_is_wrong_is_said_in_one_line(name, parameter, kind):
    function = FUNCTIONS[name]
    right = RIGHT | (OF_RUN if name.startswith("load_run_") else {})
    required = {
        other: right[other]
        for other, found in inspect.signature(function).parameters.items()
        if found.default is found.empty and found.kind is not found.VAR_KEYWORD
    }
    failed = []
    for wrong in WRONG[kind]:
        if is_fine(name, parameter, wrong):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", dv.DataWarning)
                function(**(required | {parameter: wrong}))
            failed.append(f"{wrong!r:.40} was taken")
        except dv.DiscreteVAEError as error:
            if not re.fullmatch(r"\S.*[.)]", str(error)):
                failed.append(f"{wrong!r:.40}: {error}")
        except Exception as error:
            failed.append(f"{wrong!r:.40}: {type(error).__name__}: {error}")
    assert failed == []
