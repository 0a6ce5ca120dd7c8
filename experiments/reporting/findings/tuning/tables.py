"""The tables of tuning: choices, trials, and who leads with which values."""

from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.findings.tuning.trials import (
    Tuned,
    TunedPlace,
    sensitivity,
    tuning,
)
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.runs.tuning.spec import in_words


def choices_table(study: Study) -> Table:
    """Return a row for each encoder with its chosen values; tuned and untuned scores side by side.

    They are not compared: no difference between the two is computed.
    """
    label = study.metric.label
    header = ["setting", "encoder", "images (%)", "chosen values", "at the edge", "trials"]
    header += [f"best trial, validation {label} (%)", f"tuned {label} (%)"]
    header += [f"study's recipe {label} (%)", "training of trials (s)"]
    rows = [
        _choice(place, tuned)
        for place in tuning(study.groups, study.trials)
        for tuned in place.encoders
    ]
    caption = "Values that each encoder chose. Tuned and untuned scores do not compare."
    return Table(caption, header, rows, names=2)


def _choice(place: TunedPlace, tuned: Tuned) -> list[str]:
    untuned = ""
    if tuned.untuned is not None:
        untuned = tuned.untuned.score.text()
    edges = [f"{name}: {end}" for name, end in tuned.edges.items()]
    return [
        *(place.title, tuned.encoder, f"{place.fraction * 100:g}", in_words(tuned.chosen)),
        *(", ".join(edges), str(tuned.tune.number), formats.percent(tuned.best)),
        *(tuned.group.score.text(), untuned, f"{tuned.spent:.1f}"),
    ]


def trials_table(study: Study) -> Table:
    """Return a row for each trial of each encoder, best first."""
    header = ["setting", "encoder", "images (%)", "values"]
    header += [f"validation {study.metric.label} (%)", "training (s)"]
    rows = []
    for place in tuning(study.groups, study.trials):
        for tuned in place.encoders:
            start = [place.title, tuned.encoder, f"{place.fraction * 100:g}"]
            for trial in sorted(tuned.trials, key=lambda trial: -trial.score):
                score = formats.percent(trial.score)
                if trial.diverged:
                    score = "diverged"
                rows.append([*start, in_words(trial.values), score, f"{trial.seconds:.1f}"])
    return Table("All trials, on validation images.", header, rows, names=2)


def sensitivity_table(study: Study) -> Table:
    """Return a row for each part of the values of each setting: who leads on validation."""
    header = ["setting", "images (%)", "tuned", "value", "leader", "ahead by (points)"]
    rows = [
        [
            *(place.title, f"{place.fraction * 100:g}", part.setting, part.values),
            *(part.leader, formats.points(part.lead)),
        ]
        for place in tuning(study.groups, study.trials)
        for part in sensitivity(place)
    ]
    caption = "Who leads on validation with which value, others at their best."
    return Table(caption, header, rows, names=5)
