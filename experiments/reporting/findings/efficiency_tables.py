"""Tables of the images, training steps and epochs that encoders need to reach a score."""

import math
from collections.abc import Iterator
from itertools import chain

import numpy as np

from encoder_ablations.experiments.reporting.findings.groups import FinishedRun, Setting
from encoder_ablations.experiments.reporting.findings.label_efficiency import (
    efficiency,
    efficiency_texts,
)
from encoder_ablations.experiments.reporting.findings.ranking import pretraining, ranking
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.stats.efficiency import steps_to_reach
from encoder_ablations.experiments.stats.seeds import summarize

SHARE_OF_LOWEST = 0.95
"""Target of training curves, as a share of the lowest encoder's best score: all can reach it."""
EFFICIENCY = [
    "setting",
    "encoder",
    "reaches the score of",
    "with (% of the images)",
    "needs (% of them)",
]
EFFICIENCY += ["95 % interval", "n"]
TARGET = ["setting", "encoder", "target ({} %)", "steps", "epochs", "seeds that reach it"]


def efficiency_table(study: Study) -> Table:
    """Return the share of the images with which one encoder scores what another does.

    Compared are the leader with every other encoder, and loaded with random weights.
    """
    rows = list(chain.from_iterable(map(_efficiency_rows, study.settings)))
    caption = "Share of the images with which one encoder scores what another does."
    return Table(caption, EFFICIENCY, rows, names=3)


def _efficiency_rows(setting: Setting) -> Iterator[list[str]]:
    leader, *others = ranking(setting, setting.reference).encoders or [""]
    against_leader = [(leader, other) for other in others]
    controls = [pair.names for pair in pretraining(setting, setting.reference)]
    for strong, weak in dict.fromkeys(against_leader + controls):
        found = efficiency(setting, strong, weak)
        if found is not None:
            share, result = found
            yield [setting.title, strong, weak, f"{share * 100:g}", *efficiency_texts(result)]


def target_table(study: Study) -> Table:
    """Return steps and epochs until the validation score reaches the setting's common target."""
    rows = list(chain.from_iterable(map(_target_rows, study.settings)))
    label = study.metric.label
    header = [name.format(label) for name in TARGET]
    return Table(f"Training until the same validation {label}.", header, rows, names=2)


def _target_rows(setting: Setting) -> Iterator[list[str]]:
    target = training_target(setting)
    if math.isnan(target):
        return
    for standing in ranking(setting, setting.reference).standings:
        group = standing.group
        # one evaluation is no curve
        curves = [run for run in group.runs if len(run.curves.val_steps) > 1]
        if curves:
            names = [setting.title, group.encoder, formats.percent(target)]
            yield [*names, *_until(curves, target)]


def training_target(setting: Setting) -> float:
    """Return a validation score that all encoders can reach at the reference fraction, or NaN.

    It is 95 % of the mean best score of the encoder for which that is lowest.
    """
    best = [group.summary(_best) for group in setting.at(setting.reference)]
    means = [summary.mean for summary in best if summary.n]
    return SHARE_OF_LOWEST * min(means, default=math.nan)


def _best(run: FinishedRun) -> float | None:
    if run.convergence is None:
        return None
    return run.convergence.best_val_score


def _until(runs: list[FinishedRun], target: float) -> list[str]:
    """Return steps, epochs and "3 of 3" seeds.

    Where a seed never reaches the target there is no mean: that of the others would be too low.
    """
    steps = np.array([_steps_to(run, target) for run in runs])
    # an epoch shows every training image once
    shown = steps * [run.spec.recipe.batch_size for run in runs]
    epochs = shown / [run.data.n_learned for run in runs]
    reached = np.count_nonzero(~np.isnan(steps))
    texts = [formats.DASH, formats.DASH]
    if reached == len(runs):
        texts = [summarize(steps.tolist()).text(1, 0), summarize(epochs.tolist()).text(1, 1)]
    return [*texts, f"{reached} of {len(runs)}"]


def _steps_to(run: FinishedRun, target: float) -> float:
    return steps_to_reach(run.curves.val_steps, run.curves.val_score, target)
