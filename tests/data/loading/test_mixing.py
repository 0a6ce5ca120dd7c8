"""MixUp, CutMix and ClassMix: what is mixed follows from the seed and the position alone."""

import hashlib

import numpy as np
import pytest
import torch

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import IGNORE, Sample
from encoder_ablations.data.loading.balancing import Mixed
from encoder_ablations.data.loading.batches import training_batches
from encoder_ablations.data.loading.mixing import Mixer
from encoder_ablations.data.views.augmentation import AugmentationSpec, MixSpec
from encoder_ablations.data.views.mixed_samples import blended, with_box, with_classes
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

KINDS = ("mixup", "cutmix", "classmix")
INDICES = [0, 2, 3, 5, 6]


@pytest.fixture
def dataset(make_dataset):
    return FolderDataset(make_dataset({"train": 8, "val": 1}, size=(40, 48)), "train")


def spec_of(kind, **mix):
    return AugmentationSpec(crop=(32, 32), mix={"kind": kind, **mix})


def sha(parts):
    """Digest of the micro-batches of a step together."""
    found = hashlib.sha256()
    for name in ("images", "masks", "others"):
        for part in parts:
            if getattr(part, name) is not None:
                found.update(getattr(part, name).numpy().tobytes())
    found.update(repr({part.share for part in parts}).encode())
    return found.hexdigest()


def steps(dataset, spec, **changes):
    settings = {"seed": 1, "batch_size": 4, "steps": 6} | changes
    return list(training_batches(dataset, INDICES, spec, **settings))


def crop_of(value, labels):
    """A crop of one grey level with given labels."""
    mask = np.asarray(labels, np.uint8)
    return np.full((3, *mask.shape), value, np.uint8), mask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "how", [{"workers": 2}, {"accumulation": 2}, {"accumulation": 4}], ids=lambda how: str(how)
)
def test_workers_and_micro_batches_change_nothing(dataset, kind, how):
    spec = spec_of(kind, probability=0.7)
    assert list(map(sha, steps(dataset, spec, **how))) == list(map(sha, steps(dataset, spec)))


@pytest.mark.parametrize("kind", KINDS)
def test_processes_together_see_the_batches_of_one(dataset, kind):
    spec = spec_of(kind, probability=0.7)
    runs = [steps(dataset, spec, rank=rank, world=2, accumulation=2) for rank in (0, 1)]
    together = [sha([*first, *second]) for first, second in zip(*runs, strict=True)]
    assert together == list(map(sha, steps(dataset, spec)))


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_continues_where_the_run_stopped(dataset, kind):
    spec = spec_of(kind)
    rest = steps(dataset, spec, start_step=2)
    assert list(map(sha, rest)) == list(map(sha, steps(dataset, spec)))[2:]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_mixed_is_as_without(dataset, kind):
    """Own crops draw the same numbers, and about half of them stay as they are."""
    plain = torch.cat([part.images for (part,) in steps(dataset, AugmentationSpec(crop=(32, 32)))])
    mixed = torch.cat([part.images for (part,) in steps(dataset, spec_of(kind), steps=6)])
    same = (plain == mixed).flatten(1).all(1)
    assert 0.1 < same.float().mean() < 0.9


def test_seeds_mix_differently(dataset):
    first, other = (steps(dataset, spec_of("cutmix"), seed=seed) for seed in (1, 2))
    assert set(map(sha, first)).isdisjoint(map(sha, other))


def test_a_partner_is_another_sample_of_the_epoch():
    mixer = Mixer(MixSpec(kind="cutmix", probability=1), 3, 4)
    epoch = np.array([4, 9, 1, 7])
    partners = {place: set() for place in epoch.tolist()}
    for position in range(200):
        place = int(epoch[position % 4])
        partners[place].add(mixer.partner(position, place, epoch))
    assert all(found == set(epoch.tolist()) - {place} for place, found in partners.items())


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_mixed_as_often_as_asked(kind):
    mixer = Mixer(MixSpec(kind=kind, probability=0.3), 0, 1)
    chosen = [mixer.partner(position, 0, np.arange(5)) is not None for position in range(1000)]
    assert np.mean(chosen) == pytest.approx(0.3, abs=0.04)


def test_mixup_mixes_whole_batches_with_one_share(dataset):
    found = steps(dataset, spec_of("mixup", probability=0.5, alpha=1), steps=12)
    shares = [part.share for (part,) in found]
    mixed = [part.others is not None for (part,) in found]
    assert len(set(shares)) == sum(mixed) + 1
    assert all((share < 1) == blend for share, blend in zip(shares, mixed, strict=True))
    assert 2 < sum(mixed) < 10


def test_mixup_is_the_weighted_sum_of_both_crops():
    own, other = (np.random.default_rng(s).integers(0, 256, (3, 9, 8), np.uint8) for s in (0, 1))
    expected = (0.3 * own.astype(float) + 0.7 * other).round()
    assert np.abs(blended(own, other, 0.3) - expected).max() <= 1
    np.testing.assert_array_equal(blended(own, other, 1.0), own)


def reference_box(height, width, share, rng):
    """The authors' ``rand_bbox``, with rows and columns in their places."""
    ratio = np.sqrt(1.0 - share)
    cut_h, cut_w = int(height * ratio), int(width * ratio)
    cy, cx = rng.integers(height), rng.integers(width)
    y1, y2 = np.clip([cy - cut_h // 2, cy + cut_h // 2], 0, height)
    x1, x2 = np.clip([cx - cut_w // 2, cx + cut_w // 2], 0, width)
    return y1, y2, x1, x2


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
def test_cutmix_pastes_the_authors_box(share):
    own, other = crop_of(10, np.zeros((20, 30))), crop_of(200, np.ones((20, 30)))
    for seed in range(30):
        image, mask = with_box(own, other, share, np.random.default_rng(seed))
        y1, y2, x1, x2 = reference_box(20, 30, share, np.random.default_rng(seed))
        expected = np.zeros((20, 30), np.uint8)
        expected[y1:y2, x1:x2] = 1
        np.testing.assert_array_equal(mask, expected)
        assert (image == np.where(expected, 200, 10)).all()
        assert (image.dtype, mask.dtype) == (np.uint8, np.uint8)


def test_classmix_pastes_half_of_the_others_classes():
    labels = np.repeat([[0, 1, 2, 3, 4, IGNORE]], 4, axis=0)
    own, other = crop_of(10, np.full((4, 6), 9)), crop_of(200, labels)
    seen = set()
    for seed in range(60):
        image, mask = with_classes(own, other, IGNORE, np.random.default_rng(seed))
        pasted = set(np.unique(mask).tolist()) - {9}
        assert len(pasted) == 2  # of 5, as in the authors' code
        inside = np.isin(labels, list(pasted))
        np.testing.assert_array_equal(mask, np.where(inside, labels, 9))
        assert (image == np.where(inside, 200, 10)).all()
        seen.add(frozenset(pasted))
    assert len(seen) == 10
    assert IGNORE not in set().union(*seen)


def test_classmix_of_one_class_pastes_nothing():
    own, other = crop_of(10, np.full((4, 6), 1)), crop_of(200, np.full((4, 6), 2))
    image, mask = with_classes(own, other, IGNORE, np.random.default_rng(0))
    assert (image == 10).all()
    assert (mask == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_ignored_pixels_move_with_their_image(kind):
    """Each image says by its grey level which pixels are ignored."""

    class Halves:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            mask = np.full((40, 40), index, np.int64)
            mask[:, 20:] = IGNORE
            pixels = np.where(mask == IGNORE, 250, 10 + 40 * index).astype(np.uint8)
            return Sample(np.stack([pixels] * 3, 2), mask, str(index), (40, 40), "x")

        def image_file(self, index):
            raise NotImplementedError

    mix = {"kind": kind, "probability": 1}
    if kind == "mixup":
        mix["alpha"] = 5  # a share near 1 would leave images as they are
    spec = AugmentationSpec(crop=(32, 32), scale=(1, 1), photometric=False, mix=mix)
    for (part,) in training_batches(Halves(), range(4), spec, seed=0, batch_size=4, steps=5):
        assert (part.others is not None) == (kind == "mixup")
        if kind == "mixup":
            both = (part.masks == IGNORE) & (part.others == IGNORE)
            assert both.any()
            assert ((part.images[:, 0] >= 249) == both).all()
        else:
            assert ((part.images[:, 0] == 250) == (part.masks == IGNORE)).all()
            kept = part.masks != IGNORE
            assert (part.images[:, 0][kept] == 10 + 40 * part.masks[kept]).all()


def test_one_training_image_has_no_partner(dataset):
    with pytest.raises(InputError, match="cutmix mixes two different training images") as caught:
        training_batches(dataset, [3, 3], spec_of("cutmix"), seed=0, batch_size=1, steps=1)
    assert "\n" not in str(caught.value)
    # an epoch may show one image alone, however many there are
    shows = np.arange(8) < 1
    batches = training_batches(
        dataset, Mixed(range(8), shows, 1.0), spec_of("classmix"), seed=0, batch_size=8, steps=1
    )
    with pytest.raises(InputError, match="only one"):
        list(batches)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"mix": {"kind": "cutmix"}, "views": 4}, "mix makes a new crop .* views"),
        ({"mix": {"kind": "classmix", "alpha": 1}}, "classmix pastes half .* leave alpha out"),
        ({"mix": {"kind": "cutout"}}, r"mix\.kind.*'mixup', 'cutmix' or 'classmix'"),
        ({"mix": {"kind": "cutmix", "probability": 0}}, r"mix\.probability"),
        ({"mix": {"kind": "mixup", "alpha": 0}}, r"mix\.alpha"),
    ],
)
def test_impossible_settings_are_one_line(content, words):
    with pytest.raises(InputError, match=words) as caught:
        build(AugmentationSpec, content, "study.yaml")
    assert "\n" not in str(caught.value)


def test_alpha_is_that_of_the_authors_by_default():
    defaults = {kind: MixSpec(kind=kind).concentration for kind in ("mixup", "cutmix")}
    assert defaults == {"mixup": 0.2, "cutmix": 1.0}
    assert MixSpec(kind="mixup", alpha=3).concentration == 3
