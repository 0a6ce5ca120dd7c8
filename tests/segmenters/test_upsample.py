"""Scores at full size are the bilinear values that half-pixel centres define, at every size and
stride."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from encoder_ablations.encoders.pyramids.resize import resize_to_stride
from encoder_ablations.segmenters.ops.upsample_argmax import upsample_argmax
from encoder_ablations.segmenters.scores import ScoreMaps, upsample


def positions(pixels, target, stride):
    """Where the middle of each pixel of the result lies among the middles of the maps' steps."""
    in_image = (np.arange(target) + 0.5) * pixels / target
    return in_image / stride - 0.5


def by_definition(maps, rows, columns):
    """Bilinear values in float64: K×h×w maps at the given positions; beyond the border the
    nearest row or column."""
    places = [np.arange(length) for length in maps.shape[1:]]
    maps = maps.numpy().astype(np.float64)
    along_rows = np.apply_along_axis(lambda line: np.interp(rows, places[0], line), 1, maps)
    return np.apply_along_axis(lambda line: np.interp(columns, places[1], line), 2, along_rows)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@st.composite
def cases(draw):
    """Sides of the image, of the result and the stride; often the result is as long as the maps,
    or nearly so."""
    stride = draw(st.sampled_from([1, 1.75, 2, 4, 8, 14, 16]))
    image = draw(st.tuples(st.integers(1, 130), st.integers(1, 130)))
    size = []
    for pixels in image:
        length = int(-(-pixels // stride))
        near = st.integers(max(1, length - 1), length + 2)
        size.append(draw(near | st.integers(1, 150)))
    return image, tuple(size), stride


@settings(max_examples=150, deadline=None)
@given(cases())
@example(((116, 100), (8, 7), 16))
@example(((29, 32), (8, 8), 4))
@example(((511, 30), (128, 40), 4))
@example(((1, 1), (1, 1), 16))
def test_values_by_definition(case):
    image, size, stride = case
    maps = noise(3, *(int(-(-pixels // stride)) for pixels in image))
    sampled = [positions(*one, stride) for one in zip(image, size, strict=True)]
    expected = by_definition(maps, *sampled)
    found = upsample(maps[None], image, size, stride)[0].numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4

    labels = upsample_argmax(maps, image, size, stride)
    chosen = np.take_along_axis(expected, labels[None].astype(np.int64), axis=0)[0]
    assert (expected.max(axis=0) - chosen).max() < 1e-4


@settings(max_examples=60, deadline=None)
@given(cases())
@example(((116, 100), (8, 7), 16))
def test_nothing_is_left_to_what_devices_do_at_equal_lengths(case):
    """A source as long as its result is copied on the CPU, on CUDA only with both sides: it must
    be scaled by 1."""
    image, size, stride = case
    calls = []

    def recorded(source, **options):
        result = interpolate(source, **options)
        calls.append((source.shape[-2:], result.shape[-2:], options.get("scale_factor")))
        return result

    interpolate = F.interpolate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "interpolate", recorded)
        upsample(noise(1, 1, *(int(-(-pixels // stride)) for pixels in image)), image, size, stride)
    (before, after, factors), *others = calls
    assert not others
    for axis in (0, 1):
        if factors is None or factors[axis] == 1:
            continue
        assert before[axis] != after[axis]


def test_mixed_masks_take_the_same_positions():
    mixing = torch.eye(3)[None]
    maps, image, size = noise(1, 3, 8, 7), (116, 100), (8, 7)
    expected = by_definition(
        maps[0], *(positions(*one, 16) for one in zip(image, size, strict=True))
    )
    found = ScoreMaps(maps, image, mixing, stride=16).at(size)[0]
    assert np.abs(found.logit().numpy() - expected).max() < 1e-4


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 12),
    st.sampled_from([3.5, 4, 5, 7, 9, 10, 14, 18, 36]),
    st.sampled_from([4, 8, 16, 32]),
)
@example(2, 10, 8)
def test_features_at_another_stride(length, reduction, stride):
    """Any patch, also where the resized map is as long as the map: patch 10 at stride 8."""
    rows = int(np.ceil(length * reduction / stride))
    maps = noise(2, length, length)
    sampled = (np.arange(rows) + 0.5) * stride / reduction - 0.5
    found = resize_to_stride(maps[None], reduction, stride, (rows, rows))[0].numpy()
    assert np.abs(found - by_definition(maps, sampled, sampled)).max() < 1e-4
