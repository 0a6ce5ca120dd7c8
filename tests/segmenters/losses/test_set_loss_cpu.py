"""The compiled set loss against the same one in plain PyTorch, and its parts against NumPy's."""

import numpy as np
import pytest
import torch

from encoder_ablations.segmenters.losses import points_numba, set_loss, set_loss_pytorch
from encoder_ablations.segmenters.losses.activations_numba import activations
from encoder_ablations.segmenters.losses.point_sampling import Points
from encoder_ablations.segmenters.losses.set_loss import SetLoss
from encoder_ablations.segmenters.losses.targets import find_targets
from encoder_ablations.segmenters.spec import Mask2FormerSpec

CLASSES, QUERIES, LAYERS, IMAGES = 6, 9, 2, 3
SIZE, MAP = (45, 70), (12, 18)


@pytest.fixture(scope="module")
def predictions():
    """Class and mask logits without structure."""
    generator = torch.Generator().manual_seed(0)
    classes = [torch.randn(IMAGES, QUERIES, CLASSES + 1, generator=generator)] * LAYERS
    maps = [3 * torch.randn(IMAGES, QUERIES, *MAP, generator=generator) for _ in range(LAYERS)]
    return classes, maps


@pytest.fixture(scope="module")
def masks():
    """One image with all classes and ignored pixels, one without a segment, one with few."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.randint(0, CLASSES, (IMAGES, *SIZE), generator=generator)
    masks[0, 5:20, 30:], masks[1], masks[2, :, :-9] = 255, 255, 3
    return masks


def make_loss(mode="excluded", points=300):
    spec = Mask2FormerSpec(name="mask2former", queries=QUERIES, points=points, ignored_pixels=mode)
    return SetLoss(spec, CLASSES, mode)


def found(loss, predictions, masks, points=None):
    """The three terms, and the gradient of their sum by all logits."""
    classes, maps = ([each.clone().requires_grad_() for each in part] for part in predictions)
    targets = find_targets(masks, CLASSES)
    points = points or loss.draw(LAYERS, targets)
    terms = loss(classes, maps, targets, loss.totals(masks), points)
    gradients = torch.autograd.grad(sum(terms.values()), [*classes, *maps])
    return list(terms.values()), gradients


def official_points(loss, masks):
    loss.official_order = True
    torch.manual_seed(2)
    return loss.draw(LAYERS, find_targets(masks, CLASSES))


@pytest.mark.parametrize("mode", ["excluded", "negative"])
def test_terms_and_gradients_are_those_of_plain_pytorch(mode, predictions, masks, monkeypatch):
    loss = make_loss(mode)
    points = official_points(loss, masks)
    ours = found(loss, predictions, masks, points)
    monkeypatch.setattr(set_loss, "_way", lambda device: set_loss_pytorch)
    for one, other in zip(ours, found(loss, predictions, masks, points), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_costs_are_those_of_plain_pytorch(predictions, masks, monkeypatch):
    tables = []
    assign = set_loss.assign
    monkeypatch.setattr(
        set_loss, "assign", lambda costs, counts: tables.append(costs) or assign(costs, counts)
    )
    loss = make_loss()
    points = official_points(loss, masks)
    found(loss, predictions, masks, points)
    monkeypatch.setattr(set_loss, "_way", lambda device: set_loss_pytorch)
    found(loss, predictions, masks, points)
    for image, own in enumerate(find_targets(masks, CLASSES).classes):
        one, other = (table[:, image, :, : len(own)] for table in tables)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_seeded_candidates_are_positions_that_follow_from_their_seeds(predictions, masks):
    loss = make_loss()
    points = loss.draw(LAYERS, find_targets(masks, CLASSES))
    seeded = points.candidates
    kept = np.empty((*seeded.seeds.shape, seeded.number, 2), np.float32)
    for place in np.ndindex(*seeded.seeds.shape):
        points_numba.draw(int(seeded.seeds[place]), kept[place])
    spread = Points(points.matching, torch.from_numpy(kept), points.random)
    one, other = (found(loss, predictions, masks, own) for own in (points, spread))
    assert all(map(torch.equal, one[0], other[0]))
    assert all(map(torch.equal, one[1], other[1]))


def test_the_number_of_threads_changes_no_bit(predictions, masks):
    threads = torch.get_num_threads()
    results = []
    for number in (1, 3):
        torch.set_num_threads(number)
        torch.manual_seed(4)
        results.append(found(make_loss(), predictions, masks))
    torch.set_num_threads(threads)
    assert all(map(torch.equal, results[0][0], results[1][0]))
    assert all(map(torch.equal, results[0][1], results[1][1]))


def test_candidates_are_uniform():
    positions = np.empty((40_000, 2), np.float32)
    points_numba.draw(7, positions)
    assert positions.min() >= 0
    assert positions.max() < 1
    counts, _, _ = np.histogram2d(*positions.T, bins=8, range=[(0, 1), (0, 1)])
    # 63 degrees of freedom: chi squared is beyond 115 with a probability of 1e-4
    assert ((counts - 625) ** 2 / 625).sum() < 115
    other = np.empty_like(positions)
    points_numba.draw(8, other)
    assert abs(np.corrcoef(positions.T, other.T) - np.eye(4)).max() < 0.02


@pytest.mark.parametrize("number", [0, 1, 500, 1200, 2000])
def test_the_nth_smallest_is_found(number):
    values = np.abs(np.random.default_rng(0).normal(size=2000)).astype(np.float32)
    values[:600], values[600:700], values[700:710] = 0.25, np.inf, 0
    limit, equal = points_numba.smallest(values.view(np.int32), number)
    expected = np.sort(values)[number - 1] if number else np.float32(0)
    assert np.int32(limit).view(np.float32) == expected
    assert equal == number - (values < expected).sum() * bool(number)


def test_activations_are_exact_to_a_few_units_in_the_last_place():
    logits = np.linspace(-120, 120, 4001, dtype=np.float32)
    soft, sure = np.empty_like(logits), np.empty_like(logits)
    activations(logits, np.empty((2, len(logits)), np.float32), soft, sure)
    exact = torch.from_numpy(logits).double()
    expected = torch.nn.functional.softplus(exact, threshold=200).numpy()
    np.testing.assert_allclose(soft, expected, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(sure, exact.sigmoid().numpy(), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_diverged_model_gets_a_loss_that_is_not_finite(value, predictions, masks):
    classes, maps = predictions
    wrong = [torch.full_like(each, value) for each in maps]
    terms, _ = found(make_loss(), (classes, wrong), masks)
    assert not torch.stack(terms).isfinite().all()
