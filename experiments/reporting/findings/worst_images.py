"""The test images that encoders fail on most, from the counts that runs stored for every image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoder_ablations.engine.evaluation.per_image import image_ious, load_per_image
from encoder_ablations.experiments.reporting.findings.groups import (
    FinishedRun,
    RunGroup,
    Setting,
    best_first,
    once_per_setting,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.runs.record import PER_IMAGE
from encoder_ablations.utils.errors import InputError

MOST_IMAGES = 8
"""Images of each setting."""


@dataclass(frozen=True)
class ImageScores:
    """The mIoU of each test image over the classes in its truth.

    Attributes:
        ids: N names.
        ious: N float64, 0..1, mean over seeds; NaN without a label.
    """

    ids: Sequence[str]
    ious: np.ndarray


def worst_images_table(study: Study) -> Table:
    """Return the images with the lowest mean IoU over encoders, at each reference fraction."""
    rows = [row for setting in study.settings for row in _worst_rows(study.folder, setting)]
    header = ["setting", "image", "best encoder", "worst encoder"]
    header += ["mean IoU (%)", "highest (%)", "lowest (%)"]
    return Table("Test images with the lowest IoU.", header, rows, names=4)


def disagreements_table(study: Study) -> Table:
    """Return the images on which the IoU of encoders differs most, at each reference fraction."""
    rows = [row for setting in study.settings for row in _differing_rows(study.folder, setting)]
    header = ["setting", "image", "best encoder", "worst encoder"]
    header += ["difference (points)", "highest (%)", "lowest (%)"]
    return Table("Test images on which encoders differ most.", header, rows, names=4)


@dataclass(frozen=True)
class EncoderScores:
    """The same images for several encoders.

    Attributes:
        encoders: E titles, best first.
        ids: N images.
        ious: E×N float64, 0..1; NaN without a label.
    """

    encoders: Sequence[str]
    ids: Sequence[str]
    ious: np.ndarray

    def row(self, setting: str, place: int, number: str) -> list[str]:
        """Return the cells of one image, after its place: names, a number, highest and lowest."""
        scores = self.ious[:, place]
        best, worst = int(scores.argmax()), int(scores.argmin())
        names = [setting, self.ids[place], self.encoders[best], self.encoders[worst]]
        ends = [formats.percent(float(scores[each])) for each in (best, worst)]
        return [*names, number, *ends]


def _worst_rows(folder: Path, setting: Setting) -> list[list[str]]:
    """Return the rows of a setting; none where no run has counts of its images."""
    found = _of_setting(setting, folder)
    if found is None:
        return []
    means = found.ious.mean(axis=0)
    numbers = [formats.percent(float(mean)) for mean in means]
    return [found.row(setting.title, place, numbers[place]) for place in _first(means)]


def _differing_rows(folder: Path, setting: Setting) -> list[list[str]]:
    """Return the rows of a setting; none where fewer than two encoders have such counts."""
    found = _of_setting(setting, folder)
    if found is None or len(found.encoders) < 2:
        return []
    spread = found.ious.max(axis=0) - found.ious.min(axis=0)
    numbers = [formats.bare(float(each)) for each in spread]
    return [found.row(setting.title, place, numbers[place]) for place in _first(-spread)]


def _first(values: np.ndarray) -> list[int]:
    """Return the places of the smallest values; NaN comes last and is left out."""
    count = min(MOST_IMAGES, int((~np.isnan(values)).sum()))
    return [int(place) for place in np.argsort(values, kind="stable")[:count]]


@once_per_setting
def _of_setting(setting: Setting, folder: Path) -> EncoderScores | None:
    """Return the scores of all encoders that were tested on the same images."""
    groups = sorted(setting.scored_at(setting.reference), key=best_first)
    found = {group.encoder: _scores(folder, group) for group in groups}
    known = {encoder: scores for encoder, scores in found.items() if scores is not None}
    if not known:
        return None
    ids = next(iter(known.values())).ids
    same = {encoder: scores for encoder, scores in known.items() if scores.ids == ids}
    return EncoderScores(list(same), ids, np.array([scores.ious for scores in same.values()]))


def _scores(folder: Path, group: RunGroup) -> ImageScores | None:
    """Return the mean over a group's seeds; None where a run has no counts of its images."""
    found = [_of_run(folder, run) for run in group.runs]
    known = [scores for scores in found if scores is not None]
    if len(known) < len(found) or len({tuple(scores.ids) for scores in known}) != 1:
        return None
    return ImageScores(known[0].ids, np.mean([scores.ious for scores in known], axis=0))


def _of_run(folder: Path, run: FinishedRun) -> ImageScores | None:
    path = folder / "runs" / run.run_id / PER_IMAGE
    try:
        images = load_per_image(path, np.array(run.confusion_matrix), run.run_id)
    except InputError:
        # named by the intervals over images, which read the same file
        return None
    if images is None:
        return None
    return ImageScores(images.ids, image_ious(images.margins()))
