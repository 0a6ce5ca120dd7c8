"""Patterns of paths, and the ids that they find."""

import gc

import pytest

from encoder_ablations.data.datasets.listing import list_pattern
from encoder_ablations.data.datasets.pairing import find_all_pairs, find_pairs
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def spec_of(root, **changes):
    content = {
        "name": "tree",
        "root": str(root),
        "classes": ["a", "b"],
        "splits": {"train": "train", "val": "val"},
    }
    return build(DatasetSpec, {**content, **changes}, "test")


@pytest.mark.parametrize(
    ("pattern", "split", "names", "ids"),
    [
        (
            "img/{split}/{id}.png",
            "train",
            ["img/train/a.png", "img/train/x/b.png", "img/val/c.png"],
            ["a"],
        ),
        (
            "img/{split}/*/{id}_8bit.png",
            "val",
            ["img/val/rome/a_8bit.png", "img/val/a_8bit.png"],
            ["a"],
        ),
        (
            "{split}/**/{id}.png",
            "train",
            ["train/a.png", "train/x/y/b.png", "val/c.png"],
            ["a", "b"],
        ),
        (
            "{split}/{id}/L.png",
            "train",
            ["train/L.png", "train/1/L.png", "train/a/2/L.png"],
            ["1", "a/2"],
        ),
        ("{id}/L.png", "", ["1/L.png", "a/2/L.png", "a/2/M.png"], ["1", "a/2"]),
        (
            "{split}/*_image/{id}.*",
            "a/b",
            ["a/b/x_image/1.jpg", "a/b/x_image/2.txt", "a/b/mask/1.png"],
            ["1"],
        ),
        ("{split}/{id}.png", None, ["train/a.png", "val/x/b.png"], ["a", "b"]),
        (
            "{id}_RGB.tif",
            "",
            ["top_2_10_RGB.tif", "top_2_10_label.tif", "top_2_10_RGBxtif"],
            ["top_2_10"],
        ),
        ("i.[x]/{id}.png", "", ["i.[x]/a.png", "iyx/b.png"], ["a"]),
    ],
)
def test_patterns_find_ids(tmp_path, pattern, split, names, ids):
    touch(tmp_path, *names)
    found = list_pattern(tmp_path, pattern, split, {".png", ".jpg", ".tif"}, "here")
    assert sorted(found) == ids


def test_hidden_files_and_folders_are_left_out(tmp_path):
    touch(tmp_path, "train/a.png", "train/._a.png", "train/.cache/b.png")
    assert list(list_pattern(tmp_path, "{split}/**/{id}.png", "train", {".png"}, "here")) == ["a"]


def test_image_and_mask_meet_by_their_id(tmp_path):
    touch(
        tmp_path,
        "left/train/rome/1_left.png",
        "left/val/oslo/2_left.png",
        "fine/val/oslo/2_fine_ids.png",
    )
    touch(tmp_path, "fine/train/rome/1_fine_ids.png", "fine/train/rome/1_fine_color.png")
    spec = spec_of(
        tmp_path, images="left/{split}/*/{id}_left.png", masks="fine/{split}/*/{id}_fine_ids.png"
    )
    (pair,) = find_pairs(spec, "train")
    assert pair.id == "1"
    assert pair.image == tmp_path / "left/train/rome/1_left.png"
    assert pair.mask == tmp_path / "fine/train/rome/1_fine_ids.png"
    assert [pair.id for pair in find_all_pairs(spec)] == ["1", "2"]


def test_a_missing_partner_is_named_with_the_pattern(tmp_path):
    touch(tmp_path, "train/1/R_G_B_IR.png", "train/2/R_G_B_IR.png", "train/1/L.png")
    spec = spec_of(tmp_path, images="{split}/{id}/R_G_B_IR.png", masks="{split}/{id}/L.png")
    with pytest.raises(
        InputError, match=rf"1 mask is missing in {tmp_path}/train/\{{id\}}/L.png: 2\."
    ):
        find_pairs(spec, "train")


def test_a_pattern_without_files_says_where_it_looked(tmp_path):
    touch(tmp_path, "left/train/rome/1.png", "fine/train/rome/1.png")
    spec = spec_of(tmp_path, images="left/{split}/*/{id}_left.png", masks="fine/{split}/*/{id}.png")
    with pytest.raises(
        InputError, match=r"no image fits the pattern .*left/train/\*/\{id\}_left\.png"
    ):
        find_pairs(spec, "train")
    spec = spec_of(tmp_path, images="lefd/{split}/*/{id}.png", masks="fine/{split}/*/{id}.png")
    with pytest.raises(InputError, match=r"no folder .*lefd/train\. Did you mean 'left'\?"):
        find_pairs(spec, "train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": "{split}/{name}.png"}, r"holds \{id\} once"),
        ({"images": "{split}/{id}_{id}.png"}, r"holds \{id\} once"),
        ({"images": "{split}/{id}"}, "ends with the file's suffix"),
        ({"images": "img/{id}.png"}, r"needs \{split\}, or else every split an index file"),
    ],
)
def test_bad_patterns_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        spec_of(tmp_path, **changes)
    spec_of(tmp_path, images="img/{id}.png", splits={"train": "a.txt", "val": "b.txt"})


def test_no_garbage_is_looked_for_while_files_are_listed(tmp_path):
    """The collector would look at all paths again and again."""
    names = [f"{number:03}.png" for number in range(400)]
    touch(tmp_path, *(f"{kind}/train/{name}" for kind in ("images", "masks") for name in names))
    spec, starts = spec_of(tmp_path), []
    gc.callbacks.append(lambda phase, _: starts.append(phase == "start"))
    try:
        gc.collect()
        starts.clear()
        pairs = find_pairs(spec, "train")
        found = sum(starts)
    finally:
        gc.callbacks.pop()
    # the first object that is made afterwards may start one
    assert found <= 1
    assert len(pairs) == 400
    assert gc.isenabled()


def test_the_collector_goes_on_after_a_refusal(tmp_path):
    with pytest.raises(InputError):
        find_pairs(spec_of(tmp_path), "train")
    assert gc.isenabled()
