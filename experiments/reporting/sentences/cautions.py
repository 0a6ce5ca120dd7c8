"""Warnings: what is not the same for all encoders, and which runs are missing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from encoder_ablations.experiments.reporting.findings.groups import FinishedRun, RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.sentences.training import SELECTION
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.utils.texts import plural

FEW_NAMES = 5
"""Most runs that a warning names."""


def warnings(study: Study) -> list[str]:
    """Return what is not the same for all encoders, as the records show it, worst first."""
    found = []
    for setting in study.settings:
        start = f"{setting.title}: " if len(study.settings) > 1 else ""
        found += [f"{start}{text}" for text in _uneven(setting)]
    if study.unfinished:
        count = plural(len(study.unfinished), "run", "has/have")
        named = _some(study.unfinished)
        found.append(f"{count} no result yet (running or interrupted): {named}.")
    if study.not_begun:
        count = plural(len(study.not_begun), "run", "of the study has/have")
        found.append(f"{count} no folder, because nothing began it: {_some(study.not_begun)}.")
    return [*found, *study.following]


def _some(names: Sequence[str]) -> str:
    """Return the first names, and how many others there are."""
    if len(names) <= FEW_NAMES:
        return formats.listing(names)
    return (
        f"{', '.join(names[:FEW_NAMES])} and {len(names) - FEW_NAMES} others (all under All runs)"
    )


def _uneven(setting: Setting) -> Iterator[str]:
    """Return what differs between the runs of a setting that should be alike."""
    # what is worst comes first
    if "train" in {run.data.report_split for run in setting.runs}:
        yield SELECTION["train"]
    for fraction in setting.fractions:
        groups = [group for group in setting.at(fraction) if group.runs]
        yield from _other_images(groups, fraction)
        yield from _other_seeds(groups, fraction)
    yield from _other_steps(setting)
    machines = {_machine(run) for run in setting.runs}
    if len(machines) > 1:
        named = "; ".join(sorted(machines))
        yield f"Runs were timed on different machines, so times cannot be compared: {named}."
    if len(setting.protocols) > 1:
        named = formats.listing(setting.protocols)
        yield f"Different parts learn in the encoders of the ranking: {named}."
    sizes = image_sizes(setting.runs)
    if len(sizes) > 1:
        named = ", ".join(sizes)
        yield f"Costs were measured at different image sizes ({named}) and cannot be compared."


def image_sizes(runs: Iterable[FinishedRun]) -> list[str]:
    """Return height×width of the images for which the runs' costs were measured, smallest first."""
    sizes = {run.cost.input_size for run in runs}
    return [f"{height}×{width}" for height, width in sorted(sizes)]


def _other_images(groups: list[RunGroup], fraction: float) -> Iterator[str]:
    """Warn of encoders that were trained on other images, though with the same seed."""
    trained: dict[int, set[str]] = defaultdict(set)
    for run in chain.from_iterable(group.runs for group in groups):
        trained[run.spec.seed].add(run.data.train_ids_sha256)
    uneven = sorted(seed for seed, images in trained.items() if len(images) > 1)
    if uneven:
        yield (
            f"At {formats.fraction(fraction)} not all encoders were trained on the same images "
            f"(seed {formats.listing(list(map(str, uneven)))}): their scores cannot be compared."
        )


def _other_seeds(groups: list[RunGroup], fraction: float) -> Iterator[str]:
    """Warn of encoders that were trained with other seeds, unless a rule says how many."""
    if any(group.seed_rule for group in groups):
        return
    seeds = {group.encoder: ", ".join(map(str, group.seeds)) for group in groups}
    if len(set(seeds.values())) > 1:
        named = "; ".join(f"{encoder} {text}" for encoder, text in seeds.items())
        share = formats.fraction(fraction)
        yield f"At {share} the encoders have different seeds ({named}): compare with care."


def _other_steps(setting: Setting) -> Iterator[str]:
    """Warn of encoders whose training ended early, at different steps."""
    steps: dict[str, set[int]] = defaultdict(set)
    early = False
    for run, encoder in ((run, group.encoder) for group in setting.groups for run in group.runs):
        if run.convergence is not None:
            steps[encoder].add(run.convergence.steps)
            early = early or run.convergence.stopped is not None
    if early and len(set.union(*steps.values())) > 1:
        named = "; ".join(f"{name} {_listed(found)}" for name, found in steps.items())
        yield (
            f"Early stopping ended the trainings after different numbers of steps ({named}): "
            "neither training times nor scores at equal cost can be compared."
        )


def _listed(steps: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(steps)))


def _machine(run: RunRecord) -> str:
    """Return the GPU, the processor and the number of threads, as far as they are recorded."""
    parts = {"gpu": "{}", "processor": "{}", "threads": "{} threads"}
    found = {key: run.environment.get(key) for key in parts}
    return ", ".join(parts[key].format(value) for key, value in found.items() if value)
