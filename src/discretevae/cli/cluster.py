"""``discretevae cluster``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import Inputs
from discretevae.errors import ConfigError

if TYPE_CHECKING:
    from discretevae.codes.cluster_scores import ClusterScores
    from discretevae.codes.clusters import Clusters
    from discretevae.data import Rows


@arguments.command("cluster", "runs/clusters digits --out clusters.csv")
@arguments.path(
    "--out",
    "A .csv of each row's id, cluster and its probability, or .npz with those of all clusters.  "
    "[default: none]",
)
@arguments.path(
    "--picture",
    "A .png of cluster centers and rows.  [default: RUN/figures/clusters.png, where rows are "
    "images]",
)
@arguments.option(
    "--clusters",
    "Of a grid of codes: the number of clusters.  [default: 10]",
    to="n_clusters",
    type=arguments.COUNT,
)
@arguments.inputs("all")
@arguments.as_json
def command(
    source: Inputs,
    n_clusters: int | None,
    out: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Assign every row of DATA (else of the run's own data) to a cluster.

    The clusters are the model's own: the components of its mixture prior, or the values of its
    categorical variable, as `train --latent categorical:10` makes it. Of a grid of codes they are
    made by k-means of how often each row shows each symbol, at whatever place. Labels, where the
    data have them, are used for scoring only.
    """
    from discretevae.codes.cluster_scores import match_clusters
    from discretevae.codes.clusters import clusters, require_clusters
    from discretevae.codes.pooling import pooled_clusters
    from discretevae.data.classes import is_known

    run, shape = source.run, source.image_shape
    latent = run.config.model.latent
    # a mixture is of real numbers, and a single category has no others to be pooled with
    is_pooled = latent.grid is not None and latent.n_states is not None and latent.n_variables > 1
    if not is_pooled:
        require_clusters(run.model)
        if n_clusters is not None:
            raise ConfigError("--clusters is for grids of codes: other runs have their own.")
    source.check_output(out, "--out", ".csv", ".npz")
    source.check_picture(picture)
    if picture is None and shape is not None:
        picture = source.folder / "figures" / "clusters.png"
    rows = source.rows()
    with outputs.counting_bar("clustering", len(rows)) as progress:
        if is_pooled:
            found = pooled_clusters(run.model, rows, n_clusters or 10, progress=progress)
        else:
            found = clusters(run.model, rows, progress=progress)
    scores = None
    if rows.labels is not None and (known := is_known(rows.labels).numpy()).any():
        scores = match_clusters(found.labels[known], rows.labels.numpy()[known])
    if out is not None:
        _write(out, found, rows)
    if picture is not None and shape is not None:
        from discretevae.codes.clusters import cluster_centers, mean_pictures
        from discretevae.plots.clusters import cluster_figure

        if is_pooled:
            centers = mean_pictures(rows, map(found.members, range(found.n_clusters)))
        else:
            centers = cluster_centers(run.model)
        figure = cluster_figure(found, centers, rows, shape, scores=scores)
        outputs.draw(figure, picture, dpi=120, colors=64 if len(shape) == 2 else None)
    facts = _facts(found, scores, rows)
    if as_json:
        asked = {"run": str(source.folder), "data": source.name, "split": source.split}
        paths = {"out": out, "picture": picture}
        written = {name: None if path is None else str(path) for name, path in paths.items()}
        outputs.print_json(asked | written | facts)
        return
    outputs.print_table(_lines(facts))
    click.echo(
        f"in use   {facts['in_use']} of {facts['n_clusters']}; {facts['rows']:,} rows, "
        f"mean entropy {facts['mean_entropy']:.3f} nats"
    )
    if scores is not None:
        click.echo(
            f"accuracy {100 * scores.accuracy:.2f} %, clusters and labels matched one to one; "
            f"purity {100 * scores.purity:.2f} %"
        )
        click.echo(
            f"NMI {scores.nmi:.4f}, ARI {scores.ari:.4f}; labels were used for these scores only"
        )
    outputs.print_paths(written=out, picture=picture)


def _write(out: Path, found: Clusters, rows: Rows) -> None:
    from discretevae.codes.ids import ids_of
    from discretevae.codes.tables import write_columns

    is_csv = out.suffix.lower() == ".csv"
    more = {"probability": found.confidence} if is_csv else {"probabilities": found.probabilities}
    columns = {"id": ids_of(rows), "cluster": found.labels, **more}
    write_columns(outputs.make_parent(out), columns)


def _facts(found: Clusters, scores: ClusterScores | None, rows: Rows) -> dict[str, Any]:
    """Return what was measured, as plain values for JSON."""
    from discretevae.codes.ids import ids_of

    ids = ids_of(rows)
    majority = {} if scores is None else scores.majority
    mapping = {} if scores is None else scores.mapping
    each = []
    for cluster, size in enumerate(found.sizes.tolist()):
        most = majority.get(cluster)
        members = found.members(cluster)
        confidence = found.confidence[members]
        each.append(
            {
                "cluster": cluster,
                "rows": size,
                "share": size / len(found),
                "mean_probability": float(confidence.mean(dtype="f8")) if size else None,
                "majority": None if most is None else {"label": most[0], "share": most[1]},
                "matched": mapping.get(cluster),
                "surest": ids[members[:1]].tolist()[0] if size else None,
            }
        )
    return {
        "kind": found.kind,
        "rows": len(found),
        "n_clusters": found.n_clusters,
        "in_use": int((found.sizes > 0).sum()),
        "mean_entropy": float(found.entropy.mean()),
        "clusters": each,
        "classes": None if rows.classes is None else list(rows.classes),
        "scores": None if scores is None else scores.to_dict(),
    }


def _lines(facts: dict[str, Any]) -> list[list[str]]:
    """Return one line for each cluster that has rows, the largest first."""
    from discretevae.codes.ids import short_name
    from discretevae.data.classes import class_name

    lines = [[facts["kind"], "rows", "share", "probability", "surest row"]]
    if facts["scores"] is not None:
        lines[0] += ["largest label", "matched"]
    for each in sorted(facts["clusters"], key=lambda each: -each["rows"]):
        if not each["rows"]:
            continue
        cells = [str(each["cluster"]), f"{each['rows']:,}", f"{100 * each['share']:.1f} %"]
        cells += [f"{each['mean_probability']:.3f}", short_name(each["surest"])]
        if facts["scores"] is not None:
            most, matched = each["majority"], each["matched"]
            name = short_name(class_name(most["label"], facts["classes"]))
            cells.append(f"{name}: {100 * most['share']:.1f} %")
            matched = "–" if matched is None else class_name(matched, facts["classes"])
            cells.append(short_name(matched))
        lines.append(cells)
    return lines
