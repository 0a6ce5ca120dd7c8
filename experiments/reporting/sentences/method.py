"""How the numbers were measured: protocol, limits, machines, commands that repeat it."""

import shlex
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import chain
from typing import Any

from encoder_ablations import __version__
from encoder_ablations.engine.training.description import metric_title
from encoder_ablations.experiments.reporting.findings.groups import (
    MOST_CLASSES,
    FinishedRun,
    Setting,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.sentences.seeds import seed_sentences
from encoder_ablations.experiments.reporting.sentences.training import (
    SELECTION,
    by_encoder,
    training_sentences,
    with_study_recipe,
)
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.titles import flatten
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.texts import plural

BY_ENCODER = "differs by encoder: see the chosen values under Tuning"
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
    concerned: dict[str, list[RunRecord]] = defaultdict(list)
    for record in study.records:
        for text in dict.fromkeys(record.disclosures):
            concerned[text].append(record)
    return [_note(study, text, records) for text, records in concerned.items()]


def _note(study: Study, text: str, records: list[RunRecord]) -> Note:
    others = {run.run_id for run in study.finished} - {record.run_id for record in records}
    # a sentence about every finished run names none
    if not others:
        return Note(text, [])
    return Note(text, [run_name(study, record) for record in records])


def run_name(study: Study, record: RunRecord) -> str:
    """Return a run's name for readers: ``dinov2-b, 10 %, seed 0``."""
    spec = record.spec
    return f"{study.titles[record.run_id]}, {formats.fraction(spec.fraction)}, seed {spec.seed}"


def protocol(setting: Setting) -> Protocol:
    """Return how the runs of a setting were trained and scored."""
    finished = setting.runs[:1]
    spec = with_study_recipe([*finished, *setting.groups[0].records][0].spec)
    content = spec.model_dump(mode="json", include={"recipe", "segmenter", "dataset"})
    dataset = {key: _shortened(value) for key, value in content["dataset"].items()}
    parts = {"recipe": content["recipe"], "segmenter": content["segmenter"], "dataset": dataset}
    for section, name in (each.split(".") for each in by_encoder(spec)):
        parts["recipe"][section][name] = BY_ENCODER
    values = [(key, _written(value)) for key, value in flatten(parts).items()]
    data = chain.from_iterable(map(_data_sentences, finished))
    return Protocol(setting.title, [*data, *_of_training(setting, spec)], values)


def _of_training(setting: Setting, spec: RunSpec) -> list[str]:
    """Return how the runs of a setting were trained, if they were."""
    if setting.without_labels:
        return ["Nothing is trained: the head needs no labels."]
    if spec.steps:
        return [*training_sentences(spec), *seed_sentences(setting)]
    nothing = "Nothing is trained by gradients: the head reads the training images once."
    return [nothing, *seed_sentences(setting)]


def _written(value: Any) -> str:
    return "none" if value is None else str(value)


def _shortened(value: Any) -> Any:
    """Return a setting of a dataset, or its length where it is too long to be shown."""
    if isinstance(value, list | dict) and len(value) > MOST_CLASSES:
        return f"{len(value)} entries, in every run's config.yaml"
    return value


def _data_sentences(run: FinishedRun) -> list[str]:
    classes = run.data.class_names
    names = ", ".join(classes)
    if len(classes) > MOST_CLASSES:
        names = f"{', '.join(classes[:NAMED])} and {len(classes) - NAMED} others"
    held = f"{plural(run.data.n_val, 'image')} for validation"
    if run.data.n_test is not None:
        held += f", {run.data.n_test} for test"
    name = run.spec.dataset.name
    found = [f"Dataset {name} has {plural(len(classes), 'class')}: {names}. It holds {held}."]
    if run.convergence is not None:
        metric = metric_title(run.convergence.metric)
        found.append(SELECTION[run.data.report_split].format(metric=metric))
    return found


def environment(study: Study) -> list[tuple[str, list[str]]]:
    """Return every recorded fact about machine and software with its values.

    Where runs differ, a value is followed by the number of runs.
    """
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for record in study.records:
        for key, value in flatten(record.environment).items():
            if value is not None:
                seen[key][str(value)] += 1
    seen.pop("command", None)
    return [
        (key.replace(".", " ").replace("_", " "), _values(counts)) for key, counts in seen.items()
    ]


def _values(counts: Counter[str]) -> list[str]:
    """Return the values of a fact, most frequent first; the only one without a number of runs."""
    if len(counts) == 1:
        return list(counts)
    return [f"{value} ({plural(runs, 'run')})" for value, runs in counts.most_common()]


NAMED_PACKAGES = {
    "encoder-ablations": "encoder-ablations",
    "torch": "PyTorch",
    "timm": "timm",
    "transformers": "transformers",
    "python": "Python",
}
"""Packages that the method names -> how they are written; the environment lists all."""


def versions(study: Study) -> str:
    """Return with which versions the runs were computed and this page was written."""
    seen: dict[str, dict[str, None]] = defaultdict(dict)
    for record in study.records:
        for name, version in (record.environment.get("versions") or {}).items():
            seen[name][str(version)] = None
    told = [
        f"{title} {' and '.join(seen[name])}"
        for name, title in NAMED_PACKAGES.items()
        if name in seen
    ]
    written = f"this page was written by encoder-ablations {__version__}"
    if not told:
        return f"The records name no versions; {written}."
    return f"The runs were computed with {formats.listing(told)}; {written}."


LOCAL = ("python", "encoder-ablations", "detectron2")
"""Versions that are recorded, but not installed from a package index under these names."""


def commands(study: Study) -> list[tuple[str, str]]:
    """Return commands that give the same numbers again, each after what it does."""
    every = [*study.finished, *study.records]
    ran = [record.environment.get("command") for record in study.records]
    # Detectron2's runs are repeated there, not by this command
    ours = [run for run in every if run.spec.detectron2 is None]
    configs = [study.run_folder(run.run_id) / "config.yaml" for run in ours[:1]]
    alone = "One run alone, from its resolved configuration"
    return [
        *_installing(every[0].environment),
        *(("What was run", command) for command in filter(None, dict.fromkeys(ran))),
        *((alone, f"ablate train --config {shlex.quote(str(path))}") for path in configs),
        ("This page, from the records", f"ablate report {shlex.quote(str(study.folder))}"),
    ]


def _installing(environment: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the commands for the same code and libraries, as far as they are recorded."""
    steps = []
    revision = environment.get("git_revision")
    if revision:
        steps.append(("The same code", f"git checkout {revision.removesuffix('+changes')}"))
    versions = environment.get("versions") or {}
    pins = [f"{name}=={version}" for name, version in versions.items() if name not in LOCAL]
    if pins:
        steps.append(("The same libraries", f"pip install -e . {' '.join(pins)}"))
    return steps
