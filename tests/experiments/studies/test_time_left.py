"""How long is left, from what was measured, and where nothing was; what ``ablate status`` makes of
it."""

from types import SimpleNamespace

import pytest

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.commands.status import describe
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.plan_table import Standing, training_left
from encoder_ablations.experiments.studies.time_left import measured_speeds, seconds_left
from encoder_ablations.experiments.workers.locks import holding
from encoder_ablations.experiments.workers.progress import ProgressFile, RunProgress
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.utils.files import write_json


@pytest.fixture
def make(tmp_path):
    def make(encoder="a", seed=0, steps=100, seconds=None, ended=None, **recipe):
        spec = RunSpec(
            encoder=EncoderSpec(name=encoder),
            segmenter=LinearSpec(name="linear"),
            dataset=DatasetSpec(
                name="d", root="d", classes=("x",), splits={"train": "train", "val": "val"}
            ),
            seed=seed,
            recipe=Recipe(steps=steps, **recipe),
        )
        cost = SimpleNamespace(train_seconds=seconds)
        taken = SimpleNamespace(steps=steps if ended is None else ended)
        record = SimpleNamespace(status="finished", cost=cost, convergence=taken, error=None)
        if seconds is None:
            record = None
        return PlannedRun(spec, tmp_path / "runs" / spec.run_id, record)

    return make


def test_time_left_is_steps_times_the_measured_seconds_per_step(make):
    finished = [
        make(seed=0, seconds=200.0),
        make(seed=1, seconds=220.0),
        make(seed=2, steps=50, seconds=500.0),
    ]
    speeds = measured_speeds([*finished, make(seed=3)])
    assert seconds_left(make(seed=4, steps=1000), speeds) == pytest.approx(2200.0), (
        "the median, not the slow one's"
    )
    assert seconds_left(make("b"), speeds) is None
    assert seconds_left(make(seed=4, batch_size=32), speeds) is None, (
        "another batch takes another time"
    )


def test_a_step_of_several_clients_takes_longer_than_one_of_a_client_alone(make):
    def with_clients(run, **settings):
        federation = FederationSpec(clients=2, **settings)
        spec = run.spec.model_copy(update={"federation": federation})
        return PlannedRun(spec, run.folder, run.record)

    alone = {"algorithm": {"kind": "local", "client": 1}}
    central = measured_speeds([make(seed=0, seconds=200.0)])
    assert seconds_left(with_clients(make(seed=1), **alone), central) == pytest.approx(200.0)
    assert seconds_left(with_clients(make(seed=1), rounds=5), central) is None
    federated = measured_speeds([with_clients(make(seed=0, seconds=400.0), rounds=5)])
    assert seconds_left(with_clients(make(seed=1), rounds=5), federated) == pytest.approx(400.0)


def test_a_training_that_ended_early_took_fewer_steps(make):
    speeds = measured_speeds([make(seed=0, seconds=50.0, ended=25)])
    assert seconds_left(make(seed=1), speeds) == pytest.approx(200.0)


def test_an_interrupted_run_needs_only_the_rest(make):
    run = make(seed=1)
    (run.folder / "checkpoints").mkdir(parents=True)
    (run.folder / "checkpoints" / "last.pt").touch()
    progress = RunProgress(
        run_id=run.spec.run_id, step=75, steps=100, seconds_per_step=None, status=""
    )
    write_json(run.folder / "progress.json", progress.model_dump())
    assert seconds_left(run, measured_speeds([make(seconds=200.0)])) == pytest.approx(50.0)


def test_what_is_unknown_is_said_to_be(make):
    speeds = measured_speeds([make(seconds=600.0)])
    assert training_left([make("b")], speeds) == "time unknown: no run like it has finished yet"
    text = training_left([make(seed=1), make("b")], speeds)
    assert text.startswith(
        "about 10 min of training one after the other, and unknown for 1 run (nothing like it has "
        "finished) (by"
    )


def test_status_speaks_of_one_and_of_many(make, tmp_path):
    runs = [make(seed=0), make(seed=1), make(seed=2)]
    runs[1].folder.mkdir(parents=True)
    (tmp_path / "runs/earlier").mkdir(parents=True, exist_ok=True)
    (tmp_path / "runs/earlier/record.json").write_text("{}")
    with holding(runs[1].folder, 1):
        assert describe("mine", tmp_path, Standing(runs)).splitlines()[-2:] == [
            "time left: unknown; nothing like 3 of the 3 runs has finished yet",
            "1 further run is in the folder, of earlier versions of the study or of other studies",
        ]
        text = describe("mine", tmp_path, Standing(runs[1:2]))
    assert "study mine: 1 run: 1 running" in text
    assert "time left: unknown; nothing like it has finished yet" in text
    assert (
        Standing(runs[:1])
        .estimate()
        .startswith("to do: 1 run, 100 steps; time unknown: no run like it has finished")
    )


def test_status_tells_running_from_waiting(make, tmp_path):
    """Two run at a time; the time left is that of all steps, shared by the two."""
    runs = [make(seed=0, seconds=100.0), make(seed=1), make(seed=2), make(seed=3)]
    for run, step in ((runs[1], 20), (runs[2], 40)):
        run.folder.mkdir(parents=True)
        progress = RunProgress(
            run_id=run.spec.run_id, step=step, steps=100, seconds_per_step=2.0, status="loss 0.5"
        )
        write_json(run.folder / "progress.json", progress.model_dump())
    with holding(runs[1].folder, 1), holding(runs[2].folder, 1):
        text = describe("mine", tmp_path, Standing(runs))
    assert "study mine: 4 runs: 1 finished, 2 running, 1 not begun" in text
    assert f"{runs[1].spec.run_id}: step 20 of 100, loss 0.5, about 2 min 40 s left" in text
    # (80 + 60) × 2 s under way and 100 × 1 s waiting, two at a time
    assert "time left: about 3 min 10 s with 2 runs at a time" in text
    text = describe("mine", tmp_path, Standing(runs))
    assert "1 finished, 3 not begun" in text
    assert "nobody computes it; about 5 min 00 s of training" in text


def test_writing_progress_takes_next_to_nothing(tmp_path):
    """A step costs far less than a hundredth of a millisecond when nothing is due."""
    import time

    file = ProgressFile(tmp_path, "run", 10**6)
    file(0, "")
    began = time.perf_counter()
    for step in range(1, 10_001):
        file(step, "loss 1.000")
    assert (time.perf_counter() - began) / 10_000 < 1e-4


def test_status_of_something_else(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["status", "empty"]) == 2
    assert "name a study's output folder" in capsys.readouterr().err
    assert main(["status", "outputs/gone"]) == 2
    assert "there is no folder outputs/gone" in capsys.readouterr().err
    assert main(["status", "demmo"]) == 2
    assert "Did you mean 'demo'?" in capsys.readouterr().err
    assert main(["status", "demo"]) == 0
    assert "18 runs: 18 not begun" in capsys.readouterr().out
