"""Pairs of image and mask from anywhere as samples."""

import numpy as np
import pytest
import torch
from PIL import Image

from encoder_ablations.data.loading.pairs import PairSamples
from encoder_ablations.utils.errors import InputError

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (5, 7, 3), np.uint8)
MASK = RNG.integers(0, 3, (5, 7), np.uint8)
CLASSES = ("a", "b", "c")


def sample_of(image, mask, classes=CLASSES):
    return PairSamples([(image, mask)], classes, "data")[0]


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        IMAGE.transpose(2, 0, 1),
        torch.from_numpy(IMAGE),
        torch.from_numpy(IMAGE).permute(2, 0, 1),
        Image.fromarray(IMAGE),
    ],
)
@pytest.mark.parametrize("mask", [MASK, torch.from_numpy(MASK).long(), Image.fromarray(MASK)])
def test_every_form_of_a_pair_is_the_same_sample(image, mask):
    found = sample_of(image, mask)
    assert found.image.dtype == np.uint8
    assert np.array_equal(found.image, IMAGE)
    assert found.mask.dtype == np.uint8
    assert np.array_equal(found.mask, MASK)
    assert (found.id, found.size, found.ignore) == ("0", (5, 7), 255)


def test_three_by_height_by_three_is_read_as_its_library_does():
    image = RNG.integers(0, 256, (3, 4, 3), np.uint8)
    assert np.array_equal(sample_of(image, MASK[:3, :4]).image, image)
    tensor = torch.from_numpy(image)
    expected = image.transpose(1, 2, 0)
    assert np.array_equal(sample_of(tensor, MASK[:4, :3]).image, expected)


def test_ignored_pixels():
    mask = MASK.astype(np.uint16)
    mask[0] = 255
    assert (sample_of(IMAGE, mask).mask[0] == 255).all()
    many = tuple(map(str, range(300)))
    mask[0] = 65535
    found = sample_of(IMAGE, mask, many)
    assert found.ignore == 65535
    assert (found.mask[0] == 65535).all()


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (IMAGE, "not a pair"),
        ((IMAGE, MASK, 1), "not a pair"),
        ((IMAGE / 255, MASK), "5×7×3 of float64.*normalised by the model"),
        ((IMAGE[..., 0], MASK), "an image is uint8"),
        ((IMAGE, MASK[None]), "1×5×7 of uint8"),
        ((IMAGE, MASK / 2), "whole numbers"),
        ((IMAGE, MASK[:4]), "the image is 5×7 .*its mask 4×7"),
        ((IMAGE, MASK + 1), "the mask holds 3. Allowed are the ids 0..2"),
        ((IMAGE, MASK.astype(np.int32) - 1), "the mask holds -1"),
        ((IMAGE, None), "a NoneType"),
    ],
)
def test_what_is_no_sample_is_named(pair, message):
    samples = PairSamples([(IMAGE, MASK), pair], CLASSES, "val")
    with pytest.raises(InputError, match=message) as raised:
        _ = samples[1]
    assert str(raised.value).startswith("val[1]")
