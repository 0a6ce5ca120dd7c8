"""The stage of a study that adds seeds until they say enough."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.tuning.spec import TuneSpec
from encoder_ablations.experiments.studies.known import Known, Records
from encoder_ablations.experiments.studies.seed_decisions import Decision, decide
from encoder_ablations.experiments.studies.seed_rule import SeedRule, Seeds
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

COMPARED = {"segmenter", "dataset", "fraction", "federation", "pseudo_labels"}
"""What runs have in common that are compared with each other, besides the study's recipe."""


class Ruled(Protocol):
    """The part of a study that this stage reads."""

    @property
    def name(self) -> str:
        """Return what messages call the study."""

    @property
    def seeds(self) -> Seeds:
        """Return its seeds, or the rule that adds them."""

    @property
    def tune(self) -> TuneSpec | None:
        """Return how it tunes settings."""


def has_rule(study: Ruled) -> bool:
    """Return whether a study adds seeds by a rule."""
    return isinstance(study.seeds, SeedRule)


def add_seeds(study: Ruled, known: Known, records: Records) -> Known:
    """Return the runs with those of further seeds, as far as the results so far decide.

    Args:
        study: it has a rule.
        known: the runs of its first seeds.
        records: run id -> record.

    Raises:
        InputError: the rule waits for a difference where only one encoder is, or the study tunes.
    """
    rule = study.seeds
    assert isinstance(rule, SeedRule)
    _refuse_tuning(study)
    runs, stopped = list(known.runs), list(known.stopped)
    waiting = 0
    for family in _families(known.runs, rule):
        _refuse_alone(study.name, rule, family)
        decisions = decide(rule, _ended(family, rule, records))
        for title, decision in decisions.items():
            more = range(rule.first, decision.seeds)
            runs += [_with_seed(family[title], seed) for seed in more]
            waiting += decision.why is None
            stopped += _in_words(family[title], decision)
    # one seed of all encoders after the other, as in the grid
    runs.sort(key=lambda run: max(run.seed, rule.first))
    following = list(known.following)
    if waiting:
        what = plural(waiting, "encoder", "is/are not settled yet")
        following.append(f"{what}: more seeds may follow ({rule.words})")
    return Known(runs, tuple(following), tuple(stopped), known.expected)


def _families(runs: Sequence[RunSpec], rule: SeedRule) -> list[dict[str, RunSpec]]:
    """Return the runs of the seed 0 that are compared with each other, by their encoders' titles.

    Runs without labels have no seeds.
    """
    found: defaultdict[str, dict[str, RunSpec]] = defaultdict(dict)
    for run in runs:
        if run.fraction and run.seed < rule.first:
            found[_family(run)].setdefault(run.encoder.title, run)
    return list(found.values())


def _family(run: RunSpec) -> str:
    """Return JSON of what runs have in common that are compared with each other."""
    recipe = run.study_recipe or run.recipe
    return json.dumps([run.model_dump_json(include=COMPARED), recipe.model_dump_json()])


def _refuse_tuning(study: Ruled) -> None:
    """Refuse a study that tunes: its encoders are known one after another, as trials end.

    The rule allows for a number of encoders from the start, so that its error rate holds.
    """
    if study.tune is not None:
        raise InputError(
            f"study {study.name}: tune does not go with a rule for seeds. List the seeds, such as "
            "seeds: [0, 1, 2]."
        )


def _refuse_alone(study: str, rule: SeedRule, family: dict[str, RunSpec]) -> None:
    if rule.until == "separated" and len(family) < 2:
        raise InputError(
            f"study {study}: seeds.until is 'separated', but {next(iter(family))} is compared with "
            "no other encoder, so that this never comes. Add one, or write until: {width: 1.0}."
        )


def _with_seed(run: RunSpec, seed: int) -> RunSpec:
    return run.model_copy(update={"seed": seed})


def _ended(
    family: dict[str, RunSpec], rule: SeedRule, records: Records
) -> dict[str, dict[int, float | None]]:
    """Return the scores of the runs that have ended, see :data:`.seed_decisions.Ended`."""
    found: dict[str, dict[int, float | None]] = {title: {} for title in family}
    for title, first in family.items():
        for seed in range(rule.to):
            record = records.get(_with_seed(first, seed).run_id)
            if record is not None:
                found[title][seed] = record.metrics.main if record.metrics else None
    return found


def _in_words(run: RunSpec, decision: Decision) -> list[str]:
    if decision.why is None:
        return []
    place = f"{run.encoder.title}, {run.segmenter.title}, {run.dataset.name}"
    seeds = plural(decision.seeds, "seed")
    return [f"{place}, {100 * run.fraction:g} % of the images: {seeds}; {decision.why}"]
