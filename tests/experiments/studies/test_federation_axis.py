"""The axis ``federation`` of a study."""

import pytest
import yaml

from encoder_ablations.experiments.studies.saved_study import (
    read_study,
    resolve_study,
    save_study,
    study_changes,
)
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.utils.errors import InputError

DATASET = {
    "root": "somewhere",
    "name": "moon",
    "classes": ["rock", "sand"],
    "splits": {"train": "train", "val": "val"},
}
STUDY = {
    "name": "axis",
    "encoders": [{"name": "vit_ti16", "label": "vit"}],
    "segmenters": ["linear"],
    "datasets": [DATASET],
    "seeds": [0, 1],
    "recipe": {"steps": 10, "evaluate_every": 10},
}
FEDAVG = {"clients": 3, "partition": "scenes", "rounds": 5}
ALONE = {"clients": 3, "partition": "scenes", "algorithm": "local"}


@pytest.fixture
def load(tmp_path):
    def load(**changes):
        path = tmp_path / "axis.yaml"
        path.write_text(yaml.safe_dump(STUDY | changes))
        return load_study_spec(str(path))

    return load


def test_each_client_alone_is_a_run(load):
    runs = plan(load(federation=[None, FEDAVG, ALONE]))
    assert len({run.run_id for run in runs}) == len(runs) == 2 * (1 + 1 + 3)
    alone = [run.federation.alone for run in runs if run.federation and run.federation.is_local]
    assert alone == [0, 1, 2] * 2
    titles = [run.federation.title for run in runs if run.federation]
    assert titles[:2] == ["fedavg 3 clients scenes 5 rounds", "local 3 clients scenes client 0"]
    assert "fedavg-3-clients-scenes-5-rounds" in runs[1].run_id


def test_central_runs_keep_their_ids(load):
    plain = {run.run_id for run in plan(load())}
    assert plain < {run.run_id for run in plan(load(federation=[None, FEDAVG]))}


def test_a_saved_study_means_the_same_runs(load, tmp_path):
    study = load(federation=[None, FEDAVG, ALONE])
    save_study(study, tmp_path)
    again = read_study(tmp_path)
    assert [run.run_id for run in plan(again)] == [run.run_id for run in plan(study)]
    turned = load(federation=[ALONE, None, FEDAVG])
    assert study_changes(again, resolve_study(turned)) == []
    assert study_changes(again, resolve_study(load(federation=[None, FEDAVG])))


def test_runs_are_chosen_by_their_federation(load):
    runs = plan(load(federation=[None, FEDAVG], include=[{"federation": "central"}]))
    assert [run.federation for run in runs] == [None, None]
    with pytest.raises(InputError, match="fedavg 3 clients scenes 5 rounds"):
        plan(load(federation=[None, FEDAVG], exclude=[{"federation": "fedavg"}]))


@pytest.mark.parametrize(
    ("federation", "words"),
    [
        ([FEDAVG, FEDAVG], "lists 'fedavg 3 clients.*twice"),
        ([{**FEDAVG, "rounds": 3}], "3 rounds of 3 local_steps.*10"),
        ([{**FEDAVG, "partition": "random"}], "partition"),
        ([{**FEDAVG, "algoritm": "fedavg"}], "algoritm.*algorithm"),
        ([], "federation"),
    ],
    ids=str,
)
def test_impossible_axes(load, federation, words):
    with pytest.raises(InputError, match=words) as error:
        plan(load(federation=federation))
    assert "\n" not in str(error.value)
