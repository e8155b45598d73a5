"""``discretevae estimators``."""

from __future__ import annotations

from typing import Any

import click

from discretevae.cli import common

SHORT = {"bernoulli": "bits", "categorical": "cat", "gaussian": "gauss"}


@click.command("estimators", epilog=common.example("discretevae estimators --latent bernoulli:50"))
@click.option(
    "--latent",
    help="A code such as bernoulli:50: only those that can handle it are listed, with what they "
    "cost on it.  [default: all]",
)
@click.option("--bibtex", is_flag=True, help="Print the papers to cite as BibTeX instead.")
@common.json_option
def command(latent: str | None, bibtex: bool, as_json: bool) -> None:
    """List the gradient estimators: what --estimator takes, with properties and sources.

    'cost' is in decoder rows per data row and step; codes are bits, categories, or Gaussian. An
    option is set by NAME:option=value,… and stands here with its default.
    """
    rows = _members(latent)
    if bibtex:
        entries = dict.fromkeys(row["bibtex"] for row in rows)
        click.echo("\n\n".join(entries))
        return
    if as_json:
        common.print_json({row.pop("name"): row for row in rows})
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
    common.print_columns(lines)


def _members(latent: str | None) -> list[dict[str, Any]]:
    import inspect

    from discretevae.estimators import ESTIMATORS, Exact, UnorderedSet, option_types
    from discretevae.estimators.references import references
    from discretevae.families import family_of, is_enumerable

    family = family_of(latent) if latent else None
    rows, papers = [], references()
    for name, cls in ESTIMATORS.items():
        member = cls()
        if family is not None and (
            family.spec.kind not in member.kinds
            or (isinstance(member, (Exact, UnorderedSet)) and not is_enumerable(family))
        ):
            continue
        defaults = inspect.signature(cls).parameters
        cost = member.evaluations if family is None else member.evaluations_for(family)
        rows.append(
            {
                "name": name,
                "unbiased": member.is_unbiased,
                "evaluations": cost,
                "kinds": list(member.kinds),
                "options": {key: defaults[key].default for key in option_types(cls)},
                "about": (inspect.getdoc(cls) or "").splitlines()[0],
                "reference": str(papers[name]),
                "bibtex": papers[name].bibtex(),
            }
        )
    return rows


__all__ = ["command"]
