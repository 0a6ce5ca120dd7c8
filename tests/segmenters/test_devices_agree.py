"""Every head on a GPU that is not there: each tensor knows its device, and an operation on two
devices is an error.

``FakeTensorMode`` gives tensors a device, a shape and a type, but no values. Two functions read
values, which decides shapes: which classes the masks show, and the matching. They cross to the CPU
on purpose and are tested with values in their own tests; here stand-ins give what they give, on the
device on which they give it.
"""

import pytest
import torch
from timm.models.eva import Eva
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder
from waiting import Waits

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.built_in import QueryDecoderSpec
from encoder_ablations.segmenters.features import Features
from encoder_ablations.segmenters.heads import eomt, mask2former, query_decoder
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.losses import set_loss
from encoder_ablations.segmenters.losses.matching import Matches
from encoder_ablations.segmenters.losses.targets import Targets
from encoder_ablations.segmenters.ops import deformable_attention_pytorch as attention
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

CUDA = torch.device("cuda", 0)
COPYING = (Eva, Mask2FormerPixelDecoder)
LINEAR = LinearSpec(name="linear")
FORMER = Mask2FormerSpec(
    name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=2, points=64
)
QUERIES = QueryDecoderSpec(
    name="query_decoder", queries=5, hidden=32, heads=4, decoder_layers=2, dice_weight=1.0
)
VIT = EncoderSpec(name="test_vit", weights="random", channels=32)
RESNET = EncoderSpec(name="test_resnet", weights="random", channels=32)
UNET = EncoderSpec(name="unet_tiny", weights="random")
BARE = EncoderSpec(name="test_vit", weights="random", neck="none")
ROTARY = EncoderSpec(name="vit_small_patch16_dinov3", weights="random", neck="none")
TAP = EncoderSpec(name="test_vit", weights="random", neck="none", taps=(0.1,))
# without lovasz: how many classes and labelled pixels there are decides its shapes
LOSSES = dict.fromkeys(["focal", "bce", "dice", "iou", "tversky", "dice_bce"], 1.0)
LOSSES |= {"cross_entropy": {"class_weights": [1, 2, 3], "label_smoothing": 0.1}}
CASES = {
    "linear": (LINEAR, VIT, 3),
    "mask2former": (FORMER, VIT, 3),
    "mask2former, ignored pixels negative": (
        FORMER.model_copy(update={"ignored_pixels": "negative"}),
        VIT,
        3,
    ),
    "more classes than a byte": (LINEAR, VIT, 300),
    "losses": (LINEAR.model_copy(update={"loss": LOSSES}), VIT, 3),
    "bare taps": (
        LINEAR,
        VIT.model_copy(update={"neck": "none", "channels": None, "freeze": "body"}),
        3,
    ),
    "frozen body": (FORMER, VIT.model_copy(update={"freeze": "body"}), 3),
    "DINOv2's positions": (LINEAR, VIT.model_copy(update={"name": "vit_small_patch14_dinov2"}), 3),
    "darknet": (LINEAR, VIT.model_copy(update={"name": "darknet_tiny"}), 3),
    "unet": (UNetSpec(name="unet", widths=(16, 8, 8)), RESNET, 3),
    "upernet": (UPerNetSpec(name="upernet", hidden=32), RESNET, 3),
    "deeplabv3plus": (DeepLabV3PlusSpec(name="deeplabv3plus", hidden=32), RESNET, 3),
    "segformer": (SegFormerSpec(name="segformer", hidden=32), RESNET, 3),
    "fpn": (FPNSpec(name="fpn", hidden=32, branch_hidden=32), RESNET, 3),
    "conv_transpose": (ConvTransposeSpec(name="conv_transpose"), TAP, 3),
    "unet_plain": (UNetPlainSpec(name="unet_plain"), UNET, 3),
    "query_decoder": (QUERIES, RESNET, 3),
    "matched queries": (
        QUERIES.model_copy(update={"assignment": "hungarian", "background": 1}),
        RESNET,
        3,
    ),
    "eomt": (EomtSpec(name="eomt", queries=5, points=64), BARE, 3),
    "eomt, rotary": (EomtSpec(name="eomt", queries=5, points=64), ROTARY, 3),
    "simple pyramid": (LINEAR, VIT.model_copy(update={"neck": "simple_feature_pyramid"}), 3),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def built(request):
    """A segmenter with parameters and buffers on a GPU, its spec, and the mode in which they can
    be worked with."""
    head, encoder, classes = request.param
    spec = EncoderSpec(**encoder.model_dump(exclude_unset=True, exclude_none=True))
    segmenter = build_segmenter(head, build_encoder(spec), classes, 0)
    mode = FakeTensorMode()
    with mode:
        for module in segmenter.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    fake = torch.empty(value.shape, dtype=value.dtype, device=CUDA)
                    module._parameters[name] = nn.Parameter(fake, requires_grad=value.requires_grad)
            for name, value in module._buffers.items():
                if value is not None:
                    module._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device=CUDA)
    return segmenter, classes, mode


@pytest.fixture
def without_values(monkeypatch):
    """Every mask shows the classes 0 and 2 and ignored pixels; queries are matched with them in
    order."""

    def find_targets(masks, num_classes, background=None):
        return Targets(masks, ((0, 2),) * len(masks), (True,) * len(masks))

    def assign(costs, counts):
        places = costs.new_zeros(len(costs), sum(counts), dtype=torch.int64)
        return Matches(places, places, list(counts))

    for module in (eomt, mask2former, query_decoder):
        monkeypatch.setattr(module, "find_targets", find_targets)
    monkeypatch.setattr(set_loss, "assign", assign)


def assert_no_more_waits(waits, segmenter):
    """Beside what the two stand-ins replace, only two libraries copy what they could compute there:
    transformers' pixel decoder the sizes of its levels, timm's Eva rotary positions."""
    libraries = [each for each in segmenter.modules() if isinstance(each, COPYING)]
    assert waits.found["cpu to cuda"] <= len(libraries)
    assert set(waits.found) <= {"cpu to cuda"}


def images_and_masks():
    images = torch.zeros(2, 3, 70, 93, dtype=torch.uint8, device=CUDA)
    return images, torch.zeros(2, 70, 93, dtype=torch.int64, device=CUDA)


def test_losses(built, without_values):
    segmenter, _, mode = built
    with mode:
        images, masks = images_and_masks()
        segmenter.train()
        with Waits() as waits:
            losses = segmenter.loss(images, masks, segmenter.totals(masks))
        assert_no_more_waits(waits, segmenter)
        assert {value.device for value in losses.values()} == {CUDA}
        assert all(value.requires_grad for value in losses.values())


def test_scores_and_labels(built):
    segmenter, classes, mode = built
    segmenter.eval()
    with mode, torch.inference_mode():
        images, _ = images_and_masks()
        with Waits() as waits:
            maps = segmenter.predict(images)
            assert maps.at((70, 93)).shape == (2, classes, 70, 93)
            labels = maps.labels((141, 90))
        assert_no_more_waits(waits, segmenter)
        assert labels.shape == (2, 141, 90)
        assert {maps.maps.device, maps.at((70, 93)).device, labels.device} == {CUDA}


def test_features_in_the_place_of_images(built, without_values):
    segmenter, _, mode = built
    if segmenter.head.reads == "body":
        pytest.skip("the head reads images")
    with mode:
        images, masks = images_and_masks()
        with torch.no_grad():
            features = segmenter.features(images)
        features = Features([each.detach() for each in features.maps], features.image_size)
        segmenter.train()
        losses = segmenter.loss(features, masks)
        assert {value.device for value in losses.values()} == {CUDA}
        segmenter.eval()
        with torch.inference_mode():
            assert segmenter.predict(features).labels((70, 93)).device == CUDA


def test_deformable_attention_in_both_directions():
    """Of all gradients the one that is written here; PyTorch's engine runs none for a GPU that
    is not there."""
    shapes, there = [(4, 6), (3, 2), (0, 5)], {"device": CUDA}
    with FakeTensorMode():
        value, locations = torch.empty(2, 30, 4, 8, **there), torch.empty(2, 7, 4, 3, 4, 2, **there)
        weights, upstream = torch.empty(2, 7, 4, 3, 4, **there), torch.empty(2, 7, 32, **there)
        found = attention.forward(value, locations, weights, shapes)
        assert (found.device, found.shape) == (CUDA, upstream.shape)
        gradients = attention.backward(upstream, value, locations, weights, shapes)
        assert [each.device for each in gradients] == [CUDA] * 3
        assert [each.shape for each in gradients] == [value.shape, locations.shape, weights.shape]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("head", [LINEAR, FORMER], ids=["linear", "mask2former"])
def test_labels_of_a_gpu_are_those_of_the_cpu(head):
    segmenter = build_segmenter(head, build_encoder(VIT), 7, 0).eval()
    images = torch.randint(
        0, 256, (2, 3, 130, 155), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    with torch.inference_mode():
        on_cpu = segmenter.predict(images)
        full = on_cpu.at((261, 310))
        segmenter.cuda()
        labels = segmenter.predict(images.cuda()).labels((261, 310)).cpu()
    best = full.max(1, keepdim=True).values
    assert (best - full.gather(1, labels[:, None])).max() < 1e-3 * (full.max() - full.min())
    assert (labels != full.argmax(1)).float().mean() < 1e-2
