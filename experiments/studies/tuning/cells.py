"""The runs of a study that share a choice of values, and the trials of them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.tuning.spec import (
    FIRST_SEED,
    Chosen,
    TuneSpec,
    TuningRole,
    in_words,
)
from encoder_ablations.experiments.studies.grid import coordinates
from encoder_ablations.utils.config import build, merge
from encoder_ablations.utils.texts import plural

Key = tuple[object, ...]
"""What the runs of a cell have in common."""


@dataclass(frozen=True)
class Cell:
    """Runs that share a choice.

    Attributes:
        title: what they have in common, in words.
        places: a run of the study for each encoder, fraction … of the cell; seeds do not count.
    """

    title: str
    places: tuple[RunSpec, ...]


def key_of(run: RunSpec, tune: TuneSpec) -> Key:
    """Return what the runs that share a choice have in common; privacy is always part of it."""
    where = coordinates(run)
    privacy = None
    if run.recipe.privacy is not None:
        privacy = run.recipe.privacy.model_dump_json()
    return (*(where[name] for name in tune.per), privacy)


def cells_of(grid: Iterable[RunSpec], tune: TuneSpec) -> dict[Key, Cell]:
    """Return the cells of a study, by what each has in common, in the order of its runs."""
    members: defaultdict[Key, dict[str, RunSpec]] = defaultdict(dict)
    for run in grid:
        place = run.model_dump_json(exclude={"seed"})
        members[key_of(run, tune)].setdefault(place, run)
    return {key: Cell(_title(key), tuple(runs.values())) for key, runs in members.items()}


def _title(key: Key) -> str:
    words = [f"{part:.4g}" if isinstance(part, float) else str(part) for part in key[:-1]]
    return ", ".join(words) or "all"


def with_values(recipe: Recipe, chosen: Chosen, where: str) -> Recipe:
    """Return a recipe with the values of a trial.

    Args:
        recipe: of the study, or the encoder's own.
        chosen: setting -> value.
        where: begins messages.

    Raises:
        InputError: a value is impossible.
    """
    content = recipe.model_dump()
    for name, value in chosen.items():
        section, key = name.split(".")
        content = merge(content, {section: {key: value}})
    return build(Recipe, content, where)


def trial_runs(cell: Cell, chosen: Chosen, tune: TuneSpec, divisor: int = 1) -> list[RunSpec]:
    """Return the runs of a trial: every place of the cell, with the seeds of trials.

    Args:
        cell: what shares the choice.
        chosen: setting -> value.
        tune: how settings are tuned.
        divisor: of the recipe's steps, for the short trials of successive halving.

    Raises:
        InputError: a value is impossible.
    """
    where = f"tune: the trial {in_words(chosen)}"
    role = TuningRole(role="trial", values=chosen)
    found = []
    for place in cell.places:
        steps = max(1, place.recipe.steps // divisor)
        # steps first: a warm-up that is tuned must fit into them
        short = place.recipe.model_copy(update={"steps": steps})
        recipe = with_values(short, chosen, f"{where} of {plural(steps, 'step')}")
        for number in range(tune.seeds):
            changes = {"recipe": recipe, "study_recipe": None, "tuning": role}
            found.append(_changed(place, changes | {"seed": FIRST_SEED + number}, where))
    return found


def tuned_run(run: RunSpec, chosen: Chosen, tune: TuneSpec) -> RunSpec:
    """Return a run of the study with the values that were chosen.

    Raises:
        InputError: a value is impossible.
    """
    where = f"tune: the chosen values {in_words(chosen)}"
    recipe = with_values(run.recipe, chosen, where)
    studys = run.study_recipe or run.recipe
    how = tune.model_copy(update={"untuned": False})
    role = TuningRole(role="report", values=chosen, chosen_by=how)
    changes = {"recipe": recipe, "tuning": role}
    if recipe != studys:
        return _changed(run, changes | {"study_recipe": studys}, where)
    return _changed(run, changes | {"study_recipe": None}, where)


def _changed(run: RunSpec, changes: Mapping[str, object], where: str) -> RunSpec:
    """Return a run with other settings, checked anew."""
    return build(RunSpec, {**dict(run), **changes}, where)


def interleaved(lists: Sequence[Sequence[RunSpec]]) -> list[RunSpec]:
    """Return the first runs of all lists, then the second ones, and so on."""
    longest = max(map(len, lists), default=0)
    return [runs[place] for place in range(longest) for runs in lists if place < len(runs)]
