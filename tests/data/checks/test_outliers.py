"""Pairs whose content stands out: planted among generated pairs, and among CamVid's."""

import os
from pathlib import Path

import numpy as np
import pytest
from planted import read, save

from encoder_ablations.data.checks.lint import lint
from encoder_ablations.data.checks.lint_page import render
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.synthetic.terrain import generate_terrain


@pytest.fixture(scope="module")
def terrain(tmp_path_factory):
    root = tmp_path_factory.mktemp("terrain") / "terrain"
    generate_terrain(root, train=40, val=4, test=1, size=128, seed=3)
    return root


@pytest.fixture
def dataset(terrain, tmp_path):
    """A copy to damage: its spec, and its folder."""
    for path in terrain.rglob("*.png"):
        target = tmp_path / path.relative_to(terrain)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    content = {
        "name": "planted",
        "root": str(tmp_path),
        "classes": ("background", "crater", "boulder"),
        "splits": {"train": "train", "val": "val"},
    }
    return DatasetSpec.model_validate(content), tmp_path


def files(root, kind, split="train"):
    return sorted((root / kind / split).glob("*.png"))


def suspected(report):
    """(rule, file) of all suspicions."""
    found = [each for each in report.findings if each.rule.severity == "suspicion"]
    return {(each.rule.code, each.path.name) for each in found}


def test_sound_pairs_are_not_suspected(dataset):
    spec, _ = dataset
    assert len(suspected(lint(spec))) <= 1


def test_planted_defects_are_named(dataset):
    spec, root = dataset
    masks, images = files(root, "masks"), files(root, "images")
    sound = [read(path) for path in masks]
    save(masks[3], np.roll(sound[3], (10, 8), (0, 1)))
    save(masks[8], sound[8][:, ::-1].copy())
    save(masks[15], sound[22])
    save(masks[27], (2 - sound[27]).astype(np.uint8))
    noise = np.random.default_rng(0).normal(0, 50, (128, 128, 3))
    save(images[31], (read(images[31]) + noise).clip(0, 255).astype(np.uint8))
    report = lint(spec)
    found = suspected(report)
    assert {("mask-misplaced", masks[number].name) for number in (3, 8, 15)} <= found
    assert ("mask-classes", masks[27].name) in found
    assert ("image-noisy", images[31].name) in found
    named = {name for _, name in found}
    assert len(named - {masks[n].name for n in (3, 8, 15, 27)} - {images[31].name}) <= 1
    assert report.counts["error"] == 0
    page = render(report)
    assert page.count("data:image/jpeg;base64,") == len(found)


def test_few_pairs_are_not_compared(dataset):
    """What is usual cannot be said of them."""
    spec, root = dataset
    for path in [*files(root, "masks")[12:], *files(root, "images")[12:]]:
        path.unlink()
    save(files(root, "masks")[3], read(files(root, "masks")[3])[:, ::-1].copy())
    assert suspected(lint(spec)) == set()


@pytest.mark.parametrize("change", ["mirrored", "cropped", "turned"])
def test_views_in_another_split_are_named(dataset, change):
    spec, root = dataset
    turned = {
        "mirrored": lambda pixels: pixels[:, ::-1],
        "cropped": lambda pixels: pixels[10:120, 6:118],
        "turned": np.rot90,
    }[change]
    for kind in ("images", "masks"):
        source, target = files(root, kind)[11], files(root, kind, "val")[2]
        save(target, np.ascontiguousarray(turned(read(source))))
    found = [each for each in lint(spec).findings if each.rule.code == "view-shared"]
    assert [each.path for each in found] == [files(root, "images", "val")[2].resolve()]
    assert files(root, "images")[11].name in found[0].detail
    assert (change == "mirrored") == ("mirrored" in found[0].detail)


@pytest.mark.slow
def test_camvid(tmp_path):
    """Real images: every sixth pair, of which five are damaged."""
    source = Path(os.environ.get("DATASETS_ROOT", "nowhere")) / "camvid"
    if not source.is_dir():
        pytest.skip("needs DATASETS_ROOT with the folder camvid")
    masks = []
    for path in sorted((source / "images/train").glob("*.jpg"))[::6]:
        image, mask = tmp_path / "images/train" / path.name, f"masks/train/{path.stem}.png"
        for folder in (image.parent, (tmp_path / mask).parent):
            folder.mkdir(parents=True, exist_ok=True)
        image.write_bytes(path.read_bytes())
        save(tmp_path / mask, read(source / mask))
        masks.append(tmp_path / mask)
    sound = [read(path) for path in masks]
    shifted = np.full_like(sound[5], 11)
    shifted[:-12, 15:] = sound[5][12:, :-15]
    planted = {
        5: shifted,
        12: sound[12][:, ::-1],
        20: sound[45],
        33: sound[50],
        40: np.where(sound[40] < 11, 10 - sound[40], 11),
    }
    for number, mask in planted.items():
        save(masks[number], np.ascontiguousarray(mask, np.uint8))
    names = ["sky", "building", "pole", "road", "pavement", "tree"]
    names += ["sign", "fence", "car", "pedestrian", "bicyclist"]
    content = {
        "name": "camvid",
        "root": str(tmp_path),
        "classes": names,
        "splits": {"train": "train", "val": "train"},
        "ignore_ids": (11, 255),
    }
    found = {name for _, name in suspected(lint(DatasetSpec.model_validate(content)))}
    assert {masks[number].name for number in planted} <= found
    assert len(found) <= len(planted) + 1
