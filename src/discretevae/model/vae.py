"""The variational autoencoder: encoder, decoder, family, prior, likelihood. No training here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor, nn

from discretevae.config import (
    ImageShape,
    LatentSpec,
    LikelihoodSpec,
    ModelConfig,
    PriorSpec,
    QuantizerSpec,
    preset,
    sides_of,
    spell_shape,
)
from discretevae.config.model_config import Network
from discretevae.data.objects import rows_from
from discretevae.data.rows import Rows
from discretevae.errors import ConfigError, DataError, kind_of, require_type
from discretevae.families import Family, family_of
from discretevae.families.product import with_label
from discretevae.likelihoods import Likelihood, likelihood_named
from discretevae.model.inputs import as_x, require_x, suited_likelihood
from discretevae.model.integrands import LogJoint, LogLikelihood
from discretevae.model.own_modules import require_shapes
from discretevae.networks.convolutional import ConvDecoder, ConvEncoder
from discretevae.networks.layers import output_bias
from discretevae.networks.mlp import MLP
from discretevae.networks.quantizers import (
    QuantizedDecoder,
    QuantizedEncoder,
    Quantizer,
    quantizer_for,
)
from discretevae.networks.resnet import ResNetDecoder, ResNetEncoder
from discretevae.priors import Prior, make_prior
from discretevae.system.randomness import generator_for


class _Described(Protocol):
    """Data that say how wide their rows are, such as `discretevae.data.Dataset`."""

    @property
    def n_features(self) -> int: ...

    @property
    def image_shape(self) -> ImageShape | None: ...


class DiscreteVAE(nn.Module):
    """p(x) = Σ_z p(z) p(x|z) with an encoder q(z|x) whose code z is discrete, or partly so.

    Args:
        config: sizes and choices.
        encoder: a module of your own, ``[B, P]`` to the numbers that `Family.natural_parameters`
            takes for each row, ``[B, n_eta]``. None for the network that ``config`` describes.
        decoder: likewise, flat codes ``[N, n_code]`` to the likelihood's outputs ``[N, C·P]``. Both
            or none are given; ``network``, ``hidden`` and ``init`` then do not matter to them.
        generator: the source of the initial weights; None takes torch's global one. Modules of your
            own keep theirs.

    Attributes:
        n_eta: numbers that the network of the encoder gives for each row; with a quantizer D·E.
        n_code: numbers of a flat code, which that of the decoder takes; with a quantizer D·E.
        n_outputs: numbers that the decoder gives for each code.

    Raises:
        ConfigError: a module of your own has other shapes, or only one is given.

    Example:
        >>> config = ModelConfig(n_features=64, latent="bernoulli:8", hidden=(32,))
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> x = torch.zeros(2, 64)
        >>> codes = model.encode(x)
        >>> codes.dtype, codes.shape
        (torch.uint8, torch.Size([2, 8]))
        >>> model.decode(codes).shape
        torch.Size([2, 64])
    """

    product_dtype: torch.dtype | None = None
    """Type that encoder and decoder multiply in; None for that of their parameters."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        require_type("config", config, ModelConfig, "Or call DiscreteVAE.for_data.")
        self.family: Family = family_of(config.latent)
        colors = sides_of(config.image_shape or (1, 1)).channels
        self.likelihood = likelihood_named(config.likelihood, config.n_features, colors)
        self.n_eta = self.family.fixed_eta().numel()
        self.n_code = math.prod(self.family.z_shape)
        if config.quantizer is not None:
            self.n_eta = self.n_code = self.family.n_variables * config.quantizer.dim
        self.n_outputs = self.likelihood.n_outputs(config.n_features)
        if encoder is None and decoder is None and config.network != "custom":
            encoder, decoder = self._make_networks(config, generator)
        else:
            encoder, decoder = self._check_own_modules(config, encoder, decoder)
            config = dataclasses.replace(
                config, network="custom", hidden=None, decoder=None, width=None, depth=None
            )
        if config.quantizer is not None:
            quantizer = quantizer_for(config.quantizer, config.latent, generator=generator)
            encoder = QuantizedEncoder(encoder, quantizer, self.family.n_variables)
            decoder = QuantizedDecoder(quantizer, self.family.z_shape, decoder)
        self.config, self.encoder, self.decoder = config, encoder, decoder
        self.prior: Prior = make_prior(
            config.prior,
            self.family,
            grid=config.latent.grid,
            activation=config.activation,
            init=config.init or "torch",
            generator=generator,
        )

    def _make_networks(
        self, config: ModelConfig, generator: torch.Generator | None
    ) -> tuple[nn.Module, nn.Module]:
        """Return the encoder and the decoder that a configuration describes."""
        n_channels, shape = self.likelihood.channels, config.image_shape
        how: dict[str, Any] = {"init": config.init or "torch", "generator": generator}
        if config.network == "cnn" and shape is not None:
            return (
                ConvEncoder(shape, self.n_eta, **how),
                ConvDecoder(self.n_code, shape, n_channels=n_channels, **how),
            )
        if config.network == "resnet" and shape is not None:
            how |= {"grid": config.latent.grid, "width": config.width, "depth": config.depth}
            return (
                ResNetEncoder(shape, self.n_eta, **how),
                ResNetDecoder(self.n_code, shape, n_channels=n_channels, **how),
            )
        widths, how = config.hidden or (), how | {"activation": config.activation}
        back = () if config.decoder == "linear" else widths[::-1]
        first: dict[str, Any] = {"of_counts": config.likelihood.is_count}
        n_inputs, columns = config.n_features, config.likelihood.columns
        if columns:
            first = {"columns": columns}
            n_inputs = sum(column.n_levels + 1 for column in columns)
        return (
            MLP((n_inputs, *widths, self.n_eta), **first, **how),
            MLP((self.n_code, *back, self.n_outputs), **how),
        )

    def _check_own_modules(
        self, config: ModelConfig, encoder: nn.Module | None, decoder: nn.Module | None
    ) -> tuple[nn.Module, nn.Module]:
        """Check the shapes of a user's modules, and return them."""
        if encoder is None or decoder is None:
            raise ConfigError(
                "network custom takes encoder and decoder from you, both of them. Pass modules in "
                "Python: encoder=…, decoder=…; one of the package's, such as "
                "discretevae.MLP([784, 1024, 50]), will do."
            )
        code, likelihood = f"the parameters of {config.latent}", f"outputs for {config.likelihood}"
        require_shapes("encoder", encoder, config.n_features, self.n_eta, code)
        require_shapes("decoder", decoder, self.n_code, self.n_outputs, likelihood)
        return encoder, decoder

    @classmethod
    def for_data(
        cls,
        data: _Described | Any,
        *,
        latent: str | LatentSpec | Family | None = None,
        preset_name: str = "fc-bvae",
        network: Network | None = None,
        hidden: tuple[int, ...] | None = None,
        likelihood: str | LikelihoodSpec | Likelihood | None = None,
        prior: str | PriorSpec = "fixed",
        quantizer: str | QuantizerSpec | None = None,
        seed: int = 0,
    ) -> DiscreteVAE:
        """Return a fresh model that fits the rows of ``data``.

        Args:
            data: a `Dataset`, `Rows`, or anything else with ``n_features`` and ``image_shape``; or
                what `load_rows` takes in memory, such as an array or a data frame.
            latent: the code, such as ``bernoulli:64`` or ``Bernoulli(64)``; None for the preset's.
            preset_name: a model of the paper, such as ``fc-bvae`` or ``cnn-bvae``.
            network: ``mlp``, ``cnn`` or ``resnet``; None for ``resnet`` of a grid, else the
                preset's.
            hidden: widths of the hidden layers of an MLP; None takes the preset's.
            likelihood: p(x|z), such as ``gaussian:0.1``; None for ``bernoulli``, ``logistic`` of
                pictures in 8-bit colors, ``multinomial`` of counts, or ``mixed``.
            prior: p(z), such as ``autoregressive``.
            quantizer: a learned codebook, such as ``vector:16``, for a categorical code.
            seed: of the initial weights.

        Raises:
            ConfigError: one or several values are wrong.
            DataError: no data.

        Example:
            >>> from discretevae.data import load_data
            >>> model = DiscreteVAE.for_data(load_data("digits"), latent="categorical:10")
            >>> model.family
            Categorical(n_variables=1, n_categories=10)
        """
        base = preset(preset_name)
        latent = LatentSpec.of(base.latent if latent is None else latent)
        network, own_hidden = base.networks(latent, network)
        if isinstance(data, type) or not hasattr(data, "n_features"):
            data = rows_from(data, wanted="data must be a Dataset, Rows")
        if likelihood is None:
            rows, likelihood = getattr(data, "train", data), "bernoulli"
            is_color = len(data.image_shape or ()) == 3
            if isinstance(rows, Rows) and (is_color or rows.are_counts or rows.is_mixed):
                likelihood = suited_likelihood(rows)
        config = ModelConfig(
            n_features=data.n_features,
            latent=latent,
            network=network,
            hidden=own_hidden if hidden is None else hidden,
            likelihood=likelihood,
            prior=prior,
            quantizer=quantizer,
            image_shape=data.image_shape,
        )
        return cls(config, generator=torch.Generator().manual_seed(seed))

    @property
    def quantizer(self) -> Quantizer | None:
        """The quantizer between the networks and the code, if there is one."""
        return self.decoder.quantizer if isinstance(self.decoder, QuantizedDecoder) else None

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def eta(self, x: Tensor) -> Tensor:
        """Return the natural parameters of q(z|x): ``[B, P]`` to ``[B, *eta_shape]``.

        What is no float tensor of this width is refused (`DataError`).
        """
        require_x(x, self.config.n_features)
        return self.family.natural_parameters(self.apply_network(self.encoder, x))

    def output(self, z: Tensor) -> Tensor:
        """Return the decoder's outputs for codes: ``[..., *z_shape]`` to ``[..., C·P]``.

        The likelihood says what these are: logits under a Bernoulli one, x̂ under a Gaussian one, C
        numbers for each feature under others; `decode` gives E[x|z] under any.
        """
        lead = z.shape[: z.ndim - len(self.family.z_shape)]
        flat = z.reshape(lead.numel(), math.prod(self.family.z_shape))
        output = self.apply_network(self.decoder, flat)
        return output.reshape(*lead, output.shape[-1])

    def apply_network(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Apply encoder or decoder, or a part of one, to its input.

        In them, and nowhere else, products are of the type asked for.
        """
        if self.product_dtype is None:
            return network(x)
        # every weight is used once, so that a cache of converted ones would serve nobody
        with torch.autocast(x.device.type, self.product_dtype, cache_enabled=False):
            output = network(x)
        return output.to(x.dtype)

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Set the decoder's last bias so that x̂ is near ``mean``, whatever the code.

        ``mean`` is ``[P]``, or of `Likelihood.expand` where that gives more numbers.

        A convolutional decoder has one bias for all pixels, or one for each color, which gets the
        mean over them. A decoder that shows none is refused (`ConfigError`).
        """
        bias, mean = self.start_bias(), mean.to(self.device)
        n_means = len(bias) // self.likelihood.channels
        bias.copy_(self.likelihood.output_for(mean.reshape(-1, n_means).mean(0)))

    def start_bias(self) -> Tensor:
        """Return the bias that `start_at` sets (`ConfigError` if the decoder shows none)."""
        bias = output_bias(self.decoder)
        shape = self.config.image_shape
        n_means = {self.config.n_features, 1, sides_of(shape).channels if shape else 1}
        if bias is None or len(bias) not in {self.likelihood.n_outputs(n) for n in n_means}:
            raise ConfigError(
                "`start='mean'` sets the bias of the decoder's last layer, and this decoder shows "
                "none. Let it be an nn.Sequential that ends with an nn.Linear, or leave `start` "
                "out."
            )
        return bias

    def log_likelihood(self, x: Tensor) -> LogLikelihood:
        """Return f(z) = ln p(x|z) as a function of z, for rows ``[B, P]``."""
        require_x(x, self.config.n_features)
        return LogLikelihood(self, x)

    def log_joint(
        self, x: Tensor, *, generator: torch.Generator | None, prior_weight: float = 1.0
    ) -> LogJoint:
        """Return f(z) = ln p(x|z) + w ln p(z), for priors without a closed KL; rows ``[B, P]``."""
        require_x(x, self.config.n_features)
        return LogJoint(self, x, generator=generator, prior_weight=prior_weight)

    @torch.no_grad()
    def encode(self, x: Tensor | npt.ArrayLike | Rows) -> Tensor:
        """Return the most likely code of each row, as a user keeps it.

        Args:
            x: ``[B, P]``, values as the model sees them: a tensor or an array; or `Rows`.

        Returns:
            ``[B, D]``: uint8 bits, int64 category numbers, or the means of a Gaussian code. Of
            several parts, their columns side by side: int64 if all are discrete, else float32.

        Raises:
            DataError: another width, or an array that cannot be x, see `as_rows`.

        Example:
            >>> model = DiscreteVAE(ModelConfig(n_features=2, latent="bernoulli:3", hidden=(4,)))
            >>> model.encode([[0.0, 0.5]]).shape
            torch.Size([1, 3])
        """
        x = as_x(x, self.config.n_features, self.likelihood).to(next(self.parameters()))
        return self.family.to_codes(self.family.mode(self.eta(x)))

    @torch.no_grad()
    def decode(self, codes: Tensor | npt.ArrayLike) -> Tensor:
        """Return E[x|z] of codes as `encode` gives them: ``[B, D]`` to ``[B, P]``.

        Codes of another width, and what are no numbers, are refused (`DataError`).
        """
        z = self.family.from_codes(self.as_codes(codes)).to(next(self.parameters()))
        return self.likelihood.mean(self.output(z))

    def as_codes(self, codes: Tensor | npt.ArrayLike) -> Tensor:
        """Return codes as a tensor ``[B, D]``; refuse what is none of this width (`DataError`)."""
        codes = codes if isinstance(codes, Tensor) else _code_tensor(codes)
        if codes.ndim != 2 or codes.shape[1] != self.family.n_variables:
            raise DataError(
                f"codes of {self.config.latent} must be [B, {self.family.n_variables}], as encode "
                f"gives them. Got shape {list(codes.shape)}. Packed ones go to decode_codes."
            )
        return codes

    def reconstruct(self, x: Tensor | npt.ArrayLike | Rows) -> Tensor:
        """Return E[x|z] at each row's most likely code: ``[B, P]`` to ``[B, P]``."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        noise: bool = False,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Tensor:
        """Return E[x|z] for ``n`` codes drawn from the prior, ``[n, P]``; with noise x ~ p(x|z).

        ``options`` are those of the prior's `sample`: ``temperature``, and of some ``top_k`` and
        ``label``; another prior refuses them. Where the code begins with one category and its parts
        are independent under the prior, ``label`` is that category.
        """
        label, first = None, self.family.spec.all_parts[0]
        is_label = (first.kind, first.n_variables) == ("categorical", 1)
        if is_label and "label" not in self.prior.sample_options and self.prior.has_closed_kl:
            label = options.pop("label", None)
        for name in options.keys() - {"temperature", *self.prior.sample_options}:
            how = (
                "given labels by `condition='label'`" if name == "label" else "such as transformer"
            )
            raise ConfigError(f"`{name}` needs another prior, {how}. Got {self.config.prior}.")
        codes = self.prior.sample(n, generator=generator, **options)
        codes = codes if label is None else with_label(self.family, codes, label)
        if noise:
            return self.likelihood.sample(self.output(codes), generator=generator)
        return self.likelihood.mean(self.output(codes))

    def __repr__(self) -> str:
        """Return the sizes of the model, a line for each part."""
        config = self.config
        shape = f" ({spell_shape(config.image_shape)})" if config.image_shape else ""
        network: str = config.network
        if config.network == "mlp":
            network = " ".join(map(str, ("mlp", *(config.hidden or ["linear"]), config.activation)))
        elif config.network == "resnet":
            network = f"resnet, width {config.width}, depth {config.depth}"
        elif config.network == "custom":
            network = f"{type(self.encoder).__name__}, {type(self.decoder).__name__}"
        lines = {
            "features": f"{config.n_features:,}{shape}",
            "code": f"{config.latent}{f', {config.quantizer}' if config.quantizer else ''}",
            "network": network,
            "likelihood": config.likelihood,
            "prior": config.prior,
            "parameters": f"{sum(p.numel() for p in self.parameters()):,}",
        }
        return "\n".join(["DiscreteVAE", *(f"  {name:<10}  {is_}" for name, is_ in lines.items())])


def _code_tensor(codes: npt.ArrayLike) -> Tensor:
    """Return codes as a tensor."""
    try:
        return torch.as_tensor(codes)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"codes must be a tensor or an array. Got {kind_of(codes)}. Give what encode returned."
        ) from None


def fresh_model(
    config: ModelConfig,
    *,
    seed: int,
    device: str = "cpu",
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
) -> DiscreteVAE:
    """Return a model whose initial weights follow from a run's seed, on its device.

    One that is too large for the memory is refused (`ConfigError`).
    """
    try:
        generator = generator_for(seed, "weights")
        model = DiscreteVAE(config, encoder=encoder, decoder=decoder, generator=generator)
        return model.to(device)
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        hidden = "" if config.hidden is None else f" and hidden {config.hidden}"
        raise ConfigError(
            f"a model with latent {config.latent}{hidden} cannot be made ({reason}). "
            "Make it smaller."
        ) from None
