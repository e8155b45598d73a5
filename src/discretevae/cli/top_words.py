"""``discretevae top-words``."""

from __future__ import annotations

from pathlib import Path

from discretevae.cli import arguments, outputs
from discretevae.cli.inputs import open_run
from discretevae.errors import ConfigError


@arguments.command("top-words", "runs/words --k 5")
@arguments.run
@arguments.option("--k", "Words for each value.", 10, type=arguments.COUNT)
@arguments.as_json
def command(run_folder: Path, k: int, as_json: bool) -> None:
    """List the words that each bit or category of RUN, a run on counts, makes likelier.

    Of 256 codes of the prior one variable at a time is set to each of its values; words are ranked
    by e ln(e/m), where e is the mean share of a word, and m the mean of e over the values.
    """
    from discretevae.explorer.effects import EFFECT_ROWS, effect
    from discretevae.explorer.variables import variables_of
    from discretevae.system.randomness import generator_for

    run = open_run(run_folder, "cpu")
    model, schema, n = run.model, run.schema, run.config.model.n_features
    if not model.config.likelihood.is_count:
        raise ConfigError(f"{run_folder}: a run on {model.config.likelihood}, not on counts.")
    names = (schema and schema.feature_names) or tuple(f"column {i}" for i in range(n))
    z = model.prior.sample(EFFECT_ROWS, generator=generator_for(0, "top words"))
    codes, lines = model.family.to_codes(z), []
    for variable in variables_of(model.family):
        values = list(range(variable.n_categories or 0))  # a real variable has none
        shares = effect(model, codes, variable, values).double() if values else z.new_zeros(0, n)
        shares = shares / shares.sum(1, keepdim=True)
        lift = shares * (shares / shares.mean(0)).log()
        for value, best in enumerate(lift.topk(min(k, n)).indices.tolist()):
            lines.append((variable.index, value, [names[i] for i in best]))
    if as_json:
        keys = ("variable", "value", "words")
        outputs.print_json([dict(zip(keys, line, strict=True)) for line in lines])
        return
    cells = [(str(variable), str(value), " ".join(words)) for variable, value, words in lines]
    outputs.print_table([("variable", "value", "words"), *cells])
