"""Runs of the few-shot head: one per seed and fraction, without steps, and resumable."""

import pytest
from toy_colors import ENCODER

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs import run as runs
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.model import load_best
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.segmenters.heads.few_shot import FewShotHead

METHODS = [{"name": "few_shot"}, {"name": "few_shot", "method": "knn", "memory": 64}]


def test_colours_are_learnt_from_two_images(write_study, tmp_path):
    path = write_study(segmenters=METHODS, fractions=[0.34, 1])
    specs = plan(load_study_spec(path))
    assert len(specs) == 8
    for spec in specs[:1] + specs[-1:]:
        record = runs.execute_run(spec, tmp_path / "runs" / spec.run_id, Execution("cpu"))
        assert record.metrics.miou == 1
        assert record.data.n_train == round(spec.fraction * 6)
        assert record.convergence is None


class Killed(BaseException):
    """As if the process was killed."""


@pytest.mark.parametrize("settings", METHODS)
def test_a_run_that_was_killed_before_its_evaluation_goes_on(
    write_study, tmp_path, monkeypatch, settings
):
    (spec,) = plan(load_study_spec(write_study(segmenters=[settings], seeds=[3])))
    folder = tmp_path / "runs" / spec.run_id

    def kill(*args, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runs, "evaluate", kill)
        with pytest.raises(Killed):
            runs.execute_run(spec, folder, Execution("cpu"))
    before = load_best(folder, spec, None)[0].state_dict()
    # the images are not read a second time
    monkeypatch.setattr(FewShotHead, "fit", kill)
    record = runs.execute_run(spec, folder, Execution("cpu"))
    assert record.metrics.miou == 1
    after = load_best(folder, spec, None)[0].state_dict()
    assert all((before[name] == after[name]).all() for name in before)


def test_report_of_few_shot_runs(write_study, capsys):
    encoders = [ENCODER, ENCODER | {"label": "twin"}]
    path = write_study(segmenters=METHODS[:1], encoders=encoders)
    assert main(["run", path, "--device", "cpu"]) == 0
    assert "few_shot prototype" in capsys.readouterr().out
