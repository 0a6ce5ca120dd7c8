"""What our ViT body costs over timm's bare ``forward_intermediates`` with the same taps."""

from collections.abc import Iterator

import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.vit import ViTBody
from encoder_ablations.experiments.benchmarks.timing import compare

MODELS = ["vit_base_patch16_clip_quickgelu_224", "vit_small_patch14_dinov2.lvd142m", "dinov2_s14"]


def run(seconds: float) -> Iterator[str]:
    """ViTs on 2×3×512×512, forward, float32. For DINOv2 ours also applies DINOv2's own position rule."""
    for name in MODELS:
        body = build_encoder(EncoderSpec(name=name, weights="random")).body.eval()
        assert isinstance(body, ViTBody)
        model = build_encoder(EncoderSpec(name=name.replace("dinov2_s14", MODELS[1]), weights="random")).body.model.eval()
        images = torch.randn(2, 3, 512, 512)

        def theirs(model: torch.nn.Module = model, taps: list[int] = list(body.taps), images: torch.Tensor = images) -> None:
            with torch.inference_mode():
                model.forward_intermediates(images, indices=taps, norm=True, stop_early=True, intermediates_only=True)

        def ours(body: ViTBody = body, images: torch.Tensor = images) -> None:
            with torch.inference_mode():
                body(images)

        yield compare(ours, theirs, seconds).line(f"taps of {name}, against timm's bare ones", "target ≤ 1.03")
