"""All records of a study, sorted into settings within which encoders are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.text.titles import canonical, unique_titles
from encoder_ablations.experiments.runs.fingerprint import changed_files
from encoder_ablations.experiments.runs.folder import load_run
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.transfer_record import (
    TransferRecord,
    load_transfer,
    transfer_files,
)
from encoder_ablations.experiments.studies.published import Place, PublishedScore, read_published
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural


@dataclass(frozen=True)
class Study:
    """Everything that was found below ``folder``.

    Attributes:
        name: name of the folder.
        folder: holds ``runs/``.
        records: finished and failed runs, by fraction and seed.
        settings: the records, sorted.
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
        """Return the groups of all settings."""
        return [group for setting in self.settings for group in setting.groups]

    @property
    def failed(self) -> list[RunRecord]:
        """Return the records of failed runs."""
        return [record for record in self.records if record.status == "failed"]

    @property
    def finished(self) -> list[RunRecord]:
        """Return the records of finished runs."""
        return [record for record in self.records if record.status == "finished"]

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.folder / "runs" / run_id


def collect(folder: Path) -> Study:
    """Return the study of all records in ``folder/runs/*/record.json``.

    Records are left out, and named in ``damaged``, that cannot be read, were edited, have another
    schema, or lie in a folder or beside files of another run.

    Raises:
        InputError: there is no record, or none that can be read.
    """
    folder = Path(folder)
    records, unfinished, damaged = _read_runs(folder)
    if not records:
        raise InputError(damaged[0] if damaged else _nothing_found(folder, len(unfinished)))
    damaged += changed_files(
        (record.spec.dataset, record.data.dataset_sha256) for record in records if record.data
    )
    records.sort(key=lambda record: (record.spec.fraction, record.spec.seed, record.run_id))
    encoders = [record.spec.encoder for record in records]
    titles = unique_titles([(encoder.title, encoder.model_dump_json()) for encoder in encoders])
    by_id = {record.run_id: title for record, title in zip(records, titles, strict=True)}
    published: Mapping[Place, PublishedScore] = {}
    try:
        published = read_published(folder)
    except InputError as error:
        damaged.append(f"{error} Published scores are not shown.")
    transfers = {run_id: _transfers(folder / "runs" / run_id, damaged) for run_id in by_id}
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


def _read_runs(folder: Path) -> tuple[list[RunRecord], list[str], list[str]]:
    """Return the records, the names of folders without a record, and what could not be read."""
    records, unfinished, damaged = [], [], []
    for path in sorted(path for path in (folder / "runs").glob("*") if path.is_dir()):
        try:
            record = load_run(path)
        except InputError as error:
            damaged.append(str(error))
            continue
        if record is None:
            unfinished.append(path.name)
        else:
            records.append(record)
    return records, unfinished, damaged


def _transfers(folder: Path, damaged: list[str]) -> list[TransferRecord]:
    """Return how the run in ``folder`` scores on other datasets; errors go into ``damaged``."""
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
        example = f"ablate report {folder / others[0]}"
        hint = f"Studies in that folder: {', '.join(others)}; name one, e.g. {example}."
    elif started:
        runs = plural(started, "run", "was/were")
        hint = f"{runs} started there, but none has ended; let the study finish and try again."
    else:
        hint = "Run a study (ablate run STUDY.yaml, or ablate demo), or name a study's folder."
    return f"no run records in {folder} (looked for runs/*/record.json). {hint}"


def _settings(
    records: Sequence[RunRecord], titles: dict[str, str], published: Mapping[Place, PublishedScore]
) -> list[Setting]:
    """Sort records into settings.

    Runs never share a setting when recipe, segmenter or dataset differ, even under equal names, or
    when their BatchNorm saw other numbers of images at a time.
    """
    # failed runs do not know the last one: finished runs of the same model tell it
    finished = [record for record in records if record.status == "finished"]
    statistics = {_model(record): record.images_per_statistic for record in finished}
    contents = [_fixed_part(record, statistics.get(_model(record))) for record in records]
    specs = [record.spec for record in records]
    plain = [f"{spec.dataset.name} · {spec.segmenter.name}" for spec in specs]
    names = unique_titles(list(zip(plain, contents, strict=True)))
    members: dict[str, dict[tuple[str, float], list[RunRecord]]] = {}
    for record, name in zip(records, names, strict=True):
        key = (titles[record.run_id], record.spec.fraction)
        members.setdefault(name, {}).setdefault(key, []).append(record)
    settings = []
    for name, runs_by_key in sorted(members.items()):
        groups = tuple(
            _group(name, *key, runs, published) for key, runs in sorted(runs_by_key.items())
        )
        settings.append(Setting(name, groups[0].dataset, groups[0].segmenter, groups))
    return settings


def _group(
    setting: str,
    encoder: str,
    fraction: float,
    records: list[RunRecord],
    published: Mapping[Place, PublishedScore],
) -> RunGroup:
    spec = records[0].spec
    finished = tuple(record for record in records if record.status == "finished")
    failed = tuple(record for record in records if record.status == "failed")
    head, dataset = str(spec.segmenter.name), spec.dataset.name
    cited = published.get((spec.encoder.title, head, dataset, fraction))
    return RunGroup(setting, encoder, head, dataset, fraction, finished, failed, cited)


def _model(record: RunRecord) -> str:
    """Return JSON of everything that decides how BatchNorm is trained."""
    return record.spec.model_dump_json(include={"encoder", "segmenter", "recipe"})


def _fixed_part(record: RunRecord, statistics: int | None) -> str:
    """Return JSON of everything that runs of one setting have in common.

    An encoder with a recipe of its own counts as trained under the study's; this is disclosed.

    Args:
        record: of the run.
        statistics: see ``RunRecord.images_per_statistic``.
    """
    spec = record.spec
    parts = {
        "segmenter": spec.segmenter.model_dump_json(),
        "dataset": spec.dataset.model_dump_json(),
        "recipe": (spec.study_recipe or spec.recipe).model_dump_json(),
        "images_per_statistic": canonical(statistics),
        "detectron2": canonical(spec.detectron2),
        "loop": canonical("Detectron2" if spec.detectron2 else "ours"),
    }
    content = ", ".join(f'"{name}": {part}' for name, part in parts.items())
    return f"{{{content}}}"
