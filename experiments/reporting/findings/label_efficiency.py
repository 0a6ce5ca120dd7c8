"""How much it takes to reach a score: labelled images, epochs."""

from collections.abc import Iterator

from encoder_ablations.experiments.reporting.findings.collection import RunGroup, Setting, Study
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
"""The target of training curves, as a share of the lowest encoder's best score: all should get there."""


def efficiency(setting: Setting, strong: str, weak: str) -> tuple[float, Efficiency] | None:
    """The largest share at which ``weak`` has a result, and the share with which ``strong`` scores as much."""
    curves = {
        name: {
            group.fraction: group.values()
            for group in setting.groups
            if group.encoder == name and group.values()
        }
        for name in (strong, weak)
    }
    if len(curves[strong]) < 2 or not curves[weak]:
        return None
    largest = max(curves[weak])
    found = label_efficiency(curves[strong], curves[weak][largest])
    return None if found is None else (largest, found)


def efficiency_table(study: Study) -> Table:
    """With how many images the leader scores what each other encoder scores with all, and pretrained what random."""
    rows = []
    for setting in study.settings:
        for strong, weak in _pairs(setting):
            found = efficiency(setting, strong, weak)
            if found is not None:
                share, result = found
                rows.append(
                    [setting.title, strong, weak, f"{share * 100:g}", *efficiency_texts(result)]
                )
    header = [
        "setting",
        "encoder",
        "scores what",
        "scores with (%)",
        "with (% of the images)",
        "95 % interval",
        "n",
    ]
    return Table(
        "Share of the images with which one encoder scores what another does.",
        header,
        rows,
        names=3,
    )


def efficiency_texts(found: Efficiency) -> list[str]:
    """``["12.3", "9.8 to 17.1", "5"]``; open ends are said."""
    at = (
        "never"
        if found.fraction is None
        else f"{'at most ' if found.at_most else ''}{_share(found.fraction)}"
    )
    if found.low is None or found.high is None:
        return [at, "", str(found.n)]
    low = f"below {_share(found.low)}" if found.low_open else _share(found.low)
    high = f"more than {_share(found.high)}" if found.high_open else _share(found.high)
    if found.low == found.high and (found.low_open or found.high_open):
        return [at, low if found.low_open else high, str(found.n)]
    return [at, f"{low} to {high}", str(found.n)]


def _share(fraction: float) -> str:
    return f"{100 * fraction:.3g}"


def _pairs(setting: Setting) -> Iterator[tuple[str, str]]:
    ranked = [standing.encoder for standing in standings(setting, setting.reference)]
    leader = {(ranked[0], other): None for other in ranked[1:]} if ranked else {}
    controls = {
        (pair.first.encoder, pair.second.encoder): None
        for pair in pretraining(setting, setting.reference)
    }
    yield from leader | controls


def training_target(setting: Setting) -> float | None:
    """A validation mIoU that all encoders reach at the reference fraction: 95 % of the lowest one's mean best."""
    means = [group.summary(_best).mean for group in setting.at(setting.reference) if group.runs]
    known = [mean for mean in means if mean is not None]
    return SHARE_OF_LOWEST * min(known) if known else None


def _best(run: RunRecord) -> float | None:
    return run.convergence.best_val_miou if run.convergence else None


def target_table(study: Study) -> Table:
    """Steps and epochs until validation mIoU reaches the setting's common target."""
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
    """Steps, epochs, "3 of 3"; no mean where a seed never gets there, for it would be too low."""
    curves = [
        run for run in group.runs if run.curves and run.data and len(run.curves.val_steps) > 1
    ]
    if not curves:
        return None
    steps, epochs = [], []
    for run in curves:
        assert run.curves is not None
        assert run.data is not None
        step = steps_to_reach(run.curves.val_steps, run.curves.val_miou, target)
        if step is not None:
            steps.append(step)
            epochs.append(step * run.spec.recipe.batch_size / run.data.n_train)
    reached = f"{len(steps)} of {len(curves)}"
    if len(steps) < len(curves):
        return [formats.DASH, formats.DASH, reached]
    texts = [
        summarize(values).text(1, digits, with_n=False)
        for values, digits in ((steps, 0), (epochs, 1))
    ]
    return [*texts, reached]
