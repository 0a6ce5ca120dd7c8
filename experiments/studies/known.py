"""What is known of a study whose later runs depend on the results of earlier ones."""

from collections.abc import Mapping
from dataclasses import dataclass

from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import RunSpec

Records = Mapping[str, RunRecord]
"""Run id -> record of every run of the study that has ended, finished or failed."""


@dataclass(frozen=True)
class Known:
    """The runs that are known so far.

    Attributes:
        runs: in the order in which they are computed.
        following: what more may follow from the results of these runs, one sentence each. Nothing
            more follows if it is empty.
        stopped: why nothing more follows from some of them, one sentence each.
        expected: a stand-in for each run that will follow and is not known yet. It takes as long
            as that run, but its values are others.
    """

    runs: list[RunSpec]
    following: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    expected: tuple[RunSpec, ...] = ()
