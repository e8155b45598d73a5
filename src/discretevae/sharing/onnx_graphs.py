"""A model's encoder and decoder as ONNX files, traced by torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from discretevae.errors import ConfigError
from discretevae.families import Gaussian, Product, parts_of, parts_with_eta
from discretevae.model.vae import DiscreteVAE
from discretevae.version import __version__

OPSET = 17
"""Of the operators: one that runtimes from 2022 on know."""

IR_VERSION = 8
"""Of the file, which goes with that opset."""

MAX_BYTES = 2_000_000_000
"""Of a network's weights: a single ONNX file cannot be larger than 2 GiB."""


def encoder_graph(model: DiscreteVAE, threshold: bool, properties: Mapping[str, str]) -> bytes:
    """Return the file of x ↦ the most likely code of q(z|x), and what q(z|x) is.

    Inputs and outputs are those that `export_onnx` describes. The model is on the CPU, in float32
    and in evaluation mode.
    """
    names = ["codes"]
    for number, part in enumerate(parts_of(model.family)):
        suffix = f"_{number}" if isinstance(model.family, Product) else ""
        names.append(f"std{suffix}" if isinstance(part, Gaussian) else f"probabilities{suffix}")
    rows = torch.zeros(2, model.config.n_features)
    _require_size("encoder", model.encoder)

    def encode(rows: Tensor) -> tuple[Tensor, ...]:
        family = model.family
        eta = model.eta((rows > 0.5).float() if threshold else rows)
        posterior = [
            part.moments(own)[1].sqrt() if isinstance(part, Gaussian) else part.mean(own)
            for part, own in parts_with_eta(family, eta)
        ]
        return family.to_codes(family.mode(eta)), *posterior

    return _graph("encoder", _Traced(model, encode), ("rows", rows), names, properties)


def decoder_graph(model: DiscreteVAE, properties: Mapping[str, str]) -> bytes:
    """Return the file of z ↦ E[x|z]; model and errors as for `encoder_graph`."""
    codes = model.encode(torch.zeros(2, model.config.n_features))
    _require_size("decoder", model.decoder)

    def decode(codes: Tensor) -> tuple[Tensor]:
        z = model.family.from_codes(codes)
        return (model.likelihood.mean(model.decoder(z.flatten(1))),)

    return _graph("decoder", _Traced(model, decode), ("codes", codes), ["means"], properties)


def _require_size(name: str, network: nn.Module) -> None:
    if sum(p.numel() * p.element_size() for p in network.parameters()) > MAX_BYTES:
        raise ConfigError(f"the {name} is over 2 GB, more than a file of ONNX holds.")


class _Traced(nn.Module):
    """A function of a model as the exporter wants it: a module that holds the weights."""

    def __init__(self, model: DiscreteVAE, forward: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.model, self.forward = model, forward


@torch.no_grad()
def _graph(
    name: str,
    module: nn.Module,
    example: tuple[str, Tensor],
    outputs: Sequence[str],
    properties: Mapping[str, str],
) -> bytes:
    """Trace a module and return an ONNX file whose number of rows is free.

    By torch's older exporter: the newer one (``dynamo=True``) needs onnxscript, takes fifty times
    as long, and writes the paths of source files into what is meant to be shared.
    """
    import onnx

    module.eval()  # else the exporter would leave its parts in training mode
    input_name, rows = example
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            # that it is the older one, and what a trace takes for constant, which the check sees
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (rows,),
                file,  # type: ignore[arg-type]
                input_names=[input_name],
                output_names=list(outputs),
                dynamic_axes={axis: {0: "N"} for axis in (input_name, *outputs)},
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:  # the module may be a user's, and the exporter has many of its own
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise ConfigError(
            f"torch cannot write the {name} as ONNX ({reason}). Use the run from Python."
        ) from error
    file_model = onnx.load_from_string(file.getvalue())
    for value, result in zip(file_model.graph.output, module(rows), strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim, result.shape, strict=True):
            if dim.dim_param != "N":
                dim.dim_value = size  # the exporter leaves some open
    file_model.ir_version, file_model.graph.name = IR_VERSION, name
    file_model.producer_name, file_model.producer_version = "discretevae", __version__
    onnx.helper.set_model_props(file_model, dict(properties))
    onnx.checker.check_model(file_model, full_check=True)
    return bytes(file_model.SerializeToString())
