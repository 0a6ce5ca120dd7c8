"""Settings of the study's own recipe, which stand beside the tuned ones."""

from collections.abc import Sequence

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.studies.grid import place_of


def main_settings(settings: Sequence[Setting]) -> list[Setting]:
    """Return the settings of a study that its first lines count.

    Those of the study's own recipe are left out where the same encoders were tuned: they are the
    same comparison, made with other values.

    Args:
        settings: of a study.
    """
    groups = [group for setting in settings for group in setting.groups]
    tuned = {place_of(group.spec) for group in groups if group.is_tuned and group.score.n}
    return [setting for setting in settings if not _is_beside(setting, tuned)]


def main_first(settings: Sequence[Setting]) -> tuple[Setting, ...]:
    """Return settings in their order, but those of the study's own recipe after the tuned ones."""
    main = main_settings(settings)
    return (*main, *(setting for setting in settings if setting not in main))


def count_trials(records: Sequence[RunRecord]) -> int:
    """Return the number of trials; one that was trained several times counts once.

    Args:
        records: of all trainings of trials.
    """
    specs = [record.spec for record in records]
    return len({(place_of(spec), repr(spec.tuning and spec.tuning.values)) for spec in specs})


def _is_beside(setting: Setting, tuned: set[str]) -> bool:
    """Return whether no group of a setting is tuned, but one has a tuned twin.

    Args:
        setting: of a study.
        tuned: places of the tuned groups.
    """
    if any(group.is_tuned for group in setting.groups):
        return False
    return any(place_of(group.spec) in tuned for group in setting.groups)
