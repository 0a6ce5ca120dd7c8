"""How seeds were added where a study has a rule for it, and why each encoder got no more."""

from collections.abc import Iterator, Sequence

from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import ENOUGH
from encoder_ablations.experiments.studies.seed_decisions import decide
from encoder_ablations.experiments.studies.seed_rule import RaisedRule, SeedRule
from encoder_ablations.utils.texts import plural

VALID = (
    "The scores' intervals over seeds, the differences between encoders and their p values hold "
    "although the results were looked at after every seed (repeated confidence intervals); "
    "they are wider than ordinary ones. "
    "Other intervals of this page do not take the looking into account."
)
ONE_LOOK = (
    "The results were looked at once, with {most} seeds, so intervals and p values are the "
    "ordinary ones."
)


def seed_sentences(setting: Setting) -> list[str]:
    """Return the rule by which seeds were added, and why it ended; nothing without a rule."""
    rule = setting.groups[0].seed_rule
    if rule is None or setting.without_labels:
        return []
    found = [f"Seeds were added by a rule: {rule.words}."]
    for fraction in setting.fractions:
        if fraction:
            found += _at(setting.at(fraction), rule)
    return [*found, *promise(rule)]


def promise(rule: SeedRule) -> Iterator[str]:
    """Yield how far intervals hold although a rule adds seeds by the results."""
    if isinstance(rule, RaisedRule):
        yield (
            f"The study allowed {plural(rule.raised_from, 'seed')} at most, and more were allowed "
            "after results were known. So the intervals over seeds and the p values no longer hold "
            "as they would with a number that was chosen before: they are too optimistic."
        )
        return
    # there is no interval and so no look below three seeds
    if rule.to == ENOUGH:
        yield ONE_LOOK.format(most=rule.to)
        return
    yield VALID


def _at(groups: Sequence[RunGroup], rule: SeedRule) -> Iterator[str]:
    ended = {group.encoder: _scores(group) for group in groups}
    share = formats.fraction(groups[0].fraction)
    for encoder, decision in decide(rule, ended).items():
        why = decision.why or "it is not settled yet"
        yield f"{encoder}, {share}: {plural(decision.seeds, 'seed')}; {why}."


def _scores(group: RunGroup) -> dict[int, float | None]:
    """Return the score of each seed; None for runs that failed."""
    failed: dict[int, float | None] = {run.spec.seed: None for run in group.failed}
    return failed | group.values()
