"""A run with adapters: its record, its cost as trained and merged, and its best weights."""

import pytest

from encoder_ablations.experiments.runs import run
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.transfer.evaluation import evaluate_checkpoint

LORA = {"rank": 2, "dropout": 0.1}
LAYERS = 6 * 2


def spec_of(terrain, **encoder):
    return RunSpec(
        encoder={"name": "test_vit", "weights": "random", "channels": 32} | encoder,
        segmenter={"name": "linear"},
        dataset=terrain,
        recipe={
            "steps": 2,
            "batch_size": 2,
            "evaluate_every": 2,
            "augmentation": {"crop": [64, 64]},
        },
    )


@pytest.fixture(scope="module")
def runs(terrain, tmp_path_factory):
    """Name -> specification, folder and record."""
    folder = tmp_path_factory.mktemp("runs")
    specs = {
        "frozen": spec_of(terrain, freeze="body"),
        "trained": spec_of(terrain, adapt={"lora": LORA}),
        "merged": spec_of(terrain, adapt={"lora": LORA | {"merge": True}}),
    }
    found = {}
    for name, spec in specs.items():
        record = run.execute_run(spec, folder / spec.run_id, Execution("cpu"))
        assert record.status == "finished", record.error
        found[name] = (spec, folder / spec.run_id, record)
    return found


def test_cost_is_that_of_the_trained_form_or_of_the_merged_one(runs):
    frozen, trained, merged = (runs[name][2].cost for name in ("frozen", "trained", "merged"))
    assert trained.flops > frozen.flops == merged.flops
    own = runs["trained"][2].encoder["adapters"]["parameters"]
    for cost in (trained, merged):
        for kind in ("total", "trainable"):
            assert cost.parameters[kind] == frozen.parameters[kind] + own


def test_merging_changes_no_score(runs):
    trained, merged = (runs[name][2] for name in ("trained", "merged"))
    assert trained.confusion_matrix == merged.confusion_matrix
    assert trained.curves == merged.curves


def test_the_record_says_what_learned(runs):
    record = runs["trained"][2]
    assert record.encoder["adapters"]["layers"] == LAYERS
    assert any("LoRA" in text and str(LAYERS) in text for text in record.disclosures)
    assert not any("LoRA" in text for text in runs["frozen"][2].disclosures)


def test_frozen_and_adapted_runs_hold_the_body_once(runs):
    files = [next(folder.glob("checkpoints/body-*.pt")) for _, folder, _ in runs.values()]
    assert all(file.samefile(files[0]) for file in files)


def test_the_best_weights_are_evaluated_again(runs, terrain):
    spec, folder, record = runs["trained"]
    again = evaluate_checkpoint(folder, spec, terrain, "test", Execution("cpu"))
    assert again.evaluation.confusion.counts.tolist() == record.confusion_matrix
