"""A run with a random frozen body estimates its BatchNorm statistics on its own images, once."""

import pytest
import torch

from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.engine.training.statistic_images import chosen_images
from encoder_ablations.experiments.runs import run
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.transfer.evaluation import evaluate_checkpoint

STEPS = 4


@pytest.fixture
def spec(terrain):
    return RunSpec(
        encoder={
            "name": "test_resnet",
            "weights": "random",
            "neck": "none",
            "freeze": "body",
        },
        segmenter={"name": "linear"},
        dataset=terrain,
        recipe={
            "steps": STEPS,
            "batch_size": 2,
            "evaluate_every": 2,
            "augmentation": {"crop": [64, 64], "views": 2},
        },
    )


def execute(spec, folder, advance=lambda step, status: None, **execution):
    record = run.execute_run(spec, folder / spec.run_id, Execution("cpu", **execution), advance)
    assert record.status == "finished", record.error
    return record, weights(spec, folder)


def weights(spec, folder, name="best.pt"):
    return load_checkpoint(folder / spec.run_id / "checkpoints" / name)["model"]


def of_body(state):
    return {
        name: value
        for name, value in state.items()
        if name.startswith("encoder.body.") and "running" in name
    }


def differ(first, second):
    return [name for name in first if not torch.equal(first[name], second[name])]


def test_statistics_are_of_the_runs_own_images_and_share_no_features(spec, tmp_path):
    cache = {"feature_cache_gb": 0.5, "feature_cache": tmp_path / "features"}
    record, whole = execute(spec, tmp_path, **cache)
    again, same = execute(spec, tmp_path / "again")
    half = spec.model_copy(update={"fraction": 0.5})
    halved, other = execute(half, tmp_path, **cache)
    # nothing that the first run kept may be read for the second
    fresh, _ = execute(half, tmp_path / "fresh", **cache | {"feature_cache": tmp_path / "empty"})
    assert halved.environment["feature_cache"] == fresh.environment["feature_cache"]
    alone, uncached = execute(half, tmp_path / "alone")
    assert alone.confusion_matrix == halved.confusion_matrix
    assert not differ(other, uncached)
    assert not differ(whole, same)
    assert again.confusion_matrix == record.confusion_matrix
    initial = of_body(build_model(spec).state_dict())
    assert differ(of_body(whole), initial) == list(initial)
    assert differ(of_body(whole), of_body(other)) == list(initial)
    assert record.encoder["batch_norm"] == "estimate"
    assert (record.encoder["batch_norm_images"], halved.encoder["batch_norm_images"]) == (24, 12)
    assert [text for text in record.disclosures if "BatchNorm" in text]
    result = evaluate_checkpoint(
        tmp_path / spec.run_id, spec, spec.dataset, "test", Execution("cpu")
    )
    assert result.evaluation.confusion.counts.tolist() == record.confusion_matrix


def test_kept_statistics_are_the_initial_ones(spec, tmp_path):
    kept = spec.encoder.model_copy(update={"batch_norm": "keep"})
    spec = spec.model_copy(update={"encoder": kept})
    record, state = execute(spec, tmp_path)
    initial = of_body(build_model(spec).state_dict())
    assert not differ(of_body(state), initial)
    assert record.encoder["batch_norm"] == "keep"
    assert [text for text in record.disclosures if "variance 1" in text]


def test_a_resumed_run_goes_on_with_its_statistics(spec, tmp_path, monkeypatch):
    _, whole = execute(spec, tmp_path / "whole")

    def stop(step, _status):
        if step == 3:  # the last checkpoint is of step 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(spec, tmp_path / "parts", stop)
    monkeypatch.setattr(run, "prepare_statistics", lambda *_: pytest.fail("estimated again"))
    _, resumed = execute(spec, tmp_path / "parts")
    assert not differ(whole, resumed)


def test_images_are_drawn_by_the_seed_from_the_runs_own():
    own = list(range(100, 300))
    chosen = chosen_images(own, 0)
    assert len(set(chosen)) == 64
    assert set(chosen) <= set(own)
    assert chosen == chosen_images(own, 0) != chosen_images(own, 1)
    assert sorted(chosen_images(own[:5], 0)) == own[:5]
