"""Training from Python: on any PyTorch dataset and on a dataset in a folder."""

import json

import pytest
import torch
from torch.utils.data import Dataset

import encoder_ablations as ea
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.model import load_best
from encoder_ablations.experiments.runs.run import execute_run

RECIPE = {
    "steps": 4,
    "batch_size": 2,
    "evaluate_every": 2,
    "augmentation": {"crop": [64, 64], "short_side": 48},
    "optimizer": {"lr": 0.001},
    "schedule": {"warmup_steps": 1},
}
CLASSES = ("background", "crater", "boulder")


class Own(Dataset):
    """A user's own dataset, which may fail at one of its readings."""

    def __init__(self, terrain, split, fails_at=None):
        self.folder = FolderDataset(terrain, split)
        self.fails_at = fails_at
        self.reads = 0

    def __len__(self):
        return len(self.folder)

    def __getitem__(self, index):
        self.reads += 1
        if self.reads == self.fails_at:
            raise RuntimeError("the disk is gone")
        sample = self.folder[index]
        image = torch.tensor(sample.image).permute(2, 0, 1)
        return image, torch.from_numpy(sample.mask)


def make_model(classes=CLASSES, seed=0, head="linear"):
    encoder = ea.create_encoder("darknet_tiny", weights="random", channels=32, seed=seed)
    return ea.create_segmenter(head, encoder, classes, seed=seed)


def same(one, other):
    own, others = one.state_dict(), other.state_dict()
    assert own.keys() == others.keys()
    return all(torch.equal(own[name], others[name]) for name in own)


@pytest.fixture(scope="module")
def trained(terrain, tmp_path_factory):
    """A model that was trained on a dataset of the user's own, and its folder."""
    folder = tmp_path_factory.mktemp("trained")
    model = make_model()
    train, val = Own(terrain, "train"), Own(terrain, "val")
    progress = ea.train(model, train, RECIPE, folder, val=val, device="cpu")
    return model, progress, folder


def test_a_model_learns_from_any_dataset(terrain, tmp_path):
    model = make_model()
    recipe = RECIPE | {"steps": 30, "batch_size": 4, "evaluate_every": 10}
    recipe |= {"optimizer": {"lr": 0.005, "encoder_lr_multiplier": 1.0}}
    train, val = Own(terrain, "train"), Own(terrain, "val")
    progress = ea.train(model, train, ea.Recipe.model_validate(recipe), tmp_path, val=val)
    assert sum(progress.loss[-5:]) < 0.8 * sum(progress.loss[:5])
    assert progress.best_score == max(progress.val_score)
    assert progress.val_steps == [10, 20, 30]
    assert not model.training
    image, _ = val[0]
    assert model(image[None]).shape == (1, 3, *image.shape[1:])


def test_the_bits_are_those_of_a_folder_and_of_a_run(trained, terrain, tmp_path):
    model, progress, _ = trained
    other = make_model()
    found = ea.train(other, terrain, RECIPE, tmp_path / "folder", device="cpu")
    assert same(model, other)
    assert found.loss == progress.loss
    assert found.val_score == progress.val_score
    spec = ea.RunSpec(
        encoder=ea.load_encoder("darknet_tiny", {"weights": "random", "channels": 32}),
        segmenter=ea.load_segmenter("linear"),
        dataset=terrain,
        recipe=ea.Recipe.model_validate(RECIPE),
        seed=0,
    )
    folder = tmp_path / spec.run_id
    record = execute_run(spec, folder, Execution("cpu"))
    assert record.curves.loss == progress.loss
    assert same(model, load_best(folder, spec, None)[0])


def test_an_interrupted_training_goes_on_with_the_same_bits(trained, terrain, tmp_path):
    model, progress, _ = trained
    val = Own(terrain, "val")
    # 24 readings check the images; the fifth afterwards begins the third step
    broken = Own(terrain, "train", fails_at=24 + 5)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        ea.train(make_model(), broken, RECIPE, tmp_path, val=val, device="cpu")
    assert (tmp_path / "checkpoints" / "last.pt").exists()
    again = make_model(seed=5)  # its weights are replaced by the checkpoint's
    found = ea.train(again, Own(terrain, "train"), RECIPE, tmp_path, val=val, device="cpu")
    assert found.loss == progress.loss
    assert found.val_steps == progress.val_steps
    assert same(again, model)


def test_a_finished_training_is_loaded(trained, terrain):
    model, progress, folder = trained
    again = make_model(seed=5)
    train, val = Own(terrain, "train"), Own(terrain, "val")
    found = ea.train(again, train, RECIPE, folder, val=val, device="cpu")
    assert same(again, model)
    assert found.val_score == progress.val_score
    assert train.reads == len(train)  # nothing was trained on


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": RECIPE | {"steps": 6}}, r"recipe.steps 4 → 6"),
        ({"seed": 1}, "seed 0 → 1"),
        ({"model": make_model(head="fpn")}, "model"),
        ({"fewer": 1}, "images"),
    ],
)
def test_another_training_in_the_same_folder_is_refused(trained, terrain, changes, message):
    _, _, folder = trained
    train = Own(terrain, "train")
    if changes.pop("fewer", 0):
        train = [train[index] for index in range(5)]
    call = {"model": make_model(), "data": train, "recipe": RECIPE, "folder": folder} | changes
    before = json.loads((folder / "training.json").read_text())
    with pytest.raises(ea.InputError, match=message):
        ea.train(**call, val=Own(terrain, "val"), device="cpu")
    assert json.loads((folder / "training.json").read_text()) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": None}, "val is missing"),
        ({"val": []}, "val holds no pair"),
        ({"data": []}, "data holds no pair"),
        ({"recipe": {"stepz": 1}}, "the recipe: unknown key 'stepz'"),
        ({"recipe": RECIPE | {"pos_ratio": 0.5}}, "'data' has 3"),
        ({"model": make_model(classes=2)}, r"data\[\d\]: the mask holds 2"),
        ({"data": "absent"}, "Leave val out|unknown dataset"),
    ],
)
def test_what_cannot_be_trained_is_one_line(terrain, tmp_path, changes, message):
    call = {"model": make_model(), "data": Own(terrain, "train"), "val": Own(terrain, "val")}
    call |= {"recipe": RECIPE} | changes
    with pytest.raises(ea.InputError, match=message) as raised:
        ea.train(folder=tmp_path, device="cpu", **call)
    assert "\n" not in str(raised.value)


def test_the_classes_of_a_dataset_are_those_of_the_model(terrain, tmp_path):
    for model in (make_model(classes=4), make_model(classes=("crater", "background", "boulder"))):
        with pytest.raises(ea.InputError, match="background, crater, boulder"):
            ea.train(model, terrain, RECIPE, tmp_path, device="cpu")
    with pytest.raises(ea.InputError, match="Leave val out"):
        ea.train(make_model(), terrain, RECIPE, tmp_path, val=Own(terrain, "val"), device="cpu")


def test_masks_of_one_class_are_refused(terrain, tmp_path):
    pairs = [
        (image, torch.zeros_like(mask))
        for image, mask in map(Own(terrain, "val").__getitem__, range(3))
    ]
    with pytest.raises(ea.InputError, match="show background and nothing else"):
        ea.train(make_model(), pairs, RECIPE, tmp_path, val=pairs, device="cpu")
