"""Search over options with Optuna: the step size, the width and the number of bits.

    pip install optuna
    python examples/optuna_search.py

What is maximized is the ELBO of rows that are held out of training; test rows stay unseen, so
that they can judge the choice.
"""

from __future__ import annotations

from typing import Any

import discretevae as dv

DATA = dv.load_data("digits").binarized("threshold")


def objective(trial: Any) -> float:
    """Return the validation ELBO in nats per row of a model with the options of a trial."""
    bits = trial.suggest_int("bits", 2, 32, log=True)
    width = trial.suggest_categorical("width", [32, 64, 128])
    lr = trial.suggest_float("lr", 1e-3, 1e-2, log=True)
    model = dv.DiscreteVAE.for_data(DATA, latent=dv.Bernoulli(bits), hidden=(width,), seed=0)
    history = dv.train(model, DATA, dv.TrainConfig(epochs=30, lr=lr, validation=0.2))
    return history[-1].validation_elbo


def main() -> None:
    """Try twenty settings, and print the best."""
    import optuna

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=20)
    print(f"ELBO {study.best_value:.2f} with {study.best_params}")


if __name__ == "__main__":
    main()
