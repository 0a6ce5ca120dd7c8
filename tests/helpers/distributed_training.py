"""What each of several processes runs in the tests of training: a trainer, and what its test
does to it.

Called with one argument, a JSON list of runs, which are made one after the other: see :func:`run`.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe
from encoder_ablations.engine.training import loop
from encoder_ablations.engine.training.checkpointing import saving
from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.segmenters.base import Head, Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import ClassifierSpec
from encoder_ablations.utils.seeding import torch_stream

RANK = int(os.environ.get("RANK", "0"))
VIT = {"name": "test_vit", "weights": "random", "channels": 32, "freeze": "body"}
DARKNET = {"name": "darknet_tiny", "weights": "random", "channels": 32}
LORA = {"name": "test_vit", "weights": "random", "channels": 32, "adapt": {"lora": {"rank": 2}}}
ENCODERS = {
    "vit": VIT,
    "darknet": DARKNET,
    "frozen darknet": DARKNET | {"freeze": "body"},
    "adapters": LORA,
}


class PlainHead(Head):
    """Without batch statistics or random points, which each process has of its own."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Conv2d(32, 3, 1)

    def totals(self, masks):
        return {"pixels": (masks != 255).sum()}

    def loss(self, pyramid, masks, totals):
        logits = F.interpolate(self.classify(pyramid["p2"]), size=masks.shape[-2:], mode="bilinear")
        return {
            "ce": F.cross_entropy(logits, masks, ignore_index=255, reduction="sum")
            / totals["pixels"]
        }

    def predict(self, pyramid, image_size):
        return ScoreMaps(self.classify(pyramid["p2"]), image_size)


def build(encoder, head):
    """A segmenter with a plain or a linear head; the linear one has a BatchNorm."""
    built = build_encoder(EncoderSpec(**ENCODERS[encoder]), 0)
    if head == "linear":
        return build_segmenter(LinearSpec(name="linear"), built, 3, 0)
    if head == "classifier":
        return build_segmenter(ClassifierSpec(name="classifier"), built, 3, 0)
    if head == "image head":
        settings = load_segmenter({"base": "fpn", "image_head": {"weight": 2}})
        return build_segmenter(settings, built, 2, 0, image_classes=3)
    with torch_stream(0, "head"):
        return Segmenter(built, PlainHead())


def run(options):
    """Options: name, terrain (a dataset's JSON), folder; encoder, head, steps, evaluate_every,
    accumulation, views, mix (its settings),
    store, val (images to validate on), device; and what is done to the trainer:

    save_seconds: for each rank, after how long its own clock wants a checkpoint.
    interrupt: [rank, step] at which that process gets Ctrl-C.
    """
    terrain = DatasetSpec.model_validate(options["terrain"])
    folder = Path(options["folder"])
    recipe = Recipe(
        steps=options.get("steps", 4),
        batch_size=4,
        accumulation=options.get("accumulation", 1),
        evaluate_every=options.get("evaluate_every", 2),
        augmentation=AugmentationSpec(
            crop=(64, 64), views=options.get("views"), mix=options.get("mix")
        ),
        optimizer=OptimizerSpec(lr=1e-3, clip_norm=0.1),
    )
    sets = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    data = loop.TrainingData(
        terrain, sets[0], list(range(8)), sets[1], list(range(options.get("val", 5)))
    )
    store = FeatureStore(Path(options["store"]), 1 << 30) if "store" in options else None
    segmenter = build(options.get("encoder", "vit"), options.get("head", "plain"))
    accelerator = make_accelerator(options.get("device", "cpu"))
    trainer = loop.Trainer(segmenter, data, recipe, 0, folder, accelerator, store=store)
    notes = observed(trainer, options.get("interrupt"))
    saving.CHECKPOINT_SECONDS = options.get("save_seconds", [30.0, 30.0])[RANK]
    try:
        trainer.run()
    except KeyboardInterrupt:
        notes["stopped"] = trainer.progress.step
    if RANK == 0:
        notes["last"] = load_checkpoint(trainer.best.with_name("last.pt"))
    torch.save(notes, folder / f"{options['name']}-{RANK}.pt")


def observed(trainer, interrupt):
    """What is noted of a trainer: steps that were saved, gradients of the first step, buffers
    when it matters."""
    notes = {"saved": [], "buffers": [], "stopped": None}
    save, update = trainer._save, trainer.step.update
    evaluate, step = trainer._evaluate, trainer._step

    def buffers():
        kept = {name: value.cpu().clone() for name, value in trainer.segmenter.named_buffers()}
        notes["buffers"].append(kept)

    def noted_save():
        notes["saved"].append(trainer.progress.step)
        buffers()
        save()

    def noted_evaluate(*arguments):
        buffers()
        evaluate(*arguments)

    def noted_update():
        if "gradients" not in notes:
            named = trainer.segmenter.named_parameters()
            notes["gradients"] = {
                name: each.grad.cpu().clone() for name, each in named if each.grad is not None
            }
            notes["statistics"] = {
                name: each.cpu().clone() for name, each in trainer.segmenter.named_buffers()
            }
        update()

    def noted_step(batches):
        if interrupt == [RANK, trainer.progress.step]:
            signal.raise_signal(signal.SIGINT)
        return step(batches)

    trainer._save, trainer.step.update = noted_save, noted_update
    trainer._evaluate, trainer._step = noted_evaluate, noted_step
    return notes


if __name__ == "__main__":
    for each in json.loads(sys.argv[1]):
        run(each)
