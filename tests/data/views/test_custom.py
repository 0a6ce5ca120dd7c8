"""Transforms of a user's own: repeatable in any process, and checked in one line each."""

import random
import sys

import numpy as np
import pytest

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.loading.batches import training_batches
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.data.views.transforms import training_view, try_custom
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

TRANSFORMS = """
import random
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2


def invert(image, mask, rng):
    return 255 - image, mask


def forget_a_row(image, mask, rng):
    mask[rng.integers(len(mask))] = 255
    return image, mask


class Noise:
    def __init__(self, strength=20):
        self.strength = strength

    def __call__(self, image, mask, rng):
        noise = rng.integers(0, self.strength, image.shape)
        return (image // 2 + noise).astype(np.uint8), mask


strong = Noise(100)
turned = v2.RandomAffine(45, fill={tv_tensors.Image: 128, tv_tensors.Mask: 255})
several = v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.5, hue=0.2), turned])
turned_to_class_0 = v2.RandomAffine(45, fill={tv_tensors.Image: 128, tv_tensors.Mask: 7})


class Needs:
    def __init__(self, strength):
        pass


def two(image, mask):
    return image, mask


def fails(image, mask, rng):
    raise IndexError("too far")


def only_image(image, mask, rng):
    return image


def small(image, mask, rng):
    return image[::2], mask


def floats(image, mask, rng):
    return image / 255, mask


def bytes_(image, mask, rng):
    return image, mask.astype(np.uint8)


def new_id(image, mask, rng):
    mask[0, 0] = 9
    return image, mask


def negative(image, mask, rng):
    mask[0, 0] = -1
    return image, mask


def tensor(image, mask, rng):
    return torch.from_numpy(image), mask


def pythons(image, mask, rng):
    return np.roll(image, random.randrange(1, 31)), mask


def coin(image, mask, rng):
    return (image[:, ::-1] if random.random() < 0.5 else image), mask


def counting(image, mask, rng):
    counting.calls += 1
    return np.roll(image, counting.calls), mask


counting.calls = 0


def numpys(image, mask, rng):
    return np.roll(image, np.random.randint(1, 31)), mask


not_callable = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """A module in the current folder, which is not on the path."""
    name = f"own_transforms_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(TRANSFORMS)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
    return Sample(image, rng.integers(0, 3, (40, 48)), "one", (40, 48), "one")


def spec(*names, **more):
    return AugmentationSpec(crop=(32, 32), custom=names, **more)


def view(sample, augmentation, seed=0):
    return training_view(sample, augmentation, np.random.default_rng(seed))


def test_it_gets_the_finished_crop_and_its_result_is_trained_on(module, sample):
    before, labels = view(sample, spec())
    after, same = view(sample, spec(f"{module}:invert"))
    assert (after == 255 - before).all()
    assert (same == labels).all()
    assert (after.shape, after.dtype, same.dtype) == ((3, 32, 32), np.uint8, np.uint8)


def test_several_are_applied_in_their_order(module, sample):
    both = view(sample, spec(f"{module}:invert", f"{module}:Noise"))[0]
    other = view(sample, spec(f"{module}:Noise", f"{module}:invert"))[0]
    assert (both != other).any()


@pytest.mark.parametrize("name", ["Noise", "strong", "forget_a_row", "turned", "several"])
def test_equal_seeds_give_equal_crops_and_others_do_not(module, sample, name):
    augmentation = spec(f"{module}:{name}")
    first, again, other = (view(sample, augmentation, seed) for seed in (0, 0, 1))
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))
    try_custom(sample, augmentation)


def test_a_transform_of_torchvision_moves_image_and_mask_alike(module, sample):
    """Where the mask says ignored, the image has the value of its filling."""
    image, mask = view(sample, spec(f"{module}:turned", scale=(1, 1), photometric=False), seed=3)
    outside = mask == 255
    assert 0 < outside.mean() < 0.5
    assert (image[:, outside] == 128).mean() > 0.95


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_processes_do_not_change_the_batches(module, make_dataset, workers):
    dataset = FolderDataset(make_dataset({"train": 6, "val": 1}, size=(40, 48)), "train")
    augmentation = spec(f"{module}:Noise", f"{module}:turned")

    def batches(**more):
        settings = {"seed": 1, "batch_size": 2, "steps": 3} | more
        found = training_batches(dataset, range(6), augmentation, **settings)
        return [(part.images, part.masks) for parts in found for part in parts]

    pairs = zip(batches(), batches(workers=workers), strict=True)
    assert all((a == b).all() for both in pairs for a, b in zip(*both, strict=True))


BAD = [
    ("absent", "has no 'absent'"),
    ("invertt", "Did you mean 'invert'"),
    ("not_callable", "is int; it must be called with image, mask and rng"),
    ("Needs", "is made without arguments: missing a required argument: 'strength'"),
    ("two", "gets image, mask and rng: too many positional arguments"),
    ("fails", r"failed at .*\.py:\d+: IndexError: too far"),
    ("only_image", r"returned ndarray, not \(image, mask\)"),
    ("small", "its image is uint8 16×32×3, not uint8 32×32×3"),
    ("floats", "its image is float64 32×32×3, not uint8"),
    ("tensor", "its image is Tensor, not an array"),
    ("bytes_", "its mask is uint8 32×32, not int64"),
    ("new_id", "its mask holds the id 9, which the mask before does not"),
    ("negative", "its mask holds the id -1"),
    ("turned_to_class_0", "its mask holds the id 7"),
    ("pythons", "two different crops. Draw all random numbers from rng"),
    ("counting", "keep nothing from one call to the next"),
    ("numpys", "two different crops. Draw all random numbers from rng"),
]


@pytest.mark.parametrize(("name", "words"), BAD)
def test_bad_transforms_are_named_before_training(module, sample, name, words):
    with pytest.raises(InputError, match=words) as raised:
        try_custom(sample, spec(f"{module}:{name}"))
    assert f"{module}:{name}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_coin_that_is_thrown_elsewhere_is_found_out(module, sample, monkeypatch):
    """Also where it falls on the same side at first."""
    falls = iter([0.1, 0.1, 0.1, 0.9])
    monkeypatch.setattr(random, "random", lambda: next(falls))
    with pytest.raises(InputError, match="two different crops"):
        try_custom(sample, spec(f"{module}:coin"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failure_in_a_worker_is_one_line(module, make_dataset, workers):
    dataset = FolderDataset(make_dataset(size=(40, 48)), "train")
    augmentation = spec(f"{module}:fails")
    batches = training_batches(
        dataset, range(4), augmentation, seed=0, batch_size=2, steps=1, workers=workers
    )
    with pytest.raises(InputError, match="IndexError: too far"):
        list(batches)


def test_one_reference_needs_no_list_and_is_one():
    assert build(AugmentationSpec, {"custom": "a.b:c"}, "test").custom == ("a.b:c",)
    with pytest.raises(InputError, match=r"write package\.module:name, not 'blur'"):
        build(AugmentationSpec, {"custom": ["blur"]}, "test")
