"""How mask files hold values, and what the values mean."""

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.palette import palette
from encoder_ablations.data.datasets.pixel_counts import scan_masks
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.utils.errors import InputError

COLORS = [[255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 0, 0]]


@pytest.fixture
def first_mask(make_dataset, tmp_path):
    """Write ``pixels`` into the first training mask, and return what is read from them."""

    def read(pixels, dtype=np.uint8, count=1, **changes):
        spec = make_dataset({"train": count, "val": 1}, **changes)
        values = np.array(pixels, dtype)
        mask = np.broadcast_to(values[0], (24, 32, *values.shape[1:])).copy()
        mask[0, : len(values)] = values
        Image.fromarray(mask).save(tmp_path / "masks/train/train_0.png")
        dataset = FolderDataset(spec, "train")
        return dataset.read_mask(0)[0, : len(values)].tolist(), dataset

    return read


def test_zero_label_is_reduced(first_mask):
    assert first_mask([0, 1, 3, 255], reduce_zero_label=True)[0] == [IGNORE, 0, 2, IGNORE]


def test_an_id_beyond_the_reduced_classes_is_refused(first_mask):
    with pytest.raises(
        InputError, match=r"holds the id 4; allowed are 1\.\.3, and 0 for what is not labelled"
    ):
        first_mask([0, 4], reduce_zero_label=True)


def test_colours_are_looked_up_and_then_ignored_or_mapped(first_mask):
    rules = {"mask_format": "colors", "mask_colors": COLORS, "ignore_ids": [3]}
    assert first_mask(COLORS, **rules)[0] == [0, 1, 2, IGNORE]


def test_colours_with_a_value_map(first_mask):
    rules = {"mask_format": "colors", "mask_colors": COLORS, "value_map": {0: 2, 1: 1, 2: 1, 3: 0}}
    assert first_mask(COLORS, **rules)[0] == [2, 1, 1, 0]


def test_unknown_colours_are_named(first_mask):
    rules = {"mask_format": "colors", "mask_colors": COLORS, "ignore_ids": [3]}
    with pytest.raises(
        InputError,
        match=r"train_0\.png holds 2 colours that mask_colors lacks: \(1, 0, 255\), \(9, 9",
    ):
        first_mask([[1, 0, 255], [1, 0, 255], [0, 0, 255], [9, 9, 9]], **rules)


def test_ade20k_counts_red_in_tens(first_mask):
    # R 116, G 162 is 11·256 + 162 = 2978, "wall"; blue numbers the objects
    pixels = [[116, 162, 7], [110, 162, 9], [10, 56, 0], [0, 0, 0]]
    rules = {"mask_format": "ade20k", "value_map": {2978: 0, 312: 1, 0: 255}}
    assert first_mask(pixels, **rules)[0] == [0, 0, 1, IGNORE]


def test_mattes_have_a_threshold(first_mask):
    assert first_mask([0, 127, 128, 255], mask_format="matte")[0] == [0, 0, 1, 1]


def test_a_coloured_matte_is_refused(first_mask):
    with pytest.raises(InputError, match="an alpha matte is grey"):
        first_mask([[1, 2, 3]], mask_format="matte")


ROUNDED = {"mask_format": "colors", "mask_colors": COLORS, "ignore_ids": [3], "round_colors": True}


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([[225, 227, 227], [9, 0, 250], [9, 222, 221], [20, 3, 1]], [0, 1, 2, IGNORE]),
        ([[127, 127, 128], [127, 128, 128]], [1, 2]),
    ],
    ids=["lossy", "at the edge"],
)
def test_colours_of_a_lossy_file_are_rounded(first_mask, pixels, expected):
    assert first_mask(pixels, **ROUNDED)[0] == expected


def test_a_rounded_colour_has_to_be_known(first_mask):
    with pytest.raises(InputError, match=r"mask_colors lacks: \(255, 0, 0\)"):
        first_mask([[200, 9, 9], [0, 0, 255]], **ROUNDED)


def test_rounding_is_a_new_scan(first_mask):
    _, dataset = first_mask(
        [[0, 0, 255], [0, 0, 255]], mask_format="colors", mask_colors=COLORS, classes=list("abcd")
    )
    assert (
        dataset.spec.mask_rules != dataset.spec.model_copy(update={"round_colors": True}).mask_rules
    )


def test_lossy_colours_are_refused(make_dataset, tmp_path):
    spec = make_dataset(mask_format="colors", mask_colors=COLORS)
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(
        tmp_path / "masks/train/train_0.png", "JPEG"
    )
    with pytest.raises(InputError, match="compressed as JPEG"):
        FolderDataset(spec, "train").read_mask(0)


def test_more_classes_than_255(first_mask, tmp_path):
    rules = {"classes": [f"class {n}" for n in range(300)], "ignore_ids": [65535]}
    found, dataset = first_mask([0, 255, 299, 65535], np.uint16, **rules)
    assert found == [0, 255, 299, 65535]
    assert dataset[0].mask[0, 3] == 65535
    scan = scan_masks(dataset)
    assert (scan.counts[0, 255], scan.counts[0, 299], scan.ignored[0]) == (1, 1, 1)
    assert scan.counts.sum() + scan.ignored.sum() == 24 * 32


def test_a_change_of_rules_is_a_new_scan(first_mask):
    _, dataset = first_mask([1, 2, 3, 1], classes=list("abcd"))
    before = scan_masks(dataset)
    after = scan_masks(
        FolderDataset(
            dataset.spec.model_copy(update={"reduce_zero_label": True, "classes": ("a", "b", "c")}),
            "train",
        )
    )
    assert before.counts[0, 1] == after.counts[0, 0] == 24 * 32 - 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_format": "colors"}, "belong together"),
        ({"mask_colors": COLORS}, "belong together"),
        ({"mask_format": "colors", "mask_colors": [[0, 0, 0], [0, 0, 0]]}, "a colour twice"),
        ({"round_colors": True}, "0 and 255 only"),
        (
            {"mask_format": "colors", "mask_colors": [[0, 0, 254]], "round_colors": True},
            "0 and 255 only",
        ),
        ({"reduce_zero_label": True, "value_map": {0: 0}}, "use one of the two"),
        ({"classes": [str(n) for n in range(256)]}, r"255 is a class here .*ignore_ids: \[65535\]"),
        (
            {"classes": [str(n) for n in range(255)], "reduce_zero_label": True},
            "255 is a class here",
        ),
    ],
)
def test_rules_that_contradict_each_other(make_dataset, changes, message):
    with pytest.raises(InputError, match=message):
        make_dataset(**changes)


def test_colours_of_many_classes_differ():
    assert len(set(palette(847))) == 847
    assert palette(847)[:255] == palette(255)
