"""The runs of a study that are known, as its folder holds them."""

from dataclasses import dataclass, field

from encoder_ablations.experiments.runs.planned_run import PlannedRun


@dataclass(frozen=True)
class Located:
    """The runs that are known, with their folders and records.

    Attributes:
        following, stopped, expected: see :class:`Known`.
    """

    runs: list[PlannedRun] = field(default_factory=list)
    following: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    expected: tuple[PlannedRun, ...] = ()
