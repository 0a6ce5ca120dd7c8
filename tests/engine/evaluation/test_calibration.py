"""Calibration against torchmetrics and plain NumPy."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from encoder_ablations.engine.evaluation.calibration import Calibration
from encoder_ablations.engine.evaluation.temperature import (
    PixelSample,
    Sample,
    fit_temperature,
    tempered,
)


def pixels(count=4000, classes=5, seed=0, sharpness=2.0):
    """Random probabilities and classes drawn from softer ones: an overconfident model."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator)
    truth = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return (sharpness * logits).softmax(dim=1), truth


def test_ece_is_that_of_torchmetrics():
    probabilities, truth = pixels()
    found = Calibration.of(probabilities, truth)
    expected = multiclass_calibration_error(probabilities, truth, 5, n_bins=15, norm="l1")
    assert float(found.top.error()) == pytest.approx(float(expected), abs=1e-6)
    assert expected > 0.1
    for number, error in enumerate(found.by_class.error()):
        one = binary_calibration_error(probabilities[:, number], truth == number, n_bins=15)
        assert error == pytest.approx(float(one), abs=1e-6)


def test_nll_and_brier_are_those_of_the_definition():
    probabilities, truth = pixels(500)
    found = Calibration.of(probabilities, truth)
    p, hot = probabilities.double().numpy(), np.eye(5)[truth.numpy()]
    assert found.nll == pytest.approx(-np.log((p * hot).sum(axis=1)).mean(), rel=1e-6)
    assert found.brier == pytest.approx(((p - hot) ** 2).sum(axis=1).mean(), rel=1e-6)


def test_parts_add_up_to_the_whole():
    probabilities, truth = pixels(900)
    whole = Calibration.of(probabilities, truth)
    parts = Calibration.empty(5)
    for rows in torch.arange(900).split(250):
        parts += Calibration.of(probabilities[rows], truth[rows])
    assert parts.pixels == 900
    assert parts.nll == pytest.approx(whole.nll)
    np.testing.assert_allclose(parts.by_class.error(), whole.by_class.error())


def test_certain_and_impossible_probabilities_are_counted():
    """A probability of 1 lies in the last bin, and the logarithm of 0 is finite."""
    found = Calibration.of(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    assert found.top.pixels.tolist() == [0] * 14 + [2]
    assert float(found.top.error()) == pytest.approx(0.5)
    assert 40 < found.nll < 50
    assert np.isnan(Calibration.empty(2).top.error())


def test_temperature_undoes_what_made_the_model_too_sure():
    probabilities, truth = pixels(20000, sharpness=2.5)
    temperature = fit_temperature(Sample(probabilities, truth))
    assert temperature == pytest.approx(2.5, rel=0.05)
    before = Calibration.of(probabilities, truth)
    after = Calibration.of(tempered(probabilities, temperature), truth)
    assert after.nll < before.nll
    assert float(after.top.error()) < 0.02 < 0.1 < float(before.top.error())


def test_temperature_divides_logits():
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    expected = (logits / 1.7).softmax(dim=1)
    torch.testing.assert_close(tempered(logits.softmax(dim=1), 1.7), expected)
    assert torch.equal(tempered(logits.softmax(dim=1), 9).argmax(dim=1), logits.argmax(dim=1))


def test_a_sample_has_as_many_pixels_of_every_image():
    sample = PixelSample(images=3, classes=2)
    assert sample.of_image == 100_000 // 3
    chosen = sample.chosen("a", 50_000)
    assert len(set(chosen.tolist())) == sample.of_image
    assert chosen.max() < 50_000
    assert (chosen == PixelSample(3, 2).chosen("a", 50_000)).all()
    assert sample.chosen("a", 7).tolist() == list(range(7))
