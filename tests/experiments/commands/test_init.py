"""From a folder to a correct study in three commands."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from known_layouts import vistas
from matplotlib import font_manager
from PIL import Image
from planted import read, save

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.palette import palette
from encoder_ablations.data.references import load_dataset
from encoder_ablations.encoders.text.vocabulary import load_vocabulary
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.commands import init
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.pages import fonts

TRY = [
    "encoders=[{name: test_vit, weights: random, channels: 32}]",
    "segmenters=[linear]",
    "fractions=[1.0]",
    "seeds=[0]",
    "recipe={steps: 2, batch_size: 2, evaluate_every: 2, augmentation: {crop: [64, 64]}, "
    "schedule: {warmup_steps: 1}}",
]


@pytest.fixture
def folder(terrain, tmp_path, monkeypatch):
    """Colour masks beside images, without splits: nothing that could be trained on as it is."""
    monkeypatch.chdir(tmp_path)
    colors = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], np.uint8)
    for path in sorted((terrain.folder / "images/train").iterdir()):
        for kind, pixels in (
            ("photos", read(path)),
            ("labels", colors[read(terrain.folder / "masks/train" / path.name)]),
        ):
            (tmp_path / "mine" / kind).mkdir(parents=True, exist_ok=True)
            save(tmp_path / "mine" / kind / path.name, pixels)
    return tmp_path / "mine"


def test_from_a_folder_to_a_study_in_three_commands(folder, terrain, tmp_path, capsys):
    assert main(["init", str(folder), "--classes", "ground,crater,boulder"]) == 0
    out = capsys.readouterr().out
    assert "recognised: images and masks of equal names; masks: colours" in out
    assert "pairs: 19 train, 5 val" in out
    assert "next: ablate lint mine.yaml" in out
    assert main(["lint", "mine.yaml"]) == 0
    capsys.readouterr()
    vocabulary = load_vocabulary(Path("mine_vocabulary.yaml"))
    assert vocabulary.texts == {name: [name] for name in ("ground", "crater", "boulder")}
    assert main(["run", "mine_study.yaml", "--device", "cpu", *TRY]) == 0
    assert (tmp_path / "outputs/mine/report.html").exists()
    spec = load_dataset("mine.yaml")
    for path in (spec.folder / "masks").rglob("*.png"):
        np.testing.assert_array_equal(read(path), read(terrain.folder / "masks/train" / path.name))


def test_the_yaml_explains_itself_and_the_study_can_be_planned(folder, tmp_path):
    assert main(["init", str(folder), "--name", "mars", "--output", "sub/mars.yaml"]) == 0
    text = (tmp_path / "sub/mars.yaml").read_text()
    assert text.startswith(
        f"# mars: written by  ablate init  from {folder}\n# Recognised: images and masks of equal"
    )
    assert "# class names in id order" in text
    assert "  - background  # 0" in text
    assert yaml.safe_load(text)["root"] == str(tmp_path / "sub/mars_prepared")
    specs = plan(load_study_spec("sub/mars_study.yaml"))
    assert {spec.dataset.name for spec in specs} == {"mars"}
    assert specs[0].recipe.augmentation.crop == (64, 64)


def test_contact_sheet_shows_images_and_classes(folder, tmp_path):
    assert main(["init", str(folder), "--classes", "ground,crater,boulder"]) == 0
    sheet = np.asarray(Image.open(tmp_path / "mine.png")).reshape(-1, 3)
    seen = {tuple(map(int, color)) for color in np.unique(sheet, axis=0)}
    assert {(0, 0, 0), (255, 0, 0), (0, 255, 0)} <= seen, "the legend has the colours of the masks"
    assert len(seen) > 1000
    assert not set(palette(3)) <= seen


@pytest.fixture
def no_fonts(monkeypatch):
    """A machine without any font but matplotlib's own."""
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    forget = (fonts._path_for.cache_clear, fonts._others.cache_clear)
    for clear in forget:
        clear()
    yield
    for clear in forget:
        clear()


@pytest.mark.usefixtures("no_fonts")
def test_names_that_no_font_can_write_are_ids_in_the_contact_sheet(folder, tmp_path, capsys):
    (folder / "photos/地表.png").write_bytes((folder / "photos/train_00000.png").read_bytes())
    (folder / "labels/地表.png").write_bytes((folder / "labels/train_00000.png").read_bytes())
    pictures = []
    for classes in ("ground,环形山,岩石", "ground,1,2"):
        assert main(["init", str(folder), "--classes", classes]) == 0
        pictures.append((tmp_path / "mine.png").read_bytes())
        for path in tmp_path.glob("mine*"):
            if path != folder:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert pictures[0] == pictures[1]
    notes = [line for line in capsys.readouterr().out.splitlines() if "no font" in line]
    assert notes == [
        "note: no font on this machine has the letters of 环形山, 岩石: the contact sheet shows "
        "class ids."
    ]


def test_folders_that_need_nothing_are_linted_directly(terrain, folder, capsys):
    assert main(["lint", str(terrain.folder)]) == 0
    assert "24 train, 6 val, 8 test" in capsys.readouterr().out
    assert main(["lint", str(folder)]) == 2
    error = capsys.readouterr().err
    assert f"First make a dataset of it: ablate init {folder}" in error


def test_nothing_is_overwritten(folder, tmp_path, capsys):
    (tmp_path / "mine_study.yaml").write_text("precious")
    assert main(["init", str(folder)]) == 2
    assert "mine_study.yaml exists already" in capsys.readouterr().err
    assert (tmp_path / "mine_study.yaml").read_text() == "precious"
    (tmp_path / "mine_study.yaml").unlink()
    (tmp_path / "mine_prepared").mkdir()
    (tmp_path / "mine_prepared/kept").touch()
    assert main(["init", str(folder)]) == 2
    assert "mine_prepared exists already" in capsys.readouterr().err
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder"),
        (["mine", "--classes", "a,b"], "class names"),
        (["mine", "--output", "mine.txt"], "ends with .yaml"),
        (["mine", "--name", "a b"], "name"),
        (["mine", "--classes", "a,,b"], "class 1 is empty"),
        (["mine", "--masks", "other"], "there are labels"),
    ],
)
def test_bad_input_is_one_line(folder, arguments, message, capsys):
    assert main(["init", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
    assert "Traceback" not in error


@pytest.fixture
def two_versions(tmp_path, monkeypatch):
    """Labels of two kinds, between which values cannot decide."""
    monkeypatch.chdir(tmp_path)
    return vistas(tmp_path / "vistas", ("v1.2", "v2.0"))


def at_a_terminal(monkeypatch, answers: str) -> int:
    """Standard input and error are a pseudo-terminal at which ``answers`` were typed; its other end
    is returned."""
    controller, terminal = os.openpty()
    os.write(controller, answers.encode())
    monkeypatch.setattr(sys, "stdin", os.fdopen(os.dup(terminal), encoding="utf-8"))
    monkeypatch.setattr(sys, "stderr", os.fdopen(terminal, "w", encoding="utf-8"))
    return controller


def test_at_a_terminal_init_asks(two_versions, tmp_path, monkeypatch):
    controller = at_a_terminal(monkeypatch, "7\n1\n")
    assert main(["init", "vistas"]) == 0
    sys.stderr.flush()
    shown = os.read(controller, 100_000).decode()
    os.close(controller)
    assert "1  the masks hold values 0, 1" in shown
    assert "[--masks v2.0/labels]" in shown
    assert shown.count("Which one? 1..2:") == 2
    spec = load_dataset("vistas.yaml")
    assert spec.masks == "{split}/v1.2/labels/{id}.png"
    assert spec.classes == two_versions.classes


def test_without_an_answer_nothing_is_written(two_versions, tmp_path, monkeypatch):
    controller = at_a_terminal(monkeypatch, "\x04")
    assert main(["init", "vistas"]) == 2
    os.close(controller)
    assert [path.name for path in tmp_path.iterdir()] == ["vistas"]


def test_without_a_terminal_one_line_names_the_option(two_versions, tmp_path, capsys):
    assert main(["init", "vistas"]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "--masks v1.2/labels" in error
    assert [path.name for path in tmp_path.iterdir()] == ["vistas"]
    assert main(["init", "vistas", "--masks", "vistas/training/v2.0/labels"]) == 0
    assert load_dataset("vistas.yaml").masks == "{split}/v2.0/labels/{id}.png"


def test_smoothed_masks_say_so_in_the_yaml_and_lint_agrees(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    levels = (np.arange(64) * 32 - 900).clip(0, 255).astype(np.uint8)
    for number in range(6):
        split = "train" if number < 4 else "val"
        for kind, pixels in (
            ("images", None),
            ("masks", np.tile(np.roll(levels, -number), (64, 1))),
        ):
            path = tmp_path / f"mine/{kind}/{split}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            save(path, noise if pixels is None else pixels)
    assert main(["init", "mine"]) == 0
    out = capsys.readouterr().out
    text = (tmp_path / "mine.yaml").read_text()
    assert "mask_format: matte" in text
    for place in (out, text):
        assert "blends along edges" in place
    assert main(["lint", "mine.yaml"]) == 0


@pytest.mark.parametrize("failure", [KeyboardInterrupt, InputError("the disk is full")])
@pytest.mark.parametrize("step", ["load_dataset", "write_sheet", "study_yaml"])
def test_all_outputs_appear_or_none(folder, tmp_path, monkeypatch, capsys, step, failure):
    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as stopped:

        def fail(*_arguments):
            assert (tmp_path / "mine_prepared").is_dir()
            raise failure

        stopped.setattr(init, step, fail)
        assert main(["init", str(folder)]) == (130 if failure is KeyboardInterrupt else 2)
    if failure is KeyboardInterrupt:
        assert capsys.readouterr().err == "stopped; the same command begins anew.\n"
    assert sorted(tmp_path.rglob("*")) == before
    assert main(["init", str(folder)]) == 0


READY = {
    "camvid": ("images/{}/0006R0_{}_{}.png", "masks/{}/0006R0_{}_{}.png", "train", "val"),
    "ade20k": ("images/{}/ADE_{}_{}.jpg", "annotations/{}/ADE_{}_{}.png", "training", "validation"),
    "cityscapes": (
        "leftImg8bit/{}/ulm/ulm_{}_{}_leftImg8bit.png",
        "gtFine/{}/ulm/ulm_{}_{}_gtFine_labelIds.png",
        "train",
        "val",
    ),
}


@pytest.mark.parametrize("name", READY)
@pytest.mark.parametrize("above", ["", "archive"])
def test_published_datasets_are_pointed_to_their_yaml(name, above, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image, mask, *splits = READY[name]
    folder = tmp_path / "in" / above
    rng = np.random.default_rng(0)
    for split in splits:
        for number in range(4):
            pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            ids = np.repeat(rng.integers(7, 9, (4, 1), dtype=np.uint8), 10, axis=0).repeat(48, 1)
            for pattern, content in ((image, pixels), (mask, ids)):
                path = folder / pattern.format(split, f"{number:06d}", "000019")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(path)
    (folder / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n")
    main(["init", "in", "--output", "made.yaml"])
    lines = capsys.readouterr().out.splitlines()
    (note,) = [line for line in lines if f"'{name}'" in line]
    delta = note.split("datasets: [")[1].removesuffix("]")
    spec = load_dataset(yaml.safe_load(delta))
    assert len(FolderDataset(spec, "val")) == 4
