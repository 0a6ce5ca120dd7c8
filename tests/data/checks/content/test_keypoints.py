import cv2
import numpy as np
import pytest

from encoder_ablations.data.checks.content import keypoints as keypoints_module
from encoder_ablations.data.checks.content.keypoints import (
    find_matches,
    keypoints,
    shows_same,
    shrink,
)
from encoder_ablations.utils.seeding import numpy_stream


def scene(seed):
    """240×320 RGB: a hundred shapes on a gradient."""
    stream = numpy_stream(seed, "keypoints")
    pixels = np.full((240, 320, 3), 90, np.uint8)
    for _ in range(100):
        corner = tuple(stream.integers(0, 320, 2).tolist())
        size = stream.integers(6, 50, 2)
        end = (corner[0] + int(size[0]), corner[1] + int(size[1]))
        cv2.rectangle(pixels, corner, end, stream.integers(0, 256, 3).tolist(), -1)
    return pixels


def crop(pixels):
    return pixels[30:220, 40:290].copy()


def turn(pixels):
    matrix = cv2.getRotationMatrix2D((160, 120), 15, 1)
    return cv2.warpAffine(pixels, matrix, (320, 240))


def enlarge(pixels):
    return cv2.resize(crop(pixels), (400, 304))


def compress(pixels):
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [1, 60])[1], 1)


def found(query, targets):
    """The targets of which the query is verified to show a part."""
    gray, others = shrink(query), [shrink(each) for each in targets]
    matches = find_matches([keypoints(gray)], [keypoints(each) for each in others])
    return {each.target for each in matches if shows_same(gray, others[each.target], each.matrix)}


@pytest.fixture(scope="module")
def targets():
    return [scene(seed) for seed in range(12)]


@pytest.mark.parametrize("change", [crop, turn, enlarge, compress, np.rot90])
def test_views_of_one_image_are_found(change, targets):
    assert found(np.ascontiguousarray(change(targets[5])), targets) == {5}


def test_another_image_is_not_found(targets):
    assert found(scene(99), targets) == set()


def test_what_lies_in_all_images_says_nothing():
    """A logo, or a frame, brings keypoints together, but covers little."""
    logo = scene(50)[:60, :60]
    images = [scene(seed) for seed in (60, 61)]
    for each in images:
        each[10:70, 10:70] = logo
    assert found(images[0], images[1:]) == set()


def test_images_without_keypoints(targets):
    flat = np.full((240, 320, 3), 128, np.uint8)
    assert found(flat, [flat, *targets]) == set()


def candidates(monkeypatch, crowded, copies):
    """What is proposed for a crop of one of twelve images that lie there so many times."""
    monkeypatch.setattr(keypoints_module, "CROWDED", crowded)
    found = [keypoints(shrink(scene(seed))) for seed in range(12)]
    query = keypoints(shrink(crop(scene(5))))
    return {match.target % 12 for match in find_matches([query], found * copies)}


def test_boxes_of_too_many_images_say_nothing(monkeypatch):
    assert candidates(monkeypatch, crowded=4, copies=4) == {5}
    assert candidates(monkeypatch, crowded=4, copies=5) == set()


def test_blocks_of_images_change_nothing(monkeypatch, targets):
    monkeypatch.setattr(keypoints_module, "BLOCK", 5)
    assert found(crop(targets[7]), targets) == {7}
