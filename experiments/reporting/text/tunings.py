"""Names of settings that differ in how the values of the recipe were chosen."""

from collections.abc import Iterable

from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.grid import NOT_TUNED, tuning_title

OWN_RECIPE = "the study's own recipe"
TUNED = "tuned"


def tuning_names(specs: Iterable[RunSpec]) -> dict[str, str]:
    """Return the title of each tuning -> its name: "tuned", or "the study's own recipe".

    Several tunings are told apart by their trials and their hash.

    Args:
        specs: of all runs that are shown together.
    """
    titles = {tuning_title(spec) for spec in specs} - {NOT_TUNED}
    names = {title: f"{TUNED}, {title}" for title in titles}
    if len(titles) == 1:
        names = dict.fromkeys(titles, TUNED)
    return names | {NOT_TUNED: OWN_RECIPE}
