"""``discretevae estimators``."""

from __future__ import annotations

from typing import Any

import click

from discretevae.cli import arguments, outputs

SHORT = {"bernoulli": "bits", "categorical": "cat", "gaussian": "gauss"}


@arguments.command("estimators", "--latent bernoulli:50")
@arguments.option(
    "--latent",
    "A code such as bernoulli:50: list only estimators that can handle it, with their cost for "
    "it.  [default: all]",
)
@arguments.flag("--bibtex", "Print the papers to cite as BibTeX instead.")
@arguments.as_json
def command(latent: str | None, bibtex: bool, as_json: bool) -> None:
    """List the gradient estimators, the values of --estimator, with properties and sources.

    'cost' is in decoder rows per data row and step; codes are bits, categories, or Gaussian.
    Options are set by NAME:option=value,… and listed with their defaults.
    """
    rows = _described(latent)
    if bibtex:
        click.echo("\n\n".join(dict.fromkeys(row["bibtex"] for row in rows)))
        return
    if as_json:
        outputs.print_json({row.pop("name"): row for row in rows})
        return
    lines = [("estimator", "unbiased", "cost", "codes", "source", "options")]
    for row in rows:
        lines.append(
            (
                row["name"],
                "yes" if row["unbiased"] else "no",
                str(row["evaluations"]),
                " ".join(SHORT[kind] for kind in row["kinds"]),
                row["reference"],
                " ".join(f"{key}={value}" for key, value in row["options"].items()),
            )
        )
    outputs.print_table(lines)


def _described(latent: str | None) -> list[dict[str, Any]]:
    """Return the properties of the estimators that fit a code."""
    import inspect

    from discretevae.estimators import ESTIMATORS, Exact
    from discretevae.estimators.references import references
    from discretevae.families import family_of, is_enumerable

    family = family_of(latent) if latent else None
    rows, papers = [], references()
    for name, cls in ESTIMATORS.items():
        estimator = cls()
        if family is not None and (
            family.spec.kind not in estimator.kinds
            or (isinstance(estimator, Exact) and not is_enumerable(family))
        ):
            continue
        cost = estimator.evaluations if family is None else estimator.evaluations_for(family)
        rows.append(
            {
                "name": name,
                "unbiased": estimator.is_unbiased,
                "evaluations": cost,
                "kinds": list(estimator.kinds),
                "options": cls.options(),
                "about": (inspect.getdoc(cls) or "").splitlines()[0],
                "reference": str(papers[name]),
                "bibtex": papers[name].bibtex(),
            }
        )
    return rows
