"""Labels in one pass are the labels of upsampled scores; where not, two scores are all but
equal."""

import sys

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder_ablations.segmenters import ops
from encoder_ablations.segmenters.ops.upsample_argmax import upsample_argmax
from encoder_ablations.segmenters.scores import ScoreMaps, upsample
from encoder_ablations.utils.errors import InputError


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(classes, height, width):
    """Scores with large regions of one class, as a trained head gives them."""
    coarse = noise(1, classes, 3, 4)
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0]


def assert_labels(maps, image_size, size, allowed):
    """The same labels, but for at most ``allowed`` (a share) pixels whose two best scores differ
    by less than 1e-5."""
    full = upsample(maps[None], image_size, size)[0]
    wanted, found = full.argmax(0), torch.from_numpy(upsample_argmax(maps, image_size, size)).long()
    assert found.shape == wanted.shape
    other = found != wanted
    assert other.float().mean() <= allowed
    gap = full.gather(0, wanted[None]) - full.gather(0, found[None])
    assert (gap[0][other] < 1e-5).all()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 2**16),
    st.sampled_from([2, 4, 8]),
)
def test_exact_arithmetic_gives_exact_labels(classes, height, width, seed, factor):
    """Small integers and a factor of a power of two: nothing is rounded, and there are many
    ties."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(-2, 3, (classes, height, width), generator=generator).float()
    image, size = (4 * height, 4 * width), (factor * height, factor * width)
    wanted = upsample(maps[None], image, size)[0].argmax(0).numpy()
    assert np.array_equal(upsample_argmax(maps, image, size), wanted)


@pytest.mark.parametrize(
    ("shape", "image_size", "size"),
    [
        ((150, 128, 171), (512, 683), (512, 683)),  # an ADE20K image
        ((7, 32, 40), (128, 160), (128, 160)),
        ((7, 32, 40), (127, 157), (333, 211)),  # padding, and another size
        ((7, 32, 40), (97, 129), (97, 129)),  # padding of a whole stride of 32
        ((5, 8, 8), (29, 32), (29, 32)),  # padding on one side only
        ((5, 8, 8), (32, 32), (7, 9)),  # smaller than the maps
        ((5, 8, 8), (29, 30), (7, 9)),
        ((5, 8, 8), (29, 31), (8, 8)),  # factors near 1, where PyTorch copies
        ((5, 8, 8), (25, 25), (7, 7)),  # and where it just does not
        ((5, 40, 40), (129, 131), (6, 500)),
        ((5, 8, 8), (32, 32), (1, 1)),
        ((3, 1, 1), (3, 4), (50, 20)),
        ((1, 4, 4), (16, 16), (16, 16)),
        ((300, 8, 8), (32, 32), (32, 32)),
    ],
)
@pytest.mark.parametrize("make", [noise, smooth])
def test_labels_of_upsampled_scores(make, shape, image_size, size):
    assert_labels(make(*shape), image_size, size, allowed=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(0, 7),
)
def test_any_size(height, width, target_height, target_width, extra):
    maps = noise(4, -(-height // 4) + extra % 3, -(-width // 4) + extra // 3)
    assert_labels(maps, (height, width), (target_height, target_width), allowed=1e-2)


def test_nan_wins_as_in_pytorch():
    maps = noise(6, 8, 8)
    maps[4, 2, 3] = maps[2, 2, 3] = maps[5, 6, 0:3] = float("nan")
    wanted = upsample(maps[None], (32, 32), (32, 32))[0].argmax(0).numpy()
    assert np.array_equal(upsample_argmax(maps, (32, 32), (32, 32)), wanted)
    assert {2, 4, 5} & set(np.unique(wanted))


@pytest.mark.parametrize(
    ("classes", "dtype"), [(2, np.uint8), (255, np.uint8), (256, np.int16), (40000, np.int64)]
)
def test_labels_have_the_smallest_type_that_leaves_255_free(classes, dtype):
    maps = np.zeros((classes, 2, 2), np.float32)
    maps[-1] = 1
    labels = upsample_argmax(maps, (8, 8), (8, 8))
    assert labels.dtype == dtype
    assert (labels == classes - 1).all()


def test_threads_and_strides_do_not_matter():
    maps = noise(9, 32, 32)
    before = torch.get_num_threads()
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(upsample_argmax(maps, (128, 128), (200, 200)))
    torch.set_num_threads(before)
    results.append(
        upsample_argmax(maps.permute(2, 0, 1).contiguous().permute(1, 2, 0), (128, 128), (200, 200))
    )
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


@pytest.mark.parametrize(
    ("maps", "image_size", "size"),
    [
        (np.zeros((3, 4, 4)), (16, 16), (16, 16)),
        (np.zeros((4, 4), np.float32), (16, 16), (16, 16)),
        (np.zeros((0, 4, 4), np.float32), (16, 16), (16, 16)),
        (np.zeros((3, 4, 4), np.float32), (17, 16), (16, 16)),
        (np.zeros((3, 4, 4), np.float32), (16, 0), (16, 16)),
        (np.zeros((3, 4, 4), np.float32), (16, 16), (16, 0)),
    ],
)
def test_wrong_input_is_named(maps, image_size, size):
    with pytest.raises(InputError, match=r"upsample_argmax: .* Given: maps"):
        upsample_argmax(maps, image_size, size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mixed", [False, True])
def test_score_maps_labels(mixed, dtype):
    mixing = noise(2, 5, 6, seed=1).softmax(1) if mixed else None
    maps = ScoreMaps(noise(2, 6, 32, 40).to(dtype).requires_grad_(), (127, 157), mixing)
    labels = maps.labels((150, 190))
    assert labels.dtype == torch.int64
    full = maps.at((150, 190))
    wanted = full.argmax(1)
    assert labels.shape == wanted.shape == (2, 150, 190)
    other = labels != wanted
    gap = full.gather(1, wanted[:, None]) - full.gather(1, labels[:, None])
    assert other.float().mean() < 1e-3
    assert (gap[:, 0][other] < 1e-5).all()


def test_a_machine_that_keeps_no_kernels_is_told_what_to_do(monkeypatch):
    """As on a read-only file system, where numba has no place for what it compiles."""

    def njit(**options):
        raise RuntimeError("cannot cache function")

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.delattr(ops, "upsample_argmax_numba", raising=False)
    monkeypatch.delitem(sys.modules, f"{ops.__name__}.upsample_argmax_numba", raising=False)
    with pytest.raises(InputError, match="NUMBA_CACHE_DIR"):
        upsample_argmax(np.zeros((2, 3, 4), np.float32), (12, 16), (12, 16))
