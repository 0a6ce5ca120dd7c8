"""Rule 22: two processes train as one. The same losses and, but for the order of sums, the same weights and counts."""

import os
import subprocess
import sys

import torch

from encoder_ablations.engine.checkpoints import load_checkpoint

PROGRAM = '''
import sys
from pathlib import Path

from torch import nn
from torch.nn import functional as F

from encoder_ablations.data.augmentation import AugmentationSpec
from encoder_ablations.data.folder import FolderDataset
from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.feature_store import FeatureStore
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe
from encoder_ablations.engine.train import Trainer, TrainingData
from encoder_ablations.segmenters.base import Head, Segmenter
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.utils.seeding import torch_stream


class PlainHead(Head):
    """Without batch statistics or random points, which each process has of its own."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Conv2d(32, 3, 1)

    def totals(self, masks):
        return {"pixels": (masks != 255).sum()}

    def loss(self, pyramid, masks, totals):
        logits = F.interpolate(self.classify(pyramid["p2"]), size=masks.shape[-2:], mode="bilinear")
        return {"ce": F.cross_entropy(logits, masks, ignore_index=255, reduction="sum") / totals["pixels"]}

    def predict(self, pyramid, image_size):
        return ScoreMaps(self.classify(pyramid["p2"]), image_size)


terrain = DatasetSpec.model_validate_json(sys.argv[1])
encoder = build_encoder(EncoderSpec(name="vit_tiny_patch16_224", weights="random", channels=32, freeze="body"))
with torch_stream(0, "head"):
    segmenter = Segmenter(encoder, PlainHead())
recipe = Recipe(
    steps=4,
    batch_size=4,
    accumulation=int(sys.argv[3]),
    evaluate_every=2,
    augmentation=AugmentationSpec(crop=(64, 64), views=int(sys.argv[4]) or None),
    optimizer=OptimizerSpec(lr=1e-3, clip_norm=0.1),
)
train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
data = TrainingData(terrain, train, list(range(8)), val, list(range(5)))
store = FeatureStore(Path(sys.argv[5]), 1 << 30) if len(sys.argv) > 5 else None
Trainer(segmenter, data, recipe, 0, Path(sys.argv[2]), make_accelerator("cpu"), store=store).run()
'''


def train(folder, terrain, processes, accumulation, views=0, *store):
    """The last checkpoint of a run with so many processes."""
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [*launcher, str(folder / "program.py"), terrain.model_dump_json(), str(folder), str(accumulation)]
    command += [str(views), *map(str, store)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_checkpoint(folder / "checkpoints" / "last.pt")


def test_two_processes_equal_one(terrain, tmp_path):
    _compare(train(tmp_path / "one", terrain, 1, 1), train(tmp_path / "two", terrain, 2, 2))


def test_two_processes_with_cached_features_equal_one_without(terrain, tmp_path):
    store = tmp_path / "store"
    _compare(train(tmp_path / "one", terrain, 1, 1, 2), train(tmp_path / "two", terrain, 2, 2, 2, store))
    assert len(list(store.rglob("*.safetensors"))) == 16 + 5  # two views of 8 images, and 5 to evaluate


def _compare(one, two):
    losses = [torch.tensor(run["progress"]["loss"]) for run in (one, two)]
    assert torch.allclose(losses[0], losses[1], atol=1e-5)
    assert one["progress"]["val_steps"] == two["progress"]["val_steps"] == [2, 4]
    scores = [torch.tensor(run["progress"]["val_miou"]) for run in (one, two)]
    assert torch.allclose(scores[0], scores[1], atol=1e-3)
    for name, value in one["model"].items():
        assert torch.allclose(value, two["model"][name], atol=1e-4), name
