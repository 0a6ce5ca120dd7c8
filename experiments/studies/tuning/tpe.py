"""Optuna's TPE (Bergstra et al., NeurIPS 2011), asked anew for each trial.

The sampler keeps no state. It is seeded by the study and the number of the trial, and told all
trials before it. So the next trial follows from the records, after a restart as well.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from encoder_ablations.experiments.runs.tuning.spec import Chosen, Range, Settings, TuneSpec
from encoder_ablations.experiments.studies.tuning.draws import drawn_trials, first_trials
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.seeding import derive

ATTEMPTS = 20
"""How often TPE is asked for a trial that is not like an earlier one."""


def next_trial(tune: TuneSpec, trials: Sequence[Chosen], scores: Sequence[float | None]) -> Chosen:
    """Return the next trial.

    Args:
        tune: how settings are tuned.
        trials: so far.
        scores: of these, 0..1; -inf if it has diverged.

    Raises:
        InputError: Optuna is missing.
    """
    # a trial that has diverged is as bad as one that finds nothing
    told = tuple(max(score or 0.0, 0.0) for score in scores)
    next_one: Chosen = json.loads(_asked(tune.model_dump_json(), json.dumps(trials), told))
    return next_one


@cache  # trials are planned anew in every round
def _asked(tune_json: str, trials_json: str, scores: tuple[float, ...]) -> str:
    """Return JSON of the next trial, from JSON of the arguments of :func:`next_trial`."""
    try:
        import optuna
    except ImportError as error:
        raise missing("optuna", error) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tune, trials = TuneSpec.model_validate_json(tune_json), json.loads(trials_json)
    distributions = {name: _distribution(optuna, each) for name, each in tune.settings.items()}
    known = [
        optuna.trial.create_trial(
            params=_positions(tune.settings, trial), distributions=distributions, value=score
        )
        for trial, score in zip(trials, scores, strict=True)
    ]
    for attempt in range(ATTEMPTS):
        seed = derive(tune.seed, "tuning", "tpe", len(trials), attempt) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=first_trials(tune))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(known)
        found = _values(tune.settings, study.ask(distributions).params)
        if found not in trials:
            return json.dumps(found)
    others = drawn_trials(tune, len(trials) + 1)
    return json.dumps(next(trial for trial in others if trial not in trials))


def _distribution(optuna: Any, values: Any) -> Any:
    """Return Optuna's form of a range, or of the places in a list of values."""
    if isinstance(values, Range):
        return optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)
    return optuna.distributions.CategoricalDistribution(range(len(values)))


def _positions(settings: Settings, trial: Chosen) -> dict[str, Any]:
    """Return a trial as Optuna knows it: numbers of ranges, and places in lists."""
    found: dict[str, Any] = {}
    for name, values in settings.items():
        found[name] = trial[name]
        if not isinstance(values, Range):
            found[name] = values.index(trial[name])
    return found


def _values(settings: Settings, positions: dict[str, Any]) -> Chosen:
    """Return the trial that Optuna means."""
    found: Chosen = {}
    for name, values in settings.items():
        if isinstance(values, Range):
            found[name] = values.rounded(positions[name])
        else:
            found[name] = values[positions[name]]
    return found
