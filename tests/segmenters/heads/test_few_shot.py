"""The few-shot head equals its formulas, and reads no pixel that is ignored."""

import pytest
import torch
from torch.nn import functional as F

from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.built_in import FewShotSpec
from encoder_ablations.segmenters.heads.few_shot import LEAST_SHARE, pixels_of_places
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream

STRIDE, CLASSES, IGNORE = 4, 3, 255


@pytest.fixture
def images():
    """Three images 8×12 of noise with blocky masks; class 2 is in none of them."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(3):
        image = torch.randint(0, 256, (1, 3, 8, 12), generator=generator)
        mask = torch.randint(0, 2, (8, 12), generator=generator)
        mask[:, :5] = IGNORE
        found.append((image, mask))
    return found


@pytest.fixture
def make(make_bare_encoder):
    def build(**settings):
        spec = FewShotSpec(name="few_shot", **settings)
        with torch_stream(0, "body"):
            encoder = make_bare_encoder((8,), (STRIDE,))
        return build_segmenter(spec, encoder, CLASSES, seed=0).eval()

    return build


def fitted(segmenter, images, seed=0):
    with torch_stream(seed, "test"):
        segmenter.fit(iter(images))
    return segmenter.head


def by_pixel(segmenter, image, mask):
    """The feature of every labelled pixel, one by one, and its class."""
    level = segmenter.pyramid(image)[segmenter.head.level][0]
    unit = F.normalize(level, dim=0)
    for row, column in (mask != IGNORE).nonzero().tolist():
        yield unit[:, row // STRIDE, column // STRIDE], int(mask[row, column])


def test_prototypes_are_means_over_labelled_pixels(make, images):
    segmenter = make(temperature=0.1)
    head = fitted(segmenter, images)
    with torch.no_grad():
        pixels = [pair for image, mask in images for pair in by_pixel(segmenter, image, mask)]
        means = [torch.stack([f for f, k in pixels if k == wanted]).mean(0) for wanted in (0, 1)]
        assert torch.allclose(head.mean_features[:2], torch.stack(means), atol=1e-5)
        scores = segmenter.predict(images[0][0]).maps
        level = segmenter.pyramid(images[0][0])[head.level]
        for wanted, mean in enumerate(means):
            expected = F.cosine_similarity(level, mean[None, :, None, None]) / 0.1
            assert torch.allclose(scores[:, wanted], expected, atol=1e-4)
        assert (scores.argmax(dim=1) != 2).all(), "no image shows class 2"


def test_neighbours_vote_by_the_softmax_of_their_cosines(make, images):
    segmenter = make(method="knn", neighbours=4, temperature=0.1, memory=50)
    head = fitted(segmenter, images)
    with torch.no_grad():
        features, shares = [], []
        for image, mask in images:
            level = segmenter.pyramid(image)[head.level][0]
            for row in range(level.shape[1]):
                for column in range(level.shape[2]):
                    place = (slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
                    known = mask[place][mask[place] != IGNORE]
                    if len(known):
                        features.append(F.normalize(level[:, row, column], dim=0))
                        shares.append(F.one_hot(known, CLASSES).float().mean(0))
        query = F.normalize(segmenter.pyramid(images[1][0])[head.level][0, :, 1, 2], dim=0)
        cosines = torch.stack(features) @ query
        nearest, where = cosines.topk(4)
        weights = (nearest / 0.1).softmax(0)
        expected = (weights[:, None] * torch.stack(shares)[where]).sum(0)
        found = segmenter.predict(images[1][0]).maps[0, :, 1, 2]
        assert torch.allclose(found, expected.clamp(min=LEAST_SHARE).log(), atol=1e-4)


def test_a_small_memory_is_a_sample_by_the_seed(make, images):
    memories = [
        fitted(make(method="knn", memory=5), images, seed).memory.clone() for seed in (0, 0, 1)
    ]
    assert torch.equal(memories[0], memories[1])
    assert not torch.equal(memories[0], memories[2])
    everything = fitted(make(method="knn", memory=50), images).memory
    for kept in memories[0]:
        assert (everything == kept).all(dim=1).any()


def test_fewer_places_than_neighbours(make, images):
    segmenter = make(method="knn", neighbours=30, memory=64)
    fitted(segmenter, images[:1])
    with torch.no_grad():
        shares = segmenter.predict(images[0][0]).maps.exp().sum(dim=1)
    assert torch.allclose(shares, torch.ones_like(shares), atol=1e-3)


@pytest.mark.parametrize("method", ["prototype", "knn"])
def test_ignored_pixels_change_nothing(make, images, method):
    whole = fitted(make(method=method, memory=50), images).state_dict()
    image, mask = images[0]
    changed = image.clone()
    changed[..., :4] = 255 - changed[..., :4]
    assert (mask[:, :4] == IGNORE).all()
    again = fitted(make(method=method, memory=50), [(changed, mask), *images[1:]]).state_dict()
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name


def test_pixels_are_counted_once_in_any_grid():
    mask = torch.randint(0, 2, (7, 10))
    counts = pixels_of_places(mask, (3, 4), 2)
    assert counts.sum(dim=0).tolist() == [int((mask == 0).sum()), int((mask == 1).sum())]


def test_images_without_labels(make, images):
    nothing = [(images[0][0], torch.full((8, 12), IGNORE))]
    for method in ("prototype", "knn"):
        with pytest.raises(InputError, match="no pixel"):
            fitted(make(method=method), nothing)
