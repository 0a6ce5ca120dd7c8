"""Curves over training steps: what is drawn of them, and how they are read from records."""

from collections.abc import Callable

import numpy as np

from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.runs.record_parts import CurvesRecord

Points = list[tuple[int, float]]
"""Step and value."""
Reading = Callable[[CurvesRecord], Points]
"""Reads a curve from a record."""
THIN_LINES = 5
"""Most seeds that are drawn one by one in a learning curve."""
MOST_PANELS = 6
"""Most shares of the images with a panel of learning curves."""
CROWDED = 12
"""Most encoders whose learning curves show seeds; of more, only means are drawn."""


def validation_points(curves: CurvesRecord) -> Points:
    """Return the validation scores in percent."""
    pairs = zip(curves.val_steps, curves.val_score, strict=True)
    return [(step, 100 * value) for step, value in pairs if value is not None]


def loss_points(curves: CurvesRecord) -> Points:
    """Return the training losses."""
    return list(zip(curves.loss_steps, curves.loss, strict=True))


def panel_shares(setting: Setting) -> list[float]:
    """Return the shares of the images that have a panel: evenly chosen, both ends among them."""
    shares = setting.fractions
    chosen = np.linspace(0, len(shares) - 1, min(len(shares), MOST_PANELS)).round()
    return [shares[int(place)] for place in chosen]


def seed_curves(group: RunGroup, series: Reading) -> list[dict[int, float]]:
    """Return the curve of every seed that has one: step -> value."""
    return list(filter(None, (dict(series(run.curves)) for run in group.runs)))


def shared_points(seeds: list[dict[int, float]]) -> tuple[list[int], np.ndarray]:
    """Return the steps at which all seeds have a point, and the values there, seeds×steps."""
    shared = sorted(set.intersection(*map(set, seeds)))
    return shared, np.array([[values[step] for step in shared] for values in seeds])
