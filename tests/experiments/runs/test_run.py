"""A run that fails is recorded, whatever the failure, and leaves the study's other runs alone."""

import subprocess
import zlib
from pathlib import Path

import pytest

from encoder_ablations.experiments.runs import run
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import CannotContinue

ERRORS = [zlib.error("invalid block"), subprocess.SubprocessError("no compiler"), OSError("gone")]


@pytest.fixture
def spec(terrain):
    encoder = {"name": "test_resnet", "weights": "random", "channels": 32}
    return RunSpec(encoder=encoder, segmenter={"name": "linear"}, dataset=terrain)


def test_long_names_make_a_run_id_that_a_file_system_holds(spec):
    """Also with the ending of a temporary file; what is left out still tells runs apart."""
    long = [
        spec.model_copy(
            update={
                "encoder": spec.encoder.model_copy(update={"label": "e" * 100}),
                "dataset": spec.dataset.model_copy(update={"name": "d" * 100}),
                "seed": seed,
            }
        )
        for seed in (0, 1)
    ]
    assert max(len(each.run_id) for each in long) <= 200
    assert len({each.run_id for each in long}) == 2


def failing_with(error):
    def fail(spec):
        raise error

    return fail


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_any_error_inside_is_recorded(spec, tmp_path, error):
    folder = tmp_path / spec.run_id
    record = run.execute_run(spec, folder, Execution("cpu"), prepare=failing_with(error))
    assert record.status == "failed"
    assert record.error.line == f"{type(error).__name__}: {error}"
    assert Path(__file__).name in record.error.traceback
    assert load_record(folder).error == record.error


def test_a_process_that_cannot_continue_records_no_failure(spec, tmp_path):
    """Another process of the run has failed, and says why."""
    prepare = failing_with(CannotContinue("no contact"))
    folder = tmp_path / spec.run_id
    with pytest.raises(CannotContinue, match="no contact"):
        run.execute_run(spec, folder, Execution("cpu"), prepare=prepare)
    assert not (folder / "record.json").exists()
