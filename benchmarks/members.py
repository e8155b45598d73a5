"""What every member's step costs, beside what its decoder rows alone would cost.

All members take turns in one process on FC-BVAE or FC-CVAE. The unit is a step of the paper's
estimator with one sample. The prediction is the step of `importance` with as many samples as the
member has decoder rows, read off the straight line through 1, 2 and 4 samples: a member above it
pays for more than its decoder rows, and one that ran the decoder backward twice would stand out.

    python benchmarks/members.py
    python benchmarks/members.py --latent categorical:20x10 --json > members.json
    python benchmarks/members.py --batch-size 2048 --estimators disarm,reinmax
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import click
import numpy as np
import torch
from torch import nn

from discretevae.cli.ending import finish
from discretevae.config import TrainConfig
from discretevae.data import Dataset, Rows
from discretevae.experiments.comparison import fitting_estimators
from discretevae.model.vae import DiscreteVAE
from discretevae.objectives import choose_estimator, elbo

YARDSTICKS = {1: "importance", 2: "importance:samples=2", 4: "importance:samples=4"}
TOO_MANY_ROWS = 64


def stepper(
    data: Dataset, latent: str, batch_size: int, name: str
) -> tuple[int, Callable[[], None]]:
    """Decoder rows of a member, and its training step on a model of its own."""
    model = DiscreteVAE.for_data(data, latent=latent)
    member = choose_estimator(model.family, TrainConfig(estimator=name))
    x = data.train.batch(slice(0, batch_size))
    if hasattr(member, "prepare"):
        member.prepare(model.family, model.eta(x[:1]).detach())
    own = list(member.parameters()) if isinstance(member, nn.Module) else []
    optimizer = torch.optim.Adam([*model.parameters(), *own], fused=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        for loss in elbo(model, x, member, generator=generator).losses():
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return member.evaluations_for(model.family), step


def measure(latent: str, batch_size: int, repeats: int, estimators: list[str]) -> dict[str, object]:
    """Steps of all members in turn; medians, in units of the paper's."""
    values = torch.randint(0, 256, (batch_size, 784), dtype=torch.uint8)
    rows = Rows(values, divisor=255.0, name="noise")
    data = Dataset("noise", rows, rows)
    family = DiscreteVAE.for_data(data, latent=latent).family
    names = list(dict.fromkeys([*YARDSTICKS.values(), *(estimators or fitting_estimators(family))]))
    steps = {name: stepper(data, latent, batch_size, name) for name in names}
    left_out = {name: n for name, (n, _) in steps.items() if n > TOO_MANY_ROWS}
    times: dict[str, list[float]] = {name: [] for name in names if name not in left_out}
    for _ in range(repeats + 2):
        for name, spent in times.items():
            began = time.perf_counter()
            steps[name][1]()
            spent.append(time.perf_counter() - began)
    median = {name: statistics.median(spent[2:]) for name, spent in times.items()}
    unit = median["importance"]
    slope, start = np.polyfit(list(YARDSTICKS), [median[n] / unit for n in YARDSTICKS.values()], 1)
    members = [
        {
            "estimator": name,
            "decoder_rows": steps[name][0],
            "step": round(spent / unit, 2),
            "predicted": round(float(start + slope * steps[name][0]), 2),
        }
        for name, spent in median.items()
    ]
    return {
        "latent": latent, "batch_size": batch_size, "repeats": repeats,
        "threads": torch.get_num_threads(), "unit_ms": round(1e3 * unit, 2),
        "per_decoder_row": round(float(slope), 3), "members": members, "left_out": left_out,
    }  # fmt: skip


@click.command()
@click.option("--latent", default="bernoulli:50", show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--repeats", default=40, show_default=True)
@click.option("--estimators", default="", help="Names separated by commas; all if not given.")
@click.option("--json", "as_json", is_flag=True)
def main(latent: str, batch_size: int, repeats: int, estimators: str, as_json: bool) -> None:
    """Print every member's step time beside what its decoder rows predict."""
    found = measure(latent, batch_size, repeats, [n for n in estimators.split(",") if n])
    if as_json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return
    print(
        f"784-1024-{latent}, batch {batch_size}, medians of {repeats}; unit: {found['unit_ms']} ms"
    )
    print(f"{'estimator':<24}{'rows':>6}{'step':>8}{'predicted':>11}{'ratio':>8}")
    for member in found["members"]:  # type: ignore[attr-defined]
        ratio = member["step"] / member["predicted"]
        print(
            f"{member['estimator']:<24}{member['decoder_rows']:>6}{member['step']:>8.2f}"
            f"{member['predicted']:>11.2f}{ratio:>8.2f}"
        )
    if found["left_out"]:
        print(f"left out, more than {TOO_MANY_ROWS} decoder rows: {found['left_out']}")


if __name__ == "__main__":
    finish(main)
