"""How the numbers came about: protocol, what limits them, where they were computed, how to get them again."""

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.collection import Study
from encoder_ablations.experiments.reporting.findings.groups import MOST_CLASSES, RunGroup, Setting
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.titles import flatten
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.utils.texts import plural

SELECTION = {
    "test": "Of every run, the state with the best mIoU on the validation images was scored on the test images, "
    "which played no part in choosing it.",
    "val": "This dataset has no test images: the state with the best mIoU on the validation images was chosen, and is "
    "scored on those same images. The scores are therefore a little too good, for all encoders alike.",
    "train": "The runs were scored on the images that they were trained on: a check that learning works, not a result.",
}
NAMED = 20
"""So many classes are named of a dataset of very many."""


@dataclass(frozen=True)
class Note:
    """A sentence about some runs; ``runs`` is empty when it concerns all finished ones."""

    text: str
    runs: list[str]


@dataclass(frozen=True)
class Protocol:
    """How one setting was measured: sentences, and every setting of recipe, head and dataset by its key."""

    setting: str
    sentences: list[str]
    values: list[tuple[str, str]]


def disclosures(study: Study) -> list[Note]:
    """What the records disclose, each sentence once, with the runs that it concerns."""
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
    """``dinov2-b, 10 %, seed 0``."""
    return f"{study.titles[record.run_id]}, {formats.fraction(record.spec.fraction)}, seed {record.spec.seed}"


def warnings(study: Study) -> list[str]:
    """What the records themselves show to be uneven between encoders, worst first."""
    found = []
    for setting in study.settings:
        found += [
            f"{setting.title}: {text}" if len(study.settings) > 1 else text
            for text in _uneven(setting)
        ]
    if study.unfinished:
        count = plural(len(study.unfinished), "run")
        found.append(
            f"{count} has no result yet (running or interrupted); this page shows what there is."
        )
    return found


def _uneven(setting: Setting) -> Iterable[str]:
    if any(run.data and run.data.report_split == "train" for run in setting.runs):
        yield SELECTION["train"]
    for fraction in setting.fractions:
        groups = [group for group in setting.at(fraction) if group.runs]
        yield from _other_images(groups, fraction)
        seeds = {tuple(group.seeds) for group in groups}
        if len(seeds) > 1:
            text = "; ".join(
                f"{group.encoder} {', '.join(map(str, group.seeds))}" for group in groups
            )
            yield f"At {formats.fraction(fraction)} the encoders have different seeds ({text}): compare with care."
    machines = {_machine(run) for run in setting.runs}
    if len(machines) > 1:
        yield f"Runs were timed on different machines, so times do not compare: {'; '.join(sorted(machines))}."
    sizes = {run.cost.input_size for run in setting.runs if run.cost}
    if len(sizes) > 1:
        text = ", ".join(f"{height}×{width}" for height, width in sorted(sizes))
        yield f"Costs were measured at different image sizes ({text}) and do not compare."


def _other_images(groups: list[RunGroup], fraction: float) -> Iterable[str]:
    subsets: dict[int, set[str]] = {}
    for group in groups:
        for run in group.runs:
            if run.data:
                subsets.setdefault(run.spec.seed, set()).add(run.data.train_ids_sha256)
    uneven = [str(seed) for seed, prints in sorted(subsets.items()) if len(prints) > 1]
    if uneven:
        yield (
            f"At {formats.fraction(fraction)} not all encoders were trained on the same images "
            f"(seed {formats.listing(uneven)}): their scores do not compare."
        )


def _machine(run: RunRecord) -> str:
    keys = ("gpu", "processor", "threads")
    return ", ".join(
        f"{run.environment[key]} {'threads' * (key == 'threads')}".strip()
        for key in keys
        if run.environment.get(key)
    )


def protocol(setting: Setting) -> Protocol:
    """How the runs of a setting were trained and scored."""
    group = next((group for group in setting.groups if group.runs), setting.groups[0])
    run = (group.runs + group.failed)[0]
    spec = run.spec
    content = {key: spec.model_dump(mode="json")[key] for key in ("recipe", "segmenter", "dataset")}
    if len(spec.dataset.classes) > MOST_CLASSES:
        for key, value in content["dataset"].items():
            if isinstance(value, list | dict) and len(value) > MOST_CLASSES:
                content["dataset"][key] = f"{len(value)} entries, in every run's config.yaml"
    values = flatten(content)
    shown = [(key, "none" if value is None else str(value)) for key, value in values.items()]
    return Protocol(setting.title, [*_data_sentences(run), *_training_sentences(run)], shown)


def _data_sentences(run: RunRecord) -> list[str]:
    if run.data is None:
        return []
    test = f", {run.data.n_test} for test" if run.data.n_test is not None else ""
    sizes = f"{plural(len(run.data.class_names), 'class')}: "
    few = len(run.data.class_names) <= MOST_CLASSES
    names = run.data.class_names if few else run.data.class_names[:NAMED]
    rest = "" if few else f" and {len(run.data.class_names) - NAMED} others"
    return [
        f"Dataset {run.spec.dataset.name} has {sizes}{', '.join(names)}{rest}. "
        f"It holds {plural(run.data.n_val, 'image')} for validation{test}.",
        SELECTION[run.data.report_split],
    ]


FURTHER = ("views", "rotate", "elastic", "vertical_flip", "quarter_turns")
"""Settings of the augmentation that are named only where they are set."""


def _training_sentences(run: RunRecord) -> list[str]:
    recipe = run.spec.recipe
    optimizer, schedule, augmentation = recipe.optimizer, recipe.schedule, recipe.augmentation
    height, width = augmentation.crop
    low, high = augmentation.scale
    warmup = (
        f"{plural(schedule.warmup_steps, 'step')} of warm-up"
        if schedule.warmup_steps
        else "no warm-up"
    )
    sentences = [
        f"Every model learns for {plural(recipe.steps, 'step')} with {plural(recipe.batch_size, 'image')} a step "
        f"(random crops of {height}×{width} pixels at {low:g} to {high:g} times their size), in {recipe.precision}.",
        f"AdamW, learning rate {optimizer.lr:g} ({optimizer.encoder_lr_multiplier:g} times that in the encoder's "
        f"body), weight decay {optimizer.weight_decay:g}; {warmup}, then "
        f"{schedule.decay} decay to zero.",
    ]
    chosen = augmentation.model_dump(exclude_defaults=True)
    more = [f"{name.replace('_', ' ')} {chosen[name]}" for name in FURTHER if name in chosen]
    if more:
        sentences.append(f"Further transforms of the crops: {', '.join(more)}.")
    if recipe.pos_ratio is not None:
        sentences.append(f"{recipe.pos_ratio:.0%} of the training samples show the object.")
    if recipe.overfit:
        sentences.append(
            f"Only {plural(recipe.overfit, 'image')} were used, for training and scoring alike."
        )
    if getattr(run.spec.segmenter, "ignored_pixels", "excluded") == "negative":
        sentences.append(
            "In this head's mask loss, ignored pixels count as belonging to no mask, as in the official code."
        )
    return sentences


def environment(study: Study) -> list[tuple[str, list[str]]]:
    """Every recorded fact about machine and software with its values; with counts where runs differ."""
    seen: dict[str, Counter[str]] = {}
    for record in study.records:
        for key, value in flatten(record.environment).items():
            if key != "command" and value is not None:
                seen.setdefault(key, Counter())[str(value)] += 1
    result = []
    for key, counts in seen.items():
        same = len(counts) == 1
        values = [
            value if same else f"{value} ({plural(n, 'run')})" for value, n in counts.most_common()
        ]
        result.append((key.replace(".", " ").replace("_", " "), values))
    return result


def commands(study: Study) -> list[tuple[str, str]]:
    """(what it does, command) to get the same numbers again."""
    first = (study.finished or study.records)[0]
    versions = first.environment.get("versions") or {}
    pins = [f"{name}=={version}" for name, version in versions.items() if name not in LOCAL]
    steps = []
    revision = first.environment.get("git_revision")
    if revision:
        steps.append(("The same code", f"git checkout {str(revision).removesuffix('+changes')}"))
    if pins:
        steps.append(("The same libraries", f"pip install -e . {' '.join(pins)}"))
    ran = dict.fromkeys(
        str(r.environment["command"]) for r in study.records if r.environment.get("command")
    )
    steps += [("What was run", command) for command in ran]
    own = next(
        (record for record in (*study.finished, *study.records) if record.spec.detectron2 is None),
        None,
    )
    if own is not None:
        config = study.run_folder(own.run_id) / "config.yaml"
        steps.append(
            (
                "One run alone, from its resolved configuration",
                f"ablate train --config {shlex.quote(str(config))}",
            )
        )
    steps.append(("This page, from the records", f"ablate report {shlex.quote(str(study.folder))}"))
    return steps


LOCAL = ("python", "encoder-ablations", "detectron2")
"""Not to be had from a package index under these names."""
