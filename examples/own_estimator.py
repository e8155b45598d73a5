"""A gradient estimator of one's own: prove that it is unbiased, compare it, train with it.

    python examples/own_estimator.py

The estimator is REINFORCE with a baseline: any that does not look at the sample itself leaves the
gradient unbiased. A second one looks at the sample after all; the same checks find it out. Takes
about half a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import discretevae as dv
from discretevae.estimators.contract import check_estimator_contract


@dataclass(frozen=True, kw_only=True)
class MedianBaseline(dv.Estimator):
    """The score function, less the median of the other samples' values.

    Args:
        samples: S, draws of z for each row.
    """

    samples: int = 4

    is_unbiased = True
    kinds = ("bernoulli", "categorical", "gaussian")

    @property
    def evaluations(self) -> int:
        """Decoder rows for each row of data."""
        return self.samples

    def baseline(self, fz: Tensor) -> Tensor:
        """Return a baseline for each sample, ``[S, B]``, from the other samples alone."""
        others = [torch.cat((fz[:s], fz[s + 1 :])) for s in range(self.samples)]
        return torch.stack([rest.median(0).values for rest in others])

    def __call__(
        self,
        family: dv.Family,
        eta: Tensor,
        f: Callable[[Tensor], Tensor],
        *,
        generator: torch.Generator,
    ) -> dv.Estimate:
        """Estimate E_q f and its gradient; ``eta`` are the natural parameters of q."""
        z = family.sample(eta, self.samples, generator=generator).detach()
        fz = f(z)  # [S, B], nats
        advantage = fz.detach() - self.baseline(fz.detach())
        term = (fz + advantage * family.log_prob(eta, z)).mean(0)
        value = fz.detach().mean(0)
        return dv.Estimate(value, dv.with_gradient_of(value, term))


@dataclass(frozen=True, kw_only=True)
class Cheating(MedianBaseline):
    """The median of all samples, so that it knows the one that it is subtracted from."""

    def baseline(self, fz: Tensor) -> Tensor:
        """Return the same baseline for every sample."""
        return fz.median(0, keepdim=True).values.expand_as(fz)


def main() -> None:
    """Proof, then comparison, then training."""
    check_estimator_contract(MedianBaseline())
    print("MedianBaseline: unbiased for bits, categories and Gaussian codes, by enumeration")
    try:
        check_estimator_contract(Cheating())
    except AssertionError as error:
        print("Cheating: caught,", str(error).splitlines()[0][:90])

    data = dv.load_data("digits")
    for name, member in {"MedianBaseline": MedianBaseline(), "RLOO": dv.RLOO(samples=4)}.items():
        model = dv.DiscreteVAE.for_data(data, latent="bernoulli:20", hidden=(128,), seed=0)
        history = dv.train(model, data, dv.TrainConfig(epochs=30, lr=0.003), estimator=member)
        last = history[-1]
        print(f"{name}: ELBO {last.test_elbo:.2f}, gradient variance {last.grad_variance:.2e}")


if __name__ == "__main__":
    main()
