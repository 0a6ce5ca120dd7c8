"""A frozen body's features, computed once and read from disk by later epochs, runs and heads."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from encoder_ablations.data.loading.items import Batch, EvaluationItem, Samples
from encoder_ablations.engine.devices import autocast, precision_on
from encoder_ablations.engine.frozen.feature_store import FeatureGroup, FeatureStore
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.features import Features
from encoder_ablations.segmenters.ops.transfers import sent
from encoder_ablations.utils.arithmetic import tensor_float32
from encoder_ablations.utils.cache_folder import file_state
from encoder_ablations.utils.custom_code.loading import code_digest
from encoder_ablations.utils.environment import processor, versions

FORMAT = 3
"""Raise it when the transforms or the encoders' code begin to give other numbers."""
PACKAGES = ("encoder-ablations", "torch", "timm", "numpy", "pillow")


class FeatureSource:
    """Images in, features out where the body is frozen.

    A training image has features of its own only where its views are fixed
    (``augmentation.views``). They are computed one image at a time, kept or not, so that the store
    changes no bit of a result. Evaluation works one image at a time anyway. Heads that run the
    body's blocks themselves get images.

    Args:
        segmenter: the model.
        recipe: augmentation and precision.
        store: where features are kept; None = they are computed every time.

    Attributes:
        computed: images whose features were computed while there was a store.
        read: images whose features were read from it.
    """

    def __init__(
        self, segmenter: Segmenter, recipe: Recipe, store: FeatureStore | None = None
    ) -> None:
        self.segmenter = segmenter
        self.recipe = recipe
        self.store = store
        self.computed = 0
        self.read = 0
        self._body: dict[str, Any] | None = None
        self._groups: dict[str, FeatureGroup] = {}

    def training(self, dataset: Samples, batch: Batch, images: Tensor) -> Tensor | Features:
        """Return what :meth:`Segmenter.loss` takes for a batch of ``dataset``.

        Args:
            dataset: the training images.
            batch: some of them.
            images: those of the batch, on the model's device.
        """
        if not batch.views or not self.segmenter.reads_features:
            return images
        augmentation = self.recipe.augmentation.model_dump(mode="json", exclude={"views"})
        # code of the user's own may change under the same name
        augmentation["code"] = [code_digest(name) for name in self.recipe.augmentation.custom]
        precision = precision_on(images.device, self.recipe.precision)
        features = [
            self._features(
                dataset, view.place, f"view {view.number}", image, augmentation, precision
            )
            for view, image in zip(batch.views, images, strict=True)
        ]
        maps = [torch.cat(parts) for parts in zip(*(each.maps for each in features), strict=True)]
        return Features(maps, features[0].image_size)

    def evaluation(self, dataset: Samples, item: EvaluationItem) -> Tensor | Features:
        """Return what :meth:`Segmenter.predict` takes for an image of ``dataset``."""
        image = sent(item.image, self.segmenter.mean.device)
        if item.place is None or self.store is None or not self.segmenter.reads_features:
            return image.unsqueeze(0)
        transform = {"short_side": self.recipe.augmentation.short_side}
        return self._features(dataset, item.place, "evaluation", image, transform, "fp32")

    def report(self) -> dict[str, object]:
        """Return how often the store was used, for a run's record: it makes training cheaper."""
        if self.store is None:
            return {}
        return {"feature_cache": {"read": self.read, "computed": self.computed}}

    def _features(
        self,
        dataset: Samples,
        place: int,
        view: str,
        image: Tensor,
        transform: Mapping[str, Any],
        precision: str,
    ) -> Features:
        """Return the features of one image, 3×H×W uint8."""
        size = (image.shape[-2], image.shape[-1])
        if self.store is None:
            return Features(self._compute(image, precision), size)
        group = self._group(transform, precision)
        path = dataset.image_file(place).resolve()
        name, state = f"{path} {view}", file_state(path)
        kept = group.read(name, state)
        if kept is not None:
            self.read += 1
            return Features(kept.on(image.device), size)
        self.computed += 1
        maps = self._compute(image, precision)
        group.write(name, state, maps, self.segmenter.encoder.map_dtype)
        return Features(maps, size)

    def _compute(self, image: Tensor, precision: str) -> list[Tensor]:
        with (
            torch.no_grad(),
            tensor_float32(precision == "tf32"),
            autocast(image.device, precision),
        ):
            return self.segmenter.features(image.unsqueeze(0)).maps

    def _group(self, transform: Mapping[str, Any], precision: str) -> FeatureGroup:
        assert self.store is not None
        kind = f"{transform} {precision}"
        if kind not in self._groups:
            if self._body is None:
                self._body = _describe(self.segmenter)
            self._groups[kind] = self.store.group(
                {**self._body, "transform": dict(transform), "precision": precision}
            )
        return self._groups[kind]


def _describe(segmenter: Segmenter) -> dict[str, Any]:
    """Return all that decides the bits of a body's maps: the body and this machine."""
    encoder = segmenter.encoder
    digest = hashlib.sha256(repr(encoder.body).encode())
    for name, value in encoder.body.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    installed = versions()
    return {
        "format": FORMAT,
        "body": digest.hexdigest(),
        "facts": encoder.body.facts(),
        "rounded_to": str(encoder.map_dtype),
        "divisibility": encoder.divisibility,
        "versions": {name: installed.get(name) for name in PACKAGES},
        "computed_on": _describe_device(segmenter.mean.device),
    }


def _describe_device(device: torch.device) -> str:
    """Return what rounds the maps: processor and threads, or GPU and kind of kernels."""
    if device.type == "cpu":
        return f"{processor()}, {torch.get_num_threads()} threads"
    kernels = "fastest"
    if torch.are_deterministic_algorithms_enabled():
        kernels = "deterministic"
    return f"{torch.cuda.get_device_name(device)}, {kernels} kernels"
