"""The figures of an epoch."""

from __future__ import annotations

from dataclasses import asdict

from discretevae.data import Rows
from discretevae.evaluation.bounds import Evaluation, evaluate
from discretevae.objectives import objective_of
from discretevae.objectives.gradient_noise import encoder_gradient_noise
from discretevae.run_folder.history import EpochMetrics
from discretevae.system.randomness import generator_for
from discretevae.training.position import Position
from discretevae.training.preparation import PreparedTraining
from discretevae.training.state import TrainingState


def measure_epoch(
    prepared: PreparedTraining, state: TrainingState, totals: Position
) -> EpochMetrics:
    """Evaluate the model after an epoch; ``totals`` are its sums over all processes."""
    config, epoch = prepared.config, totals.epoch
    noise = encoder_gradient_noise(
        state.model,
        prepared.probe,
        prepared.estimator.at_step(epoch * prepared.steps_per_epoch),
        generator=generator_for(config.seed, "probe draws", epoch, device=prepared.device),
        objective=objective_of(config),
    )

    def measured(rows: Rows) -> Evaluation:
        return evaluate(state.evaluated_model, rows, samples=1, seed=config.seed)

    # the units of the rows as they came, as for the test rows
    shift = 0.0 if state.model.likelihood.is_probability else prepared.train_rows.log_jacobian
    tested = measured(prepared.test_rows)
    held_out = prepared.validation_rows
    validated = None if held_out is None else measured(held_out).elbo
    return EpochMetrics(
        epoch=epoch,
        loss=totals.loss / totals.rows - shift,
        log_likelihood=totals.log_likelihood / totals.rows + shift,
        kl=totals.kl / totals.rows,
        test_elbo=tested.elbo.value,
        test_elbo_se=tested.elbo.se,
        grad_variance=noise.variance,
        grad_relative_variance=noise.relative,
        ess=totals.ess / totals.rows if totals.has_ess else None,
        **asdict(tested.usage),
        rows_per_second=totals.rows / max(totals.epoch_seconds, 1e-9),
        seconds=totals.seconds + totals.epoch_seconds,
        cpu_seconds=totals.cpu_seconds if prepared.device.type == "cpu" else None,
        validation_elbo=None if validated is None else validated.value,
        validation_elbo_se=None if validated is None else validated.se,
    )
