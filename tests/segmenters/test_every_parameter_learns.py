"""Every trainable parameter gets a gradient; otherwise DistributedDataParallel refuses the
second step."""

import json
from importlib.util import find_spec

import pytest
import torch
from launching import launch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.built_in import QueryDecoderSpec
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.heads.mask2former_official import OfficialMask2FormerSpec
from encoder_ablations.segmenters.spec import (
    ConvTransposeSpec,
    DeepLabV3PlusSpec,
    EomtSpec,
    FPNSpec,
    Mask2FormerSpec,
    SegFormerSpec,
    UNetPlainSpec,
    UNetSpec,
    UPerNetSpec,
)

VIT = {"name": "test_vit", "final_norm": False, "taps": (0.1, 0.2, 0.3, 0.4)}
ENCODERS = {
    "tap pyramid": VIT,
    "top-down": {**VIT, "top_down": True},
    "simple feature pyramid": {**VIT, "neck": "simple_feature_pyramid"},
    "additive": {"name": "darknet_tiny"},
    "concatenating": {"name": "darknet_tiny", "neck": "fpn_concat"},
    "bare taps": {**VIT, "neck": "none", "taps": (0.1, 0.3)},
    "bare stages": {"name": "darknet_tiny", "neck": "none"},
    "hierarchical": {"name": "test_convnext"},
    "bare hierarchical": {"name": "test_resnet", "neck": "none"},
    "bare body": {"name": "test_vit", "neck": "none"},
    "one bare tap": {**VIT, "neck": "none", "taps": (0.1,)},
    "plain U-Net": {"name": "unet_tiny", "neck": "none"},
    "frozen": {**VIT, "freeze": "body"},
}
SMALL = {
    "queries": 5,
    "hidden": 32,
    "heads": 2,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "points": 64,
}
SEGMENTERS = {
    "linear": LinearSpec(name="linear"),
    "mask2former": Mask2FormerSpec(name="mask2former", **SMALL),
    "one decoder layer": Mask2FormerSpec(name="mask2former", **SMALL | {"decoder_layers": 1}),
    "mask2former_official": OfficialMask2FormerSpec(name="mask2former_official", **SMALL),
}
QUERIES = {
    "queries": 5,
    "hidden": 32,
    "heads": 2,
    "decoder_layers": 2,
    "decoder_feedforward": 32,
}
DECODERS = {
    "unet": UNetSpec(name="unet", widths=(16, 8, 8)),
    "upernet": UPerNetSpec(name="upernet", hidden=16),
    "deeplabv3plus": DeepLabV3PlusSpec(name="deeplabv3plus", hidden=16),
    "segformer": SegFormerSpec(name="segformer", hidden=16),
    "fpn": FPNSpec(name="fpn", hidden=16, branch_hidden=16),
    "conv_transpose": ConvTransposeSpec(name="conv_transpose"),
    "unet_plain": UNetPlainSpec(name="unet_plain"),
    "query_decoder": QueryDecoderSpec(name="query_decoder", **QUERIES),
    "matched queries": QueryDecoderSpec(
        name="query_decoder", **QUERIES, assignment="hungarian", points=64
    ),
    "eomt": EomtSpec(name="eomt", queries=5, points=64),
    "eomt without masks": EomtSpec(
        name="eomt", queries=5, points=64, masked_attention="never", blocks=1
    ),
}
OFFICIAL = [
    pytest.mark.detectron2,
    pytest.mark.skipif(
        find_spec("detectron2") is None or find_spec("mask2former") is None,
        reason="Detectron2 is not installed, or the official Mask2Former is not on PYTHONPATH",
    ),
]
MAPS = ("bare taps", "bare body", "one bare tap", "plain U-Net")
"""Encoders that give no pyramid."""
PYRAMID = ("unet", "upernet", "segformer", "fpn", "unet_plain")
PAIRS = [
    pytest.param(encoder, segmenter, marks=OFFICIAL if segmenter == "mask2former_official" else [])
    for encoder in ENCODERS
    for segmenter in SEGMENTERS
    if segmenter == "linear" or encoder not in MAPS
]
PAIRS += [(encoder, name) for encoder in ("hierarchical", "bare hierarchical") for name in PYRAMID]
PAIRS += [(encoder, "deeplabv3plus") for encoder in ENCODERS if encoder not in MAPS]
PAIRS += [(encoder, "query_decoder") for encoder in ENCODERS if encoder not in MAPS]
PAIRS += [("concatenating", "matched queries")]
PAIRS += [("bare body", "eomt"), ("bare body", "eomt without masks")]
PAIRS += [("one bare tap", "conv_transpose"), ("plain U-Net", "unet_plain")]


@pytest.mark.parametrize(("encoder", "segmenter"), PAIRS)
def test_every_trainable_parameter_gets_a_gradient(encoder, segmenter):
    fields = ENCODERS[encoder]
    channels = {} if fields.get("neck") == "none" else {"channels": 32}
    built = build_encoder(EncoderSpec(weights="random", **channels, **fields))
    model = build_segmenter((SEGMENTERS | DECODERS)[segmenter], built, 3, seed=0).train()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 64, 96), generator=generator)
    masks = torch.randint(0, 3, (2, 64, 96), generator=generator)
    sum(model.loss(images, masks).values()).backward()
    assert not [
        name
        for name, value in model.named_parameters()
        if value.requires_grad and value.grad is None
    ]


PROGRAM = """
import json
import sys

import torch
from torch import distributed, nn

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.references import load_segmenter


class Losses(nn.Module):
    def __init__(self, segmenter):
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images, masks):
        return self.segmenter.loss(images, masks)


distributed.init_process_group("gloo")
for fields, head in json.loads(sys.argv[1]):
    encoder = build_encoder(EncoderSpec(weights="random", **fields))
    segmenter = build_segmenter(load_segmenter(head), encoder, 3, seed=0)
    model = nn.parallel.DistributedDataParallel(Losses(segmenter), find_unused_parameters=False)
    model.train()
    learning = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.01)
    torch.manual_seed(distributed.get_rank())
    for _ in range(2):  # only the second pass finds out that gradients of the first are missing
        images, masks = torch.randint(0, 256, (2, 3, 64, 64)), torch.randint(0, 3, (2, 64, 64))
        loss = sum(model(images, masks).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ours = torch.cat([value.detach().flatten() for value in segmenter.parameters()])
    first = ours.clone()
    distributed.broadcast(first, 0)
    assert torch.equal(ours, first), fields
print("done")
distributed.destroy_process_group()
"""


def test_two_processes_get_every_gradient_they_wait_for(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    models = [
        (VIT, "linear"),
        (ENCODERS["bare taps"], "linear"),
        ({"name": "dinov2_s14", "final_norm": False}, "linear"),
        ({"name": "darknet_tiny"}, "linear"),
        (VIT, "deeplabv3plus"),
        (ENCODERS["concatenating"], {"name": "query_decoder", **QUERIES}),
        (ENCODERS["bare body"], {"name": "eomt", "queries": 5, "points": 64}),
    ]
    code, output = launch(tmp_path / "program.py", json.dumps(models))
    assert code == 0, output[-3000:]
    assert output.count("done") == 2
