"""A federated run and the folders that its simulated clients' images, and the server's, lie in."""

import shutil

from encoder_ablations.experiments.runs.preparation import prepare_data
from encoder_ablations.experiments.runs.spec import RunSpec

ENCODER = {"name": "test_resnet", "weights": "random", "channels": 32, "freeze": "none"}
RECIPE = {"steps": 4, "batch_size": 2, "evaluate_every": 2, "augmentation": {"crop": [64, 64]}}
RECIPE |= {"optimizer": {"lr": 0.01, "encoder_lr_multiplier": 1.0}}
FEDERATION = {"clients": 2, "rounds": 2, "partition": {"dirichlet": 1.0}}


def federated_spec(dataset, federation=None, **changes):
    """Return a tiny run of two clients on a dataset."""
    parts = {"encoder": ENCODER, "segmenter": {"name": "linear"}, "dataset": dataset}
    settings = {"recipe": RECIPE, "federation": {**FEDERATION, **(federation or {})}}
    return RunSpec.model_validate({**parts, **settings, **changes})


def divide_images(spec, target):
    """Copy the images of each client to ``target/0``, ``target/1`` …, and all but training images
    to ``target/server``."""
    data = prepare_data(spec)
    train = data.checked.datasets["train"]
    for number, indices in enumerate(data.division.clients):
        for index in indices:
            for path in (train.pairs[index].image, train.pairs[index].mask):
                place = target / str(number) / path.relative_to(spec.dataset.folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
    for kind in ("images", "masks"):
        for split in ("val", "test"):
            shutil.copytree(spec.dataset.folder / kind / split, target / "server" / kind / split)


def at(spec, folder):
    """Return a run whose dataset lies in another folder."""
    return spec.model_copy(
        update={"dataset": spec.dataset.model_copy(update={"root": str(folder)})}
    )
