"""The linear head on the bare taps of a frozen body: DINOv2's protocol, with nothing trained in
between."""

import pytest
import timm
import torch
from torch.nn import functional as F

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.frameworks.transformers_backbone import EncoderBackboneConfig
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.cost.measure import measure_cost
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.scores import ScoreMaps, upsample
from encoder_ablations.segmenters.spec import Mask2FormerSpec
from encoder_ablations.utils.errors import InputError

SMALL = {"name": "vit_small_patch14_dinov2", "weights": "random", "freeze": "body", "neck": "none"}


def probe(**changes):
    encoder = build_encoder(EncoderSpec(**SMALL | changes))
    return build_segmenter(LinearSpec(name="linear"), encoder, 5, seed=0)


def images_of(height, width):
    return torch.randint(
        0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


@pytest.mark.parametrize(
    ("taps", "blocks"), [((1.0,), [11]), ((0.75, 1.0), [8, 11]), (None, [2, 5, 8, 11])]
)
def test_scores_are_a_linear_map_of_the_sources_own_features(taps, blocks):
    """Written again with nothing but timm and PyTorch, at a size that is a multiple of the patch
    but not of 32."""
    segmenter = probe(taps=taps).eval()
    segmenter.head.norm.running_mean.normal_()
    segmenter.head.norm.running_var.uniform_(0.5, 2)
    images = images_of(70, 98)
    with torch.no_grad():
        source = timm.create_model(
            "vit_small_patch14_dinov2", num_classes=0, img_size=(70, 98)
        ).eval()
        own = segmenter.encoder.body.model.state_dict()
        positions = {"pos_embed": source.pos_embed}
        source.load_state_dict(own | positions)
        positions = segmenter.encoder.body.model.pos_embed
        from encoder_ablations.encoders.bodies.positions import resize_positions

        source.pos_embed.copy_(resize_positions(positions, (5, 7), 1, "dinov2"))
        mean, std = (
            torch.tensor(value).view(3, 1, 1)
            for value in segmenter.encoder.normalization.__dict__.values()
        )
        normalized = (images / 255 - mean) / std
        maps = source.forward_intermediates(
            normalized, indices=blocks, norm=True, intermediates_only=True
        )
        joined = torch.cat(maps, 1)
        norm, classifier = segmenter.head.norm, segmenter.head.classifier
        flat = (joined - norm.running_mean.view(-1, 1, 1)) / (
            norm.running_var.view(-1, 1, 1) + norm.eps
        ).sqrt()
        logits = torch.einsum("kc,bchw->bkhw", classifier.weight[:, :, 0, 0], flat)
        expected = F.interpolate(logits, size=(70, 98), mode="bilinear", align_corners=False)
        torch.testing.assert_close(segmenter.scores(images), expected, atol=1e-5, rtol=0)
        masks = torch.randint(0, 5, (2, 70, 98), generator=torch.Generator().manual_seed(1))
        masks[0, :20] = 255
        loss = segmenter.loss(images, masks)["cross_entropy"]
        torch.testing.assert_close(
            loss, F.cross_entropy(expected, masks, ignore_index=255), atol=1e-5, rtol=0
        )


def test_only_batchnorm_and_the_classifier_learn():
    segmenter = probe(taps=(1.0,))
    learns = {
        name: value.numel() for name, value in segmenter.named_parameters() if value.requires_grad
    }
    assert learns == {
        "head.norm.weight": 384,
        "head.norm.bias": 384,
        "head.classifier.weight": 5 * 384,
        "head.classifier.bias": 5,
    }
    assert segmenter.encoder.body_is_frozen
    assert not list(segmenter.encoder.neck.parameters())


@pytest.mark.parametrize(
    ("spec", "strides", "divisibility"),
    [
        ({}, [14, 14, 14, 14], 14),
        ({"grid": "resampled_patch"}, [16] * 4, 16),
        ({"grid": "rescaled_input", "taps": (1.0,)}, [16], 16),
        ({"name": "darknet_tiny"}, [4, 8, 16, 32], 32),
        ({"name": "vit_ti16", "neck": None}, [4, 8, 16, 32], 32),
    ],
)
def test_levels_are_the_bodys(spec, strides, divisibility):
    encoder = build_encoder(EncoderSpec(**SMALL | spec))
    assert [level.stride for level in encoder.levels] == strides
    assert encoder.divisibility == divisibility


@pytest.mark.parametrize("size", [(64, 64), (61, 75)])
@pytest.mark.parametrize("encoder", [{}, {"grid": "rescaled_input"}, {"name": "darknet_tiny"}])
def test_any_size(encoder, size):
    segmenter, images = probe(**encoder).train(), images_of(*size)
    masks = torch.randint(0, 5, (2, *size))
    segmenter.loss(images, masks)["cross_entropy"].backward()
    assert segmenter.head.classifier.weight.grad.abs().sum() > 0
    segmenter.eval()
    with torch.inference_mode():
        assert segmenter.scores(images).shape == (2, 5, *size)
        maps = segmenter.predict(images)
        full = (2 * size[0], 2 * size[1])
        different = maps.labels(full) != maps.at(full).argmax(1)
        assert different.float().mean() < 1e-4  # rounding where two classes are all but equal
        assert (
            measure_cost(segmenter, size, (1,), seconds=0.01).parameters_by_part["encoder.neck"]
            == 0
        )


@pytest.mark.parametrize("stride", [8, 14, 16])
@pytest.mark.parametrize("size", [(56, 112), (50, 93)])
def test_labels_at_any_stride(stride, size):
    shape = [-(-side // stride) for side in size]
    maps = torch.randn(1, 7, *shape, generator=torch.Generator().manual_seed(0))
    for target in (size, (100, 100), (31, 50)):
        wanted = upsample(maps, size, target, stride).argmax(1)
        assert (
            ScoreMaps(maps, size, stride=stride).labels(target) == wanted
        ).float().mean() > 0.999
        assert (ScoreMaps(maps, size, stride=stride).at(target).argmax(1) == wanted).all()


def test_padding_does_not_shift_scores():
    """A ramp along the width, sampled at the centres of patches, is read off at the pixels where
    it belongs."""
    stride, width = 14, 65
    centres = torch.arange(5) * stride + stride / 2
    full = upsample(centres.expand(1, 1, 5, 5), (65, width), (65, width), stride)[0, 0, 30]
    inside = slice(7, 62)
    torch.testing.assert_close(full[inside], torch.arange(width)[inside] + 0.5)


BAD = {
    "channels": ({"channels": 64}, "channels belongs to a neck, and neck is none"),
    "one tap for a pyramid": (
        {"neck": None, "taps": (1.0,)},
        "tap_pyramid needs 4 taps, 1 are given",
    ),
    "taps of a DarkNet": (
        {"name": "darknet_tiny", "taps": (1.0,)},
        "taps applies to .*vision transformers only",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_do_not_fit(name):
    changes, message = BAD[name]
    with pytest.raises(InputError, match=message):
        build_encoder(EncoderSpec(**SMALL | changes))


def test_heads_and_backbones_that_need_a_pyramid_say_so():
    encoder = build_encoder(EncoderSpec(**SMALL))
    with pytest.raises(
        InputError, match=r"mask2former reads a pyramid p2, p3, p4, p5, but .* gives tap0, tap1"
    ):
        build_segmenter(Mask2FormerSpec(name="mask2former"), encoder, 5, seed=0)
    with pytest.raises(InputError, match="transformers backbone gives out a pyramid"):
        EncoderBackboneConfig(encoder=SMALL)


def test_the_title_says_so():
    assert EncoderSpec(**SMALL).title == "vit_small_patch14_dinov2-random-frozen-bare"
