"""Answers of the explorer about a run: one method for each question, plain values back.

Nothing here knows of the web. Answers are dicts of numbers, texts and lists, ready for JSON.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from discretevae.codes.ids import ids_of, short_name
from discretevae.data import Rows, binarize
from discretevae.data.classes import class_name
from discretevae.errors import ConfigError, DataError
from discretevae.evaluation.bounds import row_scores
from discretevae.explorer.effects import (
    EFFECT_ROWS,
    GRID_DECODES,
    STEPS,
    decoded,
    effect,
    gentlest_first,
    settings_of,
    strength,
)
from discretevae.explorer.galleries import gallery_of, spread
from discretevae.explorer.groups import Groups, groups_of, has_own_clusters, nearest
from discretevae.explorer.pictures import Picture, canvas_for
from discretevae.explorer.variables import Number, posterior, to_codes, to_numbers, variables_of
from discretevae.run_folder.history import METRICS, read_metrics
from discretevae.run_folder.saved_run import Run
from discretevae.run_folder.summary import read_summary
from discretevae.system.randomness import generator_for
from discretevae.version import __version__

Answer = dict[str, Any]
Code = Sequence[Number]

REAL_STEPS = 8
"""Pictures over which real variables move together at the end of a walk."""

MAX_WALK = 1 << 21
"""Numbers in all codes of a walk."""

SCORE_SAMPLES = 64
"""Draws of z for the ELBO of one row, where it is not exact."""

MAX_KEPT_EFFECTS = 256
"""Variables whose effects are remembered."""

MAX_LABELS = 100
MAX_ID = 200
"""Characters of an id; longer ones are shortened in the middle."""

MAX_EPOCHS = 2000


class Explorer:
    """A trained model and rows to look at it with.

    At most ``max_rows`` rows are kept, evenly spread, as they are stored (bytes stay bytes), with
    their codes. The page shows ``source``, the name or path of the data, and ``split``.
    """

    def __init__(
        self,
        run: Run,
        rows: Rows,
        *,
        source: str,
        split: str,
        max_rows: int = 10_000,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self.run = run
        self.source, self.split = source, split
        self._model, self._latent = run.model, run.config.model.latent
        self._mode = run.config.data.binarize
        self.variables = variables_of(run.model.family)
        rows = rows.binarized(self._mode)
        self.gallery = gallery_of(run.model, rows, max_rows=max_rows, progress=progress)
        self.canvas = canvas_for(run.model, self.gallery.rows)
        self.columns = None if rows.columns is None else list(rows.columns)
        labels = self.gallery.rows.labels
        known = [] if labels is None else torch.unique(labels).tolist()
        self.labels = {self._class_name(label): label for label in known}
        """The numbers of the labels by the names of their classes."""
        self.pause: Callable[[], object] = lambda: None
        """Called between the variables of an overview, so that others can be answered."""
        self.effects = functools.lru_cache(MAX_KEPT_EFFECTS)(self._effects_of)
        """Returns the mean picture with one variable set to each of its values; remembered."""
        self._strengths: dict[int, float] = {}

    @property
    def n_places(self) -> int:
        """Places of a grid; of a flat code 1."""
        return self._latent.n_places

    def model(self) -> Answer:
        """Return a description of model and data, with the figures of the finished run."""
        config, canvas = self.run.config, self.canvas
        return {
            "run": self.run.folder.resolve().name,
            "latent": str(config.model.latent),
            "variables": [asdict(variable) for variable in self.variables],
            "grid": config.model.latent.grid,
            "image": None if canvas.shape is None else list(canvas.shape),
            "n_values": canvas.n_values,
            "columns": self.columns,
            "value_range": [canvas.low, canvas.high],
            "binarize": None if self._mode == "none" else self._mode,
            "likelihood": str(config.model.likelihood),
            "prior": str(config.model.prior),
            "data": {
                "name": self.source,
                "split": self.split,
                "n_rows": len(self.gallery),
                "n_available": self.gallery.n_available,
                "has_labels": self.gallery.rows.labels is not None,
                "labels": list(self.labels)[:MAX_LABELS],
            },
            "has_own_clusters": has_own_clusters(self._model),
            "figures": self._figures(),
            "version": __version__,
        }

    def rows(self, start: int, count: int, label: str | None = None) -> Answer:
        """Return rows from ``start``, of one label, by its name, or of all."""
        if label is None:
            return self._page(np.arange(len(self.gallery)), start, count)
        labels = self.gallery.rows.labels
        if labels is None or label not in self.labels:
            known = ", ".join(list(self.labels)[:20]) or "none"
            raise ConfigError(f"label {label[:40]!r} is not in the data. Choose one of: {known}.")
        return self._page(np.flatnonzero(labels.numpy() == self.labels[label]), start, count)

    def encode_row(self, row: int) -> Answer:
        """Return the code of a row that is kept, see `encode`."""
        return self.encode(self.gallery.x(torch.tensor([row])))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Answer:
        """Return the code of one row ``[1, P]``, its probabilities, reconstruction and ELBO.

        The row is made 0 and 1 first if the run was trained so, and rounded to k/255 where the
        likelihood needs that.
        """
        model, family = self._model, self._model.family
        if model.likelihood.support == "bytes":
            x = (x * 255).round() / 255
        x = binarize(x, "none" if self._mode == "none" else "threshold")
        eta = model.eta(x.to(model.device)).cpu()
        if not bool(eta.isfinite().all()):
            raise DataError("the row: its code is beyond float32. Choose values nearer to 0.")
        scores = row_scores(
            model,
            Rows(x.contiguous(), name="the row", scale=self.gallery.rows.scale),
            samples=SCORE_SAMPLES,
        )
        codes = family.to_codes(family.mode(eta))
        figures = {"elbo": scores.elbo, "kl": scores.kl, "log_likelihood": scores.log_likelihood}
        return {
            "code": to_numbers(self.variables, codes)[0],
            "probabilities": posterior(family, eta),
            "input": self.canvas.picture(x[0]),
            "reconstruction": self.canvas.picture(decoded(model, codes)[0]),
            "figures": {name: float(value) for name, value in figures.items()},
            "is_surrogate": scores.is_surrogate,
        }

    def decode(self, codes: Sequence[Code]) -> Answer:
        """Return the picture of each code."""
        self.canvas.require_few(len(codes))
        return {"pictures": self._pictures(to_codes(self._model.family, codes))}

    def walk(self, start: Code, end: Code) -> Answer:
        """Walk from one code to another: discrete variables one at a time, then the real ones.

        The discrete variables come in the order of `gentlest_first`: by how much each one alone,
        changed in ``start``, moves the picture; of a grid those of a place change together. Real
        variables then go together in a straight line, in 8 steps.
        """
        first, last = to_codes(self._model.family, [start, end])
        size = self._latent.variables_per_place if self._latent.grid else 1
        discrete = [v.index for v in self.variables if v.kind != "real"]
        groups = [discrete[i : i + size] for i in range(0, len(discrete), size)]
        order = gentlest_first(self._model, first, last, groups)
        if len(order) * len(first) > MAX_WALK:
            raise ConfigError(
                f"the codes differ in {len(order):,} variables of {len(first):,}, too many steps "
                "for one answer. Choose codes that are nearer to each other."
            )
        codes, changed, now = [first], [None, *(group[0] for group in order)], first
        for group in order:
            now = now.clone()
            now[group] = last[group]
            codes.append(now)
        if bool((now != last).any()):
            codes += [now.lerp(last, step / REAL_STEPS) for step in range(1, REAL_STEPS)] + [last]
            changed += [None] * REAL_STEPS
        stacked = torch.stack(codes)
        pictures, numbers = self._pictures(stacked), to_numbers(self.variables, stacked)
        return {
            "steps": [
                {"variable": variable, "code": code, "picture": picture}
                for variable, code, picture in zip(changed, numbers, pictures, strict=True)
            ]
        }

    def overview(self, place: int = 0) -> Answer:
        """Return of every variable, of a grid at one place, how much it is used, costs and does."""
        gallery, size = self.gallery, self._latent.variables_per_place
        variables = self.variables[place * size : (place + 1) * size]
        n_settings = sum(len(settings_of(variable, gallery)) for variable in variables)
        for variable in variables:
            if variable.index not in self._strengths:
                found = strength(self._model, gallery, variable, n_settings)
                self._strengths[variable.index] = found
                self.pause()
        described = [
            {"index": i, "usage": gallery.usage[i], "kl": gallery.kl[i],
             "strength": self._strengths[i]}
            for i in (variable.index for variable in variables)
        ]  # fmt: skip
        return {"variables": described, "kl_of": "prior" if gallery.is_kl_of_prior else "reference"}

    def clusters(self) -> Answer:
        """Return the clusters of the model, else of the codes, with the labels of their rows."""
        groups, labels = self._groups, self.gallery.rows.labels
        pictures = self.canvas.pictures(groups.pictures)
        found = []
        for k, (members, picture) in enumerate(zip(groups.members, pictures, strict=True)):
            counts = None
            if labels is not None:
                own = labels[torch.from_numpy(members)]
                names, sizes = torch.unique(own, return_counts=True)
                pairs = zip(names.tolist(), sizes.tolist(), strict=True)
                counts = {self._class_name(name): size for name, size in pairs}
            found.append(
                {"cluster": k, "size": len(members), "label_counts": counts, "picture": picture}
            )
        return {"by": groups.by, "picture_of": groups.picture_of, "clusters": found}

    def cluster(self, k: int, start: int, count: int) -> Answer:
        """Return rows of a cluster, the best members first."""
        members = self._groups.members
        if not 0 <= k < len(members):
            raise ConfigError(f"cluster must be an int from 0 to {len(members) - 1}. Got {k}.")
        return self._page(members[k], start, count)

    def neighbors(self, code: Code, k: int, row: int | None = None) -> Answer:
        """Return the rows whose codes are nearest, see `groups.nearest`; without ``row`` itself."""
        query = to_codes(self._model.family, [code])[0]
        name, near, distances = nearest(self.gallery, self.variables, query, k, without=row)
        rows = self._described(near)
        for row_answer, distance in zip(rows, distances.tolist(), strict=True):
            row_answer["distance"] = int(distance) if distance.is_integer() else distance
        return {"distance": name, "rows": rows}

    @torch.no_grad()
    def sample(self, n: int, temperature: float, seed: int) -> Answer:
        """Return codes drawn from the prior and their pictures."""
        model = self._model
        self.canvas.require_few(n)
        generator = generator_for(seed, "figures", device=model.device)
        z = model.prior.sample(n, generator=generator, temperature=temperature)
        codes = model.family.to_codes(z).cpu()
        return {"pictures": self._pictures(codes), "codes": to_numbers(self.variables, codes)}

    def history(self) -> Answer:
        """Return the epochs of the training, of more than 2,000 so many."""
        folder = self.run.folder
        epochs = read_metrics(folder) if (folder / METRICS).is_file() else []
        chosen = [asdict(epochs[i]) for i in spread(len(epochs), MAX_EPOCHS).tolist()]
        chosen += [asdict(epochs[-1])] if len(epochs) > MAX_EPOCHS else []
        clean = [{name: _finite(value) for name, value in each.items()} for each in chosen]
        keys = [name for name in (clean[0] if clean else ()) if name != "epoch"]
        return {"epochs": clean, "keys": [k for k in keys if any(e[k] is not None for e in clean)]}

    def _effects_of(self, index: int) -> Answer:
        variable, gallery = self.variables[index], self.gallery
        settings = settings_of(variable, gallery)
        n_rows = GRID_DECODES // len(settings) if self._latent.grid else EFFECT_ROWS
        codes = gallery.codes[spread(len(gallery), min(n_rows, EFFECT_ROWS))]
        means = effect(self._model, codes, variable, settings)
        pictures = self.canvas.pictures(means)
        answer: Answer = {"variable": index, "kind": variable.kind, "rows": len(codes)}
        answer |= {"usage": gallery.usage[index], "kl": gallery.kl[index]}
        if variable.kind == "bit":
            difference = means[1] - means[0]
            answer |= {"off": pictures[0], "on": pictures[1], "difference": difference.tolist()}
            return answer | {"scale": float(difference.abs().max())}
        if variable.kind == "category":
            return answer | {"categories": pictures}
        return answer | {"steps": list(STEPS), "values": settings, "pictures": pictures}

    def _figures(self) -> dict[str, float]:
        """Return the numbers of ``summary.json``; none where the run has none."""
        summary = read_summary(self.run.folder)
        found = {}
        for name, value in (summary["test"] if summary else {}).items():
            number = value.get("value") if isinstance(value, dict) else value
            if isinstance(number, (int, float)):
                found[name] = number
        return found

    @functools.cached_property
    def _groups(self) -> Groups:
        return groups_of(self._model, self.gallery, self.variables)

    def _pictures(self, codes: Tensor) -> list[Picture]:
        self.canvas.require_few(len(codes))
        return self.canvas.pictures(decoded(self._model, codes))

    def _page(self, rows: np.ndarray[Any, np.dtype[Any]], start: int, count: int) -> Answer:
        shown = rows[start : start + count]
        return {"total": len(rows), "start": start, "rows": self._described(shown)}

    def _described(self, rows: np.ndarray[Any, np.dtype[Any]]) -> list[Answer]:
        """Return rows with their id and number in the source, label, and picture."""
        index, labels = torch.from_numpy(np.ascontiguousarray(rows)), self.gallery.rows.labels
        self.canvas.require_few(len(rows))
        pictures = self.canvas.pictures(self.gallery.x(index))
        kept = self.gallery.rows.subset(index)
        of_rows = [None] * len(rows) if labels is None else labels[index].tolist()
        columns = (rows.tolist(), ids_of(kept).tolist(), kept.source_numbers.tolist(), of_rows)
        return [
            {
                "row": row,
                "id": short_name(own, MAX_ID) if isinstance(own, str) else own,
                "number": number,
                "label": None if label is None else self._class_name(label),
                "picture": picture,
            }
            for row, own, number, label, picture in zip(*columns, pictures, strict=True)
        ]

    def _class_name(self, label: int) -> str:
        return class_name(label, self.gallery.rows.classes)


def _finite(value: Any) -> Any:
    return value if value is None or math.isfinite(value) else None
