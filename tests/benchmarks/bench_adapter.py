"""What our ViT body costs over timm's bare ``forward_intermediates`` with the same taps."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import timm
import torch
from bench_timing import compare
from torch import Tensor

from encoder_ablations.encoders.bodies.vit import ViTBody
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row

MODELS = ["clip_b16", "dinov2_s14"]


def bare(model: Any, taps: list[int], images: Tensor) -> None:
    """timm's own call."""
    with torch.inference_mode():
        model.forward_intermediates(
            images, indices=taps, norm=True, stop_early=True, intermediates_only=True
        )


def adapted(body: ViTBody, images: Tensor) -> None:
    """Ours."""
    with torch.inference_mode():
        body(images)


def run(seconds: float) -> Iterator[str]:
    """ViTs on 2×3×512×512, forward, float32.

    For DINOv2 ours also applies DINOv2's own position rule.
    """
    images = torch.randn(2, 3, 512, 512)
    for name in MODELS:
        body = build_encoder(EncoderSpec(name=name, weights="random")).body.eval()
        assert isinstance(body, ViTBody)
        model = timm.create_model(
            str(find_row(name).model),
            num_classes=0,
            global_pool="",
            dynamic_img_size=True,
            dynamic_img_pad=True,
        ).eval()
        timing = compare(
            partial(adapted, body, images), partial(bare, model, list(body.taps), images), seconds
        )
        yield timing.line(f"taps of {name}, against timm's bare ones", "target ≤ 1.03")
