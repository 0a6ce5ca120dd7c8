"""Check before hours of training what can be: data, subsets, weights, device, batch."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.loading.batches import micro_batch
from encoder_ablations.data.loading.stored_set import StoredSet
from encoder_ablations.data.views.transforms import try_custom
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.training.description import average_warning
from encoder_ablations.engine.training.federated.exchange import Exchange, check_private_exchange
from encoder_ablations.engine.training.federated.private import check_budget, large_client_delta
from encoder_ablations.engine.training.private.checks import large_delta
from encoder_ablations.experiments.runs.batch_norm import refuse_estimate
from encoder_ablations.experiments.runs.custom_code import refuse_other_code
from encoder_ablations.experiments.runs.disclosures import warning_of_micro_batches
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.fingerprint import (
    files_of_runs,
    refuse_other_files,
)
from encoder_ablations.experiments.runs.fractions import alike
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.preparation import prepare_data
from encoder_ablations.experiments.runs.pseudo_labels.teacher import check_teacher
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.zero_labels.queries import warning_of_texts
from encoder_ablations.utils.errors import InputError


def check_before_start(specs: Sequence[RunSpec], execution: Execution) -> None:
    """Prepare every distinct dataset subset and build every distinct model once.

    Raises:
        InputError: the first thing that would have stopped a run.
    """
    for problem in find_problems(specs, execution).values():
        raise InputError(problem)


def find_problems(
    specs: Sequence[RunSpec], execution: Execution, earlier: Iterable[Path] = ()
) -> dict[str, str]:
    """Return what would stop which run: run id -> a line.

    Also prints which images come from a set of ``ablate cache``, and warns of every BatchNorm that
    will not see whole batches.

    Args:
        specs: the runs.
        execution: how they will be computed.
        earlier: folders of runs that these will be compared with.

    Raises:
        InputError: the device does not exist, which concerns all.
    """
    checks = _Checks(make_accelerator(execution.device).num_processes, list(earlier))
    # each check, and the fields of a spec that it depends on
    plan: list[tuple[Callable[[RunSpec], object], tuple[str, ...]]] = [
        (checks.check_batch, ("recipe",)),
        (checks.check_data, ("dataset", "fraction", "recipe")),
        (checks.check_transforms, ("dataset", "recipe")),
        (checks.check_model, ("encoder", "segmenter", "dataset", "recipe")),
        (checks.check_code, ("encoder", "segmenter", "recipe")),
        (checks.check_clients, ("dataset", "fraction", "federation", "seed")),
        (checks.check_teacher, ("dataset", "fraction", "seed", "pseudo_labels")),
        (checks.check_exchange, ("encoder", "segmenter", "dataset", "federation")),
    ]
    problems: dict[str, str] = {}
    for check, fields in plan:
        for group in alike([spec for spec in specs if spec.run_id not in problems], fields):
            try:
                check(group[0])
            except InputError as error:
                problems |= {spec.run_id: str(error) for spec in group}
    if int(os.environ.get("RANK", "0")) == 0:
        checks.print_notes()
    return problems


class _Checks:
    """What is checked of a run, and what was noticed on the way.

    Args:
        processes: how many work on one run.
        earlier: folders of runs that these will be compared with.
    """

    def __init__(self, processes: int, earlier: Sequence[Path]) -> None:
        self.processes = processes
        self.earlier = earlier
        self.seen = files_of_runs(earlier)
        self.stored: dict[Path, list[str]] = {}
        self.warnings: list[str] = []

    def check_batch(self, spec: RunSpec) -> None:
        micro_batch(spec.recipe.batch_size, spec.recipe.accumulation, self.processes)

    def check_data(self, spec: RunSpec) -> None:
        data = prepare_data(spec)
        delta = large_delta(spec.recipe.privacy, data.record.n_train)
        if delta is not None:
            self.warnings.append(delta)
        refuse_other_files(spec.dataset, data.record.dataset_sha256, self.seen)
        for images in (data.train, data.val, data.report):
            samples = images.samples
            if isinstance(samples, StoredSet):
                self.stored.setdefault(samples.folder.parent, []).append(samples.folder.name)

    def check_transforms(self, spec: RunSpec) -> None:
        if spec.recipe.augmentation.custom:
            try_custom(FolderDataset(spec.dataset, "train")[0], spec.recipe.augmentation)

    def check_model(self, spec: RunSpec) -> None:
        segmenter = build_model(spec)
        refuse_estimate(segmenter, spec)
        texts = warning_of_texts(spec.segmenter)
        if texts is not None:
            self.warnings.append(texts)
        if not segmenter.head.learns:
            return
        warning = warning_of_micro_batches(segmenter, spec)
        if warning is not None:
            self.warnings.append(warning)
        average = average_warning(spec.recipe)
        if average is not None:
            self.warnings.append(average)

    def check_code(self, spec: RunSpec) -> None:
        refuse_other_code(spec, self.earlier)

    def check_clients(self, spec: RunSpec) -> None:
        if spec.federation is not None:
            spec.federation.check_processes(self.processes)
            prepare_data(spec)
            if spec.federation.privacy is not None:
                check_budget(spec.federation.privacy, spec.federation)
            delta = large_client_delta(spec.federation)
            if delta is not None:
                self.warnings.append(delta)

    def check_teacher(self, spec: RunSpec) -> None:
        if spec.pseudo_labels is not None:
            data = prepare_data(spec)
            check_teacher(spec, spec.pseudo_labels, data.checked, data.train.indices)

    def check_exchange(self, spec: RunSpec) -> None:
        federation = spec.federation
        if federation is None or federation.is_local:
            return
        if federation.local_batch_norm or federation.privacy is not None:
            segmenter = build_model(spec)
            exchange = Exchange.of(segmenter, federation.local_batch_norm)
            if federation.privacy is not None:
                check_private_exchange(segmenter, exchange)

    def print_notes(self) -> None:
        for text in dict.fromkeys(self.warnings):
            print(f"warning: {text}", file=sys.stderr)
        for folder, names in self.stored.items():
            sets = ", ".join(dict.fromkeys(names))
            print(f"reading images from the cached set in {folder} ({sets})")
