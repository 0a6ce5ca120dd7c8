"""Training with masks that another run predicts, against the same training without them.

Nothing but the teacher differs between the runs that are compared: not the encoder, the head, the
dataset, the share of labelled images, the recipe or the seed. Arms are never ranked.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean

from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.reporting.findings.ranking import Comparison
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.reporting.text.teachers import arm_names
from encoder_ablations.experiments.reporting.text.titles import canonical
from encoder_ablations.experiments.stats.seeds import holm, paired_difference
from encoder_ablations.experiments.studies.grid import teacher_title


@dataclass(frozen=True)
class TaughtArm:
    """Runs with the masks of one teacher, against those without.

    Attributes:
        name: of the arm; see :func:`arm_names`.
        against: with predicted masks minus without; its p is corrected for the number of arms of
            one encoder, head and share of the images.
    """

    name: str
    against: Comparison

    @property
    def taught(self) -> RunGroup:
        """Return the runs with predicted masks."""
        return self.against.first

    @property
    def without(self) -> RunGroup:
        """Return the same without them."""
        return self.against.second

    @property
    def title(self) -> str:
        """Return encoder, head and share of the images."""
        group = self.without
        return f"{group.encoder} · {group.segmenter}, {formats.fraction(group.fraction)}"

    @property
    def pixels(self) -> float:
        """Return the share of the predicted pixels that reached the threshold, over seeds."""
        kept = [run.data.pseudo_labels for run in self.taught.runs]
        return fmean(each.share_of_pixels for each in kept if each is not None)


def taught_arms(study: Study) -> list[TaughtArm]:
    """Return every arm with a teacher beside the same without one, where both have a result."""
    names = arm_names(record.spec for record in study.records)
    families: dict[str, list[RunGroup]] = defaultdict(list)
    for group in study.groups:
        if group.score.n:
            families[_surroundings(group)].append(group)
    compared = [_against_none(family, names) for family in families.values()]
    return list(chain.from_iterable(compared))


def _surroundings(group: RunGroup) -> str:
    """Return JSON that is equal for groups that differ only in the teacher."""
    spec = group.spec
    # what was tuned, or changed for one encoder, may differ between arms: the study's recipe counts
    chosen = {"seed", "pseudo_labels", "recipe", "study_recipe", "tuning"}
    recipe = spec.study_recipe or spec.recipe
    return canonical([spec.model_dump(mode="json", exclude=chosen), recipe.model_dump(mode="json")])


def _against_none(family: Sequence[RunGroup], names: dict[str, str]) -> list[TaughtArm]:
    """Return the arms of one encoder, head and share of the images."""
    without = [group for group in family if group.spec.pseudo_labels is None]
    taught = [group for group in family if group.spec.pseudo_labels is not None]
    found = [_minus(group, without[0]) for group in taught if without]
    corrected = holm([pair.difference.p for pair in found])
    pairs = [replace(pair, p=p) for pair, p in zip(found, corrected, strict=True)]
    return [TaughtArm(names[teacher_title(pair.first.spec)], pair) for pair in pairs]


def _minus(taught: RunGroup, without: RunGroup) -> Comparison:
    difference = paired_difference(taught.values(), without.values(), without.most_seeds)
    return Comparison(taught, without, difference)


HEADER = ["arm", "difference (points)", "with its masks ({} %)", "without teacher ({} %)", "seeds"]
HEADER += ["pixels kept (%)", "data", "encoder, head and labelled share", "teacher"]


def predicted_masks_table(study: Study) -> Table:
    """Return a row for each teacher of every encoder, head and share of the images."""
    rows = [_row(arm) for arm in taught_arms(study)]
    caption = "Training with predicted masks, and without, with 95 % intervals of the differences."
    header = [column.format(study.metric.label) for column in HEADER]
    return Table(caption, header, rows, last_names=3)


def _row(arm: TaughtArm) -> list[str]:
    labels = arm.taught.spec.pseudo_labels
    assert labels is not None
    change = formats.change(arm.against.difference.over)
    scores = [arm.taught.score.text(), arm.without.score.text()]
    seeds = str(arm.against.seeds)
    names = [arm.without.dataset, arm.title, labels.run_id]
    return [arm.name, change, *scores, seeds, formats.percent(arm.pixels), *names]
