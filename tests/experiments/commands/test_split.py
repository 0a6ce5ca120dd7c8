"""``ablate split`` from the command line to a dataset that reads what was written."""

import json
from pathlib import Path

import pytest
from yaml import safe_load

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pixel_counts import scan_masks
from encoder_ablations.data.datasets.subsets import nested_order, subset
from encoder_ablations.data.references import load_dataset
from encoder_ablations.data.synthetic.terrain import generate_terrain
from encoder_ablations.experiments.cli import main


@pytest.fixture
def yaml(tmp_path):
    """The YAML of a dataset of 24 images that has no splits yet."""
    folder = generate_terrain(tmp_path / "rocks", train=12, val=4, test=8, size=32, seed=0)
    path = tmp_path / "rocks.yaml"
    path.write_text(f"name: rocks\nroot: {folder}\nclasses: [background, crater, boulder]\n")
    return path


def split_of(yaml, train, val, *rest):
    splits = {"train": f"splits/{train}_images.txt", "val": f"splits/{val}_images.txt"}
    spec = load_dataset(
        str(yaml), {"splits": splits | ({"test": f"splits/{rest[0]}_images.txt"} if rest else {})}
    )
    return [set(FolderDataset(spec, name).ids) for name in spec.splits]


def test_train_val_and_test(yaml, tmp_path, capsys):
    assert main(["split", str(yaml)]) == 0
    train, val, test = split_of(yaml, "train", "val", "test")
    assert (len(train), len(val), len(test)) == (17, 4, 3)
    assert len(train | val | test) == 24
    output = capsys.readouterr().out
    assert (
        "splits: {train: splits/train_images.txt, val: splits/val_images.txt, test: "
        "splits/test_images.txt}" in output
    )
    assert "boulder" in output
    images, masks = (
        (tmp_path / f"rocks/splits/val_{kind}.txt").read_text().split()
        for kind in ("images", "masks")
    )
    assert [line.replace("images/", "masks/") for line in images] == masks
    assert (tmp_path / "rocks" / masks[0]).exists()


@pytest.mark.parametrize(
    ("images", "masks"),
    [("{split}/{id}.png", "{split}annot/{id}.png"), ("{split}img/{id}.png", "{split}/{id}.png")],
)
def test_masks_in_folders_that_the_images_pattern_fits_too(yaml, images, masks, capsys):
    # as the comments of configs/datasets/camvid.yaml recommend it
    folder = yaml.parent / "rocks"
    for split in ("train", "val", "test"):
        for kind, pattern in (("images", images), ("masks", masks)):
            place = folder / pattern.replace("{split}", split).split("/")[0]
            (folder / kind / split).rename(place)
    yaml.write_text(
        yaml.read_text() + f'images: "{images}"\nmasks: "{masks}"\n'
        "splits: {train: train, val: val, test: test}\n"
    )
    assert main(["split", str(yaml)]) == 0
    train, val, test = split_of(yaml, "train", "val", "test")
    assert (len(train), len(val), len(test)) == (17, 4, 3)
    divided = folder / "divided.yaml"
    divided.write_text(
        f"base: {yaml}\nsplits: {{train: splits/train_images.txt, val: splits/val_images.txt}}\n"
    )
    capsys.readouterr()
    main(["lint", str(divided)])
    assert "stem-twice" not in capsys.readouterr().out


def test_folds_with_one_test_set(yaml, capsys):
    assert main(["split", str(yaml), "--folds", "3", "--test", "0.25"]) == 0
    output = capsys.readouterr().out
    folds = [split_of(yaml, f"fold_{fold}_train", f"fold_{fold}_val", "test") for fold in range(3)]
    assert folds[0][2] == folds[1][2] == folds[2][2]
    assert len(folds[0][2]) == 6
    assert not folds[0][1] & folds[1][1]
    assert all(len(train | val | test) == 24 for train, val, test in folds)
    assert (
        f"- {{base: {yaml}, name: rocks_fold_1, splits: {{train: splits/fold_1_train_images.txt,"
        in output
    )


def test_fractions_are_what_a_run_takes(yaml):
    assert main(["split", str(yaml), "--fractions", "0.25", "0.5", "--fraction-seed", "7"]) == 0
    quarter, half = split_of(yaml, "train_25pct_seed7", "train_50pct_seed7")
    splits = {"train": "splits/train_images.txt", "val": "splits/val_images.txt"}
    train = FolderDataset(load_dataset(str(yaml), {"splits": splits}), "train")
    order = nested_order(scan_masks(train).present, 7)
    assert quarter == {train.ids[index] for index in subset(order, 0.25)}
    assert quarter < half


def test_again_gives_the_same_and_another_seed_is_refused(yaml, tmp_path, capsys):
    marker = tmp_path / "rocks/splits/train_images.txt"
    assert main(["split", str(yaml)]) == 0
    before = marker.read_text()
    assert main(["split", str(yaml)]) == 0
    assert marker.read_text() == before
    assert main(["split", str(yaml), "--seed", "1"]) == 2
    assert "holds another division" in capsys.readouterr().err
    assert marker.read_text() == before
    assert main(["split", str(yaml), "--seed", "1", "--replace"]) == 0
    assert marker.read_text() != before
    assert json.loads((marker.parent / "split.json").read_text())["seed"] == 1


def test_a_division_of_an_earlier_rule_is_not_written_over(yaml, capsys):
    assert main(["split", str(yaml)]) == 0
    marker = next(yaml.parent.rglob("split.json"))
    earlier = json.loads(marker.read_text())
    assert earlier.pop("rule") == 3
    marker.write_text(json.dumps(earlier))
    assert main(["split", str(yaml)]) == 2
    assert "holds another division" in capsys.readouterr().err


def test_scenes_stay_together(yaml):
    yaml.write_text(yaml.read_text() + "scene_pattern: _0*(\\d)\n")
    assert main(["split", str(yaml), "--val", "0.3", "--test", "0.3"]) == 0
    scenes = [
        {name[-1] if name[-2] == "0" else name[-2] for name in part}
        for part in split_of(yaml, "train", "val", "test")
    ]
    assert not scenes[0] & scenes[1]
    assert not scenes[1] & scenes[2]


def renamed(yaml, names):
    """The dataset with other names, all in one folder."""
    folder = yaml.parent / "rocks"
    for kind in ("images", "masks"):
        files = sorted((folder / kind).rglob("*.png"))
        for path, name in zip(files, names, strict=True):
            path.rename(folder / kind / f"{name}.png")


FRAMES = [f"scene{scene}_{number:04d}" for scene in range(6) for number in range(4)]


def test_likely_scenes_are_refused_before_anything_is_written(yaml, tmp_path, capsys):
    renamed(yaml, FRAMES)
    assert main(["split", str(yaml)]) == 2
    shown = capsys.readouterr()
    assert len(shown.err.splitlines()) == 1
    assert "6 scenes" in shown.err
    assert "--scenes '^(.+)$'" in shown.err
    assert not (tmp_path / "rocks/splits").exists()
    pattern = shown.err.split("--scenes '")[1].split("'")[0]
    assert main(["split", str(yaml), "--scenes", pattern]) == 0
    assert f"  scene_pattern: {pattern}" in capsys.readouterr().out
    parts = [
        {name.split("_")[0] for name in part} for part in split_of(yaml, "train", "val", "test")
    ]
    assert sum(map(len, parts)) == 6


@pytest.mark.parametrize(
    ("count", "options", "offered"),
    [
        (24, [], "--scenes '(\\d*?)\\d$'"),
        (20, [], "--scenes '(\\d*?)\\d$' --test 0"),
        (20, ["--folds", "3"], None),
    ],
)
def test_consecutive_numbers_are_offered_only_what_works(yaml, capsys, count, options, offered):
    renamed(yaml, [f"frame_{number:03d}" for number in range(24)])
    for number in range(count, 24):
        for kind in ("images", "masks"):
            (yaml.parent / f"rocks/{kind}/frame_{number:03d}.png").unlink()
    assert main(["split", str(yaml), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "frames of one film" in line
    assert "tens" in line
    assert "--scenes '^(.+)$'" in line
    if offered is None:
        assert "2 scenes cannot be divided into 4 parts" in line
        assert "\\d" not in line
        return
    assert offered in line
    pattern = line.split("--scenes '")[1].split("'")[0]
    rest = ["--test", "0"] if "--test 0" in line else []
    assert main(["split", str(yaml), *options, "--scenes", pattern, *rest]) == 0


def test_independent_images_have_one_spelling():
    root = Path(__file__).parents[3]
    texts = [*root.glob("docs/*.md"), root / "CHANGELOG.md", root / "data/checks/rules.yaml"]
    texts += [*root.glob("configs/**/*.yaml"), *root.glob("experiments/commands/*.py")]
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert "--scenes none" not in text, path
        assert "scene_pattern: null" not in text, path
        assert "scene_pattern: none" not in text, path


def test_the_former_spelling_names_the_one_that_holds(yaml, capsys):
    assert main(["split", str(yaml), "--scenes", "none"]) == 2
    assert "^(.+)$ says that images are independent" in capsys.readouterr().err


def test_images_that_are_said_to_be_independent_are_divided(yaml, capsys):
    renamed(yaml, FRAMES)
    assert main(["split", str(yaml), "--scenes", "^(.+)$"]) == 0
    assert not capsys.readouterr().err
    assert len(split_of(yaml, "train", "val", "test")[1]) == 4


@pytest.mark.parametrize("names", [FRAMES, [f"{number:06d}" for number in range(24)]])
def test_scenes_that_are_known_are_not_asked_about(yaml, names, capsys):
    renamed(yaml, names)
    yaml.write_text(yaml.read_text() + "scene_pattern: ^(.+)$\n")
    assert main(["split", str(yaml)]) == 0
    assert not capsys.readouterr().err


def test_running_numbers_are_divided_without_a_word(yaml, capsys):
    renamed(yaml, [f"{number:06d}" for number in range(24)])
    assert main(["split", str(yaml)]) == 0
    assert not capsys.readouterr().err


def test_what_may_be_scenes_is_said_in_one_line(yaml, capsys):
    renamed(yaml, [f"{word}_{number}" for word in ("bear", "camel", "goat") for number in range(8)])
    assert main(["split", str(yaml)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "3 scenes" in line
    assert "--scenes" in line


def test_folds_carry_the_scenes(yaml, capsys):
    renamed(yaml, FRAMES)
    assert main(["split", str(yaml), "--folds", "2", "--scenes", "^([a-z]+[0-9])_"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  - {")]
    (entry,) = safe_load(lines[0])
    assert entry["scene_pattern"] == "^([a-z]+[0-9])_"
    assert entry["splits"]["train"] == "splits/fold_0_train_images.txt"


@pytest.mark.parametrize(
    ("pattern", "message"), [("(", "not a regular expression"), ("abc", "exactly one group")]
)
def test_an_impossible_pattern_is_named(yaml, capsys, pattern, message):
    assert main(["split", str(yaml), "--scenes", pattern]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert f"--scenes {pattern}" in shown


def test_only_some_splits_leave_the_test_set_alone(yaml, capsys):
    yaml.write_text(yaml.read_text() + "splits: {train: train, val: val, test: test}\n")
    assert main(["split", str(yaml), "--of", "train", "val", "--val", "0.5"]) == 0
    train, val = split_of(yaml, "train", "val")[:2]
    assert (len(train), len(val)) == (8, 8)
    assert not any(name.startswith("test") for name in train | val)
    assert main(["split", str(yaml), "--of", "trian"]) == 2
    assert "Did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "3", "--val", "0.2"], "--val is not needed with --folds"),
        (["--val", "0.9"], "something must be left for train"),
        (["--folds", "100"], "24 scenes cannot be divided into 101 parts"),
        (["--by", "count", "--fractions", "0.5"], "--fractions needs the masks"),
        (["--fractions", "0.01"], "less than half an image"),
    ],
)
def test_bad_input(yaml, tmp_path, capsys, arguments, message):
    assert main(["split", str(yaml), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "rocks/splits").exists()


@pytest.mark.parametrize("output", ["../../out", "..", "{outside}", "link/lists"])
def test_lists_outside_of_the_dataset_are_refused(yaml, tmp_path, capsys, output):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "rocks/link").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    assert (
        main(["split", str(yaml), "--output", output.format(outside=tmp_path / "elsewhere")]) == 2
    )
    shown = capsys.readouterr()
    assert "leads out of the dataset's folder" in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not shown.out
    assert sorted(tmp_path.rglob("*")) == before


def test_lists_in_another_folder_of_the_dataset(yaml, tmp_path, capsys):
    assert main(["split", str(yaml), "--output", "lists/second"]) == 0
    assert "train: lists/second/train_images.txt" in capsys.readouterr().out
    assert main(["split", str(yaml), "--output", str(tmp_path / "rocks/third")]) == 0
    assert "train: third/train_images.txt" in capsys.readouterr().out


def test_by_count_reads_no_mask(yaml, tmp_path):
    (tmp_path / "rocks/masks/train/train_00003.png").write_bytes(b"broken")
    assert main(["split", str(yaml)]) == 2
    assert main(["split", str(yaml), "--by", "count"]) == 0


def test_a_dataset_of_the_hub_can_be_split(yaml, tmp_path, monkeypatch, capsys):
    """What ``hub:`` means is described once and read like any other YAML."""
    monkeypatch.setenv("DATASETS_ROOT", str(tmp_path / "data"))
    copy = tmp_path / "data/hub/owner__name"
    copy.mkdir(parents=True)
    content = yaml.read_text().replace("name: rocks", "name: name")
    (copy / "dataset.yaml").write_text(content + "splits: {train: train, val: val, test: test}\n")
    pytest.importorskip("datasets")
    assert main(["split", "hub:owner/name", "--folds", "2"]) == 0
    assert "- {base: hub:owner/name, name: name_fold_0" in capsys.readouterr().out
