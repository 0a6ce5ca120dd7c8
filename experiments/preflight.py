"""Everything that can be checked before hours of training: data, subsets, weights, device, batch."""

from collections.abc import Sequence

from encoder_ablations.data.loading import micro_batch
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.experiments.execution import Execution
from encoder_ablations.experiments.run import build_model, prepare_data
from encoder_ablations.experiments.run_spec import RunSpec


def check_before_start(specs: Sequence[RunSpec], execution: Execution) -> None:
    """Prepares every distinct dataset subset and builds every distinct model once.

    Raises:
        InputError: the first thing that would have stopped a run.
    """
    accelerator = make_accelerator(execution.device)
    for spec in specs:
        micro_batch(spec.recipe.batch_size, spec.recipe.accumulation, accelerator.num_processes)
    for spec in _distinct(specs, ("dataset", "fraction")):
        prepare_data(spec)
    for spec in _distinct(specs, ("encoder", "segmenter", "dataset")):
        build_model(spec)


def _distinct(specs: Sequence[RunSpec], fields: tuple[str, ...]) -> list[RunSpec]:
    """The first spec for every combination of these fields."""
    found: dict[str, RunSpec] = {}
    for spec in specs:
        found.setdefault(spec.model_dump_json(include=set(fields)), spec)
    return list(found.values())
