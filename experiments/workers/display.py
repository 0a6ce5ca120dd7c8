"""The display of a running study: one bar over all steps, and a line for every run that ended."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from encoder_ablations.experiments.runs.execution import follows_training
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.tuning.spec import FIRST_SEED
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.experiments.workers.progress import read_progress
from encoder_ablations.utils.progress import Bar

BAR = (
    "{desc}{percentage:3.0f} % of the study |{bar}| {elapsed} gone, about {remaining} left{postfix}"
)

BAR_AT_END = "{desc}{percentage:3.0f} % of the study |{bar}| {elapsed} gone{postfix}"
"""When all steps are done, and the last run is evaluated: nobody knows how long that takes."""


@dataclass(frozen=True)
class Rounds:
    """The runs of other rounds of a study, which are numbered through with those of this one.

    Attributes:
        before: those of earlier rounds.
        after: those that will follow.
    """

    before: Sequence[PlannedRun] = ()
    after: Sequence[PlannedRun] = ()

    @property
    def count(self) -> int:
        """Return how many they are."""
        return len(self.before) + len(self.after)


class Display:
    """Shows how the runs of a study get on. Use as a context manager.

    Args:
        runs: those that are to be computed.
        shown: False where another process of the same run shows it.
        rounds: what is computed before and after them.
    """

    def __init__(
        self, runs: Sequence[PlannedRun], shown: bool = True, rounds: Rounds | None = None
    ) -> None:
        self.rounds = rounds or Rounds()
        self.runs = {run.spec.run_id: run for run in runs}
        self.before = {id: read_progress(run.folder, id) for id, run in self.runs.items()}
        self.steps = dict.fromkeys(self.runs, 0)
        self.steps |= {id: before.step for id, before in self.before.items() if before}
        self.outcomes: list[Outcome] = []
        self.bar = Bar(
            total=steps_of([*runs, *self.rounds.before, *self.rounds.after]),
            initial=steps_of(self.rounds.before) + sum(self.steps.values()),
            smoothing=0.05,
            bar_format=BAR,
            unit="step",
            delay=0,
            leave=True,
            disable=not shown,
        )

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def begin(self, run: PlannedRun) -> None:
        """Show which run is computed now, where it is one at a time."""
        ended = sum(outcome.state != "elsewhere" for outcome in self.outcomes)
        number = len(self.rounds.before) + ended + 1
        self.bar.set_description(f"run {number}/{self._count()} {_which(run.spec)}")

    def advance(self, run: PlannedRun, step: int, status: str) -> None:
        """Show that ``run`` has done ``step`` steps."""
        if not follows_training(status):
            self.bar.set_postfix_str(status, refresh=False)
            self._move(run.spec.run_id, step)
            return
        # no step is left to do where training has ended early
        self._move(run.spec.run_id, run.spec.steps)
        if self.bar.n >= self.bar.total:
            self.bar.bar_format = BAR_AT_END
        self.bar.tell(status)

    def look(self, runs: Iterable[PlannedRun]) -> None:
        """Show what the progress files say of runs that other processes may be computing."""
        running = 0
        for run in runs:
            id, found = run.spec.run_id, read_progress(run.folder, run.spec.run_id)
            if found is not None and found != self.before[id]:
                running += 1
                self._move(id, found.step)
        counts = Counter(outcome.state for outcome in self.outcomes)
        text = f"{len(self.rounds.before) + counts['finished']} of {self._count()} done"
        if counts["failed"]:
            text += f", {counts['failed']} failed"
        self.bar.set_description(f"{text}, {running} running")

    def done(self, outcome: Outcome) -> None:
        """Show that a run has ended."""
        self.outcomes.append(outcome)
        steps = self.runs[outcome.run_id].spec.steps
        if outcome.state == "elsewhere":
            # its steps are not ours: counted as done, they would make the rest look fast
            self._move(outcome.run_id, 0)
            self.bar.total -= steps
        elif outcome.state != "interrupted":
            self._move(outcome.run_id, steps)
        if not self.bar.disable:
            self.bar.write(_line(outcome))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self.bar.disable:
            self.bar.write(text)

    def _count(self) -> int:
        """Return the number of runs that are computed here, as far as is known."""
        elsewhere = sum(outcome.state == "elsewhere" for outcome in self.outcomes)
        return len(self.runs) - elsewhere + self.rounds.count

    def _move(self, run_id: str, step: int) -> None:
        self.bar.update(step - self.steps[run_id])
        self.steps[run_id] = step


def steps_of(runs: Iterable[PlannedRun]) -> int:
    """Return the training steps of all runs."""
    return sum(run.spec.steps for run in runs)


def _which(spec: RunSpec) -> str:
    """Return which run it is: its seed, or what a trial tries."""
    what = [f"seed {spec.seed}"]
    if spec.tuning is not None and spec.is_trial:
        what = [spec.tuning.title]
        if spec.seed != FIRST_SEED:
            what.append(f"seed {spec.seed}")
    elif spec.tuning is not None:
        what.append("tuned")
    return f"{spec.encoder.title} {spec.fraction:.0%} {', '.join(what)}"


LINES = {
    "failed": "failed   {0.run_id}: {0.message}",
    "elsewhere": "skipped  {0.run_id}: another process computes it",
    "interrupted": "stopped  {0.run_id}",
    "finished": "{1}  {0.run_id}  ({0.seconds:.0f} s)",
}
"""What is said of a run by its state: of its outcome and its score."""


def _line(outcome: Outcome) -> str:
    score = "no labels"
    if outcome.miou is not None:
        score = f"{100 * outcome.miou:5.1f} {outcome.metric}"
    return "  " + LINES[outcome.state].format(outcome, score)
