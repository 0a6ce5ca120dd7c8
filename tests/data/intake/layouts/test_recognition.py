"""Folders as people have them: each is recognised, and gives the masks that it was made of."""

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.checks.lint import lint
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.intake.layouts.conversion import prepare
from encoder_ablations.data.intake.layouts.mask_values import class_values
from encoder_ablations.data.intake.layouts.name_lists import read_names
from encoder_ablations.data.intake.layouts.recognition import propose
from encoder_ablations.utils.errors import InputError

COLORS = np.array([[0, 0, 0], [200, 30, 30], [30, 200, 30]], np.uint8)
SIZE = (40, 48)


@pytest.fixture
def ids():
    """Ten masks H×W of classes 0, 1, 2, each different."""
    rng = np.random.default_rng(5)
    masks = []
    for _ in range(10):
        mask = np.zeros(SIZE, np.uint8)
        mask[2 : rng.integers(8, 20), 3 : rng.integers(20, 40)] = 1
        mask[-8:, rng.integers(2, 20) :] = 2
        masks.append(mask)
    return masks


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(100 + number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def dataset(root: Path, output: Path, **options):
    """The spec after ``ablate init``, and the proposal."""
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    proposal = propose(root, **options)
    spec = proposal.spec if proposal.direct else prepare(proposal, output)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before, (
        "originals stay as they are"
    )
    return spec, proposal


def masks_of(spec) -> dict[str, np.ndarray]:
    found = {}
    for split in spec.splits:
        part = FolderDataset(spec, split)
        for number in range(len(part)):
            sample = part[number]
            assert sample.id not in found
            found[sample.id] = sample.mask
    return found


def assert_masks(spec, expected: dict[str, np.ndarray]) -> None:
    found = masks_of(spec)
    assert found.keys() == expected.keys()
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask, err_msg=name)


def names(report) -> set[str]:
    return {each.rule.code for each in report.findings if each.rule.severity == "error"}


def test_names_in_two_unicode_forms_pair(tmp_path, ids):
    for number, mask in enumerate(ids):
        save(
            tmp_path / "in/images" / f"{unicodedata.normalize('NFC', 'krä')}{number}.png",
            picture(number),
        )
        save(tmp_path / "in/masks" / f"{unicodedata.normalize('NFD', 'krä')}{number}.png", mask)
    spec, _ = dataset(tmp_path / "in", tmp_path / "out")
    assert_masks(spec, {f"krä{number}": mask for number, mask in enumerate(ids)})


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("image_{}.png", "mask_{}.png"),
        ("images/image_{}.jpg", "masks/mask_{}.png"),
        ("images/{}.jpg", "masks/mask_{}.png"),
        ("{}.png", "mask_{}.png"),
        ("img{}.png", "label{}.png"),
        ("images/img_{}.png", "masks/img_{}.png"),
        ("train/image-{}.png", "train/seg-{}.png"),
    ],
)
def test_names_that_begin_with_their_role(tmp_path, ids, image, mask):
    for number, pixels in enumerate(ids):
        save(tmp_path / "in" / image.format(number), picture(number))
        save(tmp_path / "in" / mask.format(number), pixels)
    spec, proposal = dataset(tmp_path / "in", tmp_path / "out")
    found = {name.removeprefix("img_"): each for name, each in masks_of(spec).items()}
    assert found.keys() == set(map(str, range(len(ids))))
    for number, pixels in enumerate(ids):
        np.testing.assert_array_equal(found[str(number)], pixels)
    assert not any("left out" in remark for remark in proposal.remarks)


def test_masks_stored_as_gif(tmp_path, ids):
    palette = [0, 0, 0, 200, 30, 30, 30, 200, 30]
    for number, mask in enumerate(ids):
        split = "train" if number < 7 else "val"
        save(tmp_path / f"in/images/{split}/{number}.png", picture(number))
        picture_of_mask = Image.fromarray(mask)
        picture_of_mask.putpalette(palette)
        path = tmp_path / f"in/masks/{split}/{number}.gif"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture_of_mask.save(path)
    spec, proposal = dataset(tmp_path / "in", tmp_path / "out")
    assert proposal.direct
    assert_masks(spec, {str(number): mask for number, mask in enumerate(ids)})
    assert not {"format-differs", "unused-file"} & {each.rule.code for each in lint(spec).findings}


def test_names_from_the_table_of_roboflow(tmp_path, ids):
    for number, mask in enumerate(ids):
        split = "train" if number < 7 else "valid"
        name = f"{number}_jpg.rf.{number * 40503 % 65536:032x}"
        save(tmp_path / f"in/{split}/{name}.jpg", picture(number))
        save(tmp_path / f"in/{split}/{name}_mask.png", mask)
        table = "Pixel Value, Class\n0, background\n1, crater\n2, big boulder\n"
        (tmp_path / f"in/{split}/_classes.csv").write_text(table)
    spec, _ = dataset(tmp_path / "in", tmp_path / "out")
    assert spec.classes == ("background", "crater", "big boulder")


def roboflow(folder, ids, table):
    """An export whose masks hold ``ids``, and whose splits hold ``table``."""
    for number, mask in enumerate(ids):
        split = "train" if number < 7 else "valid"
        name = f"{number}_jpg.rf.{number * 40503 % 65536:032x}"
        save(folder / split / f"{name}.jpg", picture(number))
        save(folder / split / f"{name}_mask.png", mask)
        (folder / split / "_classes.csv").write_text(f"Pixel Value, Class\n{table}")


def test_the_table_of_roboflow_is_read_by_its_ids_not_by_its_rows(tmp_path, ids):
    roboflow(tmp_path / "in", ids, "2, boulder\n0, background\n1, crater\n")
    spec, _ = dataset(tmp_path / "in", tmp_path / "out")
    assert spec.classes == ("background", "crater", "boulder")


@pytest.mark.parametrize("shown", [[0, 1, 3], [0, 1, 1]], ids=["all", "some"])
def test_a_gap_in_the_table_of_roboflow_moves_no_class(tmp_path, ids, shown):
    roboflow(
        tmp_path / "in",
        [np.array(shown, np.uint8)[mask] for mask in ids],
        "0, background\n1, crater\n3, boulder\n",
    )
    with pytest.raises(InputError, match=r"_classes\.csv: no class has the id 2"):
        dataset(tmp_path / "in", tmp_path / "out")


def test_splits_of_equal_names_are_used_where_they_lie(tmp_path, ids):
    for number, mask in enumerate(ids):
        split = "train" if number < 7 else "val"
        save(tmp_path / "d/images" / split / f"{number}.jpg", picture(number))
        save(tmp_path / "d/masks" / split / f"{number}.png", mask)
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert proposal.direct
    assert not (tmp_path / "out").exists()
    assert spec.classes == ("class_0", "class_1", "class_2")
    assert_masks(spec, {str(number): mask for number, mask in enumerate(ids)})
    assert {split: len(FolderDataset(spec, split)) for split in spec.splits} == {
        "train": 7,
        "val": 3,
    }
    assert not names(lint(spec))


def test_other_folder_names_are_used_where_they_lie(tmp_path, ids):
    for number, mask in enumerate(ids):
        split = ("training", "validation", "test")[min(number // 4, 2)]
        save(tmp_path / "d/JPEGImages" / split / f"{number}.jpg", picture(number))
        save(tmp_path / "d/SegmentationClass" / split / f"{number}.png", mask)
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert proposal.direct
    assert (spec.images, spec.masks) == ("JPEGImages", "SegmentationClass")
    assert spec.splits == {"train": "training", "val": "validation", "test": "test"}
    assert_masks(spec, {str(number): mask for number, mask in enumerate(ids)})


@pytest.mark.parametrize(
    ("image", "mask", "pattern"),
    [
        ("{split}/images/{n}.jpg", "{split}/masks/{n}.png", "{split}/masks/{id}.png"),
        ("{split}/{n}.jpg", "{split}annot/{n}.png", "{split}annot/{id}.png"),
        ("{split}_images/{n}.jpg", "{split}_labels/{n}.png", "{split}_labels/{id}.png"),
        ("{split}/{n}_sat.jpg", "{split}/{n}_mask.png", "{split}/{id}_mask.png"),
        ("{split}/{n}.jpg", "{split}/{n}.png", "{split}/{id}.png"),
        (
            "leftImg8bit/{split}/ulm/{n}_leftImg8bit.png",
            "gtFine/{split}/ulm/{n}_gtFine_labelTrainIds.png",
            None,
        ),
    ],
)
def test_splits_laid_out_in_other_ways_are_patterns_of_paths(tmp_path, ids, image, mask, pattern):
    for number, pixels in enumerate(ids):
        split = "train" if number < 7 else "val"
        save(tmp_path / "d" / image.format(split=split, n=f"t{number}"), picture(number))
        save(tmp_path / "d" / mask.format(split=split, n=f"t{number}"), pixels)
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert proposal.direct
    assert spec.masks == (pattern or "gtFine/{split}/ulm/{id}_gtFine_labelTrainIds.png")
    assert_masks(spec, {f"t{number}": pixels for number, pixels in enumerate(ids)})
    assert {split: len(FolderDataset(spec, split)) for split in spec.splits} == {
        "train": 7,
        "val": 3,
    }
    assert not any("left out" in remark for remark in proposal.remarks)
    assert not names(lint(spec))


def test_cityscapes_other_files_do_no_harm(tmp_path, ids):
    for number, mask in enumerate(ids):
        stem = f"{('train', 'val')[number > 6]}/ulm/ulm_{number}"
        save(tmp_path / "d/leftImg8bit" / f"{stem}_leftImg8bit.png", picture(number))
        save(tmp_path / "d/gtFine" / f"{stem}_gtFine_labelTrainIds.png", mask)
        save(tmp_path / "d/gtFine" / f"{stem}_gtFine_labelIds.png", mask + 20)
        save(tmp_path / "d/gtFine" / f"{stem}_gtFine_color.png", COLORS[mask])
    for city, number in (("bonn", 90), ("jena", 91)):
        save(
            tmp_path / f"d/leftImg8bit/train/{city}/{city}_{number}_leftImg8bit.png",
            picture(number),
        )
        save(tmp_path / f"d/gtFine/train/{city}/{city}_{number}_gtFine_labelTrainIds.png", ids[0])
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert proposal.direct
    assert spec.images == "leftImg8bit/{split}/*/{id}_leftImg8bit.png"
    expected = {f"ulm_{number}": mask for number, mask in enumerate(ids)}
    assert_masks(spec, expected | {"bonn_90": ids[0], "jena_91": ids[0]})


def test_without_splits_some_are_set_apart_reproducibly(tmp_path, ids):
    for number, mask in enumerate(ids):
        save(tmp_path / "d/images" / f"{number}.jpg", picture(number))
        save(tmp_path / "d/masks" / f"{number}.png", mask)
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert {split: len(FolderDataset(spec, split)) for split in spec.splits} == {
        "train": 8,
        "val": 2,
    }
    assert any(
        remark.startswith("No folder was named val: 2 of 10 images set apart (seed 42)")
        for remark in proposal.remarks
    )
    assert_masks(spec, {str(number): mask for number, mask in enumerate(ids)})
    again, _ = dataset(tmp_path / "d", tmp_path / "again")
    assert FolderDataset(again, "val").ids == FolderDataset(spec, "val").ids
    assert os.path.islink(next((tmp_path / "out/images/train").iterdir())), "images are not copied"


@pytest.mark.parametrize("kind", ["ids", "colors", "grey", "layers", "coco"])
def test_images_set_apart_show_the_rare_class_too(tmp_path, kind):
    """Five of 30 images show class 2: by chance the 6 for validation lack it every fourth time."""
    masks = []
    for number in range(30):
        mask = np.zeros(SIZE, np.uint8)
        mask[5 : 10 + number % 7, 4:30] = 1
        if number in (3, 4, 11, 20, 29):
            mask[30:38, 10:40] = 2
        masks.append(mask)
    root = tmp_path / "d"
    if kind == "coco":
        pytest.importorskip("pycocotools")
        content = coco(root, masks, run_lengths)
        content["annotations"] = [
            note for note in content["annotations"] if len(note["segmentation"]["counts"]) > 1
        ]
        (root / "all.json").write_text(json.dumps(content))
    for number, mask in enumerate(masks):
        save(root / "images" / f"{number}.jpg", picture(number))
        for label in (1, 2) if kind == "layers" else ():
            if (mask == label).any():
                save(
                    root / "masks" / f"class_{label}" / f"{number}.png",
                    np.uint8(255) * (mask == label),
                )
        if kind in ("ids", "colors", "grey"):
            drawn = {"ids": mask, "colors": COLORS[mask], "grey": np.dstack([mask] * 3)}[kind]
            save(root / "masks" / f"{number}.png", drawn)
    for seed in range(20):
        items = propose(root, seed=seed).items
        held = {"train": [], "val": []}
        for item in items:
            held[item.split].append(2 in masks[int(item.id)])
        assert (len(held["val"]), sum(held["val"]), sum(held["train"])) == (6, 1, 4), seed


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 255], ({0: 0, 255: 1}, False)),
        ([0, 1, 255], ({0: 0, 1: 1}, True)),
        ([0, 1, 2], ({0: 0, 1: 1, 2: 2}, True)),
        ([1, 2, 3], ({1: 0, 2: 1, 3: 2}, False)),
        ([0, 128], ({0: 0, 128: 1}, False)),
        ([0, 1, 3, 4], ({0: 0, 1: 1, 2: 2, 3: 3, 4: 4}, True)),
        ([0, 1000, 2000], ({0: 0, 1000: 1, 2000: 2}, False)),
        ([0, 1, 2, 65535], ({0: 0, 1: 1, 2: 2}, True)),
        ([1, 2, 255, 65535], ({1: 0, 2: 1}, False)),
        ([0, 32768, 65535], ({0: 0, 32768: 1, 65535: 2}, False)),
    ],
)
def test_values_become_classes(values, expected):
    assert class_values(values, 0) == expected


def test_known_names_decide_about_gaps():
    assert class_values([0, 7, 255], 9) == ({number: number for number in range(9)}, True)
    assert class_values([0, 7], 2) == ({0: 0, 7: 1}, False)


def test_0_and_255_get_a_value_map_and_16_bits_too(tmp_path, ids):
    for number, mask in enumerate(ids):
        split = "train" if number < 7 else "val"
        for folder in ("a", "b"):
            save(tmp_path / folder / "images" / split / f"{number}.jpg", picture(number))
        save(
            tmp_path / "a/masks" / split / f"{number}.png",
            np.where(mask > 0, 255, 0).astype(np.uint8),
        )
        save(tmp_path / "b/masks" / split / f"{number}.png", mask.astype(np.uint16) * 1000)
    spec, proposal = dataset(tmp_path / "a", tmp_path / "out")
    assert proposal.direct
    assert spec.value_map == {0: 0, 255: 1}
    assert spec.classes == ("background", "foreground")
    assert_masks(spec, {str(number): (mask > 0).astype(int) for number, mask in enumerate(ids)})
    spec, _ = dataset(tmp_path / "b", tmp_path / "out")
    assert spec.value_map == {0: 0, 1000: 1, 2000: 2}
    assert_masks(spec, {str(number): mask for number, mask in enumerate(ids)})


def write_pairs(root: Path, ids, draw) -> dict[str, np.ndarray]:
    for number, mask in enumerate(ids):
        split = "train" if number < 7 else "val"
        save(root / "images" / split / f"{number}.jpg", picture(number))
        draw(root / "masks" / split / f"{number}.png", mask)
    return {str(number): mask for number, mask in enumerate(ids)}


def test_colors_become_ids(tmp_path, ids):
    expected = write_pairs(tmp_path / "d", ids, lambda path, mask: save(path, COLORS[mask]))
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    order = {name: number for number, name in enumerate(spec.classes)}
    red, green = order["color_c81e1e"], order["color_1ec81e"]
    assert spec.classes[0] == "background"
    assert [spec.colors[red], spec.colors[green]] == [(200, 30, 30), (30, 200, 30)]
    assert_masks(spec, {name: np.array([0, red, green])[mask] for name, mask in expected.items()})
    assert any("invented from the colours" in remark for remark in proposal.remarks)
    assert Image.open(tmp_path / "out/masks/train/0.png").mode == "L"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nground,0,0,0\ncrater,200,30,30\nboulder,30,200,30\n"),
        ("label_colors.txt", "0 0 0\tground\n200 30 30\tcrater\n30 200 30\tboulder\n"),
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nground:0,0,0::\n"
            "crater:200,30,30::\nboulder:30,200,30::\n",
        ),
    ],
)
def test_color_tables_give_names_and_order(tmp_path, ids, name, text):
    def draw(path, mask):
        pixels = COLORS[mask].copy()
        pixels[0, 0] = (9, 9, 9)  # in no table
        save(path, pixels)

    expected = write_pairs(tmp_path / "d", ids, draw)
    (tmp_path / "d" / name).write_text(text)
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert spec.classes == ("ground", "crater", "boulder")
    for mask in expected.values():
        mask[0, 0] = 255
    assert_masks(spec, expected)
    assert any(
        "1 colour stands in no table and is ignored" in remark for remark in proposal.remarks
    )


@pytest.mark.parametrize("row", ["crater,256,30,30", "crater,200,30,1000"])
def test_a_color_over_255_is_named_with_its_row(tmp_path, ids, row):
    write_pairs(tmp_path / "d", ids, lambda path, mask: save(path, COLORS[mask]))
    (tmp_path / "d/class_dict.csv").write_text(
        f"name,r,g,b\nground,0,0,0\n{row}\nboulder,30,200,30\n"
    )
    with pytest.raises(
        InputError, match=r"class_dict.csv, row 3: the colour .* of 'crater' has a number over 255"
    ):
        propose(tmp_path / "d")


VOID = {
    "class_dict.csv": "name,r,g,b\nground,0,0,0\nVoid,200,30,30\nboulder,30,200,30\n",
    "label_colors.txt": "0 0 0\tground\n200 30 30\tVoid\n30 200 30\tboulder\n",
    "labelmap.txt": (
        "# label:color_rgb:parts:actions\nground:0,0,0::\n"
        "not labelled:200,30,30::\nboulder:30,200,30::\n"
    ),
}


@pytest.mark.parametrize("name", VOID)
def test_what_a_color_table_calls_void_is_ignored(tmp_path, ids, name):
    expected = write_pairs(tmp_path / "d", ids, lambda path, mask: save(path, COLORS[mask]))
    (tmp_path / "d" / name).write_text(VOID[name])
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert (spec.classes, spec.colors) == (("ground", "boulder"), ((0, 0, 0), (30, 200, 30)))
    assert_masks(spec, {key: np.array([0, 255, 1])[mask] for key, mask in expected.items()})
    share = 100 * np.mean([mask == 1 for mask in expected.values()])
    word = "not labelled" if name == "labelmap.txt" else "Void"
    assert any(
        f"'{word}' is no class here" in each and f"{share:.3g} % of all" in each
        for each in proposal.remarks
    )


def test_void_stays_a_class_where_the_person_says_so(tmp_path, ids):
    write_pairs(tmp_path / "d", ids, lambda path, mask: save(path, COLORS[mask]))
    (tmp_path / "d/class_dict.csv").write_text(VOID["class_dict.csv"])
    proposal = propose(tmp_path / "d", classes=["ground", "Void", "boulder"])
    assert proposal.spec.classes == ("ground", "Void", "boulder")
    assert set(proposal.colors.values()) == {0, 1, 2}
    assert not any("no class here" in remark for remark in proposal.remarks)


@pytest.mark.parametrize(
    ("words", "classes", "table"),
    [
        ("a b unlabelled", ("a", "b"), [0, 1, 255]),
        ("ignore a b", ("a", "b"), [255, 0, 1]),
        ("a Unlabeled b", ("a", "b"), [0, 255, 1]),
        ("__ignore__ _background_ a b", ("_background_", "a", "b"), [0, 1, 2]),
        ("avoid devoid ignorance", ("avoid", "devoid", "ignorance"), [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_ids_of_names_that_mean_not_labelled_are_ignored(
    tmp_path, ids, words, classes, table, channels
):
    def draw(path, mask):
        save(path, mask if channels == 1 else np.dstack([mask] * 3))

    expected = write_pairs(tmp_path / "d", ids, draw)
    (tmp_path / "d/classes.txt").write_text(words.replace(" ", "\n"))
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert proposal.direct == (channels == 1)
    assert spec.classes == classes
    assert_masks(spec, {key: np.array(table)[mask] for key, mask in expected.items()})
    assert any("is no class here" in remark for remark in proposal.remarks) == (255 in table)
    assert not names(lint(spec))
    if 255 in table:
        assert propose(tmp_path / "d", classes=words.split()).spec.classes == tuple(words.split())


def test_of_two_names_none_is_taken_for_void(tmp_path, ids):
    expected = write_pairs(
        tmp_path / "d", ids, lambda path, mask: save(path, np.uint8(255) * (mask > 0))
    )
    (tmp_path / "d/classes.txt").write_text("unlabelled\nperson\n")
    spec, _ = dataset(tmp_path / "d", tmp_path / "out")
    assert spec.classes == ("unlabelled", "person")
    assert_masks(spec, {key: (mask > 0).astype(int) for key, mask in expected.items()})


def test_lists_of_names(tmp_path):
    (tmp_path / "classes.txt").write_text("0 sky\n1: road side\n\n2,car\n")
    assert read_names([tmp_path / "classes.txt"])[0] == ["sky", "road side", "car"]
    (tmp_path / "label_colors.txt").write_text(
        "128 64 128\t道路\n0 0 0 _background_\n9,9,9,Öl\n", encoding="utf-8"
    )
    names = {(128, 64, 128): "道路", (0, 0, 0): "_background_", (9, 9, 9): "Öl"}
    assert read_names([tmp_path / "label_colors.txt"])[:2] == (list(names.values()), names)
    (tmp_path / "labels.json").write_text('{"1": "b", "0": "a", "10": "c"}')
    assert read_names([tmp_path / "labels.json"])[0] == ["a", "b", "c"]
    (tmp_path / "labels.json").write_text("{broken")
    assert read_names([tmp_path / "labels.json"])[0] == []


def test_names_from_a_file_and_from_the_caller(tmp_path, ids):
    write_pairs(tmp_path / "d", ids, save)
    (tmp_path / "d/classes.txt").write_text("ground\ncrater\nboulder\ndune\n")
    assert propose(tmp_path / "d").spec.classes == ("ground", "crater", "boulder", "dune")
    assert propose(tmp_path / "d", classes=["x", "y", "z"]).spec.classes == ("x", "y", "z")
    with pytest.raises(InputError, match="3 classes, but only 2 class names"):
        propose(tmp_path / "d", classes=["x", "y"])


def with_palette(path: Path, mask: np.ndarray, order=(0, 1, 2)) -> None:
    """A palette PNG that shows ``mask``; its index i has the colour ``COLORS[order[i]]``."""
    place = np.argsort(order).astype(np.uint8)
    image = Image.fromarray(place[mask])
    image.putpalette(COLORS[list(order)].ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def test_palettes_that_agree_are_ids(tmp_path, ids):
    expected = write_pairs(tmp_path / "d", ids, with_palette)
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert proposal.direct
    assert_masks(spec, expected)


def test_palettes_that_differ_are_read_by_color(tmp_path, ids):
    orders = iter([(0, 1, 2), (2, 1, 0)] * 5)
    expected = write_pairs(
        tmp_path / "d", ids, lambda path, mask: with_palette(path, mask, next(orders))
    )
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert not proposal.direct
    assert proposal.kind == "palettes that differ by file"
    ranks = np.array([spec.colors.index(tuple(map(int, color))) for color in COLORS])
    assert_masks(spec, {name: ranks[mask] for name, mask in expected.items()})


def test_gray_pictures_of_three_channels(tmp_path, ids):
    expected = write_pairs(
        tmp_path / "d", ids, lambda path, mask: save(path, np.dstack([mask] * 3))
    )
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert not proposal.direct
    assert_masks(spec, expected)


def test_jpegs_of_black_and_white_are_cut_at_half(tmp_path, ids):
    def draw(path, mask):
        save(path.with_suffix(".jpg"), np.where(mask > 0, 255, 0).astype(np.uint8), quality=95)

    expected = write_pairs(tmp_path / "d", ids, draw)
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert "JPEG" in proposal.kind
    found = masks_of(spec)
    for name, mask in expected.items():
        assert (found[name] == (mask > 0)).mean() > 0.99


def test_jpegs_of_class_ids_are_refused(tmp_path, ids):
    write_pairs(tmp_path / "d", ids, lambda path, mask: save(path.with_suffix(".jpg"), mask * 60))
    with pytest.raises(InputError, match="JPEG mixes class ids along every edge"):
        propose(tmp_path / "d")


@pytest.mark.parametrize("folder", ["masks/{}", "{}"])
def test_a_folder_for_each_class(tmp_path, ids, folder):
    for number, mask in enumerate(ids):
        save(tmp_path / "d/images" / f"{number}.jpg", picture(number))
        for label, name in ((1, "crater"), (2, "boulder")):
            if number != 3 or label == 1:  # a class that an image does not show may have no file
                shown = np.where(mask == label, 255, 0).astype(np.uint8)
                save(tmp_path / "d" / folder.format(name) / f"{number}.png", shown)
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert spec.classes == ("background", "boulder", "crater")
    expected = {str(number): np.array([0, 2, 1])[mask] for number, mask in enumerate(ids)}
    expected["3"][ids[3] == 2] = 0
    assert_masks(spec, expected)
    assert "folder of masks for each class" in proposal.layout


def test_folders_of_several_words_are_images_and_masks_and_no_classes(tmp_path, ids):
    for number, mask in enumerate(ids):
        save(tmp_path / "d/2_Ortho_RGB" / f"top_{number}_RGB.tif", picture(number))
        save(tmp_path / "d/5_Labels_all" / f"top_{number}_label.tif", mask)
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert proposal.layout == "images and masks of equal names"
    assert_masks(spec, {f"top_{number}": mask for number, mask in enumerate(ids)})


def test_where_class_masks_overlap_the_smaller_object_is_on_top(tmp_path):
    for number in range(3):
        save(tmp_path / "d/images" / f"{number}.jpg", picture(number))
        for name, end in (("a", 30), ("b", 10)):
            mask = np.zeros(SIZE, np.uint8)
            mask[:end] = 1
            save(tmp_path / "d/masks" / name / f"{number}.png", mask)
    spec, _ = dataset(tmp_path / "d", tmp_path / "out")
    assert all(
        mask[:, 0].tolist() == [2] * 10 + [1] * 20 + [0] * 10 for mask in masks_of(spec).values()
    )


def test_tile_trees(tmp_path, ids):
    for number, mask in enumerate(ids):
        folder = tmp_path / f"d/scene_{number // 4}/tile_{number}"
        save(folder / "R_G_B_IR.png", np.dstack([picture(number), picture(number)[..., 0]]))
        if number != 9:
            save(folder / "L.png", mask)
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert_masks(spec, {f"scene_{n // 4}__tile_{n}": mask for n, mask in enumerate(ids[:9])})
    assert "1 image has no mask and is left out" in proposal.remarks[0]
    assert {split: sorted({FolderDataset(spec, split)[0].scene}) for split in spec.splits}
    scenes = {
        split: {FolderDataset(spec, split)[n].scene for n in range(len(FolderDataset(spec, split)))}
        for split in spec.splits
    }
    assert not scenes["train"] & scenes["val"], "tiles of one scene stay together"
    sample = FolderDataset(spec, "train")[0]
    number = int(sample.id.rsplit("_", 1)[1])
    np.testing.assert_array_equal(sample.image, picture(number))


def coco(root: Path, ids, outline) -> dict:
    images, annotations = [], []
    for number, mask in enumerate(ids):
        save(root / "images" / f"{number}.jpg", picture(number))
        images.append(
            {"id": 50 + number, "file_name": f"{number}.jpg", "height": SIZE[0], "width": SIZE[1]}
        )
        for label in (1, 2):
            note = {"id": len(annotations), "image_id": 50 + number, "category_id": 10 * label}
            annotations.append(note | {"segmentation": outline(mask == label), "iscrowd": 0})
    return {
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": 10, "name": "crater", "supercategory": "things"},
            {"id": 20, "name": "boulder", "supercategory": "things"},
            {"id": 0, "name": "things", "supercategory": "none"},
        ],
    }


def polygon(inside: np.ndarray) -> list[list[float]]:
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return [[float(value) for value in (left, top, right, top, right, bottom, left, bottom)]]


def run_lengths(inside: np.ndarray) -> dict:
    flat = inside.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    ends = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(ends).tolist()
    return {"size": list(SIZE), "counts": counts if counts[-1] else counts[:-1]}


def compressed(inside: np.ndarray) -> dict:
    mask = pytest.importorskip("pycocotools.mask")
    runs = mask.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": runs["size"], "counts": runs["counts"].decode()}


@pytest.mark.parametrize("outline", [polygon, run_lengths, compressed])
def test_coco(tmp_path, ids, outline):
    pytest.importorskip("pycocotools")
    content = coco(tmp_path / "d", ids, outline)
    content["images"].append({"id": 1, "file_name": "../../gone.jpg", "height": 4, "width": 4})
    (tmp_path / "d/annotations").mkdir()
    (tmp_path / "d/annotations/instances_train2017.json").write_text(json.dumps(content))
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert spec.classes == ("background", "crater", "boulder")
    assert_masks(spec, {str(number): mask for number, mask in enumerate(ids)})
    assert any(
        "1 annotated image is not there and is left out" in remark for remark in proposal.remarks
    )


def test_coco_with_a_file_for_each_split_and_crowds(tmp_path, ids):
    pytest.importorskip("pycocotools")
    for split, part in (("train", ids[:6]), ("valid", ids[6:])):  # as Roboflow exports it
        content = coco(tmp_path / "d" / split, part, run_lengths)
        for image in content["images"]:
            file = tmp_path / "d" / split / "images" / image["file_name"]
            image["file_name"] = f"{split}_{image['file_name']}"
            file.rename(tmp_path / "d" / split / image["file_name"])
        content["annotations"][0]["iscrowd"] = 1
        (tmp_path / "d" / split / "_annotations.coco.json").write_text(json.dumps(content))
    spec, _ = dataset(tmp_path / "d", tmp_path / "out")
    assert {split: len(FolderDataset(spec, split)) for split in spec.splits} == {
        "train": 6,
        "val": 4,
    }
    expected = ids[0].astype(int)
    expected[ids[0] == 1] = 255
    np.testing.assert_array_equal(masks_of(spec)["train_0"], expected)


def test_coco_of_more_than_255_categories(tmp_path, ids):
    pytest.importorskip("pycocotools")
    content = coco(tmp_path / "d", ids, run_lengths)
    content["categories"] = [
        {"id": 10 * number, "name": f"thing {number}"} for number in range(1, 301)
    ]
    for note in content["annotations"]:
        note["category_id"] = {10: 2550, 20: 3000}[note["category_id"]]
    content["annotations"][0]["iscrowd"] = 1
    (tmp_path / "d/annotations.json").write_text(json.dumps(content))
    spec, _ = dataset(tmp_path / "d", tmp_path / "out")
    assert (len(spec.classes), spec.ignore_ids, spec.ignore_label) == (301, (65535,), 65535)
    numbers = np.array([0, 255, 300])
    expected = {str(number): numbers[mask] for number, mask in enumerate(ids)}
    expected["0"] = np.where(ids[0] == 1, 65535, expected["0"])
    assert_masks(spec, expected)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-30], "is not valid JSON .* may be truncated"),
        (lambda text: text.replace('"counts"', '"count"'), "annotation 0: its outline is damaged"),
        (lambda text: text.replace('"segmentation"', '"segments"'), "has only a box, no outline"),
        (
            lambda text: text.replace('"category_id": 10', '"category_id": 77'),
            'annotation \\d+ is of the category 77, which is not in "categories"; there are ',
        ),
        (
            lambda text: text.replace(".jpg", ".gif"),
            "none of the images that .* annotates lies below",
        ),
    ],
)
def test_bad_coco_is_one_line(tmp_path, ids, damage, message):
    pytest.importorskip("pycocotools")
    content = coco(tmp_path / "d", ids, run_lengths)
    (tmp_path / "d/all.json").write_text(damage(json.dumps(content)))
    with pytest.raises(InputError, match=message) as caught:
        dataset(tmp_path / "d", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_without_pycocotools_the_package_is_named(tmp_path, ids, monkeypatch):
    content = coco(tmp_path / "d", ids, run_lengths)
    (tmp_path / "d/all.json").write_text(json.dumps(content))
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    with pytest.raises(
        InputError, match=r"pycocotools cannot be imported .* pip install pycocotools"
    ):
        dataset(tmp_path / "d", tmp_path / "out")


def test_unusable_masks_are_left_out_and_named(tmp_path, ids):
    write_pairs(tmp_path / "d", ids, lambda path, mask: save(path, np.dstack([mask] * 3)))
    (tmp_path / "d/masks/train/2.png").write_bytes(b"no image")
    (tmp_path / "d/masks/val/8.png").unlink()
    spec, proposal = dataset(tmp_path / "d", tmp_path / "out")
    assert sorted(masks_of(spec)) == ["0", "1", "3", "4", "5", "6", "7", "9"]
    text = " ".join(proposal.remarks)
    assert "masks/train/2.png cannot be used: is not an image" in text
    assert "1 image has no mask and is left out, e.g. images/val/8.jpg" in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "there is no folder"),
        (lambda root: root.mkdir(), "holds no file"),
        (
            lambda root: save(root / "a/1.jpg", picture(1)),
            "images, but none with a mask of the same name",
        ),
        (
            lambda root: (root.mkdir(), (root / "readme.md").touch()),
            "neither images with masks nor annotations",
        ),
        (
            lambda root: [save(root / kind / "1.png", picture(1)) for kind in ("images", "masks")],
            "photographs, instance ids, or were resized",
        ),
        (
            lambda root: [
                save(root / f"{kind}/val/1.png", picture(1)[..., 0] // 99)
                for kind in ("images", "masks")
            ],
            "validation or test images only",
        ),
        (
            lambda root: [
                save(root / f"{kind}/1.png", picture(1)[..., 0] // 99)
                for kind in ("images", "masks")
            ],
            "one image with a mask is not enough.* ablate tile /.*/d$",
        ),
    ],
)
def test_what_cannot_be_recognised_is_one_line(tmp_path, make, message):
    make(tmp_path / "d")
    with pytest.raises(InputError, match=message) as caught:
        propose(tmp_path / "d")
    assert "\n" not in str(caught.value)


def test_where_coco_outlines_overlap_the_smaller_object_is_on_top(tmp_path, ids):
    pytest.importorskip("pycocotools")
    content = coco(tmp_path / "d", ids, run_lengths)
    for note in content["annotations"]:
        end = 30.0 if note["category_id"] == 10 else 10.0
        note["segmentation"] = [[0.0, 0.0, 48.0, 0.0, 48.0, end, 0.0, end]]
    content["annotations"].reverse()
    content["annotations"][2:4] = content["annotations"][3:1:-1]
    (tmp_path / "d/all.json").write_text(json.dumps(content))
    spec, _ = dataset(tmp_path / "d", tmp_path / "out")
    assert all(
        mask[:, 0].tolist() == [2] * 10 + [1] * 20 + [0] * 10 for mask in masks_of(spec).values()
    )
