"""Runs on GPUs: without one, by what PyTorch is told and by its own code for GPUs; the rest where
there is one."""

import json
import subprocess
import sys

import pytest
import torch

from encoder_ablations.engine.training.state import Progress
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs import run as runs
from encoder_ablations.experiments.runs.disclosures import disclosures
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.runs.record_parts import DataRecord
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.arithmetic import float32_products

FORMER = {
    "base": "mask2former_small",
    "queries": 5,
    "hidden": 32,
    "heads": 4,
    "encoder_layers": 1,
    "decoder_layers": 1,
}
VIT = {"name": "vit_tiny_patch16_224", "weights": "random", "channels": 32, "label": "vit"}
IEEE = {"matrix_products": "ieee", "convolutions": "ieee"}
SAME = ("metrics", "confusion_matrix", "curves", "convergence", "data")
needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def specs_of(studies, *overrides, **changes):
    return plan(load_study_spec(studies.write(**{"encoders": [VIT]} | changes), list(overrides)))


def finished(folder):
    """The records of a study; all must be there without an error."""
    records = [load_record(path.parent) for path in sorted(folder.glob("runs/*/record.json"))]
    assert [record.error for record in records] == [None] * len(records)
    return records


def noting(products, method):
    """The method, which also notes how a GPU would multiply."""

    def noted(*args):
        products.add(tuple(float32_products("cuda").values()))
        return method(*args)

    return noted


def test_a_study_ends_finished_with_the_deterministic_interpolation_of_gpus(
    studies, tmp_path, interpolated_as_on_gpus
):
    """It cannot be traced for counting FLOPs, so every run failed after its training."""
    study = studies.write(encoders=[VIT], segmenters=["linear", FORMER], steps=2)
    assert main(["run", study, "--device", "cpu", "--output", "out"]) == 0
    records = finished(tmp_path / "out")
    assert [record.status for record in records] == ["finished"] * 2
    assert all(record.cost.flops > 0 for record in records)
    assert True in interpolated_as_on_gpus  # in training


def test_tf32_is_for_training_alone_and_does_not_outlive_the_run(studies, tmp_path, monkeypatch):
    """What a GPU would be told; the record of a run on the CPU says what the CPU did."""
    seen = {"loss": set(), "predict": set()}
    for name, products in seen.items():
        monkeypatch.setattr(Segmenter, name, noting(products, getattr(Segmenter, name)))
    (spec,) = specs_of(studies, "recipe.precision=tf32", steps=2)
    before = float32_products("cuda"), torch.are_deterministic_algorithms_enabled()
    record = execute_run(spec, tmp_path / "run", Execution("cpu"))
    assert record.status == "finished", record.error
    assert seen == {"loss": {("tf32", "tf32")}, "predict": {("ieee", "ieee")}}
    assert (float32_products("cuda"), torch.are_deterministic_algorithms_enabled()) == before
    assert record.environment["float32"] == IEEE
    assert record.environment["deterministic_kernels"]
    assert [text for text in record.disclosures if "TF32" in text and "CPU" in text]


def test_fp32_is_true_float32(studies, tmp_path, monkeypatch):
    """PyTorch's default, TF32 in convolutions alone, is neither of our two settings."""
    seen = set()
    monkeypatch.setattr(Segmenter, "loss", noting(seen, Segmenter.loss))
    (spec,) = specs_of(studies, steps=2)
    assert execute_run(spec, tmp_path / "run", Execution("cpu")).status == "finished"
    assert seen == {("ieee", "ieee")}


def test_the_cpu_gives_the_same_bits_whatever_gpus_are_told(studies, tmp_path):
    found = []
    for precision, deterministic in (("fp32", False), ("tf32", False), ("fp32", True)):
        (spec,) = specs_of(studies, f"recipe.precision={precision}")
        execution = Execution("cpu", deterministic=deterministic)
        record = execute_run(spec, tmp_path / spec.run_id / str(deterministic), execution)
        found.append({key: getattr(record, key) for key in SAME})
    assert found[0] == found[1] == found[2]


def test_a_failed_run_leaves_pytorch_as_it_was(studies, tmp_path):
    def fail(*_args):
        raise RuntimeError("out of memory")

    (spec,) = specs_of(studies, "recipe.precision=tf32")
    before = float32_products("cuda"), torch.are_deterministic_algorithms_enabled()
    record = execute_run(spec, tmp_path / "run", Execution("cpu"), prepare=fail)
    assert record.status == "failed"
    assert record.environment["deterministic_kernels"]
    assert (float32_products("cuda"), torch.are_deterministic_algorithms_enabled()) == before


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_command_line_asks_for_deterministic_kernels(studies, monkeypatch, deterministic):
    asked = []
    monkeypatch.setattr(
        runs, "computing", lambda device, precision, wanted: asked.append(wanted) or 1 / 0
    )
    study = studies.write(encoders=[VIT])
    with pytest.raises(ZeroDivisionError):
        main(
            [
                "run",
                study,
                "--device",
                "cpu",
                "--output",
                "out",
                *["--deterministic"] * deterministic,
            ]
        )
    assert asked == [deterministic]


def disclosed(spec, device, deterministic):
    known = {"report_split": "test", "class_names": [], "class_pixels": [], "n_train": 4}
    data = DataRecord.model_construct(**known)
    environment = {"deterministic_kernels": deterministic}
    return " ".join(
        disclosures(spec, data, torch.device(device), Progress(step=1), (), environment)
    )


def test_what_a_run_on_a_gpu_discloses(studies):
    (fp32,), (tf32,) = specs_of(studies), specs_of(studies, "recipe.precision=tf32")
    assert "without deterministic kernels" in disclosed(fp32, "cuda", False)
    assert "with deterministic kernels" in disclosed(fp32, "cuda", True)
    assert "deterministic" not in disclosed(fp32, "cpu", True)
    assert "TF32" not in disclosed(fp32, "cuda", True)
    assert "Trained with TF32" in disclosed(tf32, "cuda", False)
    assert "CPU does not have" in disclosed(tf32, "cpu", True)


def on_gpu(studies, folder, *options, **changes):
    """The records of a study, computed in a process of its own: cuBLAS reads its settings once."""
    study = studies.write(**{"encoders": [VIT], "segmenters": ["linear", FORMER]} | changes)
    process = studies.start("run", study, "--device", "cuda", "--output", folder, *options)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return finished(folder)


@pytest.mark.gpu
@needs_a_gpu
@pytest.mark.parametrize("options", [[], ["--deterministic"]], ids=["fastest", "deterministic"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_runs_on_a_gpu_finish(studies, tmp_path, precision, options):
    records = on_gpu(studies, tmp_path / "out", *options, f"recipe.precision={precision}")
    assert len(records) == 2
    for record in records:
        assert record.cost.flops > 0
        assert all(latency.median > 0 for latency in record.cost.latency_ms)
        assert (
            2**20 < record.cost.peak_memory_bytes < torch.cuda.get_device_properties(0).total_memory
        )
        assert record.environment["gpu"] == torch.cuda.get_device_name(0)
        assert record.environment["deterministic_kernels"] == bool(options)
        assert set(record.environment["float32"].values()) == {
            "tf32" if precision == "tf32" else "ieee"
        }


@pytest.mark.gpu
@needs_a_gpu
def test_deterministic_kernels_repeat_the_linear_head_bit_by_bit(studies, tmp_path):
    """Mask2Former reads its maps by grid_sample, whose gradient has no deterministic kernel."""
    first, again = (
        on_gpu(studies, tmp_path / name, "--deterministic", segmenters=["linear"], steps=20)[0]
        for name in ("first", "again")
    )
    assert first.confusion_matrix == again.confusion_matrix
    assert first.curves.val_score == again.curves.val_score  # the loss itself is a sum in any order


@pytest.mark.gpu
@needs_a_gpu
def test_the_checkpoint_of_a_gpu_scores_the_same_on_the_cpu(studies, tmp_path):
    record, *_ = on_gpu(studies, tmp_path / "out", segmenters=["linear"], steps=20)
    folder, target = tmp_path / "out" / "runs" / record.run_id, tmp_path / "cpu.json"
    command = [
        sys.executable,
        "-m",
        "encoder_ablations.experiments.cli",
        "evaluate",
        folder,
        "--device",
        "cpu",
    ]
    subprocess.run([*map(str, command), "--json", str(target)], check=True)
    there = json.loads(target.read_text())["metrics"]["pixel_accuracy"]
    assert record.metrics.pixel_accuracy == pytest.approx(there, abs=1e-3)
