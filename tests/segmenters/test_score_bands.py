"""Labels from bands of rows: the same as from all scores at once, without ever holding those."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from encoder_ablations.segmenters import scores
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.utils.arithmetic import deterministic_kernels

SIZES = [
    ((5, 8, 10), (32, 40), (32, 40), 4),
    ((7, 32, 40), (127, 157), (333, 211), 4),  # padding, and another size
    ((7, 32, 40), (128, 157), (111, 157), 4),  # padding of columns alone
    ((7, 32, 40), (97, 160), (97, 160), 4),  # padding of rows alone
    ((5, 8, 8), (29, 30), (7, 9), 4),  # smaller than the maps
    ((4, 5, 7), (65, 93), (130, 77), 14),
    ((6, 4, 9), (50, 140), (50, 140), 16),
    ((3, 1, 1), (3, 4), (50, 20), 4),
    ((5, 8, 8), (32, 32), (1, 1), 4),
    ((300, 8, 8), (32, 31), (33, 32), 4),  # more classes than a byte tells apart
]


def maps_of(shape, image_size, stride, mixed, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, *shape, generator=generator)
    mixing = torch.rand(2, 9, shape[0], generator=generator).softmax(1) if mixed else None
    return ScoreMaps(values, image_size, mixing, stride)


class Largest(TorchDispatchMode):
    """Notes how many values the largest tensor holds that is made within the block."""

    values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = [
            each
            for each in torch.utils._pytree.tree_leaves(result)
            if isinstance(each, torch.Tensor)
        ]
        self.values = max(
            [
                self.values,
                *(each.untyped_storage().nbytes() // each.element_size() for each in made),
            ]
        )
        return result


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("shape", "image_size", "size", "stride"), SIZES)
def test_bands_are_the_scores(shape, image_size, size, stride, mixed, monkeypatch):
    maps = maps_of(shape, image_size, stride, mixed)
    monkeypatch.setattr(
        scores, "BAND_VALUES", 5 * 2 * (max(shape[0], 9) if mixed else shape[0]) * size[1]
    )
    bands = list(maps.bands(size))
    assert [band.shape[2] for band in bands[:-1]] == [5] * ((size[0] - 1) // 5)
    full = maps.at(size)
    found = torch.cat(bands, dim=2)
    torch.testing.assert_close(found, full, rtol=0, atol=1e-4)  # positions are float32, too
    labels = maps.labels_by_bands(size)
    wanted = full.argmax(1)
    assert labels.dtype == torch.int64
    assert labels.shape == wanted.shape
    gap = full.gather(1, wanted[:, None]) - full.gather(1, labels[:, None])
    assert gap.max() < 1e-4
    assert (labels != wanted).float().mean() < 1e-3


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_exact_arithmetic_gives_exact_labels(factor, monkeypatch):
    """Small integers and a factor of a power of two: nothing is rounded, and there are many
    ties."""
    monkeypatch.setattr(scores, "BAND_VALUES", 100)
    values = torch.randint(-2, 3, (2, 4, 9, 7), generator=torch.Generator().manual_seed(0)).float()
    maps, size = ScoreMaps(values, (36, 28)), (9 * factor, 7 * factor)
    assert torch.equal(maps.labels_by_bands(size), maps.at(size).argmax(1))


def test_the_cpus_own_pass_gives_the_same_labels():
    maps = maps_of((7, 32, 40), (127, 157), 4, mixed=False)
    assert (maps.labels((333, 211)) != maps.labels_by_bands((333, 211))).float().mean() < 1e-3


@pytest.mark.parametrize("mixed", [False, True])
def test_scores_at_full_size_never_lie_in_memory(mixed, monkeypatch):
    monkeypatch.setattr(scores, "BAND_VALUES", 2**15)
    maps, size = maps_of((40, 32, 48), (128, 190), 4, mixed), (256, 380)
    with Largest() as largest:
        maps.labels_by_bands(size)
    assert largest.values == 2 * 256 * 380  # the labels themselves
    with Largest() as largest:
        maps.at(size)
    assert largest.values >= 2 * 40 * 256 * 380  # the measure sees what it shall see


@pytest.mark.parametrize("mixed", [False, True])
def test_deterministic_runs_on_gpus_take_the_native_kernel(mixed, interpolated_as_on_gpus):
    maps = maps_of((7, 32, 40), (127, 157), 4, mixed)
    with deterministic_kernels(True):
        maps.labels_by_bands((128, 160))
        maps.at((128, 160))
        assert torch.are_deterministic_algorithms_enabled()
    assert interpolated_as_on_gpus
    assert not any(interpolated_as_on_gpus)


@pytest.mark.parametrize("row", range(8))
def test_scores_that_are_no_number_stay_where_they_are(row):
    """A row that counts nothing must not be read, for 0 · NaN is NaN."""
    values = torch.zeros(1, 2, 8, 8)
    values[0, 1, row] = torch.nan
    maps = ScoreMaps(values, (8, 8), stride=1)
    expected = [8 * (place == row) for place in range(8)]
    assert maps.labels_by_bands((8, 8))[0].sum(1).tolist() == expected


def test_halves_and_gradients_are_no_obstacle():
    values = (
        torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        .bfloat16()
        .requires_grad_()
    )
    maps = ScoreMaps(values, (32, 32))
    assert torch.equal(maps.labels_by_bands((32, 32)), maps.at((32, 32)).argmax(1))
