"""A model's encoder and decoder as ONNX graphs, written node by node.

torch's own exporter traces; it cannot look into the one autograd node that an `MLP` is. The layers
are few, and every one of them has its operator in ONNX.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from discretevae.errors import ConfigError, MissingExtraError
from discretevae.families import Bernoulli, Categorical, Family, parts_of
from discretevae.likelihoods import (
    BernoulliLikelihood,
    BetaBinomialLikelihood,
    ContinuousBernoulliLikelihood,
    GaussianLikelihood,
    LearnedGaussianLikelihood,
    Likelihood,
    LogisticLikelihood,
)
from discretevae.likelihoods.eight_bit import TOP
from discretevae.likelihoods.logistic import MIN_LOG_SCALE
from discretevae.model.vae import DiscreteVAE
from discretevae.networks.convolutional import CHANNELS, ConvDecoder, ConvEncoder
from discretevae.networks.mlp import MLP
from discretevae.version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 17
"""Of the operators: one that runtimes from 2022 on know."""

IR_VERSION = 8
"""Of the file, which goes with that opset."""

MAX_BYTES = 2_000_000_000
"""Of one graph's weights: a single ONNX file cannot be larger than 2 GiB."""

_SERIES_BELOW = 0.5
"""Where A′(l) of the continuous Bernoulli takes its series; it omits less than 1e-8 there."""


def encoder_graph(
    model: DiscreteVAE, *, threshold: bool = False, properties: Mapping[str, str] | None = None
) -> ModelProto:
    """x ↦ the most likely code of q(z|x), and what q(z|x) is.

    Input ``rows``: float32 ``[N, P]``. Outputs:

    - ``codes`` ``[N, D]``, as `DiscreteVAE.encode` gives them: uint8 bits, int64 category numbers,
      float32 means; of several parts int64, or float32 if one of them is Gaussian;
    - ``probabilities`` float32: ``[N, D]`` that each bit is 1, ``[N, D, K]`` of each category;
    - ``std`` float32 ``[N, D]``: σ of a Gaussian code.

    Of a code of several parts the last two carry the number of the part, ``probabilities_0``.

    Args:
        model: the model.
        threshold: whether rows are made 0 and 1 first, 1 where x > 0.5.
        properties: what the file is to say of itself.

    Raises:
        MissingExtraError: onnx is not installed.
        ConfigError: the encoder is too large for a file of ONNX.
    """
    graph = _Graph("encoder", model.encoder.parameters())
    family, n_features = model.family, model.config.n_features
    h = graph.input("rows", "float32", n_features)
    if threshold:
        h = graph.to(graph("Greater", h, graph.constant(0.5)), "float32")
    if isinstance(model.encoder, ConvEncoder):
        h = _conv_encoder(graph, h, model.encoder)
    else:
        h = _mlp(graph, h, model.encoder)
    parts = parts_of(family)
    shares = [h] if len(parts) == 1 else _split(graph, h, [_n_raw(part) for part in parts])
    codes = []
    for number, (part, share) in enumerate(zip(parts, shares, strict=True)):
        suffix = "" if len(parts) == 1 else f"_{number}"
        code, name, value, shape = _posterior(graph, part, share)
        graph.output(value, f"{name}{suffix}", "float32", *shape)
        codes.append(graph.to(code, _code_dtype(family)))
    joined = codes[0] if len(codes) == 1 else graph("Concat", *codes, axis=1)
    graph.output(joined, "codes", _code_dtype(family), family.n_variables)
    graph.outputs.insert(0, graph.outputs.pop())  # the codes come first
    return graph.model(properties or {})


def decoder_graph(model: DiscreteVAE, *, properties: Mapping[str, str] | None = None) -> ModelProto:
    """z ↦ E[x|z].

    Input ``codes``, as the encoder gives them; output ``means``: float32 ``[N, P]``. A category
    number that the model has not is not refused: ONNX counts negative ones from the end, and takes
    those beyond for none at all.

    Args:
        model: the model.
        properties: what the file is to say of itself.

    Raises:
        MissingExtraError: onnx is not installed.
        ConfigError: the likelihood has no graph, or the decoder is too large for a file of ONNX.
    """
    graph = _Graph("decoder", model.decoder.parameters())
    family, n_features = model.family, model.config.n_features
    h = graph.input("codes", _code_dtype(family), family.n_variables)
    parts = parts_of(family)
    columns = [h] if len(parts) == 1 else _split(graph, h, [part.n_variables for part in parts])
    pieces = [_from_codes(graph, part, c) for part, c in zip(parts, columns, strict=True)]
    h = pieces[0] if len(pieces) == 1 else graph("Concat", *pieces, axis=1)
    if isinstance(model.decoder, ConvDecoder):
        h = _conv_decoder(graph, h, model.decoder)
    else:
        h = _mlp(graph, h, model.decoder)
    graph.output(_mean(graph, h, model.likelihood, n_features), "means", "float32", n_features)
    return graph.model(properties or {})


class _Graph:
    """Nodes and constants in the order in which they are added; calling it adds a node."""

    def __init__(self, name: str, parameters: Any) -> None:
        try:
            import onnx
        except ImportError:
            raise MissingExtraError(
                "ONNX files need onnx. Run: pip install 'discretevae[export]'"
            ) from None
        if sum(p.numel() * p.element_size() for p in parameters) > MAX_BYTES:
            raise ConfigError(f"the {name} is over 2 GB, more than a file of ONNX holds.")
        self.onnx, self.name = onnx, name
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._numbers = itertools.count()

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of one output, whose name is returned."""
        name = self.name_for(operator)
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def name_for(self, what: str) -> str:
        return f"{what.lower()}_{next(self._numbers)}"

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """A number, a list or a tensor that does not change."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.array(value)
        name = self.name_for("constant")
        array = np.ascontiguousarray(array, dtype).reshape(array.shape)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def input(self, name: str, dtype: str, *shape: int) -> str:
        self.inputs.append(self.value(name, dtype, "N", *shape))
        return name

    def output(self, value: str, name: str, dtype: str, *shape: int) -> None:
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))
        self.outputs.append(self.value(name, dtype, "N", *shape))

    def value(self, name: str, dtype: str, *shape: int | str) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, self.type_of(dtype), shape)

    def type_of(self, dtype: str) -> Any:
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def to(self, value: str, dtype: str) -> str:
        return self("Cast", value, to=self.type_of(dtype))

    def shaped(self, value: str, *shape: int) -> str:
        """``[N, ...]`` of another shape; 0 stands for what is there, so that N may be anything."""
        return self("Reshape", value, self.constant([0, *shape], "int64"))

    def scaled(self, value: str, factor: float, shift: float = 0.0) -> str:
        """factor · value + shift."""
        product = value if factor == 1 else self("Mul", value, self.constant(factor))
        return product if shift == 0 else self("Add", product, self.constant(shift))

    def model(self, properties: Mapping[str, str]) -> ModelProto:
        helper = self.onnx.helper
        graph = helper.make_graph(
            self.nodes, self.name, self.inputs, self.outputs, initializer=self.constants
        )
        model: ModelProto = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="discretevae",
            producer_version=__version__,
        )
        helper.set_model_props(model, dict(properties))
        self.onnx.checker.check_model(model, full_check=True)
        return model


def _mlp(graph: _Graph, h: str, network: MLP) -> str:
    activation = network.activation
    for number, (weight, bias) in enumerate(network.layers()):
        if number and activation.name == "leaky-relu":
            h = graph("LeakyRelu", h, alpha=activation.slope)
        elif number:
            h = graph({"relu": "Relu", "tanh": "Tanh"}[activation.name], h)
        h = _linear(graph, h, weight, bias)
    return h


def _linear(graph: _Graph, h: str, weight: Tensor, bias: Tensor) -> str:
    return graph("Gemm", h, graph.constant(weight), graph.constant(bias), transB=1)


def _conv_encoder(graph: _Graph, h: str, network: ConvEncoder) -> str:
    *convolutions, (weight, bias) = network.layers(frozen=True)
    h = graph.shaped(h, 1, *network.image_shape)
    for kernel, shift in convolutions:
        w, b = graph.constant(kernel), graph.constant(shift)
        h = graph("Relu", graph("Conv", h, w, b, strides=[2, 2], pads=[1, 1, 1, 1]))
    return _linear(graph, graph("Flatten", h, axis=1), weight, bias)


def _conv_decoder(graph: _Graph, h: str, network: ConvDecoder) -> str:
    (weight, bias), *convolutions = network.layers(frozen=True)
    h = graph.shaped(_linear(graph, h, weight, bias), CHANNELS[-1], *network.sizes[0])
    for (kernel, shift), size in zip(convolutions, network.sizes[1:], strict=True):
        h = graph(
            "ConvTranspose",
            graph("Relu", h),
            graph.constant(kernel),
            graph.constant(shift),
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            output_padding=[1 - side % 2 for side in size],
        )
    return graph("Flatten", h, axis=1)


def _split(graph: _Graph, value: str, sizes: Sequence[int]) -> list[str]:
    """Columns side by side, taken apart."""
    edges = itertools.pairwise([0, *itertools.accumulate(sizes)])
    return [_columns(graph, value, first, stop) for first, stop in edges]


def _columns(graph: _Graph, value: str, first: int, stop: int) -> str:
    starts, ends, axes = (graph.constant([number], "int64") for number in (first, stop, 1))
    return graph("Slice", value, starts, ends, axes)


def _n_raw(part: Family) -> int:
    return math.prod(part.eta_shape)


def _code_dtype(family: Family) -> str:
    if isinstance(family, Bernoulli):
        return "uint8"
    return "float32" if family.n_states is None else "int64"


def _posterior(graph: _Graph, part: Family, raw: str) -> tuple[str, str, str, tuple[int, ...]]:
    """The code of a part, then the name, the value and the shape of what q is."""
    n = part.n_variables
    if isinstance(part, Bernoulli):
        code = graph("Greater", raw, graph.constant(0.0))
        return code, "probabilities", graph("Sigmoid", raw), (n,)
    if isinstance(part, Categorical):
        logits = graph.shaped(raw, *part.eta_shape)
        code = graph("ArgMax", logits, axis=2, keepdims=0)
        return code, "probabilities", graph("Softmax", logits, axis=2), part.eta_shape
    pairs = graph.shaped(raw, n, 2)  # μ and ln σ², as `Gaussian.natural_parameters` takes them
    mu, log_var = (
        graph("Gather", pairs, graph.constant(column, "int64"), axis=2) for column in (0, 1)
    )
    return mu, "std", graph("Exp", graph.scaled(log_var, 0.5)), (n,)


def _from_codes(graph: _Graph, part: Family, codes: str) -> str:
    """z of a part, ``[N, m]``."""
    if not isinstance(part, Categorical):
        return graph.to(codes, "float32")
    depth = graph.constant(part.n_categories, "int64")
    values = graph.constant([0.0, 1.0])
    one_hot = graph("OneHot", graph.to(codes, "int64"), depth, values, axis=-1)
    return graph.shaped(one_hot, math.prod(part.z_shape))


def _mean(graph: _Graph, output: str, likelihood: Likelihood, n_features: int) -> str:
    """E[x|z] of what the decoder says, ``[N, C·P]`` to ``[N, P]``."""
    if isinstance(likelihood, BernoulliLikelihood):
        return graph("Sigmoid", output)
    if isinstance(likelihood, GaussianLikelihood | LearnedGaussianLikelihood):
        return output
    if isinstance(likelihood, BetaBinomialLikelihood):
        return graph("Sigmoid", _columns(graph, output, 0, n_features))
    if isinstance(likelihood, ContinuousBernoulliLikelihood):
        return _continuous_bernoulli_mean(graph, output)
    if isinstance(likelihood, LogisticLikelihood):
        return _logistic_mean(graph, output, likelihood, n_features)
    raise ConfigError(
        f"likelihood {likelihood.name} has no ONNX graph for its mean. Use the run from Python."
    )


def _continuous_bernoulli_mean(graph: _Graph, logits: str) -> str:
    """1/(1 − e^{−l}) − 1/l, and its series near 0."""
    is_small = graph("Less", graph("Abs", logits), graph.constant(_SERIES_BELOW))
    # one side of `Where` must not divide by zero where the other is taken
    big = graph("Where", is_small, graph.constant(1.0), logits)
    up = graph.scaled(graph("Exp", graph("Neg", big)), -1.0, 1.0)
    direct = graph("Sub", graph("Reciprocal", up), graph("Reciprocal", big))
    square = graph("Mul", logits, logits)
    inner = graph.scaled(square, 1 / 30240, -1 / 720)
    slope = graph.scaled(graph("Mul", inner, square), 1, 1 / 12)
    series = graph.scaled(graph("Mul", slope, logits), 1, 0.5)
    return graph("Where", is_small, series, direct)


def _logistic_mean(
    graph: _Graph, output: str, likelihood: LogisticLikelihood, n_features: int
) -> str:
    """Σ_j P(k ≥ j) / 255, summed in a loop: side by side they would take 255 times the memory."""
    m = likelihood.n_components
    channels = graph.shaped(output, likelihood.channels, n_features)
    mu, raw = (_columns(graph, channels, first, first + m) for first in _places(likelihood))
    softplus = graph("Softplus", graph.scaled(raw, 1, -MIN_LOG_SCALE))
    inverse = graph("Exp", graph("Neg", graph.scaled(softplus, 1, MIN_LOG_SCALE)))
    zero = graph("Mul", mu, graph.constant(0.0))

    body = _Graph("edges", ())
    body._numbers = graph._numbers  # names of a body must differ from those around it
    number, go_on, total = (body.name_for(name) for name in ("number", "go_on", "total"))
    edge = body.scaled(body.to(number, "float32"), 1 / TOP, 0.5 / TOP)
    above = body("Sigmoid", body("Mul", body("Sub", mu, edge), inverse))
    new_total, still = body("Add", total, above), body("Identity", go_on)
    shape: tuple[int | str, ...] = ("N", m, n_features)
    inside = graph.onnx.helper.make_graph(
        body.nodes,
        body.name,
        [
            body.value(number, "int64"),
            body.value(go_on, "bool"),
            body.value(total, "float32", *shape),
        ],
        [body.value(still, "bool"), body.value(new_total, "float32", *shape)],
        initializer=body.constants,
    )
    count, start = graph.constant(TOP, "int64"), graph.constant(True, "bool")
    shares = graph.scaled(graph("Loop", count, start, zero, body=inside), 1 / TOP)
    if m > 1:
        logits = _columns(graph, channels, 0, m)
        shares = graph("Mul", shares, graph("Softmax", logits, axis=1))
    return graph("ReduceSum", shares, graph.constant([1], "int64"), keepdims=0)


def _places(likelihood: LogisticLikelihood) -> tuple[int, int]:
    """The first channels of μ and of the raw ln s."""
    m = likelihood.n_components
    return (0, 1) if m == 1 else (m, 2 * m)
