"""The test images that encoders fail on most, from the counts that runs stored for every image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoder_ablations.engine.evaluation.per_image import image_ious, load_per_image
from encoder_ablations.experiments.reporting.findings.groups import (
    FinishedRun,
    RunGroup,
    Setting,
    best_first,
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
    rows = [row for setting in study.settings for row in _rows(study, setting)]
    header = ["setting", "image", "best encoder", "worst encoder"]
    header += ["mean IoU (%)", "highest (%)", "lowest (%)"]
    return Table("Test images with the lowest IoU.", header, rows, names=4)


def _rows(study: Study, setting: Setting) -> list[list[str]]:
    """Return the rows of a setting; none where no two runs have counts of the same images."""
    groups = sorted(setting.scored_at(setting.reference), key=best_first)
    found = {group.encoder: _scores(study, group) for group in groups}
    known = {encoder: scores for encoder, scores in found.items() if scores is not None}
    if not known:
        return []
    encoders = list(known)
    ids = known[encoders[0]].ids
    known = {encoder: scores for encoder, scores in known.items() if scores.ids == ids}
    encoders, ious = list(known), np.array([scores.ious for scores in known.values()])
    means = ious.mean(axis=0)
    # images without a label come last, and are left out
    order = np.argsort(means, kind="stable")[: min(MOST_IMAGES, int((~np.isnan(means)).sum()))]
    rows = []
    for place in order.tolist():
        best, worst = int(ious[:, place].argmax()), int(ious[:, place].argmin())
        names = [setting.title, ids[place], encoders[best], encoders[worst]]
        numbers = [means[place], ious[best, place], ious[worst, place]]
        rows.append([*names, *(formats.percent(float(number)) for number in numbers)])
    return rows


def _scores(study: Study, group: RunGroup) -> ImageScores | None:
    """Return the mean over a group's seeds; None where a run has no counts of its images."""
    found = [_of_run(study, run) for run in group.runs]
    known = [scores for scores in found if scores is not None]
    if len(known) < len(found) or len({tuple(scores.ids) for scores in known}) != 1:
        return None
    return ImageScores(known[0].ids, np.mean([scores.ious for scores in known], axis=0))


def _of_run(study: Study, run: FinishedRun) -> ImageScores | None:
    path = study.run_folder(run.run_id) / PER_IMAGE
    try:
        images = load_per_image(path, np.array(run.confusion_matrix), run.run_id)
    except InputError:
        # named by the intervals over images, which read the same file
        return None
    if images is None:
        return None
    return ImageScores(images.ids, image_ious(images.margins()))
