"""Decoders by independent code: segmentation_models_pytorch's, with the same weights, and two
networks written again from their descriptions."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from segmentation_models_pytorch.base.heads import SegmentationHead
from segmentation_models_pytorch.decoders.deeplabv3.decoder import (
    DeepLabV3PlusDecoder,
)
from segmentation_models_pytorch.decoders.fpn import decoder as fpn_module
from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import Level
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.registry import head_entry
from encoder_ablations.segmenters.spec import ConvTransposeSpec, UNetPlainSpec

CLASSES = 5
LEVELS = [Level("p2", 8, 4), Level("p3", 12, 8), Level("p4", 16, 16), Level("p5", 20, 32)]
WIDTHS = (16, 12, 8, 6, 4)
RATES = (1, 2, 3)
"""Less than the sides of p5: beyond the map a rate makes no difference."""
CHANNELS = [3, 0, *(level.channels for level in LEVELS)]


def their_unet(widths):
    return UnetDecoder(CHANNELS, widths, n_blocks=len(widths))


def their_upernet():
    decoder = UPerNetDecoder(CHANNELS, decoder_channels=16)
    # its LayerNorms of the levels are not the paper's
    decoder.feature_norms = nn.ModuleList(nn.Identity() for _ in LEVELS)
    return decoder


def their_deeplabv3plus():
    decoder = DeepLabV3PlusDecoder(
        CHANNELS, 5, 16, RATES, output_stride=16, aspp_separable=True, aspp_dropout=0.0
    )
    # from stride 32 to 4, with half-pixel centres
    decoder.up = nn.Upsample(scale_factor=8, mode="bilinear", align_corners=False)
    return decoder


def their_fpn():
    return fpn_module.FPNDecoder(
        CHANNELS, pyramid_channels=16, segmentation_channels=64, dropout=0.0
    )


CASES = {
    "unet, stride 1": (
        "unet",
        {"widths": (16, 12, 8, 6, 4)},
        lambda: their_unet([16, 12, 8, 6, 4]),
    ),
    "unet, stride 4": ("unet", {"widths": (16, 12, 8)}, lambda: their_unet([16, 12, 8])),
    "upernet": ("upernet", {"hidden": 16}, their_upernet),
    "deeplabv3plus": ("deeplabv3plus", {"hidden": 16, "rates": RATES}, their_deeplabv3plus),
    "segformer": ("segformer", {"hidden": 16}, lambda: SegformerDecoder(CHANNELS, 5, 16)),
    "fpn": ("fpn", {"hidden": 16, "branch_hidden": 64}, their_fpn),
}


class Theirs(nn.Module):
    """Their decoder and classifier, on our pyramid."""

    def __init__(self, decoder, width, kernel):
        super().__init__()
        self.decoder = decoder
        self.classifier = SegmentationHead(width, CLASSES, kernel)

    def forward(self, pyramid):
        levels = list(pyramid.values())
        batch, _, height, width = levels[0].shape
        image = torch.zeros(batch, 3, 4 * height, 4 * width)
        half = torch.zeros(batch, 0, 2 * height, 2 * width)
        return self.classifier(self.decoder([image, half, *levels]))


def pyramid(height=160, width=128, batch=2):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(batch, channels, height // stride, width // stride, generator=generator)
        for name, channels, stride in LEVELS
    }


def copy_weights(source, target):
    """Copy all parameters and statistics, which both modules hold in one order."""
    values = list(source.state_dict().values())
    places = target.state_dict()
    assert [value.numel() for value in values] == [place.numel() for place in places.values()]
    each = zip(places.items(), values, strict=True)
    target.load_state_dict({name: value.reshape(place.shape) for (name, place), value in each})


def disturbed(module):
    """The module with parameters and statistics that are nowhere 0 or 1."""
    generator = torch.Generator().manual_seed(1)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            value.add_(0.1 * noise.abs() if name.endswith("running_var") else 0.1 * noise)
    return module


def half_pixel_centres(monkeypatch):
    """Their FPN enlarges with aligned corners, ours as Detectron2's with half-pixel centres."""

    def interpolate(*args, **options):
        if options["mode"] == "bilinear":
            options["align_corners"] = False
        return F.interpolate(*args, **options)

    monkeypatch.setattr(fpn_module, "F", SimpleNamespace(interpolate=interpolate))


@pytest.mark.parametrize("direction", ["theirs to ours", "ours to theirs"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("case", CASES)
def test_same_weights_give_the_same_logits(case, training, direction, monkeypatch):
    half_pixel_centres(monkeypatch)
    torch.manual_seed(0)
    name, settings, make = CASES[case]
    entry = head_entry(name)
    ours = entry.head(entry.spec(name=name, **settings), CLASSES, LEVELS)
    *_, classifier = (module for module in ours.modules() if isinstance(module, nn.Conv2d))
    theirs = Theirs(make(), classifier.in_channels, classifier.kernel_size[0])
    if direction == "theirs to ours":
        copy_weights(disturbed(theirs), ours)
    else:
        copy_weights(disturbed(ours), theirs)
    found = ours.train(training)(pyramid())
    expected = theirs.train(training)(pyramid())
    assert found.shape[-1] * ours.stride == 128
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    found.square().sum().backward()
    expected.square().sum().backward()
    gradients = [
        torch.cat([each.grad.flatten() for each in model.parameters()]) for model in (ours, theirs)
    ]
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-4 * gradients[1].abs().max()


@pytest.mark.parametrize("patch", [14, 16, 32])
def test_conv_transpose_by_its_description(patch):
    """Three transposed convolutions (kernel 4, stride 2), widths h/2, h/4, h/8, then 3×3; one more
    for patches of 32."""
    torch.manual_seed(0)
    entry = head_entry("conv_transpose")
    head = entry.head(ConvTransposeSpec(name="conv_transpose"), CLASSES, Level("tap0", 32, patch))
    layers = []
    for inputs, outputs in ((32, 16), (16, 8), (8, 4)):
        up = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        layers += [up, nn.BatchNorm2d(outputs), nn.ReLU()]
    layers.append(nn.Conv2d(4, CLASSES, 3, padding=1))
    if patch == 32:
        layers.append(nn.ConvTranspose2d(CLASSES, CLASSES, 4, 2, 1))
    plain = disturbed(nn.Sequential(*layers))
    copy_weights(plain, head)
    features = torch.randn(2, 32, 3, 5)
    found = head({"tap0": features})
    torch.testing.assert_close(found, plain(features))
    assert found.shape[-2] * head.stride == 3 * patch


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_whole_plain_unet_by_its_description(norm):
    """Two convolutions a stage, pooling between them; transposed convolutions and concatenation on
    the way back."""
    encoder = build_encoder(EncoderSpec(name="unet_tiny", weights="random"))
    spec = UNetPlainSpec(name="unet_plain", norm=norm)
    segmenter = disturbed(build_segmenter(spec, encoder, CLASSES, 0))
    body, head = segmenter.encoder.body, segmenter.head
    widths = [8, 16, 32, 64, 128]

    def twice(inputs, outputs, kind):
        layers = []
        for before in (inputs, outputs):
            conv = nn.Conv2d(before, outputs, 3, padding=1, bias=False)
            layers += [conv, kind(outputs), nn.ReLU()]
        return nn.Sequential(*layers)

    def groups(width):
        return nn.GroupNorm(min(width // 2, 32), width)

    kind = {"batch": nn.BatchNorm2d, "group": groups}[norm]
    down = nn.ModuleList(
        twice(inputs, outputs, nn.BatchNorm2d) for inputs, outputs in pairwise([3, *widths])
    )
    up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, 2) for width in widths[:-1])
    back = nn.ModuleList(twice(2 * width, width, kind) for width in widths[:-1])
    last = nn.Conv2d(widths[0], CLASSES, 1)
    copy_weights(body, down)
    copy_weights(head, nn.ModuleList([up, back, last]))
    images = torch.randint(0, 256, (2, 3, 48, 64)).float()
    features = (images / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    skips = []
    for stage in down:
        features = stage(features)
        skips.append(features)
        features = F.max_pool2d(features, 2)
    features = skips.pop()
    for index in reversed(range(4)):
        features = back[index](torch.cat([skips[index], up[index](features)], 1))
    torch.testing.assert_close(segmenter.scores(images), last(features), atol=1e-4, rtol=1e-4)
