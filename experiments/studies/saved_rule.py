"""The rule by which a saved study adds seeds."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from encoder_ablations.experiments.studies.published import STUDY_FILE, read_saved
from encoder_ablations.experiments.studies.seed_rule import SeedRule, Seeds


class _Seeds(BaseModel):
    """The part of a study that says how many seeds there are."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    seeds: Seeds = Field(default=[0])


def read_seed_rule(folder: Path) -> SeedRule | None:
    """Return the rule of the study in ``folder``; None if it lists its seeds, or there is no study.

    Raises:
        InputError: the study's file is damaged.
    """
    if not (folder / STUDY_FILE).exists():
        return None
    seeds = read_saved(_Seeds, folder).seeds
    if isinstance(seeds, SeedRule):
        return seeds
    return None
