"""The set loss against transformers' criterion (the same points, by the same seed) and against a
plain restatement."""

import itertools

import pytest
import torch
from torch.nn import functional as F
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from encoder_ablations.segmenters.losses.point_sampling import Points
from encoder_ablations.segmenters.losses.set_loss import SetLoss
from encoder_ablations.segmenters.losses.targets import find_targets
from encoder_ablations.segmenters.spec import Mask2FormerSpec

CLASSES, QUERIES, LAYERS, POINTS = 6, 7, 3, 200


def make_loss(**settings):
    settings = {"name": "mask2former", "queries": QUERIES, "points": POINTS, **settings}
    spec = Mask2FormerSpec(**settings)
    loss = SetLoss(spec, CLASSES, spec.ignored_pixels)
    loss.official_order = True
    return loss


def blocks(images=2, size=(48, 64), classes=CLASSES, seed=0):
    """Masks of 8×8 blocks."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, classes, (images, 1, size[0] // 8, size[1] // 8), generator=generator)
    return F.interpolate(low.float(), scale_factor=8).squeeze(1).long()


def predictions(images=2, size=(48, 64), seed=0, queries=QUERIES):
    """Class and mask logits, final ones first."""
    generator = torch.Generator().manual_seed(seed)
    classes = [
        2 * torch.randn(images, queries, CLASSES + 1, generator=generator) for _ in range(LAYERS)
    ]
    maps = [
        3
        * torch.randn(
            images, queries, size[0] // 4, size[1] // 4, generator=generator
        ).requires_grad_()
        for _ in range(LAYERS)
    ]
    return [each.requires_grad_() for each in classes], [
        each.detach().requires_grad_() for each in maps
    ]


def evaluate(loss, classes, maps, masks, seed=1, totals=None, points=None):
    targets = find_targets(masks, CLASSES)
    torch.manual_seed(seed)
    points = loss.draw(len(classes), targets) if points is None else points
    return loss(classes, maps, targets, loss.totals(masks) if totals is None else totals, points)


def transformers_loss(classes, maps, masks, seed=1):
    config = Mask2FormerConfig(train_num_points=POINTS, num_labels=CLASSES)
    criterion = Mask2FormerLoss(config, {})
    present = [[label for label in mask.unique().tolist() if label != 255] for mask in masks]
    segments = [
        torch.stack([(m == k).float() for k in own]) for m, own in zip(masks, present, strict=True)
    ]
    auxiliary = [
        {"masks_queries_logits": m, "class_queries_logits": c}
        for c, m in zip(classes[1:], maps[1:], strict=True)
    ]
    torch.manual_seed(seed)
    terms = criterion(
        maps[0], classes[0], segments, [torch.tensor(own) for own in present], auxiliary
    )
    weights = {"class": ("cross_entropy", 2.0), "mask": ("mask", 5.0), "dice": ("dice", 5.0)}
    return {
        name: weight * sum(term for key, term in terms.items() if key.startswith(f"loss_{prefix}"))
        for name, (prefix, weight) in weights.items()
    }


def gradients(losses, tensors):
    return torch.autograd.grad(sum(losses.values()), tensors)


@pytest.mark.parametrize("mode", ["negative", "excluded"])
def test_equals_transformers_criterion(mode):
    masks = blocks()
    ours, theirs = predictions(), predictions()
    losses = evaluate(make_loss(ignored_pixels=mode), *ours, masks)
    expected = transformers_loss(*theirs, masks)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=1e-5)
    pairs = zip(
        gradients(losses, [*ours[0], *ours[1]]),
        gradients(expected, [*theirs[0], *theirs[1]]),
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_ignored_pixels_as_negatives_equal_transformers_criterion():
    masks = blocks()
    masks[:, 10:30, 20:60] = 255
    losses = evaluate(make_loss(ignored_pixels="negative"), *predictions(), masks)
    for name, value in transformers_loss(*predictions(), masks).items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=1e-5)


def test_more_segments_than_queries_equal_transformers_criterion():
    masks = blocks()
    assert len(masks[0].unique()) > 3
    losses = evaluate(make_loss(queries=3), *predictions(queries=3), masks)
    for name, value in transformers_loss(*predictions(queries=3), masks).items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=1e-5)


def test_without_ignored_pixels_both_modes_are_identical():
    losses = [
        evaluate(make_loss(ignored_pixels=mode), *predictions(), blocks())
        for mode in ("negative", "excluded")
    ]
    assert losses[0] == losses[1]


def restated(loss, classes, maps, masks, points):
    """ "excluded" in float64, pair by pair: label = sampled(mask) / sampled(valid), weight =
    sampled(valid)."""
    total = {"class": 0.0, "mask": 0.0, "dice": 0.0}
    weight = torch.ones(CLASSES + 1, dtype=torch.float64)
    weight[-1] = loss.spec.no_object_weight

    def read(image, at, padding="zeros"):
        grid = 2 * at.double()[None, None] - 1
        return F.grid_sample(
            image.double()[None, None], grid, padding_mode=padding, align_corners=False
        )[0, 0, 0]

    def terms(logits, mask, at):
        valid = 1 - read(mask[1] == 255, at, "border")
        label = torch.where(valid > 1e-5, read(mask[0], at) / valid.clamp(min=1e-5), 0)
        entropy = (
            F.binary_cross_entropy_with_logits(logits, label, reduction="none") * valid
        ).sum() / valid.sum()
        share = logits.sigmoid()
        overlap = 2 * (share * label * valid).sum() + 1
        return entropy, 1 - overlap / ((share * valid).sum() + (label * valid).sum() + 1)

    for layer, (class_logits, mask_logits) in enumerate(zip(classes, maps, strict=True)):
        labels, row = torch.full(class_logits.shape[:2], CLASSES), 0
        for image, mask in enumerate(masks):
            present = [label for label in mask.unique().tolist() if label != 255]
            at = points.matching[layer, image]
            probabilities = class_logits[image].double().softmax(-1)
            costs = {}
            for query, (j, label) in itertools.product(range(QUERIES), enumerate(present)):
                entropy, dice = terms(
                    read(mask_logits[image, query], at), (mask == label, mask), at
                )
                costs[query, j] = 5 * entropy + 5 * dice - 2 * probabilities[query, label]
            best = min(
                itertools.permutations(range(QUERIES), len(present)),
                key=lambda choice: sum(costs[query, j] for j, query in enumerate(choice)),
            )
            for query, label in sorted(zip(best, present, strict=True)):
                labels[image, query] = label
                at = torch.cat([points.candidates[layer, row], points.random[layer, row]])
                entropy, dice = terms(
                    read(mask_logits[image, query], at), (mask == label, mask), at
                )
                total["mask"] += 5 * entropy
                total["dice"] += 5 * dice
                row += 1
        total["class"] += 2 * F.cross_entropy(class_logits.double().transpose(1, 2), labels, weight)
    count = sum(len(set(mask.unique().tolist()) - {255}) for mask in masks)
    return {"class": total["class"], "mask": total["mask"] / count, "dice": total["dice"] / count}


def test_excluded_pixels_follow_the_restatement():
    masks = blocks(classes=2)
    masks[0, 5:31, 11:50] = 255
    masks[1, :, 50:] = 255
    loss = make_loss(points=60, importance_ratio=0.0)
    classes, maps = predictions()
    torch.manual_seed(1)
    points = loss.draw(LAYERS, find_targets(masks, CLASSES))
    points = Points(points.matching, points.candidates[:, :, :0], points.random)
    losses = evaluate(loss, classes, maps, masks, points=points)
    for name, value in restated(loss, classes, maps, masks, points).items():
        torch.testing.assert_close(losses[name].double(), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("mode", "changes"), [("excluded", False), ("negative", True)])
def test_predictions_on_ignored_pixels(mode, changes):
    """Excluded: neither the loss, nor the matching, nor the choice of uncertain points sees
    them."""
    masks = blocks()
    masks[:, :, 32:] = 255
    loss = make_loss(ignored_pixels=mode, points=2000)
    classes, maps = predictions()
    before = evaluate(loss, classes, maps, masks)
    found = gradients(before, maps)
    with torch.no_grad():
        for each in maps:
            each[..., 9:] = torch.randn_like(
                each[..., 9:]
            )  # cells from pixel 36 on; the one before reaches over
    after = evaluate(loss, classes, maps, masks)
    assert (before != after) == changes
    assert any(gradient[..., 9:].any() for gradient in found) == changes
    assert all(gradient[..., :8].any() for gradient in found)


def micro_batch(points, image, start, stop):
    return Points(
        points.matching[:, image : image + 1],
        points.candidates[:, start:stop],
        points.random[:, start:stop],
    )


@pytest.mark.parametrize("mode", ["negative", "excluded"])
def test_micro_batches_add_up_to_the_large_batch(mode):
    masks = blocks(images=3)
    masks[0, :20], masks[1, :, :50] = 255, 255
    masks[2] = 255
    loss = make_loss(ignored_pixels=mode)
    classes, maps = predictions(images=3)
    targets = find_targets(masks, CLASSES)
    points, totals = loss.draw(LAYERS, targets), loss.totals(masks)
    whole = evaluate(loss, classes, maps, masks, points=points)
    ends = [0, *itertools.accumulate(len(own) for own in targets.classes)]
    parts = [
        evaluate(
            loss,
            [each[i : i + 1] for each in classes],
            [each[i : i + 1] for each in maps],
            masks[i : i + 1],
            totals=totals,
            points=micro_batch(points, i, ends[i], ends[i + 1]),
        )
        for i in range(3)
    ]
    for name, value in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), value)


def test_totals():
    masks = torch.full((3, 8, 8), 255)
    masks[0, :4], masks[0, 4:] = 0, 3
    masks[1, :] = torch.arange(8).clamp(max=5)
    totals = make_loss(queries=4, no_object_weight=0.1).totals(masks)
    assert totals["masks"] == 2 + 6
    torch.testing.assert_close(totals["classes"], torch.tensor((2 + 0.2) + 4 + 0.4))


def test_images_without_segments_learn_no_object_only():
    masks = torch.full((2, 48, 64), 255)
    classes, maps = predictions()
    losses = evaluate(make_loss(), classes, maps, masks)
    assert losses["mask"] == losses["dice"] == 0
    nothing = torch.full((2, QUERIES), CLASSES)
    expected = 2 * sum(F.cross_entropy(each.transpose(1, 2), nothing) for each in classes)
    torch.testing.assert_close(losses["class"], expected)
    assert not any(gradient.any() for gradient in gradients(losses, maps))


def test_no_object_of_no_weight():
    """Nothing labelled and nothing to learn: 0, not 0 / 0."""
    losses = evaluate(make_loss(no_object_weight=0.0), *predictions(), torch.full((2, 48, 64), 255))
    assert list(losses.values()) == [0, 0, 0]


def test_is_computed_in_float32_under_autocast():
    masks = blocks()
    close = [
        [each / 100 for each in logits] for logits in predictions()
    ]  # the matching needs float32 to tell them apart
    losses = evaluate(make_loss(), *close, masks)
    with torch.autocast("cpu", torch.bfloat16):
        assert evaluate(make_loss(), *close, masks) == losses
    expected = evaluate(make_loss(), *predictions(), masks)
    half = evaluate(
        make_loss(), *[[each.bfloat16() for each in logits] for logits in predictions()], masks
    )
    for name, value in half.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=2e-2, atol=0)
