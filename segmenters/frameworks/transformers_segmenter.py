"""Every segmenter as a model of transformers.

::

    register()
    model = AutoModelForSemanticSegmentation.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    outputs = model(**processor(photo, return_tensors="pt"))
    (mask,) = processor.post_process_semantic_segmentation(outputs, [(photo.height, photo.width)])

The process that loads a folder needs this package, and calls :func:`register` first. The model
takes raw RGB 0..255: resizing, normalising and padding are inside, so the processor does none of
them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    PreTrainedConfig,
    PreTrainedModel,
    SegformerImageProcessor,
)
from transformers import initialization as init
from transformers.modeling_outputs import SemanticSegmenterOutput

from encoder_ablations.data.views.resampling import antialiased, whole_span
from encoder_ablations.encoders.frameworks.transformers_backbone import copy_tensors
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_encoder_for, build_segmenter
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.config import build


class PhotoSegmenterConfig(PreTrainedConfig):
    """Which segmenter; ``id2label`` holds its classes.

    Attributes:
        encoder: a mapping of the fields of :class:`EncoderSpec`.
        segmenter: a mapping of the fields of :class:`SegmenterSpec`.
        short_side: what the shorter side of a photo is resized to; None = it keeps its size.
        feature_precision: "fp32", "bf16" or "fp16": what the body's maps are rounded to.
    """

    model_type = "encoder_ablations_segmenter"

    encoder: Any = None
    segmenter: Any = None
    short_side: int | None = None
    feature_precision: str = "fp32"


class PhotoSegmenter(PreTrainedModel):
    """A :class:`Segmenter` with the interface of transformers.

    Attributes:
        segmenter: the segmenter.
    """

    config: PhotoSegmenterConfig
    main_input_name = "pixel_values"
    never_saved: Tensor

    def __init__(self, config: PhotoSegmenterConfig) -> None:
        super().__init__(config)
        # see EncoderBackbone: from_pretrained builds without memory and then fills in the file
        self.without_memory = torch.get_default_device().type == "meta"
        self.segmenter = _build(config)
        self.register_buffer("never_saved", torch.zeros(()), persistent=False)
        self.post_init()

    def forward(self, pixel_values: Tensor, **unused: Any) -> SemanticSegmenterOutput:
        """Return ``logits`` B×K×H×W, whose softmax are the class probabilities.

        Args:
            pixel_values: B×3×H×W, RGB 0..255; any H and W.
            unused: other arguments that transformers' pipelines hand on.
        """
        height, width = pixel_values.shape[-2:]
        maps = self.segmenter.predict(self._resized(pixel_values))
        if maps.mixing is None:
            return SemanticSegmenterOutput(logits=maps.at((height, width)))
        return SemanticSegmenterOutput(logits=maps.probabilities((height, width)).log())

    def _resized(self, photos: Tensor) -> Tensor:
        """Return photos B×3×H×W as the run's evaluation resizes them."""
        height, width = photos.shape[-2:]
        short_side = self.config.short_side
        if short_side is None or min(height, width) == short_side:
            return photos
        factor = short_side / min(height, width)
        size = (whole_span(height, factor).length, whole_span(width, factor).length)
        return antialiased(photos.round().to(torch.uint8), size)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Fill in what no file holds, if the model was built without memory."""
        if module is not self or not self.without_memory:
            return
        init.zeros_(self.never_saved)
        copy_tensors(_build(self.config), self.segmenter)


def _build(config: PhotoSegmenterConfig) -> Segmenter:
    """Return the segmenter with random weights."""
    spec = build(EncoderSpec, config.encoder or {}, "the model's encoder")
    head = build(SegmenterSpec, config.segmenter or {}, "the model's segmenter")
    encoder = build_encoder_for(head, spec.model_copy(update={"weights": "random"}), 0)
    encoder.round_maps(config.feature_precision)  # type: ignore[arg-type]
    return build_segmenter(head, encoder, config.num_labels or 0, 0).eval()


def save_segmenter(
    segmenter: Segmenter,
    config: Mapping[str, Any],
    classes: Sequence[str],
    folder: Path,
) -> None:
    """Write a folder that ``from_pretrained`` loads: config, weights, image processor.

    Args:
        segmenter: trained.
        config: fields of :class:`PhotoSegmenterConfig`.
        classes: names of the K classes.
        folder: exists.
    """
    names = dict(enumerate(classes))
    own = PhotoSegmenterConfig(
        **config, id2label=names, label2id={name: number for number, name in names.items()}
    )
    model = PhotoSegmenter(own)
    model.segmenter.load_state_dict(segmenter.state_dict())
    model.save_pretrained(folder)
    processor = SegformerImageProcessor(
        do_resize=False, do_rescale=False, do_normalize=False, do_reduce_labels=False
    )
    processor.save_pretrained(folder)
    # safetensors lets nobody else read its file
    for path in folder.iterdir():
        path.chmod(0o644)


def register() -> None:
    """Make transformers know these models; calling it again changes nothing."""
    AutoConfig.register(PhotoSegmenterConfig.model_type, PhotoSegmenterConfig, exist_ok=True)
    AutoModelForSemanticSegmentation.register(PhotoSegmenterConfig, PhotoSegmenter, exist_ok=True)
