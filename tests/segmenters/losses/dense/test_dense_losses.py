"""Every loss of dense heads: exact under ignore, additive over images, and equal to its formula."""

import math

import pytest
import segmentation_models_pytorch.losses as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from encoder_ablations.segmenters.dense_loss import divided
from encoder_ablations.segmenters.loss_registry import loss_entry, loss_names

CLASSES, IGNORED = 4, 255
SETTINGS = {name: (name, {}) for name in loss_names()}
SETTINGS |= {
    "weighted": ("cross_entropy", {"class_weights": [0.5, 2.0, 0.0, 1.0]}),
    "smoothed": ("cross_entropy", {"label_smoothing": 0.1}),
    "both": ("cross_entropy", {"class_weights": [3.0, 1, 1, 0], "label_smoothing": 0.2}),
    "hard focal": ("focal", {"gamma": 0.5, "alpha": 0.75}),
    "not smooth": ("dice", {"smooth": 0.0}),
}


def make(case, classes=CLASSES, **further):
    name, content = SETTINGS[case]
    entry = loss_entry(name)
    return entry.loss(entry.spec(**content, **further), classes)


def batch(seed, images=3, ignored=0.3, height=5, width=7):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, CLASSES, height, width, generator=generator)
    masks = torch.randint(0, CLASSES, (images, height, width), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < ignored] = IGNORED
    return logits.requires_grad_(), masks


def value(loss, logits, masks):
    return divided(loss(logits, masks), loss.total(masks))


@pytest.fixture(params=SETTINGS)
def loss(request):
    return make(request.param)


@pytest.mark.parametrize("case", SETTINGS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), ignored=st.floats(0, 1))
def test_ignored_pixels_are_as_if_cropped_away(case, seed, ignored):
    loss = make(case)
    logits, masks = batch(seed, ignored=ignored)
    found = value(loss, logits, masks)
    (gradient,) = torch.autograd.grad(found, logits)
    sums, totals = logits.new_zeros(()), torch.zeros(())
    for scores, mask in zip(logits, masks, strict=True):
        labelled = mask != IGNORED
        if labelled.any():
            cropped = scores[:, labelled][None, :, None], mask[labelled][None, None]
            sums, totals = sums + loss(*cropped), totals + loss.total(cropped[1])
    expected = divided(sums, totals)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    if expected.requires_grad:
        torch.testing.assert_close(
            gradient, torch.autograd.grad(expected, logits)[0], atol=1e-6, rtol=1e-4
        )
    assert not gradient.transpose(0, 1)[:, masks == IGNORED].any()


def test_a_batch_without_labels_gives_zero(loss):
    logits, masks = batch(0, ignored=2)
    found = value(loss, logits, masks)
    assert found == 0
    assert loss.total(masks) == 0
    (gradient,) = torch.autograd.grad(found, logits)
    assert not gradient.any()


def test_micro_batches_add_up(loss):
    """One image has no label, and the others unequally many."""
    logits, masks = batch(1, images=4)
    masks[1] = IGNORED
    masks[2, 1:] = IGNORED
    total = loss.total(masks)
    assert total.dim() == 0
    parts = [(logits[i : i + 1], masks[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(sum(loss.total(part[1]) for part in parts), total)
    shares = sum(divided(loss(*part), total) for part in parts)
    torch.testing.assert_close(shares, value(loss, logits, masks))


@pytest.mark.parametrize("size", [0.0, 1e2, 1e4])
def test_gradients_are_finite_for_extreme_logits(loss, size):
    logits, masks = batch(2)
    extreme = (logits.detach().sign() * size).requires_grad_()
    found = value(loss, extreme, masks)
    (gradient,) = torch.autograd.grad(found, extreme)
    assert found.isfinite()
    assert gradient.isfinite().all()


def test_the_truth_costs_less_than_noise_and_learning_finds_it(loss):
    logits, masks = batch(3, ignored=0.2)
    masks[masks == 3] = 0
    before = value(loss, logits, masks)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        value(loss, logits, masks).backward()
        optimizer.step()
    assert value(loss, logits, masks) < 0.6 * before
    weights = torch.ones(CLASSES)
    if getattr(loss, "class_weights", None) is not None:
        weights = loss.class_weights
    learned = (masks != IGNORED) & (weights[masks.clamp(max=3)] > 0)
    right = logits.argmax(1) == masks
    assert right[learned].float().mean() > 0.95


def every_class(images, ignored=0.2):
    logits, masks = batch(4, images, ignored, 8, 9)
    masks[:, 0, :CLASSES] = torch.arange(CLASSES)
    return logits, masks


SMP = {
    # theirs adds smooth to the halved fraction
    "dice": (smp.DiceLoss, {"smooth": 0.5}),
    "iou": (smp.JaccardLoss, {"smooth": 1.0}),
    "tversky": (smp.TverskyLoss, {"smooth": 1.0, "alpha": 0.3, "beta": 0.7}),
}


@pytest.mark.parametrize("name", SMP)
def test_areas_are_compared_as_in_segmentation_models_pytorch(name):
    """Theirs are over the batch, and absent classes cost nothing: so one image of all classes."""
    kind, content = SMP[name]
    logits, masks = every_class(1)
    theirs = kind("multiclass", ignore_index=IGNORED, **content)(logits, masks)
    torch.testing.assert_close(value(make(name), logits, masks), theirs, atol=1e-5, rtol=0)


def test_focal_is_that_of_segmentation_models_pytorch():
    """Theirs is the mean over classes, the paper's is the sum over them."""
    logits, masks = batch(4)
    theirs = smp.FocalLoss("multiclass", alpha=0.25, gamma=2.0, ignore_index=IGNORED)
    found = value(make("focal"), logits, masks)
    torch.testing.assert_close(found, CLASSES * theirs(logits, masks), atol=1e-5, rtol=0)


def test_lovasz_is_that_of_segmentation_models_pytorch():
    logits, masks = batch(5)
    theirs = smp.LovaszLoss("multiclass", per_image=True, ignore_index=IGNORED)
    torch.testing.assert_close(
        value(make("lovasz"), logits, masks), theirs(logits, masks), atol=1e-5, rtol=0
    )


def test_lovasz_of_certain_predictions_is_one_less_the_mean_iou():
    _, masks = batch(6, images=1, ignored=0)
    predicted = masks.clone()
    predicted[0, :2] = 1
    certain = 1e4 * F.one_hot(predicted, CLASSES).permute(0, 3, 1, 2).float()
    ious = []
    for number in masks.unique():
        own, found = masks == number, predicted == number
        ious.append((own & found).sum() / (own | found).sum())
    expected = 1 - torch.stack(ious).mean()
    torch.testing.assert_close(value(make("lovasz"), certain, masks), expected)


def areas_by_hand(logits, masks, image, number):
    """Common, predicted and true area of a class, pixel by pixel."""
    common = predicted = true = 0.0
    for row in range(masks.shape[1]):
        for column in range(masks.shape[2]):
            label = int(masks[image, row, column])
            if label == IGNORED:
                continue
            scores = [math.exp(each) for each in logits[image, :, row, column].tolist()]
            share = scores[number] / sum(scores)
            predicted += share
            common += share * (label == number)
            true += label == number
    return common, predicted, true


BY_HAND = {
    "dice": lambda i, p, g: 1 - (2 * i + 1) / (p + g + 1),
    "iou": lambda i, p, g: 1 - (i + 1) / (p + g - i + 1),
    "tversky": lambda i, p, g: 1 - (i + 1) / (i + 0.3 * (p - i) + 0.7 * (g - i) + 1),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_areas_by_hand(name):
    """The mean over images and classes, also of those that an image does not show."""
    logits, masks = batch(7, images=2)
    masks[0, masks[0] == 2] = 1
    costs = []
    for image in range(2):
        for number in range(CLASSES):
            costs.append(BY_HAND[name](*areas_by_hand(logits, masks, image, number)))
    found = value(make(name), logits, masks)
    assert found.item() == pytest.approx(sum(costs) / len(costs), abs=1e-5)


def test_bce_and_focal_by_hand():
    logits, masks = batch(8)
    bce = focal = count = 0.0
    for image, row, column in (masks != IGNORED).nonzero().tolist():
        count += 1
        for number in range(CLASSES):
            share = torch.sigmoid(logits[image, number, row, column].double()).item()
            own = int(masks[image, row, column]) == number
            right = share if own else 1 - share
            bce -= math.log(right) / CLASSES
            focal -= (0.25 if own else 0.75) * (1 - right) ** 2 * math.log(right)
    assert value(make("bce"), logits, masks).item() == pytest.approx(bce / count, abs=1e-5)
    assert value(make("focal"), logits, masks).item() == pytest.approx(focal / count, abs=1e-5)


def test_dice_and_bce_of_images_that_are_labelled_alike():
    logits, masks = batch(9, ignored=0)
    dice, bce = (value(make(name), logits, masks) for name in ("dice", "bce"))
    torch.testing.assert_close(value(make("dice_bce"), logits, masks), 0.7 * dice + 0.3 * bce)
    other = make("dice_bce", dice=2.0, bce=0.0)
    torch.testing.assert_close(value(other, logits, masks), 2 * dice)


@pytest.mark.parametrize("case", ["cross_entropy", "weighted", "smoothed", "both"])
def test_cross_entropy_is_the_mean_that_pytorch_computes(case):
    logits, masks = batch(10)
    _, content = SETTINGS[case]
    weights = content.get("class_weights")
    expected = F.cross_entropy(
        logits,
        masks,
        weight=None if weights is None else torch.tensor(weights),
        ignore_index=IGNORED,
        label_smoothing=content.get("label_smoothing", 0.0),
    )
    torch.testing.assert_close(value(make(case), logits, masks), expected)
