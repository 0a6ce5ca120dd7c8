"""The rule by which a saved study adds seeds, and whether it was changed after results."""

import json
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from encoder_ablations.experiments.studies.published import STUDY_FILE, read_saved
from encoder_ablations.experiments.studies.seed_rule import RaisedRule, SeedRule, Seeds
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_json

RAISED = "seeds_raised.json"
"""In a study's folder: the first ``to`` of its rule, where it was raised after results."""


class _Seeds(BaseModel):
    """The part of a study that says how many seeds there are."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    seeds: Seeds = Field(default=[0])


def read_seed_rule(folder: Path) -> SeedRule | None:
    """Return the rule of the study in ``folder``; None if it lists its seeds, or there is no study.

    It is a :class:`RaisedRule` where more seeds were allowed after results were known.

    Raises:
        InputError: the study's file is damaged.
    """
    if not (folder / STUDY_FILE).exists():
        return None
    seeds = read_saved(_Seeds, folder).seeds
    if not isinstance(seeds, SeedRule):
        return None
    first = _first_to(folder)
    if first is None or first >= seeds.to:
        return seeds
    return RaisedRule.model_validate(seeds.model_dump() | {"raised_from": first})


def _first_to(folder: Path) -> int | None:
    """Return the first ``to`` of the rule; None if it was never raised."""
    path = folder / RAISED
    if not path.exists():
        return None
    return int(json.loads(path.read_text(encoding="utf-8"))["to"])


def note_raised(seeds: Seeds, folder: Path) -> None:
    """Keep that a rule allows more seeds than it did when runs ended.

    Args:
        seeds: of the study that is about to be saved.
        folder: of the study; it still holds the version before.
    """
    before = None
    # a damaged study is written again; what it allowed is not known
    with suppress(InputError):
        before = read_seed_rule(folder)
    if before is None or not isinstance(seeds, SeedRule) or seeds.to <= before.to:
        return
    ended = any((folder / "runs").glob("*/record.json"))
    if ended and _first_to(folder) is None:
        write_json(folder / RAISED, {"to": before.to})
