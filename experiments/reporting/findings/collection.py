"""All records of a study, sorted into settings within which encoders are compared."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from encoder_ablations.experiments.confidence.record import (
    CONFIDENCE,
    ENSEMBLES,
    ConfidenceRecord,
    load_confidence,
)
from encoder_ablations.experiments.reporting.findings.groups import (
    FinishedRun,
    Published,
    RunGroup,
    Setting,
)
from encoder_ablations.experiments.reporting.findings.shared_parts import SharedParts
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.findings.tuning.beside import main_first
from encoder_ablations.experiments.reporting.text.encoder_names import encoder_name
from encoder_ablations.experiments.reporting.text.teachers import arm_names
from encoder_ablations.experiments.reporting.text.titles import canonical, unique_titles
from encoder_ablations.experiments.reporting.text.tunings import tuning_names
from encoder_ablations.experiments.runs.custom_code import changed_code
from encoder_ablations.experiments.runs.federated.arms import federation_title
from encoder_ablations.experiments.runs.fingerprint import changed_files
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import NO_PRIVACY
from encoder_ablations.experiments.runs.tasks import refuse_two_tasks
from encoder_ablations.experiments.runs.transfer.record import (
    TransferRecord,
    load_transfer,
    transfer_files,
)
from encoder_ablations.experiments.studies.grid import teacher_title, tuning_title
from encoder_ablations.experiments.studies.published import STUDY_FILE, Place, read_published
from encoder_ablations.experiments.studies.saved_rule import read_seed_rule
from encoder_ablations.experiments.studies.seed_rule import SeedRule
from encoder_ablations.utils import garbage
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

T = TypeVar("T")


def collect(folder: Path) -> Study:
    """Return the study of all records in ``folder/runs/*/record.json``.

    Records are left out, and named in ``damaged``, that cannot be read, were edited, have another
    schema, or lie in a folder or beside files of another run.

    Raises:
        InputError: there is no record, or none that can be read, or they are of two tasks.
    """
    folder = Path(folder)
    damaged: list[str] = []
    paths = sorted(path for path in (folder / "runs").glob("*") if path.is_dir())
    # what cannot be read is left out and named; the other runs are reported
    with garbage.paused():
        found = dict(_read_each(partial(_named_run, SharedParts()), paths, damaged))
    unfinished = tuple(name for name, record in found.items() if record is None)
    ended = [record for record in found.values() if record is not None]
    # trials of tuning have scores on validation images alone, and are no part of the comparison
    records = [record for record in ended if not record.spec.is_trial]
    trials = tuple(record for record in ended if record.spec.is_trial)
    if not records:
        problems = [*damaged, _nothing_found(folder, len(unfinished), len(trials))]
        raise InputError(problems[0])
    refuse_two_tasks([record.spec.dataset for record in records], str(folder))
    damaged += _changes(records)
    records.sort(key=lambda record: (record.spec.fraction, record.spec.seed, record.run_id))
    titles = _titles(records)
    published, rule = _published(folder, damaged), _seed_rule(folder, damaged)
    transfers = {run_id: _transfers(folder / "runs" / run_id, damaged) for run_id in titles}
    ensembles = _ensembles(folder, damaged)
    confidences = chain(*(_confidence(folder / "runs" / run_id, damaged) for run_id in titles))
    return Study(
        name=folder.resolve().name,
        folder=folder,
        records=tuple(records),
        settings=main_first(_settings(_compared(records), titles, published, rule)),
        titles=titles,
        unfinished=unfinished,
        transfers=transfers,
        confidences={each.run_ids[0]: each for each in confidences},
        ensembles=ensembles,
        damaged=tuple(damaged),
        trials=trials,
    )


def _changes(records: Sequence[RunRecord]) -> list[str]:
    """Return a line for each dataset, and each code of the user's own, that changed between runs.

    Encoders do not compare then.
    """
    seen = [(each.spec.dataset, each.data) for each in records]
    lines = [*changed_files((spec, data.dataset_sha256) for spec, data in seen if data)]
    return [*lines, *changed_code(record.code for record in records)]


def _read_each(read: Callable[[Path], T], paths: Iterable[Path], damaged: list[str]) -> list[T]:
    """Return what ``read`` finds in every path; its errors go into ``damaged``."""
    found = []
    for path in paths:
        try:
            found.append(read(path))
        except InputError as error:
            damaged.append(str(error))
    return found


def _transfers(folder: Path, damaged: list[str]) -> list[TransferRecord]:
    """Return a run's tests on other datasets; errors go into ``damaged``."""
    of_this_run = partial(load_transfer, run_id=folder.name)
    return _read_each(of_this_run, transfer_files(folder), damaged)


def _confidence(folder: Path, damaged: list[str]) -> list[ConfidenceRecord]:
    """Return a run's record of confidence, if it has one; errors go into ``damaged``."""
    of_this_run = partial(load_confidence, run_ids=[folder.name])
    found = _read_each(of_this_run, [folder / CONFIDENCE], damaged)
    return [record for record in found if record is not None]


def _ensembles(folder: Path, damaged: list[str]) -> list[ConfidenceRecord]:
    """Return the records of several runs together; errors go into ``damaged``."""
    paths = sorted((folder / ENSEMBLES).glob(f"*.{CONFIDENCE}"))
    found = _read_each(load_confidence, paths, damaged)
    return [record for record in found if record is not None]


def _named_run(parts: SharedParts, folder: Path) -> tuple[str, RunRecord | None]:
    return folder.name, parts.load(folder)


def _published(folder: Path, damaged: list[str]) -> Mapping[Place, Published]:
    """Return the published scores of the study; errors go into ``damaged``."""
    try:
        scores = read_published(folder)
    except InputError as error:
        heed = "A rule that adds seeds is not heeded. Published scores are not shown."
        damaged.append(f"{error} {heed}")
        return {}
    return {place: Published(score.percent, score.source) for place, score in scores.items()}


def _seed_rule(folder: Path, damaged: list[str]) -> SeedRule | None:
    """Return the rule by which the study adds seeds; errors go into ``damaged``, once a file."""
    try:
        return read_seed_rule(folder)
    except InputError as error:
        if not any(STUDY_FILE in problem for problem in damaged):
            damaged.append(f"{error} If it adds seeds by a rule, intervals are too short.")
        return None


def _nothing_found(folder: Path, started: int, trials: int) -> str:
    if trials:
        ended = plural(trials, "trial", "of tuning has/have")
        return (
            f"{folder}: {ended} ended, but no run with chosen values. Let the study go on with "
            "ablate run; ablate status says how far it is."
        )
    others = sorted({path.parents[2].name for path in folder.glob("*/runs/*/record.json")})
    hint = "Run a study (ablate run STUDY.yaml, or ablate demo), or name a study's folder."
    if started:
        runs = plural(started, "run", "was/were")
        hint = f"{runs} started there, but none has ended; let the study finish and try again."
    if others:
        example = f"ablate report {folder / others[0]}"
        hint = f"Studies in that folder: {', '.join(others)}; name one, e.g. {example}."
    return f"no run records in {folder} (looked for runs/*/record.json). {hint}"


def _titles(records: Sequence[RunRecord]) -> dict[str, str]:
    """Return run id -> the encoder's title; equal titles of different encoders say what differs."""
    encoders = [record.spec.encoder for record in records]
    named = [(encoder_name(encoder), encoder.model_dump_json()) for encoder in encoders]
    titles = unique_titles(named)
    return dict(zip(map(attrgetter("run_id"), records), titles, strict=True))


def _compared(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the records that encoders are compared by.

    Clients that have trained alone each have other images. They are compared with a federation
    only, unless the study has nothing else.
    """
    together = []
    for record in records:
        federation = record.spec.federation
        if federation is None or not federation.is_local:
            together.append(record)
    return together or list(records)


def _settings(
    records: Sequence[RunRecord],
    titles: dict[str, str],
    published: Mapping[Place, Published],
    rule: SeedRule | None,
) -> list[Setting]:
    """Sort records into groups, and these into settings."""
    members: dict[tuple[str, str, float], list[RunRecord]] = defaultdict(list)
    for name, record in zip(_setting_titles(records), records, strict=True):
        members[name, titles[record.run_id], record.spec.fraction].append(record)
    groups = [_group(*place, found, published, rule) for place, found in sorted(members.items())]
    settings = [(title, tuple(found)) for title, found in groupby(groups, attrgetter("setting"))]
    return [
        Setting(title, found[0].dataset, found[0].segmenter, found) for title, found in settings
    ]


def _setting_titles(records: Sequence[RunRecord]) -> list[str]:
    """Return the title of every record's setting.

    Runs never share a setting when recipe, segmenter or dataset differ, even under equal names, or
    when their BatchNorm saw other numbers of images at a time.
    """
    # failed runs do not know the last one: finished runs of the same model tell it
    finished = [record for record in records if record.status == "finished"]
    statistics = {_model(record): record.images_per_statistic for record in finished}
    specs = [record.spec for record in records]
    arms, tunings = arm_names(specs), tuning_names(specs)
    return unique_titles(
        [
            (
                f"{record.spec.dataset.name} · {record.spec.segmenter.title}",
                _fixed_part(record, statistics.get(_model(record)), arms, tunings),
            )
            for record in records
        ]
    )


def _group(
    setting: str,
    encoder: str,
    fraction: float,
    records: list[RunRecord],
    published: Mapping[Place, Published],
    rule: SeedRule | None,
) -> RunGroup:
    spec = records[0].spec
    finished = tuple(FinishedRun.of(record) for record in records if record.status == "finished")
    failed = tuple(record for record in records if record.status == "failed")
    head, dataset = spec.segmenter.title, spec.dataset.name
    cited = None
    if spec.federation is None and spec.pseudo_labels is None:
        cited = published.get((spec.encoder.title, head, dataset, fraction))
    return RunGroup(setting, encoder, head, dataset, fraction, finished, failed, cited, rule)


def _model(record: RunRecord) -> str:
    """Return JSON of everything that decides how BatchNorm is trained."""
    return record.spec.model_dump_json(include={"encoder", "segmenter", "recipe"})


def _fixed_part(
    record: RunRecord,
    statistics: int | None,
    arms: Mapping[str, str],
    tunings: Mapping[str, str],
) -> str:
    """Return JSON of everything that runs of one setting have in common.

    An encoder with a recipe of its own counts as trained under the study's; this is disclosed.

    Args:
        record: of the run.
        statistics: see ``RunRecord.images_per_statistic``.
        arms: names of the arms with and without predicted masks; see :func:`arm_names`.
        tunings: names of settings with and without tuning; see :func:`tuning_names`.
    """
    spec = record.spec
    loop = "Detectron2" if spec.detectron2 else "ours"
    recipe = spec.study_recipe or spec.recipe
    parts = {
        "segmenter": spec.segmenter.model_dump_json(),
        "dataset": spec.dataset.model_dump_json(),
        "recipe": recipe.model_dump_json(exclude={"privacy"}),
        "privacy": canonical(recipe.privacy.title if recipe.privacy else NO_PRIVACY),
        "images_per_statistic": canonical(statistics),
        "detectron2": canonical(spec.detectron2),
        "loop": canonical(loop),
        "federation": canonical(federation_title(spec.federation)),
        "pseudo_labels": canonical(arms[teacher_title(spec)]),
        "tuning": canonical(tunings[tuning_title(spec)]),
    }
    content = ", ".join(f'"{name}": {part}' for name, part in parts.items())
    return f"{{{content}}}"
