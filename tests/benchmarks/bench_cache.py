"""What the cache of frozen features saves, and what writing and reading it costs."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shutil import rmtree

import torch
from bench_timing import compare
from torch import Tensor

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.loading.batches import training_batches
from encoder_ablations.data.loading.cache import CachedDataset
from encoder_ablations.data.loading.items import Batch
from encoder_ablations.data.synthetic.terrain import generate_terrain
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.frozen.feature_store import GIB, FeatureStore
from encoder_ablations.engine.frozen.features import FeatureSource
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.optimizer import build_optimizer
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.features import Features
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.spec import HeadSpec, Mask2FormerSpec

MODEL = "vit_base_patch16_224"
CLASSES, SIDE, IMAGES, BATCH = 3, 256, 4, 2


class _Training:
    """A head on a frozen ViT-B/16, trained from images on disk."""

    def __init__(
        self, folder: Path, head: HeadSpec, encoder: EncoderSpec, store: FeatureStore | None
    ) -> None:
        names = ("background", "crater", "boulder")
        spec = DatasetSpec(
            name="bench", root=str(folder), classes=names, splits={"train": "train", "val": "val"}
        )
        self.dataset = CachedDataset(FolderDataset(spec, "train"))
        self.segmenter: Segmenter = build_segmenter(
            head, build_encoder(encoder), CLASSES, seed=0
        ).train()
        self.augmentation = AugmentationSpec(crop=(SIDE, SIDE), views=1)
        recipe = Recipe(augmentation=self.augmentation)
        self.source = FeatureSource(self.segmenter, recipe, store)
        self.optimizer = build_optimizer(self.segmenter, recipe.optimizer)

    def batches(self) -> Iterator[list[Batch]]:
        """One epoch."""
        places = list(range(IMAGES))
        return training_batches(
            self.dataset,
            places,
            self.augmentation,
            seed=0,
            batch_size=BATCH,
            steps=IMAGES // BATCH,
            workers=0,
        )

    def read(self, batch: Batch) -> Tensor | Features:
        return self.source.training(self.dataset, batch, batch.images)

    def step(self, given: Tensor | Features, masks: Tensor) -> None:
        torch.manual_seed(0)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(self.segmenter.loss(given, masks.long()).values())).sum().backward()
        self.optimizer.step()

    def epoch(self) -> None:
        for (batch,) in self.batches():
            self.step(self.read(batch), batch.masks)


class _FirstEpoch:
    """Features of all images, computed and kept, and the bare forward passes beside them."""

    def __init__(self, training: _Training, store: FeatureStore) -> None:
        self.training = training
        self.store = store
        self.images = [batch.images for (batch,) in training.batches()]

    def kept(self) -> None:
        """Load the images and read their features, of which none are there."""
        rmtree(self.store.folder, ignore_errors=True)
        for (batch,) in self.training.batches():
            self.training.read(batch)

    @torch.no_grad()
    def bare(self) -> None:
        """Pass images that are in memory through the body."""
        for images in self.images:
            self.training.segmenter.features(images)


def _random_like(given: Tensor | Features) -> Features:
    assert isinstance(given, Features)
    return Features([torch.randn_like(each) for each in given.maps], given.image_size)


def run(seconds: float) -> Iterator[str]:
    """ViT-B/16 with random weights, 256×256, files in a temporary folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        generate_terrain(folder / "data", train=IMAGES, val=1, test=1, size=SIDE, seed=0)
        store = FeatureStore(folder / "features", GIB)
        bare = EncoderSpec(name=MODEL, weights="random", freeze="body", neck="none")
        linear = LinearSpec(name="linear")
        kept, computed = (_Training(folder / "data", linear, bare, each) for each in (store, None))
        kept.epoch()
        timing = compare(kept.epoch, computed.epoch, seconds)
        yield timing.line(
            f"linear head, frozen ViT-B, epoch of {IMAGES} images, cached", "target ≤ 0.10"
        )

        first = _FirstEpoch(kept, store)
        # the digest of the body's weights, once a run, has been made above
        timing = compare(first.kept, first.bare, seconds)
        yield timing.line(
            f"first epoch of a frozen ViT-B, kept, / bare forward of {BATCH}", "target ≤ 1.11"
        )

        pyramid = EncoderSpec(name=MODEL, weights="random", freeze="body")
        training = _Training(folder / "data", Mask2FormerSpec(name="mask2former"), pyramid, store)
        ((batch,), *_) = training.batches()
        random = _random_like(training.read(batch))
        cached: Callable[[], None] = lambda: training.step(training.read(batch), batch.masks)  # noqa: E731
        timing = compare(cached, partial(training.step, random, batch.masks), seconds)
        yield timing.line("Mask2Former step, cached against random features", "target ≤ 1.10")
