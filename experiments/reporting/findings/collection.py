"""All records of a study, sorted into what may be compared with what."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.experiments.reporting.text.titles import canonical, unique_titles
from encoder_ablations.experiments.runs.fingerprint import changed_files
from encoder_ablations.experiments.runs.folder import load_run
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.transfer_record import (
    TransferRecord,
    load_transfer,
    transfer_files,
)
from encoder_ablations.experiments.stats.seeds import Summary, summarize
from encoder_ablations.experiments.studies.published import Place, PublishedScore, read_published
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

Reading = Callable[[RunRecord], float | None]

MOST_CLASSES = 255
"""Most classes that a page shows one by one; of more, only some."""
SHOWN_CLASSES = 100
"""So many of them: those with most pixels."""


def miou(record: RunRecord) -> float | None:
    """mIoU in 0..1 on the report split; None for a failed run."""
    return record.metrics.miou if record.metrics else None


def class_iou(name: str) -> Reading:
    """Reads the IoU of the class ``name``, 0..1."""
    return lambda record: record.metrics.per_class_iou.get(name) if record.metrics else None


@dataclass(frozen=True, eq=False)
class RunGroup:
    """Runs that differ in nothing but the seed.

    Attributes:
        setting: title of the setting that the group belongs to.
        runs: the finished ones, by seed; failed: the others.
        published: what the literature says that this encoder scores, if the study names it.
    """

    setting: str
    encoder: str
    segmenter: str
    dataset: str
    fraction: float
    runs: tuple[RunRecord, ...]
    failed: tuple[RunRecord, ...]
    published: PublishedScore | None = None

    @property
    def seeds(self) -> list[int]:
        return [run.spec.seed for run in self.runs]

    @property
    def random_weights(self) -> bool:
        return (self.runs + self.failed)[0].spec.encoder.weights == "random"

    @cached_property
    def architecture(self) -> str:
        """Equal for two encoders that differ only in the weights they start from."""
        return canonical(
            _architecture((self.runs + self.failed)[0].spec.encoder.model_dump(mode="json"))
        )

    def values(self, read: Reading = miou) -> dict[int, float]:
        """Seed -> what ``read`` finds in that run; runs without the value are left out."""
        found = {run.spec.seed: read(run) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def confusion_matrices(self) -> list[list[list[int]]]:
        """Return the K×K pixel counts of every run that has them (rows: truth)."""
        return [run.confusion_matrix for run in self.runs if run.confusion_matrix]

    @cached_property
    def score(self) -> Summary:
        """mIoU over seeds."""
        return self.summary()

    def summary(self, read: Reading = miou) -> Summary:
        return summarize(list(self.values(read).values()))


@dataclass(frozen=True, eq=False)
class Setting:
    """What encoders are compared within: one dataset, one segmenter, one recipe."""

    title: str
    dataset: str
    segmenter: str
    groups: tuple[RunGroup, ...]

    @cached_property
    def encoders(self) -> list[str]:
        return sorted({group.encoder for group in self.groups})

    @cached_property
    def fractions(self) -> list[float]:
        return sorted({group.fraction for group in self.groups})

    @cached_property
    def reference(self) -> float | None:
        """The largest fraction at which two encoders have a result, else at which one has; None if none has."""
        for wanted in (2, 1):
            for fraction in reversed(self.fractions):
                if sum(bool(group.values()) for group in self.at(fraction)) >= wanted:
                    return fraction
        return None

    def at(self, fraction: float | None) -> list[RunGroup]:
        return [group for group in self.groups if group.fraction == fraction]

    def group(self, encoder: str, fraction: float | None) -> RunGroup | None:
        return next((group for group in self.at(fraction) if group.encoder == encoder), None)

    @property
    def runs(self) -> list[RunRecord]:
        """The finished runs of all groups."""
        return [run for group in self.groups for run in group.runs]

    @property
    def classes(self) -> list[str]:
        """Class names in id order."""
        group = self.groups[0]
        return list((group.runs + group.failed)[0].spec.dataset.classes)

    @cached_property
    def shown_classes(self) -> list[str]:
        """Those that a page shows, in id order: all, or of very many those with most pixels in the truth."""
        classes = self.classes
        if len(classes) <= MOST_CLASSES:
            return classes
        return [classes[place] for place in sorted(self.by_pixels[:SHOWN_CLASSES])]

    @cached_property
    def by_pixels(self) -> list[int]:
        """Class ids by their pixels in the truth of the first run that was counted, most first."""
        counted = next((run.confusion_matrix for run in self.runs if run.confusion_matrix), None)
        pixels = np.zeros(len(self.classes)) if counted is None else np.sum(counted, axis=1)
        return [int(place) for place in np.argsort(-pixels, kind="stable")]


@dataclass(frozen=True)
class Study:
    """Everything that was found below ``folder``.

    Attributes:
        titles: run id -> the encoder's title, made unique.
        unfinished: run folders without a record: still running, or interrupted.
        damaged: files that could not be used and why, one line each.
        transfers: run id -> that run tested on other datasets.
    """

    name: str
    folder: Path
    records: tuple[RunRecord, ...]
    settings: tuple[Setting, ...]
    titles: dict[str, str]
    unfinished: tuple[str, ...]
    damaged: tuple[str, ...] = ()
    transfers: Mapping[str, Sequence[TransferRecord]] = field(default_factory=dict)

    @property
    def groups(self) -> list[RunGroup]:
        return [group for setting in self.settings for group in setting.groups]

    @property
    def failed(self) -> list[RunRecord]:
        return [record for record in self.records if record.status == "failed"]

    @property
    def finished(self) -> list[RunRecord]:
        return [record for record in self.records if record.status == "finished"]

    def run_folder(self, run_id: str) -> Path:
        return self.folder / "runs" / run_id


def collect(folder: Path) -> Study:
    """Reads ``folder/runs/*/record.json``; what cannot be read is named in ``damaged``.

    Those that are damaged, edited, of another schema, in a folder of another run or beside another run's files are
    left out.

    Raises:
        InputError: there is no record, or none that can be read.
    """
    folder = Path(folder)
    candidates = sorted(path for path in (folder / "runs").glob("*") if path.is_dir())
    records, unfinished, damaged = [], [], []
    for path in candidates:
        try:
            record = load_run(path)
        except InputError as error:
            damaged.append(str(error))
            continue
        if record is None:
            unfinished.append(path.name)
        else:
            records.append(record)
    if not records:
        raise InputError(damaged[0] if damaged else _nothing_found(folder, len(candidates)))
    damaged += changed_files(records)
    records.sort(key=lambda record: (record.spec.fraction, record.spec.seed, record.run_id))
    titles = unique_titles(
        [(record.spec.encoder.title, record.spec.encoder.model_dump_json()) for record in records]
    )
    by_id = dict(zip([record.run_id for record in records], titles, strict=True))
    try:
        published = read_published(folder)
    except InputError as error:
        published = {}
        damaged.append(f"{error} Published scores are not shown.")
    transfers = {
        record.run_id: _transfers(folder / "runs" / record.run_id, damaged) for record in records
    }
    return Study(
        name=folder.resolve().name,
        folder=folder,
        records=tuple(records),
        settings=tuple(_settings(records, by_id, published)),
        titles=by_id,
        unfinished=tuple(unfinished),
        damaged=tuple(damaged),
        transfers=transfers,
    )


def _transfers(folder: Path, damaged: list[str]) -> list[TransferRecord]:
    """How the run in ``folder`` does on other datasets; what is wrong is added to ``damaged``."""
    found = []
    for path in transfer_files(folder):
        try:
            found.append(load_transfer(path, folder.name))
        except InputError as error:
            damaged.append(str(error))
    return found


def _nothing_found(folder: Path, started: int) -> str:
    others = sorted({path.parents[2].name for path in folder.glob("*/runs/*/record.json")})
    if others:
        hint = f"Studies in that folder: {', '.join(others)}; name one, e.g. ablate report {folder / others[0]}."
    elif started:
        runs = plural(started, "run", "was/were")
        hint = f"{runs} started there, but none has ended; let the study finish and try again."
    else:
        hint = "Run a study first (ablate run STUDY.yaml, or ablate demo), or name the folder that one wrote."
    return f"no run records in {folder} (looked for runs/*/record.json). {hint}"


def _settings(
    records: Sequence[RunRecord], titles: dict[str, str], published: dict[Place, PublishedScore]
) -> list[Setting]:
    """Runs with another recipe, segmenter or dataset never share a setting, even when the names are equal.

    Nor do runs whose BatchNorm saw other numbers of images at a time.
    """
    statistics = {
        _model(record): record.images_per_statistic
        for record in records
        if record.status == "finished"
    }
    contents = [(record, _fixed_part(record, statistics.get(_model(record)))) for record in records]
    names = unique_titles(
        [(f"{r.spec.dataset.name} · {r.spec.segmenter.name}", content) for r, content in contents]
    )
    members: dict[str, dict[tuple[str, float], list[RunRecord]]] = {}
    for record, name in zip(records, names, strict=True):
        key = (titles[record.run_id], record.spec.fraction)
        members.setdefault(name, {}).setdefault(key, []).append(record)
    settings = []
    for name in sorted(members):
        groups = tuple(
            _group(name, *key, runs, published) for key, runs in sorted(members[name].items())
        )
        settings.append(Setting(name, groups[0].dataset, groups[0].segmenter, groups))
    return settings


def _group(
    setting: str,
    encoder: str,
    fraction: float,
    records: list[RunRecord],
    published: dict[Place, PublishedScore],
) -> RunGroup:
    spec = records[0].spec
    finished = tuple(record for record in records if record.status == "finished")
    failed = tuple(record for record in records if record.status == "failed")
    head, dataset = str(spec.segmenter.name), spec.dataset.name
    cited = published.get((spec.encoder.title, head, dataset, fraction))
    return RunGroup(setting, encoder, head, dataset, fraction, finished, failed, cited)


def _model(record: RunRecord) -> str:
    """What decides how BatchNorm is trained; a failed run does not know it, others of the same model do."""
    return record.spec.model_dump_json(include={"encoder", "segmenter", "recipe"})


def _fixed_part(record: RunRecord, statistics: int | None) -> str:
    """JSON. An encoder with a recipe of its own is compared with the others, under the study's; it is disclosed.

    Args:
        statistics: ``RunRecord.images_per_statistic``.
    """
    spec = record.spec
    parts = {
        "segmenter": spec.segmenter,
        "dataset": spec.dataset,
        "recipe": spec.study_recipe or spec.recipe,
    }
    texts = [f'"{name}": {part.model_dump_json()}' for name, part in parts.items()]
    loop = json.dumps("Detectron2" if spec.detectron2 else "ours")
    texts.append(f'"images_per_statistic": {canonical(statistics)}')
    return f'{{{", ".join(texts)}, "detectron2": {canonical(spec.detectron2)}, "loop": {loop}}}'


def _architecture(encoder: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in encoder.items() if key not in ("weights", "label")}
