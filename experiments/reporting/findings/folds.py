"""Results over the folds of a dataset; a study names each fold as a dataset of its own."""

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from statistics import fmean

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.reporting.text.titles import canonical, unique_titles
from encoder_ablations.experiments.stats.seeds import Summary
from encoder_ablations.experiments.studies.grid import tuning_title

HEADER = ["dataset", "encoder", "images", "mean ({} %)", "lowest fold", "highest fold"]
HEADER += ["folds", "runs"]


@dataclass(frozen=True)
class Over:
    """One encoder at one fraction, over the folds of a dataset; ``scores`` has a mean a fold."""

    encoder: str
    fraction: float
    scores: list[float]
    folds: int
    runs: int

    @property
    def order(self) -> tuple[float, bool, float, str]:
        """Return the sort key: large fractions first, then those with all folds, then best."""
        incomplete = len(self.scores) < self.folds
        return -self.fraction, incomplete, -fmean(self.scores), self.encoder

    @property
    def cells(self) -> list[str]:
        """Return the cells of the table, the dataset's excepted."""
        numbers = (fmean(self.scores), min(self.scores), max(self.scores))
        folds = str(self.folds)
        if len(self.scores) < self.folds:
            folds = f"{len(self.scores)} of {folds}"
        texts = [f"{100 * value:.1f}" for value in numbers]
        return [self.encoder, formats.fraction(self.fraction), *texts, folds, str(self.runs)]


def folds_table(study: Study) -> Table:
    """Return mean, lowest and highest fold of every encoder and fraction.

    A fold counts by its mean over seeds. Encoders without a result in some fold come last, because
    folds differ in how hard they are. No interval is given: folds share most of their training
    images and the test set, so their scores are not independent.
    """
    families = _families(study)
    names = unique_titles([(_title(folds), _common(folds[0])) for folds in families])
    rows = []
    for name, folds in zip(names, families, strict=True):
        rows += [[name, *over.cells] for over in _over_folds(folds)]
    label = study.metric.label
    header = [name.format(label) for name in HEADER]
    return Table(f"{label} over the folds of a dataset", header, rows, names=3)


def _over_folds(folds: list[Setting]) -> list[Over]:
    """Return every encoder at every fraction with a result, in the order of the table."""
    members: dict[tuple[str, float], list[Summary]] = defaultdict(list)
    # a fold counts by its mean over seeds, however many there are
    for group in chain.from_iterable(fold.scored for fold in folds):
        members[group.encoder, group.fraction].append(group.score)
    found = [_over(*place, scores, len(folds)) for place, scores in members.items()]
    return sorted(found, key=attrgetter("order"))


def _over(encoder: str, fraction: float, scores: list[Summary], folds: int) -> Over:
    runs = sum(score.n for score in scores)
    return Over(encoder, fraction, [score.mean for score in scores], folds, runs)


def _families(study: Study) -> list[list[Setting]]:
    """Return groups of settings that differ only in which images train and which validate."""
    alike: dict[str, list[Setting]] = defaultdict(list)
    for setting in study.settings:
        alike[_common(setting)].append(setting)
    return [settings for settings in alike.values() if _are_folds(settings)]


def _are_folds(settings: list[Setting]) -> bool:
    """Whether all training lists differ and all validation lists differ.

    Training lists alone do not make folds: voc2012 and voc2012_aug validate on the same images.
    """
    splits = [setting.groups[0].spec.dataset.splits for setting in settings]
    train, val = {each["train"] for each in splits}, {each["val"] for each in splits}
    return len(train) == len(val) == len(splits) > 1


def _common(setting: Setting) -> str:
    """Return JSON of everything that folds have in common."""
    spec = setting.groups[0].spec
    statistics = next((run.images_per_statistic for run in setting.runs), None)
    recipe = spec.study_recipe or spec.recipe
    common = {
        "segmenter": spec.segmenter.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "dataset": spec.dataset.model_dump(mode="json", exclude={"name", "splits"}),
        "test": spec.dataset.splits.get("test"),
        "detectron2": spec.detectron2,
        "images_per_statistic": statistics,
        "tuning": tuning_title(spec),
    }
    return canonical(common)


def _title(folds: list[Setting]) -> str:
    names = [setting.dataset for setting in folds]
    # "rocks_fold_1" and "rocks_fold_2" are folds of "rocks_fold"
    stems = {re.sub(r"[-_.]?\d+$", "", name) for name in names}
    if len(stems) == 1:
        names = list(stems)
    return f"{formats.listing(names)} · {folds[0].segmenter}"
