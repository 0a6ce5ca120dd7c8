"""Heads of more than 255 classes: 255 is learned like any class, 65535 counts nowhere."""

import pytest
import torch
from torch.nn import functional as F

from encoder_ablations.encoders.base import Level
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.built_in import QueryDecoderSpec
from encoder_ablations.segmenters.heads.linear import LinearHead, LinearSpec
from encoder_ablations.segmenters.losses.set_loss import SetLoss
from encoder_ablations.segmenters.losses.targets import find_targets
from encoder_ablations.segmenters.scores import ScoreMaps
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
from encoder_ablations.utils.errors import InputError

CLASSES, IGNORED = 300, 65535


def small(**settings):
    sizes = {
        "queries": 5,
        "hidden": 32,
        "heads": 4,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "points": 32,
    }
    return Mask2FormerSpec(name="mask2former", **sizes, **settings)


def linear():
    return LinearHead(LinearSpec(name="linear"), CLASSES, [Level("p2", 6, 4)])


def wide_masks(height=40, width=48):
    masks = torch.randint(
        0, CLASSES, (2, height // 4, width // 4), generator=torch.Generator().manual_seed(1)
    )
    masks[0, :2], masks[1, 1:3], masks[:, 5, :6] = 255, IGNORED, 299
    return masks.repeat_interleave(4, 1).repeat_interleave(4, 2)


def test_linear_loss_is_the_mean_cross_entropy_over_labelled_pixels():
    torch.manual_seed(0)
    head, masks = linear().eval(), wide_masks()
    pyramid = {"p2": torch.randn(2, 6, 10, 12)}
    loss = head.loss(pyramid, masks, head.totals(masks))["cross_entropy"]
    logits = F.interpolate(head(pyramid), size=(40, 48), mode="bilinear").permute(0, 2, 3, 1)
    labelled = masks != IGNORED
    torch.testing.assert_close(loss, F.cross_entropy(logits[labelled], masks[labelled]))
    assert head.totals(masks)["cross_entropy"] == labelled.sum()
    gradient = torch.autograd.grad(loss, head.classifier.bias)[0]
    share = (masks[labelled] == 255).float().mean()
    assert gradient[255] < -0.9 * share  # the head learns class 255


def test_linear_loss_holds_the_full_scores_of_one_image_at_a_time():
    """What the backward pass needs of 4 images is no more than coarse scores and one image's
    full ones."""
    torch.manual_seed(0)
    head = linear()
    pyramid, masks = {"p2": torch.randn(4, 6, 10, 12)}, wide_masks().repeat(2, 1, 1)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda each: kept.append(each.numel()) or each, lambda each: each
    ):
        loss = head.loss(pyramid, masks, head.totals(masks))["cross_entropy"]
    assert max(kept) < CLASSES * 40 * 48
    assert loss.isfinite()


@pytest.mark.parametrize("size", [(40, 48), (37, 91)])
def test_the_largest_score_of_many_classes_on_gpus(size):
    maps = torch.randn(2, 600, 10, 12, generator=torch.Generator().manual_seed(0))
    scores = ScoreMaps(maps, (40, 48))
    full, found = scores.at(size), scores.labels_by_bands(size)
    chosen = full.gather(1, found[:, None]).squeeze(
        1
    )  # another one only where two differ by rounding
    torch.testing.assert_close(chosen, full.amax(dim=1), atol=1e-5, rtol=0)
    assert (found != full.argmax(dim=1)).float().mean() < 0.001
    maps.clamp_(max=-1)[:, [3, 290, 599]] = 0.0
    assert (scores.labels_by_bands(size) == 3).all()  # of equal scores the first counts


def test_targets():
    masks = torch.full((2, 4, 6), IGNORED)
    masks[0, :2], masks[0, 2:] = 255, 299
    targets = find_targets(masks, CLASSES)
    assert targets.classes == ((255, 299), ())
    assert targets.ignored == (False, True)
    assert targets.segments()[0][0].sum() == 12
    masks[0] = torch.tensor([255, 255, 255, IGNORED, IGNORED, IGNORED])
    targets = find_targets(masks, CLASSES)
    points = torch.tensor([[0.1, 0.5], [0.9, 0.5]])
    assert targets.labelled(0, points).tolist() == [1, 0]
    masks[0, 0, 0] = 300
    with pytest.raises(InputError, match=r"class id 300; allowed: 0\.\.299, or 65535"):
        find_targets(masks, CLASSES)


WIDE = [
    LinearSpec(name="linear"),
    small(),
    UNetSpec(name="unet", widths=(16, 8, 8, 4, 4)),
    UPerNetSpec(name="upernet", hidden=16),
    DeepLabV3PlusSpec(name="deeplabv3plus", hidden=16),
    SegFormerSpec(name="segformer", hidden=16),
    FPNSpec(name="fpn", hidden=16, branch_hidden=16),
    ConvTransposeSpec(name="conv_transpose"),
    UNetPlainSpec(name="unet_plain"),
    QueryDecoderSpec(
        name="query_decoder", queries=300, hidden=16, heads=2, decoder_layers=1, background=3
    ),
    EomtSpec(name="eomt", queries=300, points=32),
]


@pytest.mark.parametrize("spec", WIDE, ids=lambda spec: spec.name)
def test_padding_and_ignored_pixels_count_nowhere(spec, make_fitting_encoder):
    """Images of 40×48 are padded to 64×64: as if somebody had padded them, and the masks with
    65535, beforehand."""
    segmenter = build_segmenter(spec, make_fitting_encoder(spec.name), CLASSES, seed=0)
    masks = wide_masks()
    step = segmenter.encoder.divisibility
    padded = F.pad(masks, (0, -48 % step, 0, -40 % step), value=IGNORED)
    assert segmenter.totals(masks) == segmenter.totals(padded)
    if spec.name == "linear":
        assert segmenter.totals(masks)["cross_entropy"] == (masks != IGNORED).sum()
    images = torch.rand(2, 3, 40, 48) * 255
    torch.manual_seed(1)
    losses = segmenter.loss(images, masks)
    torch.manual_seed(1)
    expected = segmenter.head.loss(segmenter.pyramid(images), padded, segmenter.head.totals(padded))
    assert losses == expected
    assert all(value.isfinite() and value > 0 for value in losses.values())


def test_set_loss_is_that_of_as_many_classes_whatever_they_are_called():
    """Classes 255 and 299 of 300 and ignored pixels, or 3 and 4 of 5: with equal logits the mask
    losses are equal."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 5, 12, 16, generator=generator)]
    few = torch.randint(3, 5, (1, 12, 16), generator=generator)
    few[:, :4] = 255
    many = torch.where(few == 255, IGNORED, torch.where(few == 3, 255, 299))
    found = []
    for masks, classes in ((few, 5), (many, CLASSES)):
        loss = SetLoss(small(), classes)
        targets = find_targets(masks, classes)
        torch.manual_seed(1)
        points = loss.draw(1, targets)
        logits = [torch.zeros(1, 5, classes + 1)]
        found.append(loss(logits, maps, targets, loss.totals(masks), points))
    torch.testing.assert_close(found[0]["mask"], found[1]["mask"])
    torch.testing.assert_close(found[0]["dice"], found[1]["dice"])
