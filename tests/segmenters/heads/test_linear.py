import torch
from torch.nn import functional as F

from encoder_ablations.encoders.base import Level
from encoder_ablations.segmenters.heads.linear import LinearHead, LinearSpec

LEVELS = [Level("p2", 3, 4), Level("p3", 5, 8), Level("p4", 2, 16), Level("p5", 4, 32)]


def pyramid(height=64, width=96):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, n, height // s, width // s, generator=generator) for _, n, s in LEVELS]
    return {level.name: each.requires_grad_() for level, each in zip(LEVELS, maps, strict=True)}


def head(classes=3):
    torch.manual_seed(0)
    return LinearHead(LinearSpec(name="linear"), classes, LEVELS)


def random_masks(classes=3, height=64, width=96):
    return torch.randint(0, classes, (2, height, width), generator=torch.Generator().manual_seed(1))


def test_is_batchnorm_and_a_linear_map_of_the_resized_levels():
    model, levels = head().train(), pyramid()
    size = levels["p2"].shape[-2:]
    joined = torch.cat(
        [F.interpolate(each, size=size, mode="bilinear") for each in levels.values()], 1
    )
    mean, variance = (
        joined.mean((0, 2, 3), keepdim=True),
        joined.var((0, 2, 3), keepdim=True, unbiased=False),
    )
    weight = model.classifier.weight[:, :, 0, 0]
    expected = torch.einsum(
        "kc,bchw->bkhw", weight, (joined - mean) / (variance + model.norm.eps).sqrt()
    )
    torch.testing.assert_close(model(levels), expected, atol=1e-5, rtol=0)


def test_loss_is_the_mean_cross_entropy_over_labelled_pixels():
    model, levels, masks = head().eval(), pyramid(), random_masks()
    masks[0, :30] = 255
    logits = F.interpolate(model(levels), size=(64, 96), mode="bilinear")
    expected = F.cross_entropy(logits, masks, ignore_index=255)
    found = model.loss(levels, masks, model.totals(masks))["cross_entropy"]
    torch.testing.assert_close(found, expected)


def test_predictions_on_ignored_pixels_change_nothing():
    model, levels, masks = head().eval(), pyramid(), random_masks()
    masks[:, :, 40:] = 255
    before = model.loss(levels, masks, model.totals(masks))["cross_entropy"]
    before.backward()
    with torch.no_grad():
        levels["p2"][..., 11:] += (
            100  # column 11 reaches from pixel 42 on, the cells of p2 being 4 pixels wide
        )
        after = model.loss(levels, masks, model.totals(masks))["cross_entropy"]
    assert torch.equal(before, after)
    assert not levels["p2"].grad[..., 11:].any()
    assert levels["p2"].grad[..., :9].any()


def test_micro_batches_add_up():
    """In evaluation mode: the batch statistics of a BatchNorm differ between micro-batches by
    nature."""
    model, levels, masks = head().eval(), pyramid(), random_masks()
    masks[0, :50] = 255
    totals = model.totals(masks)
    whole = model.loss(levels, masks, totals)["cross_entropy"]
    parts = [
        model.loss({k: v[i : i + 1] for k, v in levels.items()}, masks[i : i + 1], totals)
        for i in range(2)
    ]
    torch.testing.assert_close(sum(part["cross_entropy"] for part in parts), whole)
