"""Trees with a folder for each class: recognised, divided, linted."""

import json
import shutil
from pathlib import Path

import pytest
from image_classes import CLASSES, write_folders

from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.intake.class_folders import find_class_folders
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments.cli import main


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "colors")
    return tmp_path / "colors"


@pytest.fixture
def tree(root):
    """The training images in one folder for each class, without splits."""
    for name in CLASSES:
        for path in (root / "train" / name).iterdir():
            path.rename(path.with_name(f"{name}_{path.name}"))
    for split in ("val", "test"):
        shutil.rmtree(root / split)
    return (root / "train").rename(root.with_name("tree"))


def test_init_writes_a_yaml_that_reads(root, capsys):
    assert main(["init", "colors"]) == 0
    assert "a folder for each of 3 classes in" in capsys.readouterr().out
    spec = load_dataset("colors.yaml")
    assert (spec.task, spec.classes) == ("classification", ("blue", "green", "red"))
    assert set(spec.splits) == {"train", "val", "test"}
    assert not check_dataset(spec).warnings
    assert main(["init", "colors"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_tree_without_splits_is_divided_by_class(tree, capsys):
    assert main(["init", "tree"]) == 0
    arguments = ["split", "tree.yaml", "--val", "0.17", "--test", "0.17", "--scenes", "^(.+)$"]
    assert main([*arguments, "--fractions", "0.5"]) == 0
    capsys.readouterr()
    spec = load_dataset("tree.yaml")
    scans = check_dataset(spec).scans
    assert {split: scan.pixels for split, scan in scans.items()} == {
        "train": [4, 4, 4],
        "val": [1, 1, 1],
        "test": [1, 1, 1],
    }
    (part,) = (tree / "splits").glob("train_50pct*.txt")
    names = [line.split("/")[0] for line in part.read_text().split()]
    assert sorted(names) == sorted([*CLASSES] * 2)


def test_other_trees_are_not_taken_for_classes(root, tree):
    (tree / "red").rename(tree / "masks")
    assert find_class_folders(tree) is None
    (tree / "masks").rename(tree / "red")
    assert find_class_folders(tree) is not None
    shutil.copy(next((tree / "red").iterdir()), tree / "note.png")
    assert find_class_folders(tree) is None


def lint(arguments, capsys):
    code = main(["lint", "colors.yaml", "--json", "-", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_lint_of_classes(root, capsys):
    main(["init", "colors"])
    assert main(["lint", "colors.yaml"]) == 0
    said = capsys.readouterr().out
    assert "6 (blue) to 6" in said or "training images of a class: 6" in said
    assert "not what images show" in said
    shutil.copy(root / "train/red/000.png", root / "train/blue/same.png")
    shutil.copy(root / "train/red/001.png", root / "val/red/same.png")
    shutil.copy(root / "train/red/002.png", root / "train/red/same.png")
    shutil.rmtree(root / "test/green")
    (root / "test/green").mkdir()
    code, report = lint([], capsys)
    assert code == 2
    assert report["rules"] == {
        "image-leaked": 1,
        "image-two-classes": 1,
        "class-absent": 1,
        "image-repeated": 1,
    }
    assert report["class_pixels"]["train"] == {"blue": 7, "green": 6, "red": 7}
    for path in (root / "train/green").iterdir():
        path.unlink()
    code, report = lint([], capsys)
    assert (code, report["rules"]["class-empty"]) == (2, 1)


def test_lint_names_every_damaged_image(root, capsys):
    main(["init", "colors"])
    capsys.readouterr()
    for name in ("000", "003"):
        path = root / "val/blue" / f"{name}.png"
        path.write_bytes((root / "val/blue/001.png").read_bytes()[:200])
    code, report = lint([], capsys)
    assert (code, report["rules"]) == (2, {"damaged": 2})


def test_lint_refuses_what_is_for_masks(root, capsys):
    main(["init", "colors"])
    capsys.readouterr()
    assert main(["lint", "colors.yaml", "--fix", "copy"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "classification" in line


def test_names_of_files_may_repeat_across_classes(tree, capsys, monkeypatch):
    monkeypatch.chdir(tree.parent)
    for folder in filter(Path.is_dir, tree.iterdir()):
        for number, path in enumerate(sorted(folder.iterdir())):
            path.rename(folder / f"again{number}{path.suffix}")
    assert main(["init", tree.name, "--output", "repeated.yaml"]) == 0
    assert "a folder for each of" in capsys.readouterr().out
