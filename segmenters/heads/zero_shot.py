"""Segmentation by texts, without training; the methods are those of ``zero_shot/methods.py``.

Images are resized, divided into windows that overlap, and read by a body that was trained with
texts. The scores of a pixel are the cosines of its features and the texts' features.
"""

import math
from collections.abc import Sequence
from typing import Any, NoReturn, Self

import numpy as np
import torch
from torch import Tensor

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.encoders.base import Encoder, Normalization
from encoder_ablations.encoders.blocks import Blocks
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.features import BodyInput
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.zero_shot.affinity import Guide
from encoder_ablations.segmenters.zero_shot.pamr import refine
from encoder_ablations.segmenters.zero_shot.queries import (
    check_queries,
    class_scores,
    with_background,
)
from encoder_ablations.segmenters.zero_shot.reading import WindowBatch, read
from encoder_ablations.segmenters.zero_shot.regions.reader import RegionReader
from encoder_ablations.segmenters.zero_shot.second_model import SecondModel, build_second_model
from encoder_ablations.segmenters.zero_shot.sizes import check_sizes
from encoder_ablations.segmenters.zero_shot.spec import ZeroShotSpec
from encoder_ablations.segmenters.zero_shot.text_scores import text_scores
from encoder_ablations.segmenters.zero_shot.windows import (
    Window,
    mean_over_windows,
    resize,
    resized_size,
    windows_of,
)
from encoder_ablations.utils.errors import InputError

WINDOW_BATCH = 16
"""Windows that the body sees at a time."""


@register_head("zero_shot", ZeroShotSpec, reads="body", learns=False)
class ZeroShotHead(Head):
    """Classes by texts.

    Attributes:
        texts: Q×D features of the texts, of unit length. They are in checkpoints, so that a
            finished run needs no text tower.
        regions: gives the regions of images that are read.
        has_texts: whether ``texts`` were given, or read from a checkpoint.
        class_ids: Q int64, the class of each text.
    """

    texts: Tensor
    class_ids: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: ZeroShotSpec,
        num_classes: int,
        normalization: Normalization,
        text_width: int,
        second: SecondModel | None = None,
    ) -> None:
        """Take the settings; nothing is drawn at random.

        Args:
            spec: the settings, with queries.
            num_classes: number of classes, K.
            normalization: that of the images which the head is given.
            text_width: numbers of a text's features, D.
            second: the second vision model; None = the method reads none.

        Raises:
            InputError: there are no queries, or they do not fit the classes.
        """
        super().__init__()
        if not spec.queries:
            raise InputError(
                "segmenter.queries: zero_shot has no texts. Give {text: class id}, or use it in a "
                "run, whose dataset names the classes."
            )
        check_queries(spec.queries, num_classes, spec.background)
        self.ignore = ignore_label(num_classes)
        self.spec = spec
        self.method = spec.switches
        self.num_classes = num_classes
        self.second = second
        self.guide = Guide(
            sigma=spec.sigma,
            shift=spec.vfm_shift,
            scale=spec.vfm_scale,
            region_scale=spec.region_scale,
        )
        # those entries that a rule or the affinity reads
        self.regions = RegionReader(self.method.regions[: self.method.region_sets])
        self.needs_whole_images = self.regions.needs_whole_images
        self.has_texts = False
        self.register_buffer("texts", torch.zeros(len(spec.queries), text_width))
        post_hook: Any = self.register_load_state_dict_post_hook  # without types
        post_hook(_texts_are_read)
        ids = torch.tensor(list(spec.queries.values()))
        self.register_buffer("class_ids", ids, persistent=False)
        mean, std = (torch.tensor(each) for each in (normalization.mean, normalization.std))
        self.register_buffer("mean", 255 * mean.view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * std.view(3, 1, 1), persistent=False)

    @classmethod
    def build(cls, spec: ZeroShotSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a head for the encoder's body; the features of its texts are given afterwards.

        Raises:
            InputError: there are no queries, a window is smaller than a patch, the second model
                cannot be built, or the encoder is built without the way into the space of texts.
        """
        blocks = encoder.body.as_blocks()
        check_sizes(spec, blocks.reduction)
        if blocks.text_width is None:
            raise InputError(
                "zero_shot compares the encoder's features with texts, but the encoder is built "
                "without the way into their space. Build it with build_encoder(…, text=True)."
            )
        second = None
        if spec.vfm is not None:
            second = build_second_model(spec.vfm, encoder.normalization)
        return cls(spec, num_classes, encoder.normalization, blocks.text_width, second)

    def take_texts(self, features: Tensor) -> None:
        """Take the features of the texts.

        Args:
            features: Q×D in the order of ``queries``; they are brought to unit length.

        Raises:
            InputError: there are more or fewer than queries, or D is not that of the encoder.
        """
        if features.shape[0] != len(self.class_ids):
            raise InputError(
                f"zero_shot has {len(self.class_ids)} queries, but features of "
                f"{features.shape[0]} texts are given."
            )
        if features.shape[1] != self.texts.shape[1]:
            raise InputError(
                f"zero_shot: the features of texts have {features.shape[1]} numbers, those of the "
                f"encoder {self.texts.shape[1]}. Use the text tower that was trained with the "
                "encoder (segmenter.text.tower)."
            )
        self.texts.copy_(torch.nn.functional.normalize(features.float(), dim=1))
        self.has_texts = True

    def totals(self, masks: Tensor) -> NoReturn:
        """Refuse training, see :meth:`loss`."""
        raise _no_training()

    def loss(self, pyramid: BodyInput, masks: Tensor, totals: dict[str, Tensor]) -> NoReturn:
        """Refuse training.

        Raises:
            InputError: always.
        """
        raise _no_training()

    @torch.no_grad()
    def predict(self, pyramid: BodyInput, image_size: tuple[int, int]) -> ScoreMaps:
        """Return the class scores at the size of the images.

        They are logits: the logarithm of the classes' probabilities, or cosines where ``scale`` is
        null.

        Raises:
            InputError: the texts have no features, or see :func:`~.reading.read`.
        """
        height, width = image_size
        # the padding of the batch is no content
        images = pyramid.images[..., :height, :width]
        found = torch.stack([self._mean_scores(pyramid.blocks, image) for image in images])
        scores = resize(found, image_size)
        if self.spec.refine is not None:
            scores = refine(scores, images, self.spec.refine.steps, self.spec.refine.dilations)
        if self.spec.averaged == "scores":
            scores = self._probabilities(scores)
        scores = class_scores(scores, self.class_ids, self.num_classes, self.spec.synonyms)
        scores = with_background(scores, self.spec.background, self.spec.threshold)
        if self.spec.scale is not None:
            scores = scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
        return ScoreMaps(scores, image_size, stride=1)

    def _probabilities(self, scores: Tensor) -> Tensor:
        """Return the softmax of scaled scores over the texts (dimension 1)."""
        if self.spec.scale is None:
            return scores
        return (scores * self.spec.scale).softmax(dim=1)

    def _mean_scores(self, blocks: Blocks, image: Tensor) -> Tensor:
        """Return the scores Q×h×w of an image 3×H×W at the size that it is resized to."""
        spec = self.spec
        height, width = image.shape[-2:]
        size = resized_size((height, width), spec.short_side, spec.long_side)
        small = resize(image[None], size)[0]
        regions = self._regions(image, size)

        def score(windows: Sequence[Window]) -> Tensor:
            cut = torch.stack([small[:, rows, columns] for rows, columns in windows])
            ids = [
                torch.stack([each[rows, columns] for rows, columns in windows]) for each in regions
            ]
            return self._window_scores(blocks, cut, ids)

        windows = windows_of(size, spec.window, spec.stride)
        return mean_over_windows(windows, size, WINDOW_BATCH, score)

    def _window_scores(self, blocks: Blocks, images: Tensor, regions: Sequence[Tensor]) -> Tensor:
        """Return the scores W×Q×h×w of windows W×3×h×w, whose regions are W×h×w each."""
        if not self.has_texts:
            raise InputError("zero_shot: its texts have no features yet; give them to take_texts.")
        height, width = images.shape[-2:]
        features = None
        if self.second is not None:
            # the last patches may reach beyond the window
            grid = (math.ceil(height / blocks.reduction), math.ceil(width / blocks.reduction))
            features = self.second(images, grid, blocks.reduction)
        windows = WindowBatch(images, regions, features)
        prefix = self.spec.masked_class_token
        found = text_scores(
            read(blocks, windows, self.method, self.guide, prefix),
            self.texts,
            (height, width),
            blocks.reduction,
            self.method.class_token,
            self.spec.enlarged,
        )
        if self.spec.averaged == "probabilities":
            return self._probabilities(found)
        return found

    def _regions(self, image: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """Return the region ids h×w of an image 3×H×W for every entry of ``regions`` that is read.

        They are found in the image as it is, and then resized to ``size`` (nearest neighbour).
        """
        if not self.regions.sets:
            return []
        colours = (image.float() * self.std + self.mean).round().clamp(0, 255)
        rgb = colours.to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        return self.regions.maps(np.ascontiguousarray(rgb), size, image.device)


def _texts_are_read(head: ZeroShotHead, _keys: object) -> None:
    """Note that the texts' features come from a checkpoint, which always holds them."""
    head.has_texts = True


def _no_training() -> InputError:
    return InputError(
        "zero_shot does not learn: it has no loss. Use it to predict, or train another head."
    )
