import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from planted import DEFECTS, Copy, bomb, read, save, swap

from encoder_ablations.data.checks import file_names, near_duplicates
from encoder_ablations.data.checks import lint as lint_module
from encoder_ablations.data.checks.facts import PairFacts
from encoder_ablations.data.checks.inspection import Inspector
from encoder_ablations.data.checks.lint import LintReport, lint
from encoder_ablations.data.checks.repair import repair
from encoder_ablations.data.checks.rules import RULES
from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.references import load_dataset
from encoder_ablations.data.synthetic.terrain import generate_terrain
from encoder_ablations.utils.errors import InputError

SPLITS = {"train": 10, "val": 4}


@pytest.fixture(scope="session")
def terrain_copy(tmp_path_factory) -> Copy:
    """CamVid's layout with drawn pictures: JPEGs of 96×64, scenes a and v, some ignored pixels."""
    drawn = tmp_path_factory.mktemp("drawn") / "terrain"
    generate_terrain(drawn, train=10, val=4, test=1, size=96, seed=3)
    root = tmp_path_factory.mktemp("sound")
    for split, count in SPLITS.items():
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            name = f"{split[0].replace('t', 'a')}_{number}"
            mask = read(drawn / "masks" / split / f"{split}_{number:05d}.png")[:64].copy()
            mask[-2:] = 255
            save(root / "masks" / split / f"{name}.png", mask)
            pixels = read(drawn / "images" / split / f"{split}_{number:05d}.png")[:64]
            save(root / "images" / split / f"{name}.jpg", pixels, quality=95)
    return Copy(root, ("background", "crater", "boulder"), 255)


@pytest.fixture(scope="session")
def camvid_copy(tmp_path_factory) -> Copy:
    """Frames of the real CamVid at a quarter of their size, of sequences that no splits share."""
    source = Path(os.environ.get("DATASETS_ROOT", "nowhere")) / "camvid"
    if not source.is_dir():
        pytest.skip("needs DATASETS_ROOT with the folder camvid")
    root = tmp_path_factory.mktemp("camvid")
    chosen = {"train": sorted((source / "images/train").glob("000*"))[::15][:10]}
    chosen["val"] = sorted((source / "images/val").glob("0016*"))[::25][:4]
    for split, images in chosen.items():
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for image in images:
            mask = read(source / "masks" / split / f"{image.stem}.png")
            save(root / "masks" / split / f"{image.stem}.png", mask[2::4, 2::4])
            frame = Image.open(image).reduce(4)
            frame.save(root / "images" / split / image.name, quality=95)
    names = "sky building pole road pavement tree sign fence car pedestrian bicyclist"
    return Copy(root, tuple(names.split()), 11)


@pytest.fixture(params=["terrain", "camvid"])
def copy(request, tmp_path) -> Copy:
    sound = request.getfixturevalue(f"{request.param}_copy")
    shutil.copytree(sound.root, tmp_path / "data")
    return Copy(tmp_path / "data", sound.classes, sound.ignore)


class SoundPairsOnce(Inspector):
    """Inspects each sound pair once: a damaged copy holds the others as they were."""

    _sound: ClassVar[dict[tuple[object, ...], tuple[object, ...]]] = {}

    def inspect(self, facts: PairFacts) -> None:
        files = facts.pair.image, facts.pair.mask
        try:
            held = tuple((path.name, path.read_bytes()) for path in files)
        except OSError:
            return super().inspect(facts)
        rules = self._spec.model_copy(update={"root": ""}).model_dump_json()
        known = self._sound.get((rules, facts.split, *held))
        if known is not None:
            facts.image, facts.mask, facts.drawn_on, facts.content = known
            return None
        super().inspect(facts)
        if not facts.findings:
            read = facts.image, facts.mask, facts.drawn_on, facts.content
            self._sound[rules, facts.split, *held] = read
        return None


@pytest.fixture
def sound_pairs_once(monkeypatch):
    monkeypatch.setattr(lint_module, "Inspector", SoundPairsOnce)


def codes(report: LintReport) -> set[str]:
    return {each.rule.code for each in report.findings}


def trains(spec: DatasetSpec) -> bool:
    try:
        check_dataset(spec)
    except InputError:
        return False
    return True


def test_sound_data_have_no_findings(copy):
    report = lint(copy.spec)
    assert report.findings == []
    assert report.counts == {"error": 0, "warning": 0, "suspicion": 0, "note": 0}
    assert report.as_json()["pairs"] == SPLITS
    pixels = sum(read(path).size for path in copy.masks() if path.parent.name == "val")
    ignored = sum(
        int((read(path) == copy.ignore).sum()) for path in copy.masks() if path.parent.name == "val"
    )
    assert sum(report.class_pixels()["val"].values()) == pixels - ignored


def test_enough_kinds_are_planted():
    assert len(DEFECTS) >= 40
    planted = {each.rule for each in DEFECTS}
    planted |= {code for code, rule in RULES.items() if rule.severity == "suspicion"}
    assert RULES.keys() - planted == {
        "split-unreadable",
        "unreadable",
        "very-large",
        "mask-format",
        "many-classes",
        "view-shared",
    }, "these have tests of their own below"


@pytest.mark.usefixtures("sound_pairs_once")
@pytest.mark.parametrize("planted", DEFECTS, ids=lambda each: each.name)
def test_every_planted_defect_is_found_and_nothing_else(copy, planted):
    path = planted.plant(copy)
    report = lint(copy.spec)
    found = [each for each in report.findings if each.rule.code == planted.rule]
    assert found, f"found only {codes(report)}"
    assert codes(report) <= {planted.rule, *planted.also}, [each for each in report.findings]
    if path is not None:
        assert [each.path for each in found] == [path.resolve() if path.is_dir() else path]
    json.dumps(report.as_json())
    if not trains(copy.spec):
        assert report.counts["error"], "training would refuse what lint lets pass"


def test_one_finding_does_not_stop_the_others(copy):
    chosen = [
        "mask_removed",
        "truncated_image",
        "unknown_id",
        "smaller_mask",
        "decompression_bomb",
        "empty_image",
    ]
    wanted = set()
    for number, name in enumerate(chosen):
        (planted,) = [each for each in DEFECTS if each.name == name]
        part = Copy(copy.root, copy.classes, copy.ignore)
        part.image = lambda split="train", _=0, number=number: Copy.image(copy, split, number)
        stem = part.image().stem
        part.mask = lambda split="train", _=0, stem=stem: (
            copy.root / "masks" / split / f"{stem}.png"
        )
        wanted.add((planted.rule, planted.plant(part)))
    found = {(each.rule.code, each.path) for each in lint(copy.spec).findings}
    assert wanted <= found


def test_near_duplicates_survive_resizing_and_distinct_images_are_not_alike(terrain_copy, tmp_path):
    shutil.copytree(terrain_copy.root, tmp_path / "data")
    copy = Copy(tmp_path / "data", terrain_copy.classes, 255)
    image = Image.open(copy.image())
    for name, other in {"v_8": image.resize((144, 96)), "v_9": image.resize((48, 32))}.items():
        other.save(copy.root / f"images/val/{name}.png")
        save(
            copy.root / f"masks/val/{name}.png",
            np.arange(3, dtype=np.uint8).repeat(2).reshape(2, 3).repeat(32, 0),
        )
        mask = Image.fromarray(read(copy.root / f"masks/val/{name}.png")).resize(
            other.size, Image.Resampling.NEAREST
        )
        mask.save(copy.root / f"masks/val/{name}.png")
    found = [each for each in lint(copy.spec).findings if each.rule.code == "near-duplicate"]
    assert [each.path.stem for each in found] == ["v_8", "v_9"]
    assert all("train/a_0.jpg" in each.detail for each in found)


def test_blocks_change_nothing(copy, monkeypatch):
    (planted,) = [each for each in DEFECTS if each.rule == "near-duplicate"]
    planted.plant(copy)
    expected = lint(copy.spec).findings
    monkeypatch.setattr(near_duplicates, "BLOCK", 2)
    assert lint(copy.spec).findings == expected


def test_large_images_are_read_with_a_warning_and_huge_ones_refused(terrain_copy, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64 - 1)
    assert codes(lint(terrain_copy.spec)) == {"very-large"}
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64 // 2 - 1)
    assert codes(lint(terrain_copy.spec)) == {"too-large"}


def test_a_bomb_is_refused_by_its_header_within_little_memory(tmp_path, make_dataset):
    spec = make_dataset()
    (tmp_path / "images/train/train_0.png").write_bytes(
        bomb(12000)
    )  # below Pillow's limit, and without its pixels
    (tmp_path / "images/train/train_1.png").write_bytes(bomb())
    found = {
        each.path.name: each.rule.code
        for each in lint(spec).findings
        if each.rule.severity == "error"
    }
    assert found == {"train_0.png": "damaged", "train_1.png": "too-large"}


def test_unreadable_files_are_named(make_dataset, tmp_path, monkeypatch):
    spec = make_dataset(size=(32, 32))
    locked = tmp_path / "masks/train/train_0.png"
    open_path = Path.open

    def refuse(path, *arguments, **options):
        if path == locked:
            raise PermissionError(13, "Permission denied")
        return open_path(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert [(each.rule.code, each.path, each.detail) for each in lint(spec).findings] == [
        ("unreadable", locked, "Permission denied")
    ]


def test_what_only_training_refuses_is_an_error_nevertheless(make_dataset, monkeypatch):
    def refuse(_spec, split):
        raise InputError(f"nobody foresaw this in {split}")

    monkeypatch.setattr(file_names, "find_pairs", refuse)
    found = lint(make_dataset(size=(32, 32))).findings
    assert {(each.rule.code, each.split, each.detail) for each in found} == {
        ("split-unreadable", split, f"nobody foresaw this in {split}") for split in ("train", "val")
    }


def test_a_dataset_that_is_nowhere_is_one_line():
    spec = DatasetSpec(
        name="x", root="/nowhere", classes=("a",), splits={"train": "train", "val": "val"}
    )
    with pytest.raises(InputError, match="no folder /nowhere"):
        lint(spec)


def test_progress_is_told_after_every_pair(terrain_copy):
    told = []
    lint(terrain_copy.spec, lambda done, total: told.append((done, total)))
    assert told == [(number, 14) for number in range(1, 15)]


def test_little_is_kept_of_each_pair(terrain_copy):
    """A dataset of 100,000 images is compared in memory."""
    report = lint(terrain_copy.spec)
    first, *others = report.pairs
    for each in report.facts:
        assert each.mask.counts.base is None  # else all 256 or 65536 counts
        assert each.content.thumbnail.classes.dtype == np.uint8
        # images are looked for in the splits before their own
        places = each.image.content.mirrored.places
        assert len(places) == 0 if each.split == first else len(places) > 0
    assert others


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


FIXABLE = [each for each in DEFECTS if RULES[each.rule].corrected]


@pytest.mark.usefixtures("sound_pairs_once")
@pytest.mark.parametrize("planted", FIXABLE, ids=lambda each: each.name)
@pytest.mark.parametrize("copy", ["terrain"], indirect=True)
def test_the_corrected_copy_is_right_and_the_originals_untouched(copy, planted, tmp_path):
    planted.plant(copy)
    if planted.rule == "single-class":
        copy.changes["classes"] = ("ground", "thing")
    before = snapshot(copy.root)
    report = lint(copy.spec)
    result = repair(report, tmp_path / "fixed")
    assert snapshot(copy.root) == before
    assert result.corrected or result.left_out, "something was to be done"
    fixed = load_dataset(str(result.config))
    again = lint(fixed)
    assert not again.counts["error"], again.findings
    assert planted.rule not in codes(again)
    assert len(again.facts) == result.written
    check_dataset(fixed)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("smaller_mask", "resized"),
        ("mask_of_floats", "ids"),
        ("mask_with_transparency", "ids"),
        ("shuffled_palette", "palette"),
        ("masks_of_0_and_255", "255 became class 1"),
        ("names_of_other_case", None),
    ],
)
def test_what_can_be_saved_is_not_left_out(copy, name, what, tmp_path):
    (planted,) = [each for each in DEFECTS if each.name == name]
    sound = {path.name: read(path) for path in copy.masks()}
    planted.plant(copy)
    if planted.rule == "single-class":
        copy.changes["classes"] = ("ground", "thing")
    result = repair(lint(copy.spec), tmp_path / "fixed")
    assert result.left_out == {}
    assert result.written == 14
    if what is not None:
        assert all(what in done for done in result.corrected.values())
    if name in ("mask_of_floats", "mask_with_transparency", "shuffled_palette"):
        for path in (tmp_path / "fixed/masks").rglob("*.png"):
            np.testing.assert_array_equal(read(path), sound[path.name])


def test_colors_of_the_classes_become_ids(terrain_copy, tmp_path):
    shutil.copytree(terrain_copy.root, tmp_path / "data")
    copy = Copy(tmp_path / "data", terrain_copy.classes, 255)
    colors = np.array([[200, 10, 10], [10, 200, 10], [10, 10, 200]], np.uint8)
    copy.changes["colors"] = colors.tolist()
    ids = read(copy.mask())
    table = np.zeros((256, 3), np.uint8)
    table[:3] = colors
    save(copy.mask(), table[ids])
    result = repair(lint(copy.spec), tmp_path / "fixed")
    assert result.left_out == {}
    np.testing.assert_array_equal(read(tmp_path / "fixed/masks/train/a_0.png"), ids)


@pytest.mark.parametrize("stored", ["colors", "floats"])
def test_masks_without_a_zero_label_are_saved_as_they_are_numbered(terrain_copy, tmp_path, stored):
    shutil.copytree(terrain_copy.root, tmp_path / "data")
    copy = Copy(tmp_path / "data", terrain_copy.classes, 255)
    colors = np.array([[0, 0, 0], [200, 10, 10], [10, 200, 10], [10, 10, 200]], np.uint8)
    copy.changes |= {
        "reduce_zero_label": True,
        "ignore_ids": [],
        "colors": colors[1:].tolist(),
    }
    for path in copy.masks():
        save(path, np.where(read(path) == 255, 0, read(path) + 1).astype(np.uint8))
    ids = read(copy.mask())
    if stored == "colors":
        save(copy.mask(), colors[ids])
    else:
        swap(copy.mask(), ids.astype(np.float32), ".tif")
    result = repair(lint(copy.spec), tmp_path / "fixed")
    assert result.left_out == {}
    np.testing.assert_array_equal(read(tmp_path / "fixed/masks/train/a_0.png"), ids)


def test_repair_refuses_the_dataset_itself_and_folders_in_use(terrain_copy, tmp_path):
    report = lint(terrain_copy.spec)
    with pytest.raises(InputError, match="lies in the dataset itself"):
        repair(report, terrain_copy.root / "fixed")
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    with pytest.raises(InputError, match="exists already"):
        repair(report, tmp_path / "used")


def test_repair_leaves_nothing_behind_when_a_split_would_be_empty(copy, tmp_path):
    for path in (copy.root / "images/val").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="nothing would be left of the split val"):
        repair(lint(copy.spec), tmp_path / "fixed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_lint_needs_no_torch():
    program = (
        "import sys; import encoder_ablations.data.checks.repair; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_document_lists_every_rule_as_it_is():
    text = (Path(__file__).parents[3] / "docs/own_data.md").read_text()
    for rule in RULES.values():
        assert f"| `{rule.code}` | {rule.severity} | {rule.title} | {rule.fix} |" in text


def by_pattern(copy: Copy) -> DatasetSpec:
    """The copy as patterns of paths: colour-coded masks, index files of paths and of ids."""
    colors = np.array([[0, 0, 0], [200, 10, 10], [10, 200, 10], [9, 9, 9]], np.uint8)
    for path in copy.masks():
        ids = read(path)
        save(path.with_name(f"{path.stem}_gt.png"), colors[np.where(ids == 255, 3, ids)])
        path.unlink()
    for path in copy.images():
        path.rename(path.with_name(f"{path.stem}_rgb.jpg"))
    index = [f"images/train/{path.name}" for path in sorted((copy.root / "images/train").iterdir())]
    (copy.root / "train.txt").write_text("\n".join(index))
    (copy.root / "val.txt").write_text("\n".join(f"v_{number}" for number in range(4)))
    copy.changes |= {
        "images": "images/{split}/{id}_rgb.jpg",
        "masks": "masks/{split}/{id}_gt.png",
        "splits": {"train": "train.txt", "val": "val.txt"},
        "mask_format": "colors",
        "mask_colors": colors.tolist(),
        "ignore_ids": [3],
    }
    return copy.spec


@pytest.mark.parametrize("copy", ["terrain"], indirect=True)
def test_patterns_of_paths_and_colour_coded_masks(copy, tmp_path):
    sound = {path.stem: read(path) for path in copy.masks()}
    spec = by_pattern(copy)
    assert lint(spec).findings == []
    assert lint(spec).pairs == SPLITS
    strange = copy.root / "masks/train/a_2_gt.png"
    save(strange, np.where(read(strange) == 9, 77, read(strange)).astype(np.uint8))
    (copy.root / "masks/val/v_1_gt.png").unlink()
    (copy.root / "images/train/a_4_rgb.jpg").write_bytes(b"")
    with (copy.root / "train.txt").open("a") as file:
        file.write("\n../../../etc/passwd\n")
    report = lint(spec)
    assert {(each.rule.code, each.path.name) for each in report.findings} == {
        ("mask-format", "a_2_gt.png"),
        ("mask-missing", "v_1_rgb.jpg"),
        ("file-empty", "a_4_rgb.jpg"),
        ("index-escape", "train.txt"),
    }
    result = repair(report, tmp_path / "fixed")
    fixed = load_dataset(str(result.config))
    assert lint(fixed).findings == []
    assert lint(fixed).pairs == {"train": 8, "val": 3}
    dataset = FolderDataset(fixed, "train")
    np.testing.assert_array_equal(dataset[0].mask, sound[dataset[0].id])


@pytest.mark.parametrize("copy", ["terrain"], indirect=True)
def test_a_pattern_that_begins_nowhere_is_a_missing_folder(copy):
    spec = by_pattern(copy).model_copy(update={"images": "pictures/{split}/{id}_rgb.jpg"})
    assert {each.rule.code for each in lint(spec).findings} == {"folder-missing"}


@pytest.mark.parametrize("copy", ["terrain"], indirect=True)
def test_masks_of_one_more_are_right_where_the_spec_says_so(copy):
    (planted,) = [each for each in DEFECTS if each.rule == "off-by-one"]
    planted.plant(copy)
    copy.changes["reduce_zero_label"] = True
    assert lint(copy.spec).findings == []


def test_names_in_two_unicode_forms_are_named_as_such(make_dataset, tmp_path):
    spec = make_dataset()
    for kind, form in (("images", "NFC"), ("masks", "NFD")):
        path = tmp_path / kind / "train/train_0.png"
        path.rename(path.with_stem(unicodedata.normalize(form, "krä")))
    listing = file_names.list_split(spec, "train")
    (found,) = [each for each in listing.findings if each.rule.code == "name-mismatch"]
    assert "NFD" in found.detail
