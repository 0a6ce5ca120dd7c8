"""Over the folds of one dataset: a study names each fold as a dataset of its own, and each has a setting of its own."""

import re
from statistics import fmean

from encoder_ablations.experiments.reporting.findings.collection import Setting, Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.reporting.text.titles import canonical, unique_titles
from encoder_ablations.experiments.runs.spec import RunSpec


def folds_table(study: Study) -> Table:
    """For every encoder and fraction the mean over folds (of each fold's mean over seeds), and both ends.

    Best first, after all who have every fold those who do not: folds differ in how hard they are.

    No interval: folds share most of their training images, and the test set, so that their scores are not independent.
    """
    families = _families(study)
    names = unique_titles([(_title(folds), _common(folds[0])) for folds in families])
    rows = []
    for name, folds in zip(names, families, strict=True):
        found: dict[tuple[float, str], list[float]] = {}
        runs: dict[tuple[float, str], int] = {}
        for group in (group for fold in folds for group in fold.groups):
            if group.score.mean is not None:
                place = (-group.fraction, group.encoder)
                found.setdefault(place, []).append(group.score.mean)
                runs[place] = runs.get(place, 0) + group.score.n
        complete = {place: len(scores) == len(folds) for place, scores in found.items()}
        for place in sorted(
            found, key=lambda each: (each[0], not complete[each], -fmean(found[each]), each[1])
        ):
            rows.append(_row([name, place[1]], -place[0], found[place], len(folds), runs[place]))
    header = [
        "dataset",
        "encoder",
        "images",
        "mean (mIoU %)",
        "lowest fold",
        "highest fold",
        "folds",
        "runs",
    ]
    return Table("mIoU over the folds of a dataset", header, rows, names=3)


def _row(
    names: list[str], fraction: float, scores: list[float], folds: int, runs: int
) -> list[str]:
    numbers = [f"{100 * value:.1f}" for value in (fmean(scores), min(scores), max(scores))]
    many = str(folds) if len(scores) == folds else f"{len(scores)} of {folds}"
    return [*names, formats.fraction(fraction), *numbers, many, str(runs)]


def _families(study: Study) -> list[list[Setting]]:
    """Settings that differ in nothing but which images train and which validate."""
    alike: dict[str, list[Setting]] = {}
    for setting in study.settings:
        alike.setdefault(_common(setting), []).append(setting)
    return [settings for settings in alike.values() if _are_folds(settings)]


def _are_folds(settings: list[Setting]) -> bool:
    """Other training lists alone are no folds: voc2012 and voc2012_aug have the same validation images."""
    splits = [_spec(setting).dataset.splits for setting in settings]
    return len(splits) > 1 and all(
        len({each[part] for each in splits}) == len(splits) for part in ("train", "val")
    )


def _spec(setting: Setting) -> RunSpec:
    group = setting.groups[0]
    return (group.runs + group.failed)[0].spec


def _common(setting: Setting) -> str:
    """JSON of all that folds have in common."""
    spec = _spec(setting)
    statistics = next((run.images_per_statistic for run in setting.runs), None)
    dataset = spec.dataset.model_dump(mode="json", exclude={"name", "splits"})
    parts = {"segmenter": spec.segmenter, "recipe": spec.study_recipe or spec.recipe}
    fixed = {name: part.model_dump(mode="json") for name, part in parts.items()}
    return canonical(
        fixed
        | {
            "dataset": dataset,
            "test": spec.dataset.splits.get("test"),
            "detectron2": spec.detectron2,
        }
        | {"images_per_statistic": statistics}
    )


def _title(folds: list[Setting]) -> str:
    names = [setting.dataset for setting in folds]
    stems = {re.sub(r"[-_.]?\d+$", "", name) for name in names}
    return f"{stems.pop() if len(stems) == 1 else formats.listing(names)} · {folds[0].segmenter}"
