"""Which runs are looked at side by side."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from encoder_ablations.experiments.prediction.chosen_runs import check_classes, usable_runs
from encoder_ablations.experiments.runs.federated.arms import federation_title
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.trained.run import TrainedRun, ranked, trained_run
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

MOST_ENCODERS = 6
"""Most encoders side by side: the best ones on validation."""


class Compared(NamedTuple):
    """Runs on the same dataset, and what each is called.

    Attributes:
        runs: the first one is the best, or the one that was asked about.
        names: of the same runs, short and different from each other.
        notes: what a reader of the page must know, one line each.
        left_out: runs that cannot be used, one line each.
    """

    runs: list[TrainedRun]
    names: list[str]
    notes: list[str]
    left_out: list[str]


def one_or_two(folder: Path, against: Path | None) -> Compared:
    """Return a run, and the one that it is compared with.

    Raises:
        InputError: one of them is missing or unusable, or their classes or images differ.
    """
    runs = [trained_run(folder)]
    if against is not None:
        runs.append(trained_run(against))
        check_classes(runs)
        _check_images(runs)
    return Compared(runs, _names(runs), [], [])


def encoders_of(folder: Path) -> Compared:
    """Return one run of every encoder of a study, best on validation first.

    They have the dataset, the head, the privacy, the federation and the share of the training
    images of the study's best run, and one seed: the one that most encoders have.

    Raises:
        InputError: no run has finished.
    """
    runs, problems = usable_runs(folder)
    in_order, note = ranked(runs)
    best = in_order[0]
    place = _place(best.record.spec)
    comparable = [run for run in in_order if _place(run.record.spec) == place]
    seeds = Counter(run.record.spec.seed for run in comparable)
    # of seeds with equally many encoders, that of the best run
    seed = max(sorted(seeds), key=lambda each: (seeds[each], each == best.record.spec.seed))
    found = [run for run in comparable if run.record.spec.seed == seed]
    notes = []
    left_out = len({_arm(run.record.spec) for run in runs}) - 1
    if left_out:
        notes.append(
            f"The encoders are those of the arm '{_arm(best.record.spec)}', which has the best "
            f"score; {plural(left_out, 'other arm')} (privacy or federation) of the study are left "
            "out."
        )
    if note is not None:
        notes.append(note)
    if len(found) > MOST_ENCODERS:
        notes.append(
            f"{len(found) - MOST_ENCODERS} more encoders: the page has the {MOST_ENCODERS} best."
        )
    found = found[:MOST_ENCODERS]
    return Compared(found, _names(found), notes, problems)


def _place(spec: RunSpec) -> tuple[str, str, float, str]:
    """Return what runs have in common that are compared."""
    head, data = spec.segmenter.model_dump_json(), spec.dataset.model_dump_json()
    return head, data, spec.fraction, _arm(spec)


def _arm(spec: RunSpec) -> str:
    """Return the privacy and the federation of a run in words."""
    return f"privacy {spec.privacy_title}, {federation_title(spec.federation)}"


def _check_images(runs: Sequence[TrainedRun]) -> None:
    """Refuse runs that were tested on different images.

    Raises:
        InputError: their datasets differ.
    """
    first, second = (run.record.spec for run in runs)
    if first.dataset != second.dataset:
        raise InputError(
            "two runs are compared on the same images, but "
            f"{first.run_id} has the dataset '{first.dataset.name}' and {second.run_id} "
            f"'{second.dataset.name}' (or the same with other settings)."
        )


def _names(runs: Sequence[TrainedRun]) -> list[str]:
    """Return the encoders' titles, or the runs' names where two titles are equal."""
    titles = [run.record.spec.encoder.title for run in runs]
    if len(set(titles)) == len(titles):
        return titles
    return [run.record.run_id for run in runs]
