"""Sentences about tuning: what was tried, what a fixed recipe would have said, and edges."""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

from encoder_ablations.experiments.reporting.findings.tuning.fixed_recipe import two_orders
from encoder_ablations.experiments.reporting.findings.tuning.trials import (
    Part,
    Tuned,
    TunedPlace,
    sensitivity,
)
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.tuning.spec import in_words
from encoder_ablations.utils.texts import duration, plural

SPLITS = {"val": "validation images", "test": "test images", "train": "training images"}


def said_of_tuning(place: TunedPlace) -> list[str]:
    """Return what the trials of a place say, the most important first."""
    found = [*_against_fixed(place), *disagreement(place), *_against_trials(place)]
    found += [*_effort(place), *_sensitive(place)]
    for tuned in place.encoders:
        found += [*_edges(tuned), *_diverged(tuned)]
    return found


def disagreement(place: TunedPlace) -> list[str]:
    """Return who leads in trials and in the runs that follow, where that is not one encoder."""
    scored = [tuned for tuned in place.encoders if tuned.group.score.n]
    if len(scored) < max(len(place.encoders), 2):
        return []
    first = max(scored, key=lambda tuned: tuned.group.score.mean)
    best = next(tuned for tuned in scored if tuned.encoder == place.leader)
    if first.group.score.mean <= best.group.score.mean:
        return []
    return [
        f"The trials and the tuned runs disagree about the leader: {place.leader} has the best "
        f"trial ({formats.percent(best.best)} % on the validation images), {first.encoder} the "
        f"highest mean of the tuned runs ({formats.percent(first.group.score.mean)} % on the "
        f"{_images(place)}). The ranking is by the tuned runs."
    ]


def _images(place: TunedPlace) -> str:
    """Return the images on which the tuned runs are scored."""
    return SPLITS[place.encoders[0].group.runs[0].data.report_split]


def _effort(place: TunedPlace) -> Iterator[str]:
    tune = place.encoders[0].tune
    spent = sum(tuned.spent for tuned in place.encoders)
    costs = [run.cost for tuned in place.encoders for run in tuned.group.runs]
    reported = sum(cost.train_seconds for cost in costs)
    yield (
        f"Every encoder had {plural(tune.number, 'trial')} of {formats.listing(place.settings)}, "
        f"{plural(tune.seeds, 'training')} each, chosen by validation images alone. Trials took "
        f"{duration(spent)} of training, the runs that are compared {duration(reported)}."
    )


def _against_fixed(place: TunedPlace) -> Iterator[str]:
    """Say whether the study's own recipe for all would have named another leader."""
    encoders = place.encoders
    orders = two_orders([each.group for each in encoders], [each.untuned for each in encoders])
    if orders is None:
        return
    values = in_words(place.own_recipe)
    if not orders.misleads:
        yield (
            f"On the {_images(place)}, the study's recipe for all ({values}) names the same leader "
            f"as values of each encoder's own: {orders.tuned}."
        )
        return
    verdict = "would have misled"
    doubt = ""
    if not orders.settled:
        verdict = "names another leader"
        doubt = " The seeds do not show both differences, so the order is not settled."
    yield (
        f"On the {_images(place)}, the study's recipe for all ({values}) {verdict}: with it, "
        f"{orders.fixed} scores "
        f"{formats.bare(orders.by_fixed.over.mean)} points more than {orders.tuned}; with values "
        f"of their own, {orders.tuned} scores {formats.bare(orders.by_tuned.over.mean)} points "
        f"more than {orders.fixed}.{doubt}"
    )


def _against_trials(place: TunedPlace) -> Iterator[str]:
    """Say how many of the recipes that all encoders tried name another leader."""
    if len(place.encoders) < 2 or len(place.shared) < 2:
        return
    leaders = Counter(place.leader_with(values) for values in place.shared)
    others = {name: count for name, count in leaders.items() if name != place.leader}
    recipes = f"the {len(place.shared)} recipes that all encoders tried"
    if not others:
        yield (
            f"On the validation images, each of {recipes} puts {place.leader} first, which also "
            "leads there when each encoder has its best values."
        )
        return
    named = [f"{count} put {name} first" for name, count in others.items()]
    yield (
        f"On the validation images, {place.leader} leads when each encoder has its best values; of "
        f"{recipes}, {formats.listing(named)}."
    )


def _sensitive(place: TunedPlace) -> Iterator[str]:
    """Say of each setting whether the leader on validation hangs on it."""
    if len(place.encoders) < 2:
        return
    for setting, parts in groupby(sensitivity(place), key=attrgetter("setting")):
        yield _sensitivity(setting, list(parts))


def _sensitivity(setting: str, parts: list[Part]) -> str:
    leaders = dict.fromkeys(part.leader for part in parts)
    if len(leaders) == 1:
        return f"{parts[0].leader} leads on validation with every value of {setting}."
    named = [f"{part.leader} with {part.values}" for part in parts]
    return f"The leader on validation changes with {setting}: {formats.listing(named)}."


def _edges(tuned: Tuned) -> Iterator[str]:
    for setting, end in tuned.edges.items():
        yield (
            f"{tuned.encoder}: the best {setting}, {tuned.chosen[setting]}, is at the edge, the "
            f"{end} that was tried. Widen the values."
        )


def _diverged(tuned: Tuned) -> Iterator[str]:
    count = sum(trial.diverged for trial in tuned.trials)
    if count:
        which = plural(count, "trial")
        yield f"{tuned.encoder}: {which} of {len(tuned.trials)} diverged and count as a score of 0."
