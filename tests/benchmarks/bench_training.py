"""A Mask2Former training step against the stock one of transformers with the same encoder."""

from collections.abc import Callable, Iterator

import torch
from bench_timing import compare
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerLoss,
    Mask2FormerPixelDecoder,
    Mask2FormerTransformerModule,
)

from encoder_ablations.encoders.base import Encoder
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import autocast
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import Mask2FormerSpec

CLASSES, SIDE, BATCH = 19, 256, 2


class StockMask2Former(nn.Module):
    """transformers' own modules and loss, put together as
    ``Mask2FormerForUniversalSegmentation`` does."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        config = Mask2FormerConfig(num_queries=100, train_num_points=12544)
        config.num_labels = CLASSES
        channels = [level.channels for level in encoder.levels]
        self.encoder = encoder
        self.pixel_decoder = Mask2FormerPixelDecoder(config, channels)
        nn.init.normal_(self.pixel_decoder.level_embed)
        self.decoder = Mask2FormerTransformerModule(config.feature_size, config)
        self.classify = nn.Linear(config.hidden_dim, CLASSES + 1)
        self.weights = {
            "loss_cross_entropy": config.class_weight,
            "loss_mask": config.mask_weight,
            "loss_dice": config.dice_weight,
        }
        self.criterion = Mask2FormerLoss(config, self.weights)

    def forward(self, images: Tensor, masks: list[Tensor], labels: list[Tensor]) -> Tensor:
        pixels = self.pixel_decoder(list(self.encoder(images).values()), output_hidden_states=False)
        output = self.decoder(
            pixels.multi_scale_features, pixels.mask_features, output_hidden_states=True
        )
        classes = [
            self.classify(state.transpose(0, 1)) for state in output.intermediate_hidden_states
        ]
        predictions = list(zip(output.masks_queries_logits, classes, strict=True))
        auxiliary = [
            {"masks_queries_logits": m, "class_queries_logits": c} for m, c in predictions[:-1]
        ]
        mask_logits, class_logits = predictions[-1]
        losses = self.criterion(
            masks_queries_logits=mask_logits,
            class_queries_logits=class_logits,
            mask_labels=masks,
            class_labels=labels,
            auxiliary_predictions=auxiliary,
        )
        return sum(
            (
                value * weight
                for name, value in losses.items()
                for key, weight in self.weights.items()
                if key in name
            ),
            start=torch.zeros(()),
        )


def _step(loss: Callable[[], Tensor], model: nn.Module) -> Callable[[], float]:
    """A forward and a backward pass."""

    def step() -> float:
        model.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        value = loss()
        value.backward()
        return value.item()

    return step


def _models() -> tuple[Segmenter, StockMask2Former]:
    spec = EncoderSpec(name="vit_tiny_patch16_224", weights="random")
    ours = build_segmenter(
        Mask2FormerSpec(name="mask2former"), build_encoder(spec), CLASSES, seed=0
    )
    return ours.train(), StockMask2Former(build_encoder(spec)).train()


def run(seconds: float) -> Iterator[str]:
    """ViT-Ti/16, full head (100 queries, 6 + 9 layers, 12544 points), 2 images of 256×256."""
    ours, stock = _models()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    block = SIDE // 8
    truth = torch.randint(0, CLASSES, (BATCH, 8, 8), generator=generator)
    truth = truth.repeat_interleave(block, 1).repeat_interleave(block, 2)
    labels = [mask.unique() for mask in truth]
    masks = [
        (mask == found[:, None, None]).float() for mask, found in zip(truth, labels, strict=True)
    ]
    normalized = (images - ours.mean) / ours.std

    def our_loss(precision: str) -> Tensor:
        with autocast(torch.device("cpu"), precision):
            return torch.stack(list(ours.loss(images, truth).values())).sum()

    theirs = _step(lambda: stock(normalized, masks, labels), stock)
    full = _step(lambda: our_loss("fp32"), ours)
    half = _step(lambda: our_loss("bf16"), ours)
    values = f"loss {half():.3f} in bf16, {full():.3f} in fp32"
    yield compare(full, theirs, seconds).line(
        "Mask2Former step, fp32, against stock transformers", "target ≤ 0.70"
    )
    yield compare(half, theirs, seconds).line(
        "Mask2Former step, bf16, against stock transformers", "target ≤ 0.45; " + values
    )
