"""Rule 22: two processes train as one. The same losses and, but for the order of sums, the same
weights and counts."""

import json
from pathlib import Path

import pytest
import torch
from image_classes import write_folders
from image_labels import write_both_labels
from launching import launch

PROGRAM = Path(__file__).parent.parent / "helpers" / "distributed_training.py"
BATCH_NORMS = {
    "head": {"encoder": "vit", "head": "linear", "steps": 1},
    "body": {"encoder": "darknet", "head": "plain", "steps": 1},
    "head on a frozen body": {"encoder": "frozen darknet", "head": "linear", "steps": 1},
    "whole images": {"encoder": "darknet", "head": "classifier", "steps": 1},
}
# name -> options, see tests/helpers/distributed_training.py; "folder" where it is not the name
MIXUP = {"head": "linear", "mix": {"kind": "mixup", "probability": 0.7, "alpha": 1}}
WITH_ONE = {
    "plain": {},
    "cutmix": {"mix": {"kind": "cutmix"}},
    "mixup": MIXUP,
    "views": {"views": 2},
    "1 image": {"steps": 1, "val": 1},
    "3 images": {"steps": 1, "val": 3},
    "adapters": {"encoder": "adapters"},
    "image classes": {"head": "image head"},
}
WITH_TWO = {
    "plain": {"accumulation": 2},
    "cutmix": {"mix": {"kind": "cutmix"}, "accumulation": 2},
    "mixup": MIXUP,
    "views": {"views": 2, "accumulation": 2, "store": "store"},
    "1 image": {"steps": 1, "val": 1},
    "3 images": {"steps": 1, "val": 3},
    "adapters": {"encoder": "adapters"},
    "image classes": {"head": "image head", "accumulation": 2},
    "the first's clock": {"save_seconds": [0, 1e9]},
    "the second's clock": {"save_seconds": [1e9, 0]},
    "undisturbed": {"evaluate_every": 4},
    "stopped by the first": {"evaluate_every": 4, "interrupt": [0, 1]},
    "stopped by the second": {
        "evaluate_every": 4,
        "interrupt": [1, 2],
        "folder": "stopped by the first",
    },
    "resumed": {"evaluate_every": 4, "folder": "stopped by the first"},
}


class Runs:
    """Many runs by one launch, for it is the launch that takes long."""

    def __init__(self, folder, terrain, device="cpu"):
        self.folder = folder
        self.terrain = terrain.model_dump(mode="json")
        self.colors = write_folders(folder / "colors").model_dump(mode="json")
        self.both = write_both_labels(folder / "both").model_dump(mode="json")
        self.device = device

    def train(self, processes, runs):
        """Name -> what each process noted; the first one's "last" is the last checkpoint."""
        jobs = []
        for name, given in runs.items():
            place = self.folder / str(processes) / given.get("folder", name)
            place.mkdir(parents=True, exist_ok=True)
            store = {"store": str(self.folder / given["store"])} if "store" in given else {}
            common = {"name": name, "terrain": self.terrain, "device": self.device}
            if given.get("head") == "classifier":
                common["terrain"] = self.colors
            if given.get("head") == "image head":
                common["terrain"] = self.both
            jobs.append(common | given | {"folder": str(place)} | store)
        code, output = launch(PROGRAM, json.dumps(jobs), processes=processes, seconds=240)
        assert code == 0, output[-3000:]
        return {
            job["name"]: [
                torch.load(Path(job["folder"]) / f"{job['name']}-{rank}.pt", weights_only=True)
                for rank in range(processes)
            ]
            for job in jobs
        }


@pytest.fixture(scope="module")
def runs(tmp_path_factory, terrain):
    return Runs(tmp_path_factory.mktemp("runs"), terrain)


@pytest.fixture(scope="module")
def one(runs):
    return runs.train(1, WITH_ONE | BATCH_NORMS)


@pytest.fixture(scope="module")
def two(runs):
    return runs.train(2, WITH_TWO | BATCH_NORMS)


@pytest.mark.parametrize("name", WITH_ONE)
def test_two_processes_equal_one(one, two, name):
    """With accumulation, with cached features, and with validation images that cannot be shared
    evenly."""
    first, second = one[name][0]["last"], two[name][0]["last"]
    losses = [torch.tensor(run["progress"]["loss"]) for run in (first, second)]
    assert torch.allclose(losses[0], losses[1], atol=1e-5)
    assert first["progress"]["val_steps"] == second["progress"]["val_steps"]
    scores = [torch.tensor(run["progress"]["val_score"]) for run in (first, second)]
    assert torch.allclose(scores[0], scores[1], atol=1e-3)
    for parameter, value in first["model"].items():
        assert torch.allclose(value, second["model"][parameter], atol=1e-4), parameter


def test_two_processes_share_a_store_of_features(two, runs):
    assert two["views"]
    assert (
        len(list((runs.folder / "store").rglob("*.safetensors"))) == 16 + 5
    )  # two views of 8 images, 5 to evaluate


def test_the_first_process_decides_when_to_save(two):
    """By their own clocks one would save, and wait for the other, which computes the next step and
    waits, too."""
    assert [each["saved"] for each in two["the first's clock"]] == [[1, 2, 3, 4]] * 2
    assert [each["saved"] for each in two["the second's clock"]] == [[2, 4]] * 2


def test_ctrl_c_in_one_process_stops_all_after_the_same_saved_step(two):
    assert [each["stopped"] for each in two["stopped by the first"]] == [2, 2]
    assert [each["stopped"] for each in two["stopped by the second"]] == [3, 3]
    whole, resumed = (two[name][0]["last"] for name in ("undisturbed", "resumed"))
    assert resumed["progress"]["loss"] == whole["progress"]["loss"]
    for name, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][name]), name


def check_batch_norm(alone, together):
    """Loss, gradients and running statistics, as noted by one process and by two."""
    loss, shared_loss = (run[0]["last"]["progress"]["loss"][0] for run in (alone, together))
    assert shared_loss == pytest.approx(loss, rel=1e-5)
    expected, *found = (
        torch.cat([each.flatten() for each in run["gradients"].values()])
        for run in alone + together
    )
    for gradient in found:
        assert (expected - gradient).norm() < 1e-3 * expected.norm()
    statistics = alone[0]["statistics"]
    assert any(name.endswith("running_mean") for name in statistics)
    for name, value in statistics.items():
        assert torch.allclose(value, together[1]["statistics"][name], rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("name", BATCH_NORMS)
def test_batch_norm_has_the_statistics_of_the_whole_batch(one, two, name):
    check_batch_norm(one[name], two[name])


@pytest.mark.parametrize("name", BATCH_NORMS)
def test_running_statistics_are_the_same_in_all_processes(two, name):
    first, second = (each["buffers"] for each in two[name])
    assert len(first) == len(second) == 2  # before the evaluation, and as the step is saved
    for ours, theirs in zip(first, second, strict=True):
        assert all(torch.equal(value, theirs[buffer]) for buffer, value in ours.items())


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_equal_one_and_save_together(tmp_path, terrain):
    runs = Runs(tmp_path, terrain, "cuda")
    alone = runs.train(1, BATCH_NORMS)
    together = runs.train(2, BATCH_NORMS | {"the first's clock": {"save_seconds": [0, 1e9]}})
    for name in BATCH_NORMS:
        check_batch_norm(alone[name], together[name])
    assert [each["saved"] for each in together["the first's clock"]] == [[1, 2, 3, 4]] * 2
