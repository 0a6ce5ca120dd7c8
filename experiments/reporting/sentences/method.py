"""How the numbers were measured: protocol, limits, machines, commands that repeat it."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.collection import Study
from encoder_ablations.experiments.reporting.findings.groups import MOST_CLASSES, RunGroup, Setting
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.titles import flatten
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.utils.texts import plural

SELECTION = {
    "test": "For every run, the state with the best mIoU on the validation images was scored on "
    "the test images, which played no part in choosing it.",
    "val": "This dataset has no test images: the state with the best mIoU on the validation images "
    "was chosen, and is scored on those same images. The scores are therefore a little too high, "
    "for all encoders alike.",
    "train": "The runs were scored on the images that they were trained on: a check that learning "
    "works, not a result.",
}
"""Split that the scores come from -> how the scored state was chosen."""
NAMED = 20
"""Classes that are named of a dataset with very many."""


@dataclass(frozen=True)
class Note:
    """A sentence about some runs; ``runs`` is empty when it concerns all finished runs."""

    text: str
    runs: list[str]


@dataclass(frozen=True)
class Protocol:
    """How one setting was measured.

    Attributes:
        setting: its title.
        sentences: the most important facts.
        values: key and value of everything in recipe, head and dataset.
    """

    setting: str
    sentences: list[str]
    values: list[tuple[str, str]]


def disclosures(study: Study) -> list[Note]:
    """Return what the records disclose, each sentence once, with the runs that it concerns."""
    concerned: dict[str, dict[str, str]] = {}
    for record in study.records:
        for text in record.disclosures:
            concerned.setdefault(text, {})[record.run_id] = run_name(study, record)
    finished = {record.run_id for record in study.finished}
    return [
        Note(text, [] if finished <= runs.keys() else list(runs.values()))
        for text, runs in concerned.items()
    ]


def run_name(study: Study, record: RunRecord) -> str:
    """Return a run's name for readers: ``dinov2-b, 10 %, seed 0``."""
    spec = record.spec
    return f"{study.titles[record.run_id]}, {formats.fraction(spec.fraction)}, seed {spec.seed}"


def warnings(study: Study) -> list[str]:
    """Return what is not the same for all encoders, as the records show it, worst first."""
    found = []
    for setting in study.settings:
        start = f"{setting.title}: " if len(study.settings) > 1 else ""
        found += [f"{start}{text}" for text in _uneven(setting)]
    if study.unfinished:
        count = plural(len(study.unfinished), "run", "has/have")
        found.append(f"{count} no result yet (running or interrupted); this page lacks them.")
    return found


def _uneven(setting: Setting) -> Iterator[str]:
    if any(run.data and run.data.report_split == "train" for run in setting.runs):
        yield SELECTION["train"]
    for fraction in setting.fractions:
        groups = [group for group in setting.at(fraction) if group.runs]
        yield from _other_images(groups, fraction)
        yield from _other_seeds(groups, fraction)
    machines = {_machine(run) for run in setting.runs}
    if len(machines) > 1:
        named = "; ".join(sorted(machines))
        yield f"Runs were timed on different machines, so times do not compare: {named}."
    sizes = image_sizes(setting.runs)
    if len(sizes) > 1:
        named = ", ".join(sizes)
        yield f"Costs were measured at different image sizes ({named}) and do not compare."


def image_sizes(runs: Iterable[RunRecord]) -> list[str]:
    """Return height×width of the images for which the runs' costs were measured, smallest first."""
    sizes = {run.cost.input_size for run in runs if run.cost}
    return [f"{height}×{width}" for height, width in sorted(sizes)]


def _other_images(groups: list[RunGroup], fraction: float) -> Iterator[str]:
    trained: dict[int, set[str]] = {}
    for run in (run for group in groups for run in group.runs):
        if run.data:
            trained.setdefault(run.spec.seed, set()).add(run.data.train_ids_sha256)
    uneven = [str(seed) for seed, images in sorted(trained.items()) if len(images) > 1]
    if uneven:
        yield (
            f"At {formats.fraction(fraction)} not all encoders were trained on the same images "
            f"(seed {formats.listing(uneven)}): their scores do not compare."
        )


def _other_seeds(groups: list[RunGroup], fraction: float) -> Iterator[str]:
    seeds = {group.encoder: ", ".join(map(str, group.seeds)) for group in groups}
    if len(set(seeds.values())) > 1:
        named = "; ".join(f"{encoder} {text}" for encoder, text in seeds.items())
        share = formats.fraction(fraction)
        yield f"At {share} the encoders have different seeds ({named}): compare with care."


def _machine(run: RunRecord) -> str:
    found = [run.environment.get(key) for key in ("gpu", "processor")]
    if run.environment.get("threads"):
        found.append(f"{run.environment['threads']} threads")
    return ", ".join(str(part) for part in found if part)


def protocol(setting: Setting) -> Protocol:
    """Return how the runs of a setting were trained and scored."""
    group = next((group for group in setting.groups if group.runs), setting.groups[0])
    run = (group.runs + group.failed)[0]
    content = run.spec.model_dump(mode="json", include={"recipe", "segmenter", "dataset"})
    for key, value in content["dataset"].items():
        if isinstance(value, list | dict) and len(value) > MOST_CLASSES:
            content["dataset"][key] = f"{len(value)} entries, in every run's config.yaml"
    values = flatten({key: content[key] for key in ("recipe", "segmenter", "dataset")})
    shown = [(key, "none" if value is None else str(value)) for key, value in values.items()]
    return Protocol(setting.title, [*_data_sentences(run), *_training_sentences(run)], shown)


def _data_sentences(run: RunRecord) -> list[str]:
    if run.data is None:
        return []
    classes = run.data.class_names
    names = ", ".join(classes)
    if len(classes) > MOST_CLASSES:
        names = f"{', '.join(classes[:NAMED])} and {len(classes) - NAMED} others"
    held = f"{plural(run.data.n_val, 'image')} for validation"
    if run.data.n_test is not None:
        held += f", {run.data.n_test} for test"
    name = run.spec.dataset.name
    return [
        f"Dataset {name} has {plural(len(classes), 'class')}: {names}. It holds {held}.",
        SELECTION[run.data.report_split],
    ]


FURTHER = ("views", "rotate", "elastic", "vertical_flip", "quarter_turns")
"""Settings of the augmentation that are named only where they are set."""


def _training_sentences(run: RunRecord) -> list[str]:
    recipe = run.spec.recipe
    optimizer, augmentation = recipe.optimizer, recipe.augmentation
    height, width = augmentation.crop
    low, high = augmentation.scale
    warmup = "no warm-up"
    if recipe.schedule.warmup_steps:
        warmup = f"{plural(recipe.schedule.warmup_steps, 'step')} of warm-up"
    sentences = [
        f"Every model learns for {plural(recipe.steps, 'step')} with "
        f"{plural(recipe.batch_size, 'image')} a step (random crops of {height}×{width} pixels at "
        f"{low:g} to {high:g} times their size), in {recipe.precision}.",
        f"AdamW, learning rate {optimizer.lr:g} ({optimizer.encoder_lr_multiplier:g} times that in "
        f"the encoder's body), weight decay {optimizer.weight_decay:g}; {warmup}, then "
        f"{recipe.schedule.decay} decay to zero.",
    ]
    chosen = augmentation.model_dump(exclude_defaults=True)
    more = [f"{name.replace('_', ' ')} {chosen[name]}" for name in FURTHER if name in chosen]
    if more:
        sentences.append(f"Further transforms of the crops: {', '.join(more)}.")
    if recipe.pos_ratio is not None:
        sentences.append(f"{recipe.pos_ratio:.0%} of the training samples show the object.")
    if recipe.overfit:
        images = plural(recipe.overfit, "image")
        sentences.append(f"Only {images} were used, for training and scoring alike.")
    if getattr(run.spec.segmenter, "ignored_pixels", "excluded") == "negative":
        sentences.append(
            "In this head's mask loss, ignored pixels count as belonging to no mask, as in the "
            "official code."
        )
    return sentences


def environment(study: Study) -> list[tuple[str, list[str]]]:
    """Return every recorded fact about machine and software with its values.

    Where runs differ, a value is followed by the number of runs.
    """
    seen: dict[str, Counter[str]] = {}
    for record in study.records:
        for key, value in flatten(record.environment).items():
            if key != "command" and value is not None:
                seen.setdefault(key, Counter())[str(value)] += 1
    result = []
    for key, counts in seen.items():
        values = list(counts)
        if len(counts) > 1:
            values = [f"{value} ({plural(n, 'run')})" for value, n in counts.most_common()]
        result.append((key.replace(".", " ").replace("_", " "), values))
    return result


LOCAL = ("python", "encoder-ablations", "detectron2")
"""Versions that are recorded, but not installed from a package index under these names."""


def commands(study: Study) -> list[tuple[str, str]]:
    """Return commands that give the same numbers again, each after what it does."""
    steps = _installing((study.finished or study.records)[0])
    ran = [record.environment.get("command") for record in study.records]
    steps += [("What was run", str(command)) for command in dict.fromkeys(ran) if command]
    ours = [run for run in (*study.finished, *study.records) if run.spec.detectron2 is None]
    if ours:
        config = shlex.quote(str(study.run_folder(ours[0].run_id) / "config.yaml"))
        what = "One run alone, from its resolved configuration"
        steps.append((what, f"ablate train --config {config}"))
    steps.append(("This page, from the records", f"ablate report {shlex.quote(str(study.folder))}"))
    return steps


def _installing(run: RunRecord) -> list[tuple[str, str]]:
    steps = []
    revision = run.environment.get("git_revision")
    if revision:
        steps.append(("The same code", f"git checkout {str(revision).removesuffix('+changes')}"))
    versions = run.environment.get("versions") or {}
    pins = [f"{name}=={version}" for name, version in versions.items() if name not in LOCAL]
    if pins:
        steps.append(("The same libraries", f"pip install -e . {' '.join(pins)}"))
    return steps
