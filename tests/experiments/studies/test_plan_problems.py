"""A dry run refuses what a run would refuse, before it prints a plan."""

import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.plan_problems import impossible_settings

SMALL = {"name": "darknet_tiny", "weights": "random", "channels": 32}
WEIGHTED = {
    "name": "linear",
    "loss": {"cross_entropy": {"class_weights": {"creter": 2.0}}},
}


@pytest.fixture
def spec_of(terrain):
    def make(segmenter="linear", **encoder):
        if isinstance(segmenter, str):
            segmenter = {"name": segmenter}
        return RunSpec(encoder=SMALL | encoder, segmenter=segmenter, dataset=terrain)

    return make


def test_what_no_model_is_needed_for(spec_of):
    good, deep, unknown = spec_of(freeze=5), spec_of(freeze=99), spec_of(WEIGHTED)
    found = impossible_settings([good, deep, unknown])
    assert found.keys() == {deep.run_id, unknown.run_id}
    assert "99 blocks asked for" in found[deep.run_id]
    assert "'creter'" in found[unknown.run_id]
    assert "'crater'" in found[unknown.run_id]


def test_weights_that_timm_does_not_have(spec_of):
    """Vision transformers outside of the table are not built by a dry run."""
    good = spec_of(name="vit_tiny_patch16_224.augreg_in21k")
    wrong = spec_of(name="vit_tiny_patch16_224.bogus")
    found = impossible_settings([good, wrong])
    assert found.keys() == {wrong.run_id}
    assert "augreg_in21k" in found[wrong.run_id]


def test_a_plan_of_which_nothing_can_start_is_refused_without_a_table(studies, capsys):
    studies.write(encoders=[SMALL | {"freeze": 99}])
    assert main(["run", "tiny.yaml", "--dry-run"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "99 blocks asked for" in shown.err


def test_a_plan_of_which_a_part_can_start_is_shown(studies, capsys):
    studies.write(encoders=[SMALL | {"label": "good"}, SMALL | {"freeze": 99, "label": "deep"}])
    assert main(["run", "tiny.yaml", "--dry-run"]) == 2
    shown = capsys.readouterr()
    assert "2 not begun" in shown.out
    assert "not started (1 run): freeze: 99" in shown.err
