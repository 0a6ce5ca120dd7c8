"""How runs are computed on which device."""

import os

import pytest

from encoder_ablations.experiments.runs.execution import Execution


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: range(16))


@pytest.mark.parametrize(("gpus", "loaders"), [(1, 8), (2, 7), (4, 3), (16, 0), (32, 0)])
def test_a_gpu_gets_its_share_of_the_cores_for_loading(gpus, loaders):
    assert Execution().on("cuda", gpus).loaders == loaders


def test_the_number_that_was_asked_for_is_taken():
    assert Execution(workers=0).on("cuda", 1).loaders == 0
    assert Execution(workers=3).on("cpu").loaders == 3


def test_the_cpu_loads_by_itself_and_predicts_one_image_at_a_time():
    on_cpu = Execution().on("cpu")
    assert on_cpu.loaders == 0
    assert on_cpu.evaluation_batch == 1
    assert Execution(evaluation_batch=3).on("cuda").evaluation_batch == 3
