"""A prediction equals the evaluation's, whatever windows, views and models it is made by."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.inference.combination import Combined
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec, ViewsSpec
from encoder_ablations.engine.inference.views import View, views_of
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import LinearSpec, Mask2FormerSpec
from encoder_ablations.utils.errors import InputError

CLASSES = ("background", "crater", "boulder")
HEADS = {
    "linear": LinearSpec(name="linear"),
    "mask2former": Mask2FormerSpec(
        name="mask2former",
        queries=5,
        hidden=32,
        heads=4,
        encoder_layers=1,
        decoder_layers=1,
        points=64,
    ),
}
EVERY_VIEW = ViewsSpec(
    flips=("horizontal", "vertical"),
    turns=True,
    scales=(0.75, 1.5),
    brightness=(0.9, 1.1),
    contrast=(0.9, 1.1),
)


def make(head="linear", seed=0):
    encoder = build_encoder(EncoderSpec(name="test_resnet", weights="random", channels=32), seed)
    return build_segmenter(HEADS[head], encoder, len(CLASSES), seed).eval()


@pytest.fixture(scope="module")
def segmenter():
    return make()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)


def as_batch(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None]


class Colours(torch.nn.Module):
    """A segmenter whose class scores are the colours, at full resolution."""

    mean = torch.zeros(3, 1, 1)
    head = Head()

    def predict(self, images):
        return ScoreMaps(images.float() / 32, tuple(images.shape[-2:]), stride=1)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("short_side", [None, 48])
def test_the_plain_prediction_is_the_evaluations(head, short_side, image):
    """Same labels as ``evaluate`` computes: shrunk, predicted, upsampled once, argmax."""
    from encoder_ablations.data.views.transforms import at_short_side

    segmenter = make(head)
    found = Predictor([Member(segmenter, short_side)], CLASSES).predict(image)
    with torch.inference_mode():
        maps = segmenter.predict(as_batch(at_short_side(image, short_side)))
        expected = maps.labels(image.shape[:2])[0].numpy()
    assert (found.mask == expected).mean() > 0.999  # two scores may be equal up to rounding
    assert found.mask.dtype == np.uint8
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)
    assert (found.probabilities.argmax(axis=0) == found.mask).all()
    assert sum(found.pixels.values()) == 70 * 90


def test_one_window_that_covers_the_image_equals_no_windows(segmenter, image):
    whole = Predictor([Member(segmenter)], CLASSES).predict(image)
    spec = InferenceSpec(window=90)
    windowed = Predictor([Member(segmenter)], CLASSES, spec).predict(image)
    assert np.array_equal(whole.probabilities, windowed.probabilities)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_windows_of_a_pixelwise_model_change_nothing(overlap, image):
    whole = Predictor([Member(Colours())], CLASSES).predict(image)
    spec = InferenceSpec(window=32, overlap=overlap, batch=3)
    windowed = Predictor([Member(Colours())], CLASSES, spec).predict(image)
    np.testing.assert_allclose(whole.probabilities, windowed.probabilities, atol=1e-5)
    np.testing.assert_allclose(whole.uncertainty, windowed.uncertainty, atol=1e-5)
    assert windowed.disagreement.max() < 1e-5


@pytest.mark.parametrize("view", views_of(EVERY_VIEW)[:6], ids=str)
def test_geometric_views_are_undone(view, image):
    """A model that only looks at each pixel's colour predicts the same in every view."""
    seen = view.of(as_batch(image))
    scores = Colours().predict(seen).at(view.size(image.shape[:2]))
    torch.testing.assert_close(view.undone(scores), as_batch(image).float() / 32)


def test_a_mirrored_model_predicts_a_mirrored_image(image):
    """An odd model that always says "left half": with flips, both halves are equally likely."""

    class Left(Colours):
        def predict(self, images):
            scores = torch.zeros(len(images), 3, *images.shape[-2:])
            scores[:, 0, :, : images.shape[-1] // 2] = 9
            scores[:, 1, :, images.shape[-1] // 2 :] = 9
            return ScoreMaps(scores, tuple(images.shape[-2:]), stride=1)

    spec = InferenceSpec(views=ViewsSpec(flips=("horizontal",)))
    found = Predictor([Member(Left())], CLASSES, spec).predict(image)
    np.testing.assert_allclose(found.probabilities[0], found.probabilities[1], atol=1e-5)
    # each view is sure, and they contradict each other
    assert found.disagreement.min() > 0.5


def test_brightness_and_contrast_are_those_of_pillow(image):
    from PIL import Image, ImageEnhance

    picture = Image.fromarray(image)
    for view, enhance in (
        (View(brightness=1.1), ImageEnhance.Brightness),
        (View(contrast=0.9), ImageEnhance.Contrast),
    ):
        factor = max(view.brightness, view.contrast, key=lambda value: abs(value - 1))
        expected = np.asarray(enhance(picture).enhance(factor), np.float32)
        found = view.of(as_batch(image))[0].permute(1, 2, 0).numpy()
        assert np.abs(found - expected).max() <= 1.0


def test_every_view_counts_once(segmenter, image):
    assert len(views_of(EVERY_VIEW)) == 1 + 2 + 3 + 2 + 2 + 2
    found = Predictor([Member(segmenter)], CLASSES, InferenceSpec(views=EVERY_VIEW)).predict(image)
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)
    assert found.disagreement.max() > 0


def test_an_ensemble_is_the_weighted_mean_of_its_members(image):
    models = [make(seed=seed) for seed in (0, 1)]
    single = [Predictor([Member(model)], CLASSES).predict(image) for model in models]
    members = [Member(model, weight=weight) for model, weight in zip(models, (3, 1), strict=True)]
    found = Predictor(members, CLASSES).predict(image)
    expected = 0.75 * single[0].probabilities + 0.25 * single[1].probabilities
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)


def test_an_ensemble_of_equals_does_not_disagree(segmenter, image):
    alone = Predictor([Member(segmenter)], CLASSES).predict(image)
    twice = Predictor([Member(segmenter)] * 2, CLASSES).predict(image)
    np.testing.assert_allclose(alone.probabilities, twice.probabilities, atol=1e-6)
    assert twice.disagreement.max() < 1e-6


@pytest.mark.parametrize(
    ("how", "expected"),
    [("mean", [0.5, 0.4, 0.1]), ("max", [0.5, 0.4375, 0.0625]), ("vote", [0.5, 0.5, 0])],
)
def test_combinations_are_what_they_say(how, expected):
    combined = Combined(how)
    for values in ([0.8, 0.1, 0.1], [0.2, 0.7, 0.1]):
        combined.add(torch.tensor(values).view(1, 3, 1, 1))
    torch.testing.assert_close(combined.values()[0, :3, 0, 0], torch.tensor(expected))


def test_mixed_masks_that_are_all_empty_tell_nothing():
    maps = ScoreMaps(torch.full((1, 2, 4, 4), -1e4), (16, 16), torch.rand(1, 3, 2))
    torch.testing.assert_close(maps.probabilities((16, 16)), torch.full((1, 3, 16, 16), 1 / 3))


def test_what_is_no_image_is_refused(segmenter):
    predictor = Predictor([Member(segmenter)], CLASSES)
    for wrong in (
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ):
        with pytest.raises(InputError, match="uint8"):
            predictor.predict(wrong)
    with pytest.raises(InputError, match="at least one model"):
        Predictor([], CLASSES)


@pytest.mark.filterwarnings("error")
def test_refinement_takes_read_only_pixels(segmenter, image):
    """Pillow's arrays are read-only, of which PyTorch warned in the middle of the output."""
    pixels = image.copy()
    pixels.flags.writeable = False
    spec = InferenceSpec(refine={"radius": 4})
    assert Predictor([Member(segmenter)], CLASSES, spec).predict(pixels).mask.shape == (70, 90)


def test_windows_that_do_not_move_are_refused():
    with pytest.raises(ValidationError, match="no step"):
        InferenceSpec(window=32, overlap=0.99)


def test_objects_are_those_of_sure_queries(image):
    """Two queries: one sure of the crater with a mask on the left, one that is not sure enough."""

    class Queries(torch.nn.Module):
        mean = torch.zeros(3, 1, 1)
        head = Head()

        def predict(self, images):
            height, width = images.shape[-2:]
            masks = torch.full((1, 2, height, width), -9.0)
            masks[0, 0, :, : width // 2] = 9
            masks[0, 1] = 9
            classes = torch.tensor([[[0.1, 0.2], [0.8, 0.6], [0.1, 0.2]]])
            return ScoreMaps(masks, (height, width), classes, stride=1)

    predictor = Predictor([Member(Queries())], CLASSES)
    found = predictor.objects(image, 1)
    assert found[:, :45].all()
    assert not found[:, 45:].any()
    assert predictor.objects(image, 1, score=0.5).all()
    assert not predictor.objects(image, 2).any()
    with pytest.raises(InputError, match="one model"):
        Predictor([Member(Queries())] * 2, CLASSES).objects(image, 1)
