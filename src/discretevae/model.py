"""The variational autoencoder: encoder, decoder, family, prior, likelihood. No training here."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from discretevae.activations import parse_activation
from discretevae.config import ModelConfig, preset
from discretevae.convolutional import ConvDecoder, ConvEncoder
from discretevae.errors import ConfigError
from discretevae.families import family_of
from discretevae.likelihoods import Likelihood, likelihood_named
from discretevae.networks import MLP
from discretevae.priors import FactorizedPrior
from discretevae.randomness import generator_for


class _Described(Protocol):
    """Data that say how wide their rows are, such as `discretevae.data.Dataset`."""

    @property
    def n_features(self) -> int: ...

    @property
    def image_shape(self) -> tuple[int, int] | None: ...


class DiscreteVAE(nn.Module):
    """p(x) = Σ_z p(z) p(x|z) with an encoder q(z|x) whose code z is discrete.

    Args:
        config: sizes and choices.
        generator: the source of the initial weights; None takes torch's global one.

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

    def __init__(self, config: ModelConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.family = family_of(config.latent)
        self.likelihood: Likelihood = likelihood_named(config.likelihood)
        self.prior = FactorizedPrior(self.family, learned=config.prior == "factorized")
        n_eta = self.family.fixed_eta().numel()
        n_code = torch.Size(self.family.z_shape).numel()
        self.encoder: MLP | ConvEncoder
        self.decoder: MLP | ConvDecoder
        if config.network == "cnn" and config.image_shape is not None:
            self.encoder = ConvEncoder(config.image_shape, n_eta, generator=generator)
            self.decoder = ConvDecoder(n_code, config.image_shape, generator=generator)
        else:
            widths = config.hidden or ()
            between = parse_activation(config.activation)
            sizes = (config.n_features, *widths, n_eta), (n_code, *widths[::-1], config.n_features)
            self.encoder = MLP(sizes[0], generator=generator, activation=between)
            self.decoder = MLP(sizes[1], generator=generator, activation=between)

    @classmethod
    def for_data(
        cls,
        data: _Described,
        *,
        latent: str | None = None,
        preset_name: str = "fc-bvae",
        hidden: tuple[int, ...] | None = None,
        likelihood: str = "bernoulli",
        prior: str = "fixed",
        seed: int = 0,
    ) -> DiscreteVAE:
        """A fresh model that fits the rows of ``data``.

        Args:
            data: anything with ``n_features`` and ``image_shape``.
            latent: the code, such as ``bernoulli:64``; None takes the preset's.
            preset_name: a model of the paper, such as ``fc-bvae`` or ``cnn-bvae``.
            hidden: widths of the hidden layers of an MLP; None takes the preset's.
            likelihood: ``bernoulli`` or ``gaussian``.
            prior: ``fixed`` or ``factorized``.
            seed: of the initial weights.

        Raises:
            ConfigError: one or several values are wrong.

        Example:
            >>> from discretevae.data import load_data
            >>> model = DiscreteVAE.for_data(load_data("digits"), latent="categorical:10")
            >>> model.family
            Categorical(n_variables=1, n_categories=10)
        """
        base = preset(preset_name)
        config = ModelConfig(
            n_features=data.n_features,
            latent=latent or base.latent,
            network=base.network,
            hidden=base.hidden if hidden is None else hidden,
            likelihood=likelihood,
            prior=prior,
            image_shape=data.image_shape,
        )
        return cls(config, generator=torch.Generator().manual_seed(seed))

    def eta(self, x: Tensor) -> Tensor:
        """Natural parameters of q(z|x): ``[B, P]`` to ``[B, *eta_shape]``."""
        return self.family.natural_parameters(self.encoder(x))

    def output(self, z: Tensor, *, frozen: bool = False) -> Tensor:
        """What the decoder says of codes: ``[..., *z_shape]`` to ``[..., P]``.

        These are logits under a Bernoulli likelihood and x̂ under a Gaussian one; `decode` gives x̂
        under either. ``frozen`` lets no gradient reach the decoder's parameters.
        """
        lead = z.shape[: z.ndim - len(self.family.z_shape)]
        output: Tensor = self.decoder(z.reshape(lead.numel(), -1), frozen=frozen)
        return output.reshape(*lead, self.config.n_features)

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Sets the decoder's last bias so that x̂ is near ``mean``, ``[P]``, whatever the code.

        A convolutional decoder has one bias for all pixels, which gets the mean over them.
        """
        bias = self.decoder.output_bias
        mean = mean.to(bias) if len(bias) == len(mean) else mean.to(bias).mean(0, keepdim=True)
        bias.copy_(self.likelihood.output_for(mean))

    def log_likelihood(self, x: Tensor) -> LogLikelihood:
        """f(z) = ln p(x|z) as a function of z, for rows ``[B, P]``."""
        return LogLikelihood(self, x)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The most likely code of each row, as a user keeps it.

        Returns:
            ``[B, D]``: uint8 bits, int64 category numbers, or the means of a Gaussian code.
        """
        return self.family.to_codes(self.family.mode(self.eta(x)))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """E[x|z] for codes as `encode` gives them: ``[B, D]`` to ``[B, P]``."""
        z = self.family.from_codes(codes).to(self.prior.raw)
        return self.likelihood.mean(self.output(z))

    def reconstruct(self, x: Tensor) -> Tensor:
        """E[x|z] at each row's most likely code: ``[B, P]`` to ``[B, P]``."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """E[x|z] for ``n`` codes drawn from the prior, ``[n, P]``."""
        return self.likelihood.mean(self.output(self.prior.sample(n, generator=generator)))


def fresh_model(config: ModelConfig, *, seed: int, device: str = "cpu") -> DiscreteVAE:
    """A model whose initial weights follow from a run's seed, on its device.

    Raises:
        ConfigError: it is too large for the memory.

    Example:
        >>> config = ModelConfig(n_features=4, latent="bernoulli:3", hidden=(8,))
        >>> fresh_model(config, seed=0).family
        Bernoulli(n_variables=3)
    """
    try:
        return DiscreteVAE(config, generator=generator_for(seed, "weights")).to(device)
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        hidden = "" if config.hidden is None else f" and hidden {config.hidden}"
        raise ConfigError(
            f"a model with latent {config.latent}{hidden} cannot be made ({reason}). "
            "Make it smaller."
        ) from None


class LogLikelihood:
    """f(z) = ln p(x|z) for a batch of rows: what the gradient estimators integrate.

    Args:
        model: whose decoder and likelihood are asked.
        x: ``[B, P]``.

    Example:
        >>> config = ModelConfig(n_features=4, latent="categorical:3", hidden=(8,))
        >>> model = DiscreteVAE(config, generator=torch.Generator().manual_seed(0))
        >>> f = model.log_likelihood(torch.rand(5, 4))
        >>> z = model.family.enumerate()                           # [3, 1, 3]
        >>> f(z.unsqueeze(1).expand(3, 5, 1, 3)).shape             # 15 decoder rows
        torch.Size([3, 5])
        >>> f.table().shape                                        # 3 decoder rows
        torch.Size([5, 3])
    """

    def __init__(self, model: DiscreteVAE, x: Tensor, *, is_frozen: bool = False) -> None:
        self.model = model
        self.x = x
        self.is_frozen = is_frozen

    def __call__(self, z: Tensor) -> Tensor:
        """``[S, B, *z_shape]`` to ``[S, B]``, nats per row."""
        return self.model.likelihood.log_prob(self.model.output(z, frozen=self.is_frozen), self.x)

    def table(self) -> Tensor:
        """Every row against every state of an enumerable code: ``[B, N]``.

        Raises:
            ConfigError: the code has too many states.
        """
        states = self.model.family.enumerate().to(self.x)
        output = self.model.output(states, frozen=self.is_frozen)
        return self.model.likelihood.table(output, self.x)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """f and ∂f/∂z from one forward and one backward pass: ``[S, B]``, ``[S, B, *z_shape]``.

        The decoder's own gradient is formed in that same backward pass and handed out when
        ``backward`` is called on f, provided that all samples weigh alike, as in a mean over
        samples and rows; else a second pass is made.
        """
        parameters = () if self.is_frozen else tuple(self.model.decoder.parameters())
        value, grad = _OnePass.apply(self, z, *parameters)  # type: ignore[no-untyped-call]
        return value, grad

    def frozen(self) -> LogLikelihood:
        """The same f, through which no gradient reaches the decoder."""
        return LogLikelihood(self.model, self.x, is_frozen=True)


class _OnePass(torch.autograd.Function):
    """f(z) with ∂f/∂z beside it and the decoder's gradient kept for later."""

    @staticmethod
    def forward(
        ctx: Any, f: LogLikelihood, z: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = f(z)
            grad, *ctx.kept = torch.autograd.grad(value.sum(), (z, *parameters))
        ctx.f, ctx.z, ctx.parameters = f, z, parameters
        ctx.mark_non_differentiable(grad)
        return value.detach(), grad

    @staticmethod
    def backward(ctx: Any, weight: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        kept, ctx.kept = ctx.kept, None
        if kept is not None and bool((weight == weight.flatten()[0]).all()):
            return None, None, *(grad.mul_(weight.flatten()[0]) for grad in kept)
        with torch.enable_grad():
            value = ctx.f(ctx.z.detach())
        return None, None, *torch.autograd.grad(value, ctx.parameters, weight)


__all__ = ["DiscreteVAE", "LogLikelihood", "fresh_model"]
