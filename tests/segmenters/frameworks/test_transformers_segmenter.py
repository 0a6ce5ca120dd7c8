"""Segmenters as models of transformers: what is loaded predicts what was saved."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSemanticSegmentation

from encoder_ablations.data.views.transforms import at_short_side
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.frameworks.transformers_segmenter import (
    register,
    save_segmenter,
)
from encoder_ablations.segmenters.spec import LinearSpec, Mask2FormerSpec, SegFormerSpec

CLASSES = ("background", "crater", "boulder")
HEADS = {
    "linear": LinearSpec(name="linear"),
    "segformer": SegFormerSpec(name="segformer"),
    "mask2former": Mask2FormerSpec(
        name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1
    ),
}


@pytest.mark.parametrize(
    ("encoder", "head"),
    [("darknet_tiny", "mask2former"), ("test_vit", "linear"), ("test_efficientnet", "segformer")],
)
@pytest.mark.parametrize("short_side", [None, 48])
def test_a_loaded_model_predicts_the_same_bits(encoder, head, short_side, tmp_path):
    spec = EncoderSpec(name=encoder, weights="random", channels=32)
    segmenter = build_segmenter(HEADS[head], build_encoder(spec, 3), len(CLASSES), 3).eval()
    config = {
        "encoder": spec.model_dump(mode="json"),
        "segmenter": HEADS[head].model_dump(mode="json"),
        "short_side": short_side,
    }
    save_segmenter(segmenter, config, CLASSES, tmp_path)
    register()
    loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    assert not loaded.training
    assert list(loaded.config.id2label.values()) == list(CLASSES)
    image = np.random.default_rng(0).integers(0, 256, (70, 91, 3), np.uint8)
    seen = torch.from_numpy(at_short_side(image, short_side)).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = segmenter.predict(seen).probabilities((70, 91))
        # processors of transformers give float32
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        logits = loaded(pixels).logits
    torch.testing.assert_close(logits.softmax(dim=1), expected, atol=1e-6, rtol=1e-5)
    # files of the hub are read by all
    assert all(path.stat().st_mode & 0o044 for path in tmp_path.iterdir())
