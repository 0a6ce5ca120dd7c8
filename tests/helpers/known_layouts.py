"""Small copies of datasets as well-known tools and archives write them.

Each writer makes a folder of eight to twelve images and returns, for every image that ends up in
the dataset, its mask in ids of the classes that are expected; 255 = not labelled. Images are noise,
masks are rectangles.
"""

import base64
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (48, 64)
Masks = dict[str, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """What a layout must become.

    Attributes:
        masks: by image id, in ids of ``classes``.
        splits: ids of each split; None where the folder does not say it.
    """

    masks: Masks
    classes: tuple[str, ...]
    splits: dict[str, set[str]] | None


def voc_colormap() -> np.ndarray:
    """256×3 uint8: the palette of Pascal VOC, which labelme and Datumaro use, too (VOCdevkit's
    VOClabelcolormap.m)."""
    colors = np.zeros((256, 3), np.uint8)
    for index in range(256):
        for bit in range(8):
            for channel in range(3):
                colors[index, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colors


def photo(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save(path: Path, pixels: np.ndarray, palette: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.ravel().tolist())
    image.save(path)


def scene(seed: int, classes: int, objects: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """H×W uint8 class ids 0..classes-1 and H×W uint8 object numbers, 0 = background; objects do
    not touch."""
    rng = np.random.default_rng(seed)
    ids, numbers = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    width = SIZE[1] // objects
    for number in range(objects):
        top, left = int(rng.integers(3, 12)), number * width + int(rng.integers(2, 4))
        box = (slice(top, int(rng.integers(top + 12, SIZE[0] - 3))), slice(left, left + width - 6))
        ids[box] = rng.integers(1, classes)
        numbers[box] = number + 1
    return ids, numbers


def bordered(mask: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """With a void border of two pixels around every object, as in Pascal VOC."""
    edge = np.zeros(SIZE, bool)
    for shift in (-1, 1):
        for axis in (0, 1):
            edge |= numbers != np.roll(numbers, shift, axis)
    return np.where(edge, 255, mask).astype(np.uint8)


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def mmseg(root: Path) -> Layout:
    """OpenMMLab: ``img_dir`` and ``ann_dir`` with train and val."""
    masks: Masks = {}
    splits: dict[str, set[str]] = {"train": set(), "val": set()}
    for number in range(8):
        split = "train" if number < 6 else "val"
        mask = scene(number, 4)[0]
        mask[0, :5] = 255
        photo(root / f"img_dir/{split}/x{number}.jpg", number)
        save(root / f"ann_dir/{split}/x{number}.png", mask)
        masks[f"x{number}"] = mask
        splits[split].add(f"x{number}")
    return Layout(masks, tuple(f"class_{number}" for number in range(4)), splits)


CAMVID = {
    "Animal": (64, 128, 64), "Archway": (192, 0, 128), "Bicyclist": (0, 128, 192),
    "Bridge": (0, 128, 64), "Building": (128, 0, 0), "Car": (64, 0, 128),
    "Road": (128, 64, 128), "Sky": (128, 128, 128), "Void": (0, 0, 0),
}  # fmt: skip


def camvid(root: Path) -> Layout:
    """Cambridge's own archives: 701_StillsRaw_full.zip, LabeledApproved_full.zip,
    label_colors.txt."""
    colors = np.array(list(CAMVID.values()), np.uint8)
    void = len(CAMVID) - 1
    masks: Masks = {}
    for number in range(8):
        name = f"0001TP_{6690 + 30 * number:06d}"
        mask = scene(number, 8)[0]
        mask[-3:] = void
        photo(root / f"701_StillsRaw_full/{name}.png", number)
        save(root / f"LabeledApproved_full/{name}_L.png", colors[mask])
        masks[name] = np.where(mask == void, 255, mask)
    rows = [f"{red} {green} {blue}\t{name}" for name, (red, green, blue) in CAMVID.items()]
    write_lines(root / "label_colors.txt", [*rows[:-1], rows[-1].replace("\t", "\t\t")])
    return Layout(masks, tuple(CAMVID)[:-1], None)


def voc(root: Path) -> Layout:
    """VOCtrainval_11-May-2012.tar below ``root``: more images than masks, lists for several
    tasks."""
    folder = root / "VOCdevkit/VOC2012"
    masks: Masks = {}
    names = [f"2007_{number:06d}" for number in range(12)]
    for number, name in enumerate(names):
        photo(folder / f"JPEGImages/{name}.jpg", number)
        (folder / "Annotations").mkdir(exist_ok=True)
        (folder / f"Annotations/{name}.xml").write_text("<annotation></annotation>")
        if number < 10:
            mask, numbers = scene(number, 6, objects=2 + number % 3)
            save(folder / f"SegmentationClass/{name}.png", bordered(mask, numbers), voc_colormap())
            save(
                folder / f"SegmentationObject/{name}.png",
                bordered(numbers, numbers),
                voc_colormap(),
            )
            masks[name] = bordered(mask, numbers)
    for task, train, val in (
        ("Segmentation", names[:7], names[7:10]),
        ("Main", names[:5], names[5:]),
    ):
        write_lines(folder / f"ImageSets/{task}/train.txt", train)
        write_lines(folder / f"ImageSets/{task}/val.txt", val)
        write_lines(folder / f"ImageSets/{task}/trainval.txt", train + val)
    classes = tuple(f"class_{number}" for number in range(6))
    return Layout(masks, classes, {"train": set(names[:7]), "val": set(names[7:10])})


CVAT = {
    "background": (0, 0, 0),
    "car": (250, 50, 83),
    "person": (52, 209, 183),
    "tree": (102, 255, 102),
}


def cvat(root: Path) -> Layout:
    """CVAT's "Segmentation mask 1.1" with images: colours by labelmap.txt; objects painted in
    VOC's colours."""
    colors = np.array(list(CVAT.values()), np.uint8)
    masks: Masks = {}
    for number in range(8):
        name = f"frame_{number:06d}"
        mask, numbers = scene(number, 4, objects=2 + number % 3)
        photo(root / f"JPEGImages/{name}.jpg", number)
        save(root / f"SegmentationClass/{name}.png", colors[mask])
        save(root / f"SegmentationObject/{name}.png", voc_colormap()[numbers])
        masks[name] = mask
    write_lines(root / "ImageSets/Segmentation/default.txt", list(masks))
    rows = [f"{name}:{red},{green},{blue}::" for name, (red, green, blue) in CVAT.items()]
    write_lines(root / "labelmap.txt", ["# label:color_rgb:parts:actions", *rows])
    return Layout(masks, tuple(CVAT), None)


def labelme(root: Path) -> Layout:
    """labelme2voc.py: .npy and palette PNGs of class ids, and drawings of them."""
    masks: Masks = {}
    for number in range(8):
        name = f"2011_{number:06d}"
        mask, numbers = scene(number, 4, objects=2 + number % 3)
        mask[0, :4] = 255  # __ignore__ is -1, saved as 255
        photo(root / f"JPEGImages/{name}.jpg", number)
        (root / "SegmentationClass").mkdir(exist_ok=True)
        np.save(
            root / f"SegmentationClass/{name}.npy", np.where(mask == 255, -1, mask).astype(np.int32)
        )
        save(root / f"SegmentationClassPNG/{name}.png", mask, voc_colormap())
        save(
            root / f"SegmentationObjectPNG/{name}.png",
            np.where(mask == 255, 255, numbers),
            voc_colormap(),
        )
        for kind in ("Class", "Object"):
            drawn = (
                np.asarray(Image.open(root / f"JPEGImages/{name}.jpg")) // 2
                + voc_colormap()[mask] // 2
            )
            save(root / f"Segmentation{kind}Visualization/{name}.jpg", drawn)
        masks[name] = mask
    write_lines(root / "class_names.txt", ["_background_", "person", "bus", "car"])
    return Layout(masks, ("_background_", "person", "bus", "car"), None)


def keras(root: Path) -> Layout:
    """image-segmentation-keras' dataset1: train and test, ids repeated in three channels."""
    masks: Masks = {}
    splits: dict[str, set[str]] = {"train": set(), "test": set()}
    for number in range(9):
        split = "train" if number < 6 else "test"
        mask = scene(number, 5)[0]
        photo(root / f"images_prepped_{split}/0001TP_{number:06d}.png", number)
        save(root / f"annotations_prepped_{split}/0001TP_{number:06d}.png", np.dstack([mask] * 3))
        masks[f"0001TP_{number:06d}"] = mask
        splits[split].add(f"0001TP_{number:06d}")
    return Layout(masks, tuple(f"class_{number}" for number in range(5)), splits)


VISTAS = {
    "Bird": (165, 42, 42), "Curb": (196, 196, 196), "Road": (128, 64, 128), "Person": (220, 20, 60),
    "Unlabeled": (0, 0, 0),
}  # fmt: skip


def vistas(root: Path, versions: tuple[str, ...] = ("v1.2",)) -> Layout:
    """Mapillary Vistas: labels (palette), instances (16 bits: label · 256 + number), panoptic
    (numbers as colours)."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(VISTAS)] = list(VISTAS.values())
    void = len(VISTAS) - 1
    masks: Masks = {}
    splits: dict[str, set[str]] = {"train": set(), "val": set()}
    for number in range(8):
        split, folder = (("train", "training"), ("val", "validation"))[number > 5]
        name = f"rg_{number}"
        mask, numbers = scene(number, void, objects=2 + number % 3)
        mask[:2] = void
        photo(root / f"{folder}/images/{name}.jpg", number)
        for version in versions:
            shown = (
                mask if version == "v1.2" else np.where(mask == 3, mask - 1, mask).astype(np.uint8)
            )
            place = root / folder / version
            save(place / f"labels/{name}.png", shown, palette)
            save(place / f"instances/{name}.png", shown.astype(np.uint16) * 256 + numbers)
            segments = shown.astype(np.int64) * 40 + numbers * 7 + number * 1000 + 1
            rgb = np.dstack([segments % 256, segments // 256 % 256, segments // 65536]).astype(
                np.uint8
            )
            save(place / f"panoptic/{name}.png", rgb)
        masks[name] = np.where(mask == void, 255, mask)
        splits[split].add(name)
    photo(root / "testing/images/rg_90.jpg", 90)
    labels = [
        {
            "name": f"x--{name.lower()}",
            "readable": name,
            "color": list(color),
            "instances": True,
            "evaluate": True,
        }
        for name, color in VISTAS.items()
    ]
    for version in versions:
        config = {"labels": labels, "version": version.removeprefix("v"), "mapping": "public"}
        (root / (f"config_{version}.json" if len(versions) > 1 else "config.json")).write_text(
            json.dumps(config)
        )
    return Layout(masks, tuple(VISTAS)[:-1], splits)


COCO_CATEGORIES = {1: "person", 3: "car", 92: "banner", 200: "rug-merged"}


def coco_panoptic(root: Path) -> Layout:
    """COCO 2017: panoptic_train2017.json, its folder of PNGs, and the images in train2017 and
    val2017."""
    keys = [0, *COCO_CATEGORIES]
    masks: Masks = {}
    splits: dict[str, set[str]] = {"train": set(), "val": set()}
    rng = np.random.default_rng(0)
    for split, chosen in (("train", range(6)), ("val", range(6, 9))):
        images, annotations = [], []
        for number in chosen:
            name = f"{139 + number:012d}"
            mask, numbers = scene(number, 5)
            photo(root / f"{split}2017/{name}.jpg", number)
            segments, drawn = [], np.zeros(SIZE, np.int64)
            for each in range(1, 4):
                segment = int(rng.integers(70_000, 16_000_000))
                inside = numbers == each
                drawn[inside] = segment
                category = keys[int(mask[inside][0])]
                segments.append(
                    {
                        "id": segment,
                        "category_id": category,
                        "area": int(inside.sum()),
                        "iscrowd": 0,
                    }
                )
            rgb = np.dstack([drawn % 256, drawn // 256 % 256, drawn // 65536]).astype(np.uint8)
            save(root / f"annotations/panoptic_{split}2017/{name}.png", rgb)
            images.append(
                {
                    "id": 139 + number,
                    "file_name": f"{name}.jpg",
                    "height": SIZE[0],
                    "width": SIZE[1],
                }
            )
            annotations.append(
                {"image_id": 139 + number, "file_name": f"{name}.png", "segments_info": segments}
            )
            masks[name] = np.where(mask == 0, 255, mask - 1)
            splits[split].add(name)
        categories = [
            {
                "id": key,
                "name": name,
                "isthing": int(key < 92),
                "supercategory": name,
                "color": [1, 2, 3],
            }
            for key, name in COCO_CATEGORIES.items()
        ]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"annotations/panoptic_{split}2017.json").write_text(json.dumps(content))
    return Layout(masks, tuple(COCO_CATEGORIES.values()), splits)


def dsb2018(root: Path) -> Layout:
    """2018 Data Science Bowl: stage1_train with a folder for each image, stage1_test without
    masks."""
    masks: Masks = {}
    for number in range(8):
        name = f"{number * 2654435761 % 2**32:064x}"
        mask, numbers = scene(number, 2, objects=2 + number % 3)
        photo(root / f"stage1_train/{name}/images/{name}.png", number)
        for each in range(1, int(numbers.max()) + 1):
            path = root / f"stage1_train/{name}/masks/{number * 100 + each:064x}.png"
            save(path, np.where(numbers == each, 255, 0).astype(np.uint8))
        masks[name] = mask
    photo(root / f"stage1_test/{99:064x}/images/{99:064x}.png", 99)
    return Layout(masks, ("background", "object"), None)


def boxes(mask: np.ndarray, numbers: np.ndarray) -> list[tuple[int, list[tuple[int, int]]]]:
    """Class and outline of each object, (x, y) of its corner pixels."""
    found = []
    for each in range(1, int(numbers.max()) + 1):
        rows, columns = np.nonzero(numbers == each)
        left, right = int(columns.min()), int(columns.max())
        top, bottom = int(rows.min()), int(rows.max())
        ring = [(left, top), (right, top), (right, bottom), (left, bottom)]
        found.append((int(mask[top, left]), ring))
    return found


TITLES = ("background", "boulder", "crater", "dune")


def labelme_json(root: Path) -> Layout:
    """labelme 5: a JSON beside each image; polygons, rectangles and masks."""
    masks: Masks = {}
    for number in range(8):
        mask, numbers = scene(number, 4)
        photo(root / f"rock_{number}.jpg", number)
        shapes = []
        for kind, (value, ring) in zip(
            ("polygon", "rectangle", "mask"), boxes(mask, numbers), strict=True
        ):
            (left, top), _, (right, bottom), _ = ring
            points = ring if kind == "polygon" else [ring[0], ring[2]]
            stream = io.BytesIO()
            inside = np.full((bottom - top + 1, right - left + 1), 255, np.uint8)
            Image.fromarray(inside).save(stream, "PNG")
            data = base64.b64encode(stream.getvalue()).decode() if kind == "mask" else None
            shapes.append(
                {"label": TITLES[value], "points": points, "group_id": None, "description": "",
                 "shape_type": kind, "flags": {}, "mask": data}
            )  # fmt: skip
        shapes.append({"label": "here", "points": [[3, 3]], "shape_type": "point", "flags": {}})
        content = {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"rock_{number}.jpg",
            "imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1],
        }  # fmt: skip
        (root / f"rock_{number}.json").write_text(json.dumps(content))
        masks[f"rock_{number}"] = mask
    return Layout(masks, TITLES, None)


def yolo_seg(root: Path) -> Layout:
    """Ultralytics: images and labels with train and val, data.yaml; one image has no labels."""
    masks: Masks = {}
    splits: dict[str, set[str]] = {"train": set(), "val": set()}
    for number in range(9):
        split = "train" if number < 6 else "val"
        mask, numbers = scene(number, 4)
        photo(root / f"images/{split}/y{number}.jpg", number)
        lines = []
        for value, ring in boxes(mask, numbers):
            corners = [f"{x / SIZE[1]:.6f} {y / SIZE[0]:.6f}" for x, y in ring]
            lines.append(" ".join([str(value - 1), *corners]))
        if number != 2:
            write_lines(root / f"labels/{split}/y{number}.txt", lines)
        masks[f"y{number}"] = mask * (number != 2)
        splits[split].add(f"y{number}")
    names = {number: name for number, name in enumerate(TITLES[1:])}
    content = {"path": "../yolo", "train": "images/train", "val": "images/val", "names": names}
    (root / "data.yaml").write_text(
        json.dumps(content).replace('"0"', "0").replace('"1"', "1").replace('"2"', "2")
    )
    return Layout(masks, TITLES, splits)


def brush(inside: np.ndarray) -> list[int]:
    """An RGBA picture whose opacity is the shape, packed as label-studio-converter's
    ``encode_rle`` does: words of 8 bits, counts of 3, 4, 8 or 16 bits."""
    words = np.repeat(inside.astype(np.uint8)[..., None] * 255, 4, axis=2).ravel()
    sizes = (3, 4, 8, 16)
    bits = f"{len(words):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    edges = [0, *(np.flatnonzero(np.diff(words)) + 1).tolist(), len(words)]
    for start, end in pairwise(edges):
        size = next(number for number, each in enumerate(sizes) if end - start <= 1 << each)
        bits += f"1{size:02b}{end - start - 1:0{sizes[size]}b}{words[start]:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def label_studio(root: Path) -> Layout:
    """Label Studio's JSON export: brushes and polygons; images as they were uploaded."""
    masks: Masks = {}
    tasks = []
    for number in range(8):
        name = f"{number * 2654435761 % 2**32:08x}-rock_{number}"
        mask, numbers = scene(number, 4)
        photo(root / f"images/{name}.png", number)
        results = []
        for each, (value, ring) in enumerate(boxes(mask, numbers), start=1):
            shape = {"points": [[100 * x / SIZE[1], 100 * y / SIZE[0]] for x, y in ring]}
            kind = "polygonlabels"
            if each == 2:
                shape = {"format": "rle", "rle": brush(numbers == each)}
                kind = "brushlabels"
            results.append(
                {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0,
                 "value": shape | {kind: [TITLES[value]]}, "id": f"r{each}", "type": kind,
                 "from_name": "tag", "to_name": "image", "origin": "manual"}
            )  # fmt: skip
        cancelled = {"id": 1, "was_cancelled": True, "result": []}
        counts = {"id": 2, "was_cancelled": False, "result": results}
        data = {"image": f"/data/upload/1/{name}.png"}
        tasks.append({"id": number, "annotations": [cancelled, counts], "data": data})
        masks[name] = mask
    (root / "project-1-at-2024-05-01.json").write_text(json.dumps(tasks))
    return Layout(masks, TITLES, None)


def supervisely(root: Path) -> Layout:
    """A project of Supervisely: meta.json, and ``img`` and ``ann`` in each of its datasets."""
    masks: Masks = {}
    splits: dict[str, set[str]] = {"train": set(), "val": set()}
    for number in range(8):
        split = "train" if number < 6 else "val"
        name = f"s{number}.png"
        mask, numbers = scene(number, 4)
        photo(root / split / f"img/{name}", number)
        objects = []
        for each, (value, ring) in enumerate(boxes(mask, numbers), start=1):
            thing = {"id": each, "classTitle": TITLES[value], "tags": [], "geometryType": "polygon",
                     "points": {"exterior": ring, "interior": []}}  # fmt: skip
            if each == 2:
                (left, top), _, (right, bottom), _ = ring
                stream = io.BytesIO()
                inside = np.full((bottom - top + 1, right - left + 1), 255, np.uint8)
                Image.fromarray(inside).save(stream, "PNG")
                data = base64.b64encode(zlib.compress(stream.getvalue())).decode()
                thing |= {"geometryType": "bitmap", "bitmap": {"data": data, "origin": ring[0]}}
            objects.append(thing)
        content = {"description": "", "tags": [], "size": {"height": SIZE[0], "width": SIZE[1]},
                   "objects": objects}  # fmt: skip
        path = root / split / f"ann/{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        masks[f"s{number}"] = mask
        splits[split].add(f"s{number}")
    classes = [{"title": title, "shape": "any", "color": "#FF0000"} for title in TITLES[1:]]
    (root / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))
    return Layout(masks, TITLES, splits)


LAYOUTS: dict[str, Callable[[Path], Layout]] = {
    writer.__name__: writer
    for writer in (
        mmseg,
        camvid,
        voc,
        cvat,
        labelme,
        keras,
        vistas,
        coco_panoptic,
        dsb2018,
        labelme_json,
        yolo_seg,
        label_studio,
        supervisely,
    )
}
