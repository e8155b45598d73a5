"""A model as a folder for others: configuration, weights and a card, as the Hub lays them out.

::

    FOLDER/
      config.json          as in a run folder, without the path of the data
      schema.json          as in a run folder, without the sums over its rows
      model.safetensors    weights
      README.md            the model card

Such a folder is a run folder too: every command that takes a run takes it.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from discretevae.config import to_dict
from discretevae.data import BUILTIN_NAMES
from discretevae.errors import ConfigError, DownloadError, RunError, needs_extra
from discretevae.model.row_checks import require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.run_folder.saved_run import (
    CONFIG,
    MODEL,
    SCHEMA,
    Run,
    config_bytes,
    load_run,
    save_config,
    save_schema,
    save_weights,
)
from discretevae.run_folder.summary import SUMMARY, read_summary
from discretevae.sharing.card import model_card
from discretevae.system.files import as_path, write_atomic, write_text
from discretevae.version import __version__

CARD = "README.md"
FILES = (MODEL, CARD, SCHEMA, CONFIG)
"""In the order in which they are written: a folder without its configuration is no run."""

FETCHED = [CONFIG, SCHEMA, "*.safetensors"]
"""All that is ever downloaded."""

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[\w.\-]+", re.ASCII)
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.\-]*", re.ASCII)


def save_pretrained(
    model: DiscreteVAE | Run,
    folder: str | Path,
    *,
    license: str | None = None,  # noqa: A002 - what the Hub calls it
    overwrite: bool = False,
) -> Path:
    """Write ``config.json``, ``schema.json``, weights and a model card; return the folder.

    Of a `Run` the card says what it was trained on and how, and gives the figures of its
    ``summary.json`` with their standard errors. Of a bare model it says that these are not
    recorded. Data that are a file or a folder are named without their path. The schema of a run
    goes along, so that new data are read as those of the training were: names of columns and
    classes, scales and the range of values, but not the digests, by which single rows might be
    guessed. ``dataclasses.replace(run, schema=None)`` keeps it back.

    Args:
        model: a model, or a run as `load_run` opens it.
        folder: where to; made if it is not there.
        license: of the weights, as the Hub spells it, such as ``apache-2.0``; None leaves the
            field for you to fill in.
        overwrite: whether files of these names may be replaced.

    Raises:
        ConfigError: the license is no identifier.
        RunError: the folder holds such files already, or a training run; or ``summary.json`` of
            the run is corrupt.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=64, latent="bernoulli:8", hidden=(32,))
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = save_pretrained(model, Path(parent) / "bits")
        ...     print(sorted(path.name for path in folder.iterdir()))
        ...     again = from_pretrained(folder).model
        ['README.md', 'config.json', 'model.safetensors']
        >>> torch.equal(again.encoder[0].weight, model.encoder[0].weight)
        True
    """
    if license is not None and not _LICENSE.fullmatch(license):
        raise ConfigError(f"license {license!r} is no identifier. Write it like apache-2.0.")
    bare = model.model if isinstance(model, Run) else model
    require_model(bare)
    folder = as_path(folder, "folder")
    _require_free(folder, overwrite)
    card = model_card(
        bare,
        _without_path(model) if isinstance(model, Run) else None,
        summary=read_summary(model.folder) if isinstance(model, Run) else None,
        license_id=license,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, SCHEMA):  # what is half replaced must not be taken for a run
        (folder / name).unlink(missing_ok=True)
    save_weights(folder, bare)
    write_text(folder / CARD, card)
    if isinstance(model, Run):
        if model.schema is not None:
            save_schema(folder, model.schema.without_rows())
        save_config(folder, _without_path(model).config)
    else:
        # empty parts: nothing is known of them
        values = {"model": to_dict(bare.config), "training": {}, "data": {}}
        write_atomic(folder / CONFIG, config_bytes(values))
    return folder


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    device: str = "cpu",
) -> Run:
    """Open what `save_pretrained` wrote, from a folder or from the Hugging Face Hub.

    Of a repository only ``config.json``, ``schema.json`` and ``*.safetensors`` are fetched. Nothing
    is unpickled.

    Args:
        name: a folder, which needs no extra; or a repository such as ``user/name``, which needs
            the extra ``hub``. A folder that exists comes first; a `Path` is never a repository.
        revision: a branch, tag or commit of the repository. A commit cannot change later.
        cache_dir: where downloads are kept; None for the Hub's own place.
        token: as huggingface_hub takes it, for private repositories.
        encoder: as `load_run` takes it, for a model with modules of your own.
        decoder: likewise.
        device: where the weights go.

    Returns:
        The run; its ``model`` is in evaluation mode.

    Raises:
        MissingExtraError: ``name`` is a repository and huggingface_hub is not installed.
        DownloadError: the repository could not be fetched.
        RunError: there is no such folder, or its files are missing, corrupt, foreign or too new.

    Example:
        >>> from_pretrained(Path("no/such/folder"))
        Traceback (most recent call last):
        ...
        discretevae.errors.RunError: no/such/folder: no such folder. Check the path.
    """
    folder = as_path(name, "name")
    if not folder.is_dir():
        if isinstance(name, Path) or not _REPO_ID.fullmatch(name):
            hint = "" if isinstance(name, Path) else " Repositories are written user/name."
            raise RunError(f"{name}: no such folder. Check the path.{hint}")
        folder = _fetched(name, revision, cache_dir, token)
    return load_run(folder, encoder=encoder, decoder=decoder, device=device)


def push_to_hub(
    model: DiscreteVAE | Run,
    repo_id: str,
    *,
    private: bool = True,
    license: str | None = None,  # noqa: A002 - what the Hub calls it
    card: bool = True,
    revision: str | None = None,
    token: str | bool | None = None,
) -> str:
    """Upload what `save_pretrained` writes, and return its address.

    Args:
        model: a model, or a run.
        repo_id: ``user/name``; made if it is not there.
        private: whether a repository that is made is for you alone.
        license: of the weights, as for `save_pretrained`.
        card: False leaves the card that is there as it is.
        revision: the branch to upload to.
        token: as huggingface_hub takes it.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        ConfigError: the name or the license cannot be one.
        DownloadError: the Hub cannot be reached or refuses.
    """
    require_model(model.model if isinstance(model, Run) else model)
    if not _REPO_ID.fullmatch(repo_id):
        raise ConfigError(f"repository {repo_id!r} cannot be read. Write it like user/name.")
    hub = _hub(repo_id)
    with tempfile.TemporaryDirectory() as parent:
        folder = save_pretrained(model, Path(parent) / "model", license=license)
        names = [name for name in FILES if card or name != CARD]
        try:
            address = hub.create_repo(repo_id, private=private, exist_ok=True, token=token)
            hub.upload_folder(
                repo_id=repo_id,
                folder_path=str(folder),
                allow_patterns=names,
                delete_patterns=[SCHEMA],  # one of an earlier upload, if there is none now
                commit_message=f"discretevae {__version__}",
                revision=revision,
                token=token,
            )
        except Exception as error:
            raise DownloadError(_of_hub(repo_id, "uploaded to", error)) from None
    return str(address)


def _fetched(
    repo_id: str, revision: str | None, cache_dir: str | Path | None, token: str | bool | None
) -> Path:
    hub = _hub(repo_id)
    try:
        folder = hub.snapshot_download(
            repo_id,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            allow_patterns=FETCHED,
            library_name="discretevae",
            library_version=__version__,
        )
    except Exception as error:
        # besides its own errors it lets those of whatever carries the bytes through
        raise DownloadError(_of_hub(repo_id, "fetched from", error)) from None
    return Path(folder)


def _hub(repo_id: str) -> Any:
    with needs_extra("hub", f"{repo_id}: repositories on the Hub need huggingface_hub"):
        import huggingface_hub
    return huggingface_hub


def _of_hub(repo_id: str, what: str, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines or [type(error).__name__])[0].rstrip(".")[:200]
    return (
        f"{repo_id}: could not be {what} the Hub ({reason}). Check the name, the network, and "
        "whether you are logged in."
    )


def _require_free(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file, not a folder. Choose another.")
    if (folder / "checkpoint").exists() or (folder / SUMMARY).exists():
        raise RunError(f"{folder}: holds a training run, which must stay. Choose another folder.")
    taken = [name for name in FILES if (folder / name).exists()]
    if taken and not overwrite:
        raise RunError(
            f"{folder}: already holds {', '.join(taken)}. Choose another folder, or `overwrite`."
        )


def _without_path(run: Run) -> Run:
    """Return the same with the last part of the data's path only, which may be private."""
    data = run.config.data
    if data.source in BUILTIN_NAMES:
        return run
    name = re.split(r"[/\\]", data.source.rstrip("/\\"))[-1] or "data"
    name = f"./{name}" if name in BUILTIN_NAMES else name  # a file of that name
    data = dataclasses.replace(data, source=name)
    return dataclasses.replace(run, config=dataclasses.replace(run.config, data=data))
