"""The run that a server and its clients are started with."""

from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.trained.config_file import load_config
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.utils.config import parse_overrides, read_yaml
from encoder_ablations.utils.errors import InputError

MOST_NAMED = 5


def chosen_run(reference: str, overrides: Sequence[str], data: Path | None) -> RunSpec:
    """Return the run of a YAML.

    Args:
        reference: the ``config.yaml`` of a run; or a study's YAML or name, of which one federated
            run must be left.
        overrides: ``key.sub=value``.
        data: the dataset's folder on this machine; None = that of the YAML.

    Raises:
        InputError: it cannot be read, or there are several runs, or none.
    """
    spec = _chosen(reference, overrides)
    if data is None:
        return spec
    if not data.is_dir():
        raise InputError(f"--data {data}: there is no such folder.")
    dataset = spec.dataset.model_copy(update={"root": str(data.absolute())})
    return spec.model_copy(update={"dataset": dataset})


def _chosen(reference: str, overrides: Sequence[str]) -> RunSpec:
    path = Path(reference)
    if path.is_file() and "encoder" in read_yaml(path):
        return load_config(path, parse_overrides(overrides))
    study = load_study_spec(reference, overrides)
    runs = [run for run in plan(study) if run.federation is not None]
    runs = [run for run in runs if run.federation and not run.federation.is_local]
    if len(runs) == 1:
        return runs[0]
    named = "; ".join(run.run_id for run in runs[:MOST_NAMED])
    raise InputError(
        f"study {study.name} has {len(runs)} federated runs ({named or 'none'}), and server and "
        "clients compute one. Choose it with key=value, such as seeds=[0] "
        "federation=[{clients: 2, rounds: 10}], or give the config.yaml of a run."
    )
