"""Models for other runtimes: encoder and decoder as ONNX files, checked before they are kept."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from discretevae.codes.fingerprints import fingerprint
from discretevae.data import binarize
from discretevae.data.objects import RowsLike
from discretevae.errors import ConfigError, RunError, needs_extra
from discretevae.families import Bernoulli, Family, Gaussian, Product, parts_with_eta
from discretevae.likelihoods import MixedLikelihood
from discretevae.model.inputs import as_x
from discretevae.model.row_checks import require_model
from discretevae.model.vae import DiscreteVAE
from discretevae.sharing.onnx_graphs import OPSET, decoder_graph, encoder_graph
from discretevae.system.arrays import Array
from discretevae.system.files import as_path, write_atomic
from discretevae.version import __version__

TOLERANCE = 1e-5
"""The largest difference from torch that is let through."""

CHECK_ROWS = 256
"""Rows and random codes that the graphs are checked on."""

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"


@dataclass(frozen=True)
class OnnxExport:
    """Two files and how far they are from the model.

    Args:
        encoder: the path of rows → codes.
        decoder: the path of codes → E[x|z].
        difference: the largest difference from torch of any output over the rows of the check,
            ``abs(a − b) / max(1, abs(b))``.
        rows: how many rows it was measured on, and as many random codes.
        opset: of the operators.
    """

    encoder: Path
    decoder: Path
    difference: float
    rows: int
    opset: int = OPSET


def export_onnx(
    model: DiscreteVAE,
    folder: str | Path,
    *,
    rows: RowsLike | None = None,
    threshold: bool = False,
    tolerance: float = TOLERANCE,
    properties: Mapping[str, str] | None = None,
) -> OnnxExport:
    """Write ``encoder.onnx`` and ``decoder.onnx``, after onnxruntime has agreed with torch.

    The encoder takes ``rows`` float32 ``[N, P]`` to ``codes`` ``[N, D]`` as `DiscreteVAE.encode`
    gives them, and to ``probabilities`` ``[N, D]`` of bits, ``[N, D, K]`` of categories, or the
    ``std`` ``[N, D]`` of a Gaussian code; of several parts these carry the part's number. The
    decoder takes ``codes`` to ``means``, E[x|z] ``[N, P]``. N is free.

    Both files are checked on the rows and on random codes, all at once and one alone, before
    either takes its name. A code may differ only where rounding decides it. The files say of
    themselves: the package's version, latent, likelihood, binarization, the model's fingerprint.

    Args:
        model: the model.
        folder: where the files go; made if it is not there.
        rows: what to check on, ``[N, P]``, the first 256 of them; None for random rows.
        threshold: whether the encoder makes rows 0 and 1 itself, 1 where x > 0.5, as for a model
            that was trained on binarized rows.
        tolerance: the largest difference to let through, ``abs(a − b) / max(1, abs(b))``.
        properties: more that the files are to say of themselves.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        ConfigError: torch cannot write a network or the likelihood's mean as ONNX, a network is
            over 2 GB, there are no rows, or the tolerance is not > 0.
        DataError: rows are of another width, or out of the range of the likelihood.
        RunError: the graphs differ from the model by more than the tolerance.

    Example:
        >>> import tempfile
        >>> from discretevae.config import ModelConfig
        >>> config = ModelConfig(n_features=64, latent="bernoulli:8", hidden=(32,))
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = export_onnx(model, folder)
        ...     done.encoder.name, done.decoder.name, done.difference <= 1e-5
        ('encoder.onnx', 'decoder.onnx', True)
    """
    require_model(model)
    folder = as_path(folder, "folder")
    if not tolerance > 0:
        raise ConfigError(f"`tolerance` must be > 0. Got {tolerance}.")
    with needs_extra("export", "exporting to ONNX needs onnx and onnxruntime"):
        import onnx  # noqa: F401 - whether it is there
        import onnxruntime  # noqa: F401
    x = _random_rows(model)
    if rows is not None:
        x = as_x(rows, model.config.n_features, model.likelihood)[:CHECK_ROWS].cpu().float()
    if not len(x):
        raise ConfigError(f"rows must be [N, {model.config.n_features}] with N >= 1. Got none.")
    properties = _properties(model, threshold) | dict(properties or {})
    model = copy.deepcopy(model).float().cpu().eval()
    encoder = encoder_graph(model, threshold, properties)
    decoder = decoder_graph(model, properties)
    difference = max(
        max(_encoder_difference(model, encoder, part, threshold, tolerance) for part in _cut(x)),
        max(
            _difference(_run(decoder, "codes", part)["means"], model.decode(part))
            for part in _cut(_codes(model, x))
        ),
    )
    if not difference <= tolerance:
        raise RunError(
            f"the ONNX graphs differ from the model by {difference:.1e}, more than {tolerance:g}. "
            "Nothing was written. Allow more with a larger `tolerance`."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((ENCODER, encoder), (DECODER, decoder)):
        write_atomic(folder / name, content)
    return OnnxExport(folder / ENCODER, folder / DECODER, difference, len(x))


def _properties(model: DiscreteVAE, threshold: bool) -> dict[str, str]:
    config = model.config
    return {
        "discretevae": __version__,
        "latent": str(config.latent),
        "likelihood": str(config.likelihood),
        "network": config.network,
        "n_features": str(config.n_features),
        "image_shape": json.dumps(config.image_shape),
        "binarize": "threshold" if threshold else "none",
        "fingerprint": fingerprint(model),
    }


def _random_rows(model: DiscreteVAE) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (CHECK_ROWS, model.config.n_features)
    if model.likelihood.support == "real":
        return torch.randn(shape, generator=generator)
    if isinstance(model.likelihood, MixedLikelihood):
        output = torch.zeros(CHECK_ROWS, model.n_outputs)
        return model.likelihood.sample(output, generator=generator)
    if model.likelihood.support == "counts":
        return torch.poisson(torch.full(shape, 0.1), generator=generator)
    return torch.rand(shape, generator=generator)


def _codes(model: DiscreteVAE, x: Tensor) -> Tensor:
    """Return the codes of the rows, and as many at random: all that a decoder may meet."""
    generator = torch.Generator().manual_seed(0)
    eta = model.family.fixed_eta().expand(len(x), *model.family.eta_shape)
    drawn = model.family.to_codes(model.family.sample(eta, 1, generator=generator)[0])
    return torch.cat((model.encode(x), drawn))


def _cut(values: Tensor) -> tuple[Tensor, Tensor]:
    """All at once, and one alone: the number of rows is free."""
    return values, values[:1]


def _run(content: bytes, name: str, values: Tensor) -> dict[str, Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: values.numpy()})
    return dict(zip((output.name for output in session.get_outputs()), outputs, strict=True))


@torch.no_grad()
def _encoder_difference(
    model: DiscreteVAE, content: bytes, x: Tensor, threshold: bool, tolerance: float
) -> float:
    found = _run(content, "rows", x)
    eta = model.eta(binarize(x, "threshold" if threshold else "none"))
    codes = model.family.to_codes(model.family.mode(eta))
    worst, first = 0.0, 0
    if found["codes"].shape != tuple(codes.shape):
        return float("inf")
    for number, (part, part_eta) in enumerate(parts_with_eta(model.family, eta)):
        suffix = f"_{number}" if isinstance(model.family, Product) else ""
        columns = slice(first, first + part.n_variables)
        got, wanted = torch.from_numpy(found["codes"])[:, columns], codes[:, columns]
        first += part.n_variables
        if isinstance(part, Gaussian):
            std = part.moments(part_eta)[1].sqrt()
            worst = max(worst, _difference(found[f"std{suffix}"], std))
            worst = max(worst, _difference(got.numpy(), wanted))
        else:
            p = part.mean(part_eta)
            worst = max(worst, _difference(found[f"probabilities{suffix}"], p))
            if bool(((got != wanted) & (_margin(part, p) > 2 * tolerance)).any()):
                return float("inf")
    return worst


def _margin(part: Family, p: Tensor) -> Tensor:
    """By how much the most likely value of each variable leads, ``[N, D]``."""
    if isinstance(part, Bernoulli):
        return (2 * p - 1).abs()
    best = p.topk(2, -1).values
    return best[..., 0] - best[..., 1]


def _difference(got: Array, wanted: Tensor) -> float:
    reference = wanted.numpy()
    if got.shape != reference.shape or not np.isfinite(got).all():
        return float("inf")
    return float((abs(got - reference) / np.maximum(1, abs(reference))).max(initial=0))
