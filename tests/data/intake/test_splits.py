"""Properties of every division: disjoint, complete, reproducible, whole scenes, fair shares."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder_ablations.data.intake.splits import Ratios, divide, files_of
from encoder_ablations.utils.errors import InputError


@st.composite
def pools(draw, min_scenes=8):
    """Ids, scenes, pixels of each class."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=min_scenes, max_size=40))
    scenes = [f"scene {number}" for number, size in enumerate(sizes) for _ in range(size)]
    ids = [f"{scene}/{position:03d}" for position, scene in enumerate(scenes)]
    classes = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    top = draw(st.sampled_from([2, 1000, 10**8]))
    pixels = rng.integers(0, top, (len(ids), classes)) * (rng.random((len(ids), classes)) < 0.5)
    return ids, scenes, draw(st.sampled_from([pixels, None]))


plans = st.one_of(
    st.builds(Ratios, st.just(1), st.floats(0.05, 0.5), st.floats(0, 0.4)),
    st.builds(Ratios, st.integers(2, 6), st.just(0.15), st.floats(0, 0.5)),
)
seeds = st.integers(0, 2**32)


@settings(max_examples=60)
@given(pools(), plans, seeds)
def test_parts_are_disjoint_complete_and_never_empty(pool, ratios, seed):
    ids, scenes, pixels = pool
    parts = divide(scenes, pixels, ratios, seed)
    assert set(parts) == set(ratios.parts)
    assert sorted(position for part in parts.values() for position in part) == list(range(len(ids)))
    assert all(parts.values())


@settings(max_examples=60)
@given(pools(), plans, seeds)
def test_scenes_stay_whole(pool, ratios, seed):
    ids, scenes, pixels = pool
    parts = divide(scenes, pixels, ratios, seed)
    part_of = {position: part for part, positions in parts.items() for position in positions}
    for scene in set(scenes):
        assert (
            len({part_of[position] for position in range(len(ids)) if scenes[position] == scene})
            == 1
        )


@settings(max_examples=60)
@given(pools(), plans, seeds, st.randoms())
def test_the_order_of_files_does_not_matter(pool, ratios, seed, random):
    ids, scenes, pixels = pool
    order = list(range(len(ids)))
    random.shuffle(order)
    before = divide(scenes, pixels, ratios, seed)
    shuffled = None if pixels is None else pixels[order]
    after = divide([scenes[i] for i in order], shuffled, ratios, seed)
    for part, positions in before.items():
        assert {ids[position] for position in positions} == {
            ids[order[position]] for position in after[part]
        }


@settings(max_examples=60)
@given(pools(), plans, seeds)
def test_folds_share_one_test_set_and_each_image_is_once_val(pool, ratios, seed):
    ids, scenes, pixels = pool
    files = files_of(divide(scenes, pixels, ratios, seed), ratios)
    test = set(files.get("test", []))
    assert bool(test) == (ratios.test > 0)
    if ratios.folds == 1:
        assert set(files) - {"test"} == {"train", "val"}
        return
    validated = []
    for fold in range(ratios.folds):
        train, val = set(files[f"fold_{fold}_train"]), set(files[f"fold_{fold}_val"])
        assert not train & val
        assert train | val | test == set(range(len(ids)))
        assert not (train | val) & test
        validated += val
    assert sorted(validated) == sorted(set(range(len(ids))) - test)


@given(st.integers(20, 300), plans, seeds)
def test_sizes_are_exact_where_every_image_is_its_own_scene(count, ratios, seed):
    ids = [str(position) for position in range(count)]
    parts = divide(ids, None, ratios, seed)
    for part, share in ratios.parts.items():
        assert abs(len(parts[part]) - share * count) <= 1 + 1e-9 or len(parts[part]) == 1


@pytest.mark.parametrize("seed", range(3))
def test_rare_classes_reach_every_part_in_their_share(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 5000, (400, 6)) * (rng.random((400, 6)) < np.geomspace(0.05, 1, 6))
    ids = [f"{position:04d}" for position in range(400)]
    parts = divide(ids, pixels, Ratios(5, test=0.2), seed)
    shares = np.stack([pixels[positions].sum(0) / pixels.sum(0) for positions in parts.values()])
    wanted = np.array(list(Ratios(5, test=0.2).parts.values()))[:, None]
    assert np.abs(shares - wanted)[:, 0].max() < 0.05, "a class that 5 % of the images show"
    assert np.abs(shares - wanted)[:, 2:].max() < 0.01
    assert {len(positions) for part, positions in parts.items() if part != "test"} == {64}
    by_count = divide(ids, None, Ratios(5, test=0.2), seed)
    careless = np.stack(
        [pixels[positions].sum(0) / pixels.sum(0) for positions in by_count.values()]
    )
    assert np.abs(careless - wanted).max() > 3 * np.abs(shares - wanted).max()


@pytest.mark.parametrize(("count", "shown"), [(30, 5), (30, 10), (100, 5), (100, 20)])
def test_a_small_part_gets_its_share_of_a_rare_class(count, shown):
    """Of two parts of unequal size the larger one must not take all images of a class."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pixels = np.column_stack(
            [np.full(count, 1500), rng.integers(100, 300, count), np.zeros(count, int)]
        )
        pixels[rng.permutation(count)[:shown], 2] = rng.integers(50, 300, shown)
        val = divide(
            [str(number) for number in range(count)], pixels, Ratios(val=0.2, test=0), seed
        )["val"]
        assert len(val) == count // 5
        assert abs((pixels[val, 2] > 0).sum() - shown / 5) <= 1.5, seed
        assert pixels[val, 2].any(), seed


def test_another_seed_is_another_division():
    rng = np.random.default_rng(0)
    pixels, ids = rng.integers(1, 5000, (100, 4)), [str(position) for position in range(100)]
    divisions = [tuple(divide(ids, pixels, Ratios(), seed)["test"]) for seed in range(10)]
    assert len(set(divisions)) == 10


def test_the_division_is_the_same_on_every_machine():
    pixels = np.array([[(7 * i * j + i) % 97 * 1000 for j in range(1, 5)] for i in range(200)])
    parts = divide([f"scene {position // 3}" for position in range(200)], pixels, Ratios(3), 42)
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    assert digest == "25d5478bdbb12e9f4524fe46b75ea8e4cc733e9e2935ae7cb731e4b0a18bf6d3"


def test_counts_of_huge_datasets_do_not_overflow():
    pixels = np.full((60, 300), 2**52, np.int64)
    ids = [str(position) for position in range(60)]
    parts = divide(ids, pixels, Ratios(1, 0.25, 0.25), 0)
    assert [len(positions) for positions in parts.values()] == [30, 15, 15]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 0}, "0 folds are impossible"),
        ({"val": 0}, "val is more than 0"),
        ({"val": 0.6, "test": 0.4}, "something must be left for train"),
        ({"test": -0.1}, "each lies in 0..1"),
        ({"folds": 5, "test": 1}, "the shares"),
        ({"val": float("nan")}, "the shares"),
    ],
)
def test_impossible_plans_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Ratios(**change)


def test_too_few_scenes_are_refused():
    with pytest.raises(
        InputError, match=r"2 scenes cannot be divided into 3 parts \(train, val, test\)"
    ):
        divide(["x", "x", "y"], None, Ratios(), 0)
