"""How long is left, from what was measured, and where nothing was; what ``ablate status`` makes of it."""

from types import SimpleNamespace

import pytest

from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.experiments.estimate import measured_speeds, seconds_left
from encoder_ablations.experiments.plan_table import training_left
from encoder_ablations.experiments.progress import RunProgress
from encoder_ablations.experiments.run_spec import RunSpec
from encoder_ablations.experiments.study import PlannedRun
from encoder_ablations.segmenters.spec import LinearSpec
from encoder_ablations.utils.files import write_json


@pytest.fixture
def make(tmp_path):
    def make(encoder="a", seed=0, steps=100, seconds=None, **recipe):
        spec = RunSpec(
            encoder=EncoderSpec(name=encoder),
            segmenter=LinearSpec(name="linear"),
            dataset=DatasetSpec(name="d", root="d", classes=("x",), splits={"train": "train", "val": "val"}),
            seed=seed,
            recipe=Recipe(steps=steps, **recipe),
        )
        cost = SimpleNamespace(train_seconds=seconds)
        record = None if seconds is None else SimpleNamespace(status="finished", cost=cost, error=None)
        return PlannedRun(spec, tmp_path / "runs" / spec.run_id, record)

    return make


def test_time_left_is_steps_times_the_measured_seconds_per_step(make):
    finished = [make(seed=0, seconds=200.0), make(seed=1, seconds=220.0), make(seed=2, steps=50, seconds=500.0)]
    speeds = measured_speeds([*finished, make(seed=3)])
    assert seconds_left(make(seed=4, steps=1000), speeds) == pytest.approx(2200.0), "the median, not the slow one's"
    assert seconds_left(make("b"), speeds) is None
    assert seconds_left(make(seed=4, batch_size=32), speeds) is None, "another batch takes another time"


def test_an_interrupted_run_needs_only_the_rest(make):
    run = make(seed=1)
    (run.folder / "checkpoints").mkdir(parents=True)
    (run.folder / "checkpoints" / "last.pt").touch()
    progress = RunProgress(step=75, steps=100, seconds_per_step=None, status="")
    write_json(run.folder / "progress.json", progress.model_dump())
    assert seconds_left(run, measured_speeds([make(seconds=200.0)])) == pytest.approx(50.0)


def test_what_is_unknown_is_said_to_be(make):
    speeds = measured_speeds([make(seconds=600.0)])
    assert training_left([make("b")], speeds) == "time unknown: no run like it has finished yet"
    text = training_left([make(seed=1), make("b")], speeds)
    assert text.startswith(
        "about 10 min of training one after the other, and unknown for 1 run (nothing like it has finished) (by"
    )
