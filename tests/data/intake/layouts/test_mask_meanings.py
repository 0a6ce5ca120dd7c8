"""What masks mean is decided by their values (blends, objects, palettes); else init asks."""

import json

import numpy as np
import pytest
from known_layouts import CVAT, coco_panoptic, photo, save, scene, voc_colormap, write_lines
from PIL import Image, ImageDraw

from encoder_ablations.data.checks.lint import lint
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.intake.layouts.choices import Unsure
from encoder_ablations.data.intake.layouts.conversion import prepare
from encoder_ablations.data.intake.layouts.mask_values import class_values
from encoder_ablations.data.intake.layouts.recognition import propose
from encoder_ablations.utils.errors import InputError

COUNT = 8


def smooth(seed: int, levels: tuple[int, ...] = (0, 255)) -> tuple[np.ndarray, np.ndarray]:
    """H×W uint8 ellipses of each level but the first, with smoothed edges; and at four times."""
    rng = np.random.default_rng(seed)
    large = Image.new("L", (256, 192), levels[0])
    draw = ImageDraw.Draw(large)
    for number, level in enumerate(levels[1:]):
        left = number * 256 // (len(levels) - 1) + int(rng.integers(4, 20))
        draw.ellipse(
            (left, int(rng.integers(8, 40)), left + 80, int(rng.integers(110, 170))), level
        )
    return np.asarray(large.resize((64, 48), Image.Resampling.BOX)), np.asarray(large)


def write(root, draw, suffix="png"):
    """COUNT pairs below images and masks, in two splits; ``draw(number, path)`` writes a mask."""
    for number in range(COUNT):
        split = "train" if number < 6 else "val"
        photo(root / f"images/{split}/{number}.jpg", number)
        draw(number, root / f"masks/{split}/{number}.{suffix}")
    return root


def read(spec):
    masks = {}
    for split in spec.splits:
        part = FolderDataset(spec, split)
        masks |= {name: part[number].mask for number, name in enumerate(part.ids)}
    return masks


def made(root, output, **choices):
    proposal = propose(root, **choices)
    return (proposal.spec if proposal.direct else prepare(proposal, output)), proposal


def errors(spec):
    return [each.rule.code for each in lint(spec).findings if each.rule.severity == "error"]


@pytest.mark.parametrize("channels", [1, 3])
def test_smoothed_masks_of_0_and_255_are_two_classes(tmp_path, channels):
    drawn = [smooth(number)[0] for number in range(COUNT)]
    write(
        tmp_path / "d",
        lambda n, path: save(path, drawn[n] if channels == 1 else np.dstack([drawn[n]] * 3)),
    )
    spec, proposal = made(tmp_path / "d", tmp_path / "out")
    assert spec.classes == ("background", "foreground")
    for name, mask in read(spec).items():
        np.testing.assert_array_equal(mask, drawn[int(name)] >= 128)
    assert not errors(spec)
    values = set(np.unique(drawn).tolist()) - {0, 255}
    share = 100 * np.mean([(mask > 0) & (mask < 255) for mask in drawn])
    (remark,) = [each for each in proposal.remarks if "blend" in each]
    assert f"{len(values)} values" in remark
    assert f"{share:.3g} % of the pixels" in remark
    counts = proposal.class_pixels().sum(axis=0)
    assert counts.tolist() == [
        sum((mask < 128).sum() for mask in drawn),
        sum((mask >= 128).sum() for mask in drawn),
    ]


def test_smoothed_masks_of_two_other_values_go_to_the_nearer(tmp_path):
    drawn = [smooth(number, (0, 90))[0] for number in range(COUNT)]
    write(tmp_path / "d", lambda n, path: save(path, drawn[n]))
    spec, _ = made(tmp_path / "d", tmp_path / "out")
    for name, mask in read(spec).items():
        np.testing.assert_array_equal(mask, drawn[int(name)] > 45)
    assert not errors(spec)


@pytest.mark.parametrize("color", [False, True])
def test_blends_of_more_classes_are_ignored(tmp_path, color):
    """A blend of 0 and 200 may be as bright as one of 0 and 100: nobody knows what it was."""
    drawn = [smooth(number, (0, 100, 200))[0] for number in range(COUNT)]
    table = np.dstack([np.arange(256), 255 - np.arange(256), np.full(256, 7)])[0].astype(np.uint8)
    write(tmp_path / "d", lambda n, path: save(path, table[drawn[n]] if color else drawn[n]))
    spec, proposal = made(tmp_path / "d", tmp_path / "out")
    assert len(spec.classes) == 3
    for name, mask in read(spec).items():
        source = drawn[int(name)]
        blended = ~np.isin(source, (0, 100, 200))
        np.testing.assert_array_equal(mask == 255, blended)
        assert len(np.unique(mask[~blended])) == len(np.unique(source[~blended]))
    assert not errors(spec)
    assert any("ignored" in each and "blend" in each for each in proposal.remarks)


def test_smoothed_colors_of_two_go_to_the_nearer(tmp_path):
    drawn = [smooth(number)[0] for number in range(COUNT)]
    write(
        tmp_path / "d",
        lambda n, path: save(path, np.dstack([drawn[n], drawn[n] * 0, drawn[n] * 0])),
    )
    spec, _ = made(tmp_path / "d", tmp_path / "out")
    assert spec.classes == ("background", "color_ff0000")
    for name, mask in read(spec).items():
        np.testing.assert_array_equal(mask, drawn[int(name)] >= 128)


def ringed(number: int) -> np.ndarray:
    """An object of 255 with a line of 128 around it."""
    mask = np.zeros((48, 64), np.uint8)
    mask[8:30, 10 : 30 + number] = 128
    mask[9:29, 11 : 29 + number] = 255
    return mask


def test_one_thin_value_between_two_is_a_question(tmp_path):
    write(tmp_path / "d", lambda n, path: save(path, ringed(n)))
    with pytest.raises(Unsure, match=r"128 .*--blends .*--no-blends"):
        propose(tmp_path / "d")
    assert len(propose(tmp_path / "d", blends=True).spec.classes) == 2
    assert len(propose(tmp_path / "d", blends=False).spec.classes) == 3
    assert propose(tmp_path / "d", classes=["ground", "edge", "rock"]).spec.value_map == {
        0: 0,
        128: 1,
        255: 2,
    }
    assert propose(tmp_path / "d", classes=["ground", "rock"]).spec.mask_format == "matte"


def test_thin_classes_of_neighbouring_ids_stay_classes(tmp_path):
    table = np.array([0, 1, 2] + [0] * 253, np.uint8)
    table[128], table[255] = 1, 2
    write(tmp_path / "d", lambda n, path: save(path, table[ringed(n)]))
    assert len(propose(tmp_path / "d").spec.classes) == 3


def test_soft_edges_are_read_where_the_person_says_so(tmp_path):
    ramp = np.tile((np.arange(64) * 6 - 60).clip(0, 255).astype(np.uint8), (48, 1))
    write(tmp_path / "d", lambda n, path: save(path, np.roll(ramp, n)))
    with pytest.raises(InputError, match=r"photographs.* --blends"):
        propose(tmp_path / "d")
    assert propose(tmp_path / "d", blends=True).spec.mask_format == "matte"


def test_grey_photographs_are_no_masks(tmp_path):
    noise = np.random.default_rng(0)
    write(
        tmp_path / "d", lambda n, path: save(path, noise.integers(0, 256, (48, 64), dtype=np.uint8))
    )
    with pytest.raises(InputError, match="photographs"):
        propose(tmp_path / "d")


def objects(number: int) -> np.ndarray:
    """Numbered objects, 2 to 9 of them."""
    mask = np.zeros((48, 64), np.uint8)
    for each in range(2 + number):
        top, left = each // 4 * 14 + 2, each % 4 * 15 + 2
        mask[top : top + 11, left : left + 12] = each + 1
    return mask


def renumbered(number: int) -> np.ndarray:
    mask = objects(number + 3).astype(np.uint16)
    return np.where(mask > 0, mask * 37 + number * 500, 0).astype(np.uint16)


def gappy(number: int) -> np.ndarray:
    """Numbers of which some were deleted, as after a correction by hand."""
    mask = np.arange(192).reshape(12, 16) + 1
    kept = np.random.default_rng(number).random(mask.shape) < 0.8
    mask = np.kron(np.where(kept & (mask <= 12 + 20 * number), mask, 0), np.ones((4, 4))).astype(
        np.uint8
    )
    mask[::4] = mask[:, ::4] = 0
    return mask


@pytest.mark.parametrize("draw", [objects, renumbered, gappy, lambda n: voc_colormap()[objects(n)]])
def test_masks_that_number_objects_are_a_question(tmp_path, draw):
    write(tmp_path / "d", lambda n, path: save(path, draw(n)))
    with pytest.raises(Unsure, match=r"--objects .*--no-objects"):
        propose(tmp_path / "d")
    spec, _ = made(tmp_path / "d", tmp_path / "out", objects=True)
    assert spec.classes == ("background", "object")
    for name, mask in read(spec).items():
        drawn = draw(int(name))
        np.testing.assert_array_equal(mask, (drawn if drawn.ndim == 2 else drawn.max(axis=2)) > 0)
    assert not errors(spec)


def test_thousands_of_object_numbers_are_converted(tmp_path):
    def draw(number):
        grid = np.arange(48 // 4 * 64 // 4).reshape(12, 16) + number * 192 + 1
        mask = np.kron(grid, np.ones((4, 4))).astype(np.uint16)
        mask[::4] = mask[:, ::4] = 0
        return mask

    write(tmp_path / "d", lambda n, path: save(path, draw(n)))
    with pytest.raises(Unsure, match="--objects"):
        propose(tmp_path / "d")
    spec, proposal = made(tmp_path / "d", tmp_path / "out", objects=True)
    assert not proposal.direct
    np.testing.assert_array_equal(read(spec)["3"], draw(3) > 0)


def test_class_names_say_that_values_are_no_objects(tmp_path):
    write(tmp_path / "d", lambda n, path: save(path, objects(n)))
    names = [f"c{number}" for number in range(10)]
    assert propose(tmp_path / "d", classes=names).spec.classes == tuple(names)


def pairs(root, *folders):
    """COUNT images in ``images``; ``folders`` are (name, draw(number) -> pixels or None)."""
    for number in range(COUNT):
        photo(root / f"images/{number}.jpg", number)
        for name, draw in folders:
            pixels = draw(number)
            if pixels is not None:
                save(root / name / f"{number}.{'jpg' if 'jpg' in name else 'png'}", pixels)
    return root


def disk(number, left, size=10):
    mask = np.zeros((48, 64), np.uint8)
    mask[10 : 10 + size + number, left : left + size] = 255
    return mask


def test_masks_of_two_people_are_no_two_classes(tmp_path):
    root = pairs(
        tmp_path,
        ("masks/anna", lambda n: disk(n, 10, 20)),
        ("masks/ben", lambda n: disk(n, 12, 20)),
    )
    with pytest.raises(
        Unsure, match=r"--masks masks/anna .*--masks masks/ben .*--masks masks/anna masks/ben"
    ):
        propose(root)
    spec, _ = made(root, tmp_path / "out", masks=["masks/ben"])
    np.testing.assert_array_equal(read(spec)["2"], disk(2, 12, 20) > 0)
    assert propose(root, masks=["masks/anna", "masks/ben"]).spec.classes == (
        "background",
        "anna",
        "ben",
    )
    assert propose(root, masks=["ben", "anna"]).spec.classes == ("background", "ben", "anna")
    with pytest.raises(InputError, match=r"--masks carl: .* masks/anna, masks/ben"):
        propose(root, masks=["carl"])


def test_a_folder_within_another_can_be_chosen_and_the_other_too(tmp_path):
    root = pairs(
        tmp_path,
        ("labels", lambda n: scene(n, 5)[0]),
        ("labels/coarse", lambda n: scene(n, 5)[0] // 2),
    )
    with pytest.raises(Unsure) as caught:
        propose(root)
    for reading, divisor in zip(caught.value.readings, (1, 2), strict=True):
        spec, _ = made(root, tmp_path / f"out_{divisor}", **reading.choice)
        np.testing.assert_array_equal(read(spec)["3"], scene(3, 5)[0] // divisor)


def test_masks_beside_images_are_a_kind_too(tmp_path):
    for number in range(COUNT):
        photo(tmp_path / f"{number}.jpg", number)
        save(tmp_path / f"{number}.png", scene(number, 5)[0])
        save(tmp_path / f"{number}_mask.png", scene(number, 5)[0] // 2)
    with pytest.raises(Unsure) as caught:
        propose(tmp_path)
    for reading in caught.value.readings:
        assert len(propose(tmp_path, **reading.choice).items) == COUNT


def test_options_that_decide_nothing_are_refused(tmp_path):
    root = pairs(
        tmp_path / "a",
        ("masks/crater", lambda n: disk(n, 10)),
        ("masks/boulder", lambda n: disk(n, 40)),
    )
    with pytest.raises(InputError, match=r"--objects decides nothing"):
        propose(root, objects=True)
    coco_panoptic(tmp_path / "b")
    with pytest.raises(InputError, match=r"--blends decides nothing"):
        propose(tmp_path / "b", blends=True)


def test_folders_of_binary_masks_of_other_images_are_a_question(tmp_path):
    root = pairs(
        tmp_path,
        ("masks/crater", lambda n: disk(n, 10) if n % 2 else None),
        ("masks/boulder", lambda n: None if n % 2 else disk(n, 10)),
    )
    with pytest.raises(Unsure, match=r"--masks masks/boulder masks/crater .*--masks masks "):
        propose(root)
    spec, _ = made(root, tmp_path / "one", masks=["masks"])
    assert [int(mask.max()) for _, mask in sorted(read(spec).items())] == [1] * COUNT
    spec, _ = made(root, tmp_path / "two", masks=["masks/boulder", "masks/crater"])
    assert [int(mask.max()) for _, mask in sorted(read(spec).items())] == [1, 2] * (COUNT // 2)


def test_folders_that_merely_order_files_are_no_classes(tmp_path):
    """Ids in folders of other names than the images'."""
    root = pairs(
        tmp_path,
        ("masks/first", lambda n: scene(n, 4)[0] if n < 4 else None),
        ("masks/second", lambda n: None if n < 4 else scene(n, 4)[0]),
    )
    spec, proposal = made(root, tmp_path / "out")
    assert proposal.layout == "images and masks of equal names"
    for name, mask in read(spec).items():
        np.testing.assert_array_equal(mask, scene(int(name), 4)[0])


def test_a_folder_called_background_is_the_background(tmp_path):
    root = pairs(
        tmp_path,
        ("masks/crater", lambda n: disk(n, 10)),
        ("masks/boulder", lambda n: disk(n, 40)),
        ("masks/background", lambda n: 255 - disk(n, 10) - disk(n, 40)),
    )
    spec, _ = made(root, tmp_path / "out")
    assert spec.classes == ("background", "boulder", "crater")
    np.testing.assert_array_equal(read(spec)["1"], (disk(1, 40) > 0) + 2 * (disk(1, 10) > 0))


def test_smoothed_masks_in_folders_are_classes_too(tmp_path):
    def soft(left):
        return lambda n: np.asarray(
            Image.fromarray(disk(n, left)).resize((128, 96)).resize((64, 48))
        )

    root = pairs(tmp_path, ("masks/crater", soft(10)), ("masks/boulder_jpg", soft(40)))
    spec, _ = made(root, tmp_path / "out")
    assert spec.classes == ("background", "boulder_jpg", "crater")
    np.testing.assert_array_equal(read(spec)["1"], (disk(1, 40) > 0) + 2 * (disk(1, 10) > 0))


def test_cityscapes_as_it_is_downloaded(tmp_path):
    """No labelTrainIds; instanceIds hold id · 1000 + number; several ids are black in color."""
    colors = np.vstack([np.zeros((2, 3), np.uint8), voc_colormap()[1:]])
    for number in range(COUNT):
        city = f"{'train' if number < 6 else 'val'}/ulm/ulm_{number:06d}_000019"
        mask, numbers = scene(number, 6, objects=2 + number % 3)
        photo(tmp_path / f"leftImg8bit/{city}_leftImg8bit.png", number)
        save(tmp_path / f"gtFine/{city}_gtFine_labelIds.png", mask)
        many = np.where(mask > 2, mask.astype(np.uint16) * 1000 + numbers, mask).astype(np.uint16)
        save(tmp_path / f"gtFine/{city}_gtFine_instanceIds.png", many)
        save(tmp_path / f"gtFine/{city}_gtFine_color.png", colors[mask])
    spec, _ = made(tmp_path, tmp_path / "out")
    assert spec.masks == "gtFine/{split}/ulm/{id}_gtFine_labelIds.png"
    np.testing.assert_array_equal(read(spec)["ulm_000003_000019"], scene(3, 6, objects=2)[0])
    assert not errors(spec)


@pytest.mark.parametrize("kind", ["overlays", "overlays_jpg", "nir", "depth"])
def test_pictures_beside_masks_are_no_classes(tmp_path, kind):
    def picture(number):
        noise = np.random.default_rng(number + 50).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        return noise if kind.startswith("overlays") else noise[..., 0]

    root = pairs(tmp_path, ("masks", lambda n: scene(n, 4)[0]), (kind, picture))
    spec, proposal = made(root, tmp_path / "out")
    assert any(kind in remark and "pictures" in remark for remark in proposal.remarks)
    np.testing.assert_array_equal(read(spec)["3"], scene(3, 4)[0])


def test_colors_beside_ids_are_left_out(tmp_path):
    colors = np.array(list(CVAT.values()), np.uint8)
    colors[3] = colors[2]  # two classes of one colour
    root = pairs(
        tmp_path, ("ids", lambda n: scene(n, 4)[0]), ("colored", lambda n: colors[scene(n, 4)[0]])
    )
    spec, proposal = made(root, tmp_path / "out")
    assert any(remark.startswith("colored is left out") for remark in proposal.remarks)
    np.testing.assert_array_equal(read(spec)["3"], scene(3, 4)[0])


def test_finer_and_coarser_classes_are_a_question(tmp_path):
    root = pairs(
        tmp_path,
        ("labels_fine", lambda n: scene(n, 5)[0]),
        ("labels_coarse", lambda n: scene(n, 5)[0] // 2),
    )
    with pytest.raises(Unsure, match=r"--masks labels_coarse .*--masks labels_fine"):
        propose(root)


def test_label_images_are_labels_whatever_else_the_name_says(tmp_path):
    root = pairs(tmp_path, ("label_images", lambda n: scene(n, 4)[0]))
    np.testing.assert_array_equal(read(made(root, tmp_path / "out")[0])["3"], scene(3, 4)[0])


def test_names_go_by_the_colors_of_the_palette(tmp_path):
    """The table's order is not that of the values."""
    palette = np.zeros((256, 3), np.uint8)
    palette[:4] = list(CVAT.values())
    write(tmp_path, lambda n, path: save(path, scene(n, 4)[0], palette))
    rows = [f"{name}:{red},{green},{blue}::" for name, (red, green, blue) in reversed(CVAT.items())]
    write_lines(tmp_path / "labelmap.txt", rows)
    spec, proposal = made(tmp_path, tmp_path / "out")
    assert proposal.direct
    assert spec.classes == ("tree", "person", "car", "background")
    np.testing.assert_array_equal(read(spec)["3"], 3 - scene(3, 4)[0].astype(int))


def test_a_table_of_other_colors_is_refused(tmp_path):
    write(tmp_path, lambda n, path: save(path, voc_colormap()[scene(n, 4)[0] + 1]))
    write_lines(
        tmp_path / "labelmap.txt", [f"{name}:{r},{g},{b}::" for name, (r, g, b) in CVAT.items()]
    )
    with pytest.raises(InputError, match="table of colours does not fit the masks"):
        propose(tmp_path)


@pytest.mark.parametrize(
    ("values", "names", "expected"),
    [
        ([0, 127, 255], 0, {0: 0, 127: 1, 255: 2}),
        ([0, 85, 170, 255], 0, {0: 0, 85: 1, 170: 2, 255: 3}),
        ([0, 100, 255], 3, {0: 0, 100: 1, 255: 2}),
        ([0, 100, 255], 2, {0: 0, 100: 1}),
        ([0, 1, 255], 3, {0: 0, 1: 1, 2: 2}),
        ([0, 7, 255], 0, {0: 0, 7: 1}),
    ],
)
def test_255_is_a_class_where_values_are_spread_over_the_greys(values, names, expected):
    assert class_values(values, names)[0] == expected


def test_255_as_not_labelled_is_said(tmp_path):
    mask = scene(0, 4)[0]
    mask[:12] = 255
    write(tmp_path, lambda n, path: save(path, mask))
    assert "255 is taken for 'not labelled': 25 % of the pixels." in propose(tmp_path).remarks


def test_invented_names_say_the_value(tmp_path):
    write(tmp_path / "a", lambda n, path: save(path, scene(n, 4)[0] + 1))
    spec = propose(tmp_path / "a").spec
    assert (spec.classes, spec.value_map) == (
        ("class_1", "class_2", "class_3", "class_4"),
        {1: 0, 2: 1, 3: 2, 4: 3},
    )
    write(tmp_path / "b", lambda n, path: save(path, scene(n, 2)[0] + 1))
    assert propose(tmp_path / "b").spec.classes == ("class_1", "class_2"), (
        "which of them is background is unknown"
    )


def test_names_without_0_are_explained(tmp_path):
    write(tmp_path, lambda n, path: save(path, scene(n, 4)[0]))
    write_lines(tmp_path / "classes.txt", ["a", "b", "c"])
    with pytest.raises(InputError, match=r"only 3 class names .* If 0 is background"):
        propose(tmp_path)


@pytest.mark.parametrize("names", [["", "a"], ["a", " "], {"0": "a", "1": ""}])
def test_lists_of_empty_names_are_refused(tmp_path, names):
    write(tmp_path, lambda n, path: save(path, scene(n, 2)[0]))
    (tmp_path / "classes.json").write_text(json.dumps(names))
    with pytest.raises(InputError, match=r"classes.json: the name of class \d is empty"):
        propose(tmp_path)
    with pytest.raises(InputError, match="empty"):
        propose(tmp_path, classes=["a", ""])


@pytest.mark.parametrize("category", [{"id": 1, "name": ""}, {"id": 1}, {"id": 1, "name": None}])
def test_categories_without_a_name_are_refused(tmp_path, category):
    photo(tmp_path / "1.jpg", 1)
    images = [{"id": 1, "file_name": "1.jpg", "height": 48, "width": 64}]
    note = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}
    (tmp_path / "all.json").write_text(
        json.dumps({"images": images, "annotations": [note], "categories": [category]})
    )
    with pytest.raises(InputError, match="category 1 has an empty name"):
        propose(tmp_path)


def test_years_in_folders_of_splits(tmp_path):
    for number in range(COUNT):
        split = "train2017" if number < 6 else "val2017"
        photo(tmp_path / f"images/{split}/{number}.jpg", number)
        save(tmp_path / f"annotations/{split}/{number}.png", scene(number, 4)[0])
    spec, proposal = made(tmp_path, tmp_path / "out")
    assert proposal.direct
    assert {split: len(FolderDataset(spec, split)) for split in spec.splits} == {
        "train": 6,
        "val": 2,
    }


def test_lists_that_do_not_fit_are_no_splits(tmp_path):
    root = pairs(tmp_path, ("masks", lambda n: scene(n, 4)[0]))
    write_lines(root / "train.txt", [f"other_{number}" for number in range(30)])
    write_lines(root / "val.txt", ["1", "2"])
    assert not any("Splits come from" in remark for remark in propose(root).remarks)
    write_lines(root / "train.txt", ["images/0.jpg masks/0.png", "images/3.jpg", "4.jpg", "5"])
    proposal = propose(root)
    assert {item.id for item in proposal.items if item.split == "val"} == {"1", "2"}
    assert any("2 images stand in none of them" in remark for remark in proposal.remarks)


def test_segments_that_the_json_lacks_are_named(tmp_path):
    coco_panoptic(tmp_path / "d")
    path = tmp_path / "d/annotations/panoptic_train2017.json"
    content = json.loads(path.read_text())
    name = content["annotations"][0]["file_name"]
    content["annotations"][0]["segments_info"].pop()
    path.write_text(json.dumps(content))
    _, proposal = made(tmp_path / "d", tmp_path / "out")
    assert any(name in remark and "does not name" in remark for remark in proposal.remarks)


def test_panoptic_files_without_their_pngs_say_what_to_unpack(tmp_path):
    coco_panoptic(tmp_path)
    for path in tmp_path.glob("annotations/panoptic_*2017/*.png"):
        path.unlink()
    with pytest.raises(InputError, match=r"Unpack panoptic_train2017\.zip"):
        propose(tmp_path)
