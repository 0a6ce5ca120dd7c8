"""Images, training steps and epochs that an encoder needs to reach a score."""

from encoder_ablations.experiments.reporting.findings.collection import Study
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.ranking import pretraining, standings
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.stats.efficiency import (
    Efficiency,
    label_efficiency,
    steps_to_reach,
)
from encoder_ablations.experiments.stats.seeds import summarize

SHARE_OF_LOWEST = 0.95
"""Target of training curves, as a share of the lowest encoder's best score: all can reach it."""


def efficiency(setting: Setting, strong: str, weak: str) -> tuple[float, Efficiency] | None:
    """Return how many images ``strong`` needs to score as much as ``weak``.

    Returns:
        The largest share of the images at which ``weak`` has a result, and the share with which
        ``strong`` scores as much; None where the curves do not tell.
    """
    needed, given = _curve(setting, strong), _curve(setting, weak)
    if len(needed) < 2 or not given:
        return None
    largest = max(given)
    found = label_efficiency(needed, given[largest])
    return None if found is None else (largest, found)


def _curve(setting: Setting, encoder: str) -> dict[float, dict[int, float]]:
    """Return share of the images -> seed -> mIoU."""
    groups = [group for group in setting.groups if group.encoder == encoder]
    return {group.fraction: group.values() for group in groups if group.values()}


def efficiency_table(study: Study) -> Table:
    """Return the share of the images with which one encoder scores what another does.

    Compared are the leader with every other encoder, and loaded with random weights.
    """
    rows = []
    for setting in study.settings:
        for strong, weak in _pairs(setting):
            found = efficiency(setting, strong, weak)
            if found is not None:
                share, result = found
                names = [setting.title, strong, weak, f"{share * 100:g}"]
                rows.append([*names, *efficiency_texts(result)])
    header = ["setting", "encoder", "scores what", "scores with (%)", "with (% of the images)"]
    header += ["95 % interval", "n"]
    caption = "Share of the images with which one encoder scores what another does."
    return Table(caption, header, rows, names=3)


def efficiency_texts(found: Efficiency) -> list[str]:
    """Return share, interval and seeds: ``["12.3", "9.8 to 17.1", "5"]``; open ends are named."""
    return [_reached(found), _interval(found), str(found.n)]


def _reached(found: Efficiency) -> str:
    if found.fraction is None:
        return "never"
    share = _share(found.fraction)
    return f"at most {share}" if found.at_most else share


def _interval(found: Efficiency) -> str:
    if found.low is None or found.high is None:
        return ""
    low, high = _share(found.low), _share(found.high)
    if found.low_open:
        low = f"below {low}"
    if found.high_open:
        high = f"more than {high}"
    # all of the interval lies outside what was measured
    if found.low == found.high and found.low_open:
        return low
    if found.low == found.high and found.high_open:
        return high
    return f"{low} to {high}"


def _share(fraction: float) -> str:
    return f"{100 * fraction:.3g}"


def _pairs(setting: Setting) -> list[tuple[str, str]]:
    leader, *others = [each.encoder for each in standings(setting, setting.reference)] or [""]
    pairs = [(leader, other) for other in others]
    for pair in pretraining(setting, setting.reference):
        pairs.append((pair.first.encoder, pair.second.encoder))
    return list(dict.fromkeys(pairs))


def training_target(setting: Setting) -> float | None:
    """Return a validation mIoU that all encoders can reach at the reference fraction.

    It is 95 % of the mean best score of the encoder for which that is lowest.
    """
    means = [group.summary(_best).mean for group in setting.at(setting.reference) if group.runs]
    known = [mean for mean in means if mean is not None]
    return SHARE_OF_LOWEST * min(known) if known else None


def _best(run: RunRecord) -> float | None:
    return run.convergence.best_val_miou if run.convergence else None


def target_table(study: Study) -> Table:
    """Return steps and epochs until the validation mIoU reaches the setting's common target."""
    rows = []
    for setting in study.settings:
        target = training_target(setting)
        if target is None:
            continue
        for standing in standings(setting, setting.reference):
            found = _until(standing.group, target)
            if found is not None:
                rows.append([setting.title, standing.encoder, f"{100 * target:.1f}", *found])
    header = ["setting", "encoder", "target (mIoU %)", "steps", "epochs", "seeds that reach it"]
    return Table("Training until the same validation mIoU.", header, rows, names=2)


def _until(group: RunGroup, target: float) -> list[str] | None:
    """Return steps, epochs and "3 of 3" seeds; None without curves.

    Where a seed never reaches the target there is no mean: that of the others would be too low.
    """
    curves = [
        (run.curves, run.spec.recipe.batch_size, run.data.n_train)
        for run in group.runs
        if run.curves and run.data and len(run.curves.val_steps) > 1
    ]
    if not curves:
        return None
    steps, epochs = [], []
    for curve, batch_size, images in curves:
        step = steps_to_reach(curve.val_steps, curve.val_miou, target)
        if step is not None:
            steps.append(step)
            epochs.append(step * batch_size / images)
    reached = f"{len(steps)} of {len(curves)}"
    if len(steps) < len(curves):
        return [formats.DASH, formats.DASH, reached]
    texts = [
        summarize(steps).text(1, digits=0, with_n=False),
        summarize(epochs).text(1, digits=1, with_n=False),
    ]
    return [*texts, reached]
