"""Mask2Former's head (Cheng et al., CVPR 2022), composed of the modules that transformers ships.

It equals ``Mask2FormerForUniversalSegmentation`` in float32, with four differences: the deformable
attention runs on this project's operator, no layer returns the weights of its attention, the
initial weights are the official repository's, and autocast reaches less.

The official pixel decoder runs in float32 only; so it does here under float16. Under bfloat16 its
matrix products are bfloat16. Sampling positions, offsets and weights, which decide *where* to look,
and the residual stream stay in float32: at random weights the loss is 0.07 % off float32's, against
0.11 % with the whole pixel decoder in float32.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerTransformerModule,
)

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.heads.mask2former_initialization import initialize
from encoder_ablations.segmenters.heads.mask2former_layers import (
    DecoderLayer,
    DeformableAttention,
    EncoderLayer,
    MaskPredictor,
)
from encoder_ablations.segmenters.losses.set_loss import SetLoss
from encoder_ablations.segmenters.losses.targets import find_targets
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import Mask2FormerSpec
from encoder_ablations.utils.errors import InputError


class Float32(nn.Module):
    """The end of each input projection.

    It keeps the residual stream in float32, and the positions, whose type is taken from it.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps in float32."""
        return maps.float()


@register_head("mask2former", Mask2FormerSpec)
class Mask2FormerHead(Head):
    """Pixel decoder, masked-attention decoder, class predictor and set loss."""

    traced_for_one_size = True

    def __init__(self, spec: Mask2FormerSpec, num_classes: int, levels: Sequence[Level]) -> None:
        super().__init__()
        self.ignore = ignore_label(num_classes)
        config = _config(spec, levels)
        self.names = [level.name for level in levels]
        self.pixel_decoder = Mask2FormerPixelDecoder(
            config, feature_channels=[level.channels for level in levels]
        )
        layers = self.pixel_decoder.encoder.layers
        for place, layer in enumerate(layers):
            layers[place] = EncoderLayer(layer, DeformableAttention(spec.hidden, spec.heads))
        for projection in self.pixel_decoder.input_projections:
            projection.add_module("float32", Float32())
        self.transformer_module = Mask2FormerTransformerModule(
            in_features=spec.hidden, config=config
        )
        decoder: Any = self.transformer_module.decoder
        for place, layer in enumerate(decoder.layers):
            decoder.layers[place] = DecoderLayer(layer)
        decoder.mask_predictor = MaskPredictor(decoder.mask_predictor)
        self.class_predictor = nn.Linear(spec.hidden, num_classes + 1)
        self.set_loss = SetLoss(spec, num_classes, spec.ignored_pixels)
        initialize(self)

    @classmethod
    def build(cls, spec: Mask2FormerSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's levels."""
        return cls(spec, num_classes, encoder.levels)

    def attention_paths(self) -> set[str]:
        """Return what has computed the pixel decoder's attention so far."""
        modules = [each for each in self.modules() if isinstance(each, DeformableAttention)]
        return set().union(*(each.paths for each in modules))

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """Return the counts "masks" and "classes", see :meth:`SetLoss.totals`."""
        return self.set_loss.totals(masks)

    def loss(
        self, pyramid: dict[str, Tensor], masks: Tensor, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the set loss over the final and all auxiliary predictions.

        Args:
            pyramid: levels B×C×h×w.
            masks: B×H×W int64.
            totals: divisors, see :meth:`totals`.

        Returns:
            "class", "mask" and "dice".
        """
        hidden_states, mask_logits = self(pyramid)
        class_logits = [self.class_predictor(each.transpose(0, 1)) for each in hidden_states]
        targets = find_targets(masks, self.set_loss.num_classes)
        points = self.set_loss.draw(len(class_logits), targets)
        return self.set_loss(
            _final_first(class_logits), _final_first(mask_logits), targets, totals, points
        )

    def predict(self, pyramid: dict[str, Tensor], image_size: tuple[int, int]) -> ScoreMaps:
        """Return the queries' mask logits at stride 4, mixed by their class probabilities.

        The class "no object" is left out.
        """
        hidden_states, mask_logits = self(pyramid)
        probabilities = self.class_predictor(hidden_states[-1].transpose(0, 1)).float().softmax(-1)
        return ScoreMaps(
            mask_logits[-1], image_size, mixing=probabilities[..., :-1].transpose(1, 2)
        )

    def forward(self, pyramid: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return queries and mask logits of a pyramid, before the first and after each layer.

        Returns:
            A list of Q×B×C, and a list of B×Q×h×w.
        """
        features = [pyramid[name].float() for name in self.names]
        with _without_float16(features[0].device.type):
            pixels = self.pixel_decoder(features)
        decoded = self.transformer_module(pixels.multi_scale_features, pixels.mask_features)
        return list(decoded.intermediate_hidden_states), list(decoded.masks_queries_logits)


def _without_float16(device: str) -> AbstractContextManager[object]:
    """Return a context in which autocast is off if it is one to float16.

    The official pixel decoder leaves autocast, because float16 overflows in it; bfloat16 has the
    range of float32.
    """
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _final_first(predictions: list[Tensor]) -> list[Tensor]:
    return [predictions[-1], *predictions[:-1]]


def _config(spec: Mask2FormerSpec, levels: Sequence[Level]) -> Mask2FormerConfig:
    if spec.hidden % spec.heads:
        raise InputError(
            f"segmenter.heads: {spec.heads} does not divide segmenter.hidden ({spec.hidden})."
        )
    return Mask2FormerConfig(
        feature_size=spec.hidden,
        mask_feature_size=spec.hidden,
        hidden_dim=spec.hidden,
        num_attention_heads=spec.heads,
        encoder_layers=spec.encoder_layers,
        encoder_feedforward_dim=spec.encoder_feedforward,
        # counts the prediction before the first layer, too
        decoder_layers=spec.decoder_layers + 1,
        dim_feedforward=spec.decoder_feedforward,
        num_queries=spec.queries,
        feature_strides=[level.stride for level in levels],
        common_stride=levels[0].stride,
        dropout=0.0,
    )
