"""Everything that can be checked before hours of training: data, subsets, weights, device, batch."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.subsets import subset
from encoder_ablations.data.loading.batches import micro_batch
from encoder_ablations.data.loading.stored_set import StoredSet
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.training.batch_norm import images_per_statistic
from encoder_ablations.experiments.runs.disclosures import of_micro_batches
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.fingerprint import files_of_runs, refuse_other_files
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.preparation import prepare_data
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import InputError


def check_before_start(specs: Sequence[RunSpec], execution: Execution) -> None:
    """Prepares every distinct dataset subset and builds every distinct model once.

    Raises:
        InputError: the first thing that would have stopped a run.
    """
    for problem in find_problems(specs, execution).values():
        raise InputError(problem)


def find_problems(
    specs: Sequence[RunSpec], execution: Execution, earlier: Iterable[Path] = ()
) -> dict[str, str]:
    """What would stop which run: run id -> a line.

    Says where images come from if that is a set of ``ablate cache``, and whose BatchNorm will not see whole batches.

    Args:
        earlier: folders of runs that these will be compared with.

    Raises:
        InputError: the device does not exist, which concerns all.
    """
    processes = make_accelerator(execution.device).num_processes

    def check_batch(spec: RunSpec) -> None:
        micro_batch(spec.recipe.batch_size, spec.recipe.accumulation, processes)

    runs = files_of_runs(earlier)
    stored: dict[Path, list[str]] = {}

    def look_at_data(spec: RunSpec) -> None:
        data = prepare_data(spec)
        refuse_other_files(spec.dataset, data.record, runs)
        for images in (data.train, data.val, data.report):
            samples = images.samples
            if isinstance(samples, StoredSet):
                stored.setdefault(samples.folder.parent, []).append(samples.folder.name)

    notes: list[str] = []

    def look_at_model(spec: RunSpec) -> None:
        images = images_per_statistic(build_model(spec), spec.recipe)
        if images is not None:
            text = of_micro_batches(images, spec.recipe)
            notes.append(
                f"{spec.encoder.title} with {spec.segmenter.name}: {text} recipe.accumulation=1 avoids that."
            )

    checks: list[tuple[Callable[[RunSpec], object], tuple[str, ...]]] = [
        (check_batch, ("recipe",)),
        (look_at_data, ("dataset", "fraction")),
        (look_at_model, ("encoder", "segmenter", "dataset", "recipe")),
    ]
    problems: dict[str, str] = {}
    for check, fields in checks:
        for alike in _groups([spec for spec in specs if spec.run_id not in problems], fields):
            try:
                check(alike[0])
            except InputError as error:
                problems |= {spec.run_id: str(error) for spec in alike}
    if int(os.environ.get("RANK", "0")) == 0:
        for note in dict.fromkeys(notes):
            print(f"warning: {note}", file=sys.stderr)
        for folder, names in stored.items():
            print(
                f"reading images from the cached set in {folder} ({', '.join(dict.fromkeys(names))})"
            )
    return problems


def impossible_fractions(specs: Sequence[RunSpec]) -> dict[str, str]:
    """Of :func:`find_problems` what the names of files tell: which runs would have no image. Run id -> a line.

    Datasets that are not on this machine, or whose files are not in order, are passed over: a plan needs none.
    """
    problems: dict[str, str] = {}
    for same_data in _groups(specs, ("dataset",)):
        dataset = same_data[0].dataset
        if not dataset.is_prepared:
            continue
        try:
            images = range(len(FolderDataset(dataset, "train")))
        except InputError:
            continue
        for spec in same_data:
            try:
                subset(images, spec.fraction)
            except InputError as error:
                problems[spec.run_id] = str(error)
    return problems


def _groups(specs: Sequence[RunSpec], fields: tuple[str, ...]) -> list[list[RunSpec]]:
    """The specs, those together that agree in these fields."""
    found: dict[str, list[RunSpec]] = {}
    for spec in specs:
        found.setdefault(spec.model_dump_json(include=set(fields)), []).append(spec)
    return list(found.values())
