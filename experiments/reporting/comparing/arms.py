"""The arms that two studies share, and whether their numbers may be compared."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.engine.evaluation.per_image import PerImage, load_per_image
from encoder_ablations.experiments.reporting.findings.groups import FinishedRun, RunGroup
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.federated.arms import federation_title
from encoder_ablations.experiments.runs.record import PER_IMAGE
from encoder_ablations.experiments.studies.grid import teacher_title
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names


class Place(NamedTuple):
    """What makes two arms the same: everything that a study varies, but the seed.

    Runs with chosen values are compared with such runs alone, since they had more trials.
    """

    encoder: str
    segmenter: str
    dataset: str
    fraction: float
    federation: str
    teacher: str
    tuned: bool

    @classmethod
    def of(cls, group: RunGroup) -> "Place":
        """Return the place of a group."""
        spec = group.spec
        named = (spec.encoder.title, group.segmenter, group.dataset, group.fraction)
        arms = (str(federation_title(spec.federation)), str(teacher_title(spec)))
        return cls(*named, *arms, spec.tuning is not None)

    @property
    def title(self) -> str:
        """Return the arm in words."""
        share = formats.fraction(self.fraction)
        parts = [self.encoder, self.segmenter, self.dataset, share]
        if self.tuned:
            parts.append("tuned")
        return " · ".join(parts)


@dataclass(frozen=True)
class Pair:
    """An arm that both studies have.

    Attributes:
        problem: why its numbers must not be compared; None if they may.
    """

    place: Place
    first: RunGroup
    second: RunGroup
    problem: str | None


@dataclass(frozen=True)
class Shared:
    """The arms of two studies.

    Attributes:
        pairs: those that both have.
        only_first: what the first has alone.
        only_second: what the second has alone.
        ambiguous: arms that a study has several times, with different settings.
    """

    pairs: list[Pair]
    only_first: list[Place]
    only_second: list[Place]
    ambiguous: list[Place]


def shared_arms(first: Study, second: Study) -> Shared:
    """Return which arms two studies share.

    Raises:
        InputError: they share none, or no shared one may be compared.
    """
    ambiguous = [*_repeated(first), *_repeated(second)]
    of_first, of_second = _arms(first, ambiguous), _arms(second, ambiguous)
    both = [place for place in of_first if place in of_second]
    if not both:
        raise InputError(
            f"{first.folder} and {second.folder} share no arm with results (same encoder, head, "
            "dataset and fraction, both tuned or both not). The first has "
            f"{_listed(of_first)}; the second has {_listed(of_second)}.{_left_out(ambiguous)}"
        )
    pairs = []
    for place in both:
        problem = _problem((first, of_first[place]), (second, of_second[place]))
        pairs.append(Pair(place, of_first[place], of_second[place], problem))
    if all(pair.problem for pair in pairs):
        raise InputError(
            f"the numbers of {first.folder} and {second.folder} must not be compared: "
            f"{pairs[0].place.title}: {pairs[0].problem}."
        )
    return Shared(
        pairs,
        [place for place in of_first if place not in of_second],
        [place for place in of_second if place not in of_first],
        ambiguous,
    )


def _repeated(study: Study) -> list[Place]:
    counts = Counter(Place.of(group) for group in study.groups if group.runs)
    return [place for place, count in counts.items() if count > 1]


def _arms(study: Study, without: Iterable[Place]) -> dict[Place, RunGroup]:
    found = {Place.of(group): group for group in study.groups if group.runs}
    return {place: group for place, group in found.items() if place not in without}


def _listed(places: Iterable[Place]) -> str:
    titles = [place.title for place in places]
    if not titles:
        return "none"
    more = ""
    if len(titles) > 2:
        more = f" and {len(titles) - 2} more"
    return ", ".join(titles[:2]) + more


def _left_out(ambiguous: Iterable[Place]) -> str:
    """Return a sentence about arms that could not be told apart, or ""."""
    titles = list(dict.fromkeys(place.title for place in ambiguous))
    if not titles:
        return ""
    return f" Left out, because a study has it with several settings: {first_names(titles)}."


Side = tuple[Study, RunGroup]


def _problem(first: Side, second: Side) -> str | None:
    """Say why the numbers of two groups must not be compared; None if they may."""
    one, other = first[1].runs[0], second[1].runs[0]
    metrics = [MAIN_METRICS[run.task].label for run in (one, other)]
    if metrics[0] != metrics[1]:
        return f"other metrics ({metrics[0]} and {metrics[1]})"
    if one.data.class_names != other.data.class_names:
        return "other classes"
    if one.data.report_split != other.data.report_split:
        return f"other splits ({one.data.report_split} and {other.data.report_split})"
    # the digest is of all splits: other training images alone do no harm
    if one.data.dataset_sha256 != other.data.dataset_sha256 and not _same_images(first, second):
        return f"other images in the {one.data.report_split} split"
    return None


def _same_images(first: Side, second: Side) -> bool:
    """Return whether names and masks of the test images are known to be the same."""
    one, other = _counts(*first), _counts(*second)
    if one is None or other is None or one.ids != other.ids:
        return False
    return np.array_equal(one.margins()[:, 1], other.margins()[:, 1])


def _counts(study: Study, group: RunGroup) -> PerImage | None:
    """Return the counts of every test image of a group's first run; None without them."""
    run: FinishedRun = group.runs[0]
    path = study.run_folder(run.run_id) / PER_IMAGE
    try:
        return load_per_image(path, np.array(run.confusion_matrix), run.run_id)
    except InputError:
        return None  # a damaged file proves nothing; the report names it
