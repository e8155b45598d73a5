"""``discretevae cluster``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from discretevae.cli import common

if TYPE_CHECKING:
    from discretevae.codes.cluster_scores import ClusterScores
    from discretevae.codes.clusters import Clusters
    from discretevae.data import Rows
    from discretevae.run_folder.checkpoint import Run


@click.command(
    "cluster", epilog=common.example("discretevae cluster runs/clusters digits --out clusters.csv")
)
@common.run_argument
@common.data_argument
@common.data_option
@common.split_option("all")
@click.option(
    "--samples",
    type=int,
    default=0,
    show_default=True,
    help="Draws of z per row over which p(component|z) is averaged; 0 takes the mean of q(z|x).",
)
@common.seed_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A .csv of each row's cluster and its probability, or .npz with those of all clusters.  "
    "[default: not written]",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="A .png of centers and members.  [default: RUN/figures/clusters.png, where rows are "
    "pictures]",
)
@click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path),
    help="A .png of the latent means of Gaussian codes in two dimensions, colored by component.  "
    "[default: not drawn]",
)
@common.device_option
@common.data_dir_option
@common.json_option
def command(
    run_folder: Path,
    data_argument: str | None,
    data_option: str | None,
    split: str,
    samples: int,
    seed: int,
    out: Path | None,
    picture: Path | None,
    map_path: Path | None,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Give every row of DATA (else of the run's own data) its cluster.

    The clusters are the model's own: the components of its mixture prior, or the values of its
    categorical variable, as `train --latent categorical:10` makes it. Labels, where the data have
    them, are used for scoring only.
    """
    from discretevae.codes.cluster_scores import match_clusters
    from discretevae.codes.clusters import clusters, require_clusters
    from discretevae.errors import ConfigError
    from discretevae.model.row_checks import require_fit

    common.require_seed(seed)
    run = common.open_run(run_folder, device)
    kind = require_clusters(run.model)
    shape = run.config.model.image_shape
    if picture is not None and shape is None:
        raise ConfigError(f"{picture}: the model's rows are no pictures. Leave --picture out.")
    if map_path is not None and kind == "category":
        raise ConfigError(f"{map_path}: a map is of Gaussian codes only. Leave --map out.")
    if picture is None and shape is not None:
        picture = run_folder / "figures" / "clusters.png"
    source = data_argument or data_option or run.config.data.source
    for path, endings in ((out, (".csv", ".npz")), (picture, (".png",)), (map_path, (".png",))):
        if path is not None:
            common.require_suffix(path, *endings)
            common.refuse_same_file(path, source, "data")
    if map_path is not None and picture is not None and map_path.resolve() == picture.resolve():
        raise ConfigError(f"{map_path}: is the file of --picture. Choose another --map.")
    rows = common.open_rows(run.config, data_argument, data_option, split=split, data_dir=data_dir)
    require_fit(run.model, rows)
    with common.counting_bar("clustering", len(rows)) as progress:
        found = clusters(
            run.model,
            rows,
            samples=samples,
            seed=seed,
            progress=progress,
        )
    scores = None if rows.labels is None else match_clusters(found.labels, rows.labels.numpy())
    if out is not None:
        _write(out, found)
    if picture is not None and shape is not None:
        _draw(picture, run, found, rows, shape, scores, seed)
    if map_path is not None:
        _draw_map(map_path, run, found, rows)
    if as_json:
        paths = {"out": out, "picture": picture, "map": map_path}
        facts = {"run": str(run_folder), "data": source, "split": split, "samples": samples}
        facts |= {name: None if path is None else str(path) for name, path in paths.items()}
        common.print_json(facts | _facts(found, scores))
        return
    _print(found, scores)
    for name, path in (("written", out), ("picture", picture), ("map", map_path)):
        if path is not None:
            click.echo(f"{name:8s} {path}")


def _write(out: Path, found: Clusters) -> None:
    from discretevae.codes.tables import write_columns

    common.make_parent(out)
    is_csv = out.suffix.lower() == ".csv"
    more = {"probability": found.confidence} if is_csv else {"probabilities": found.probabilities}
    write_columns(out, {"cluster": found.labels, **more})


def _draw(
    path: Path,
    run: Run,
    found: Clusters,
    rows: Rows,
    shape: tuple[int, int],
    scores: ClusterScores | None,
    seed: int,
) -> None:
    from discretevae.codes.clusters import cluster_centers
    from discretevae.plots.clusters import cluster_figure
    from discretevae.plots.pictures import save_figure

    centers = cluster_centers(run.model, seed=seed)
    common.make_parent(path)
    figure = cluster_figure(found, centers, rows, shape, scores=scores)
    save_figure(figure, path, dpi=120, colors=64)


def _draw_map(path: Path, run: Run, found: Clusters, rows: Rows) -> None:
    import torch

    from discretevae.codes.packing import encode_rows
    from discretevae.plots.clusters import latent_map
    from discretevae.plots.pictures import save_figure
    from discretevae.priors import MixturePrior

    means = torch.from_numpy(encode_rows(run.model, rows))
    prior = run.model.prior
    centers = prior.means.detach() if isinstance(prior, MixturePrior) else None
    common.make_parent(path)
    save_figure(latent_map(means, found, centers=centers), path, colors=64)


def _facts(found: Clusters, scores: ClusterScores | None) -> dict[str, Any]:
    """The part of the JSON that was measured."""
    majority = {} if scores is None else scores.majority
    mapping = {} if scores is None else scores.mapping
    each = []
    for cluster, size in enumerate(found.sizes.tolist()):
        of = majority.get(cluster)
        each.append(
            {
                "cluster": cluster,
                "rows": size,
                "share": size / len(found),
                "mean_probability": _certainty(found, cluster),
                "majority": None if of is None else {"label": of[0], "share": of[1]},
                "matched": mapping.get(cluster),
            }
        )
    return {
        "kind": found.kind,
        "rows": len(found),
        "n_clusters": found.n_clusters,
        "in_use": int((found.sizes > 0).sum()),
        "mean_entropy": float(found.entropy.mean()),
        "clusters": each,
        "scores": None if scores is None else scores.to_dict(),
    }


def _certainty(found: Clusters, cluster: int) -> float | None:
    members = found.members(cluster)
    return float(found.confidence[members].mean(dtype="f8")) if len(members) else None


def _print(found: Clusters, scores: ClusterScores | None) -> None:
    facts = _facts(found, scores)
    header = [found.kind, "rows", "share", "probability"]
    lines: list[list[str]] = [header if scores is None else [*header, "largest label", "matched"]]
    for each in sorted(facts["clusters"], key=lambda each: -each["rows"]):
        if not each["rows"]:
            continue
        cells = [str(each["cluster"]), f"{each['rows']:,}", f"{100 * each['share']:.1f} %"]
        cells.append(f"{each['mean_probability']:.3f}")
        if scores is not None:
            of, matched = each["majority"], each["matched"]
            cells.append(f"{of['label']}: {100 * of['share']:.1f} %")
            cells.append("–" if matched is None else str(matched))
        lines.append(cells)
    common.print_columns(lines)
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
