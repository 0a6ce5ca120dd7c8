import json
import shutil

import numpy as np
import pytest
import yaml
from planted import read, save

from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.commands import lint


@pytest.fixture
def dataset(terrain, tmp_path, monkeypatch):
    """A YAML in the current folder and, below it, a copy of the terrain that may be damaged."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(terrain.root, tmp_path / "data")
    spec = terrain.model_dump(mode="json", exclude_defaults=True) | {"root": str(tmp_path / "data")}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(spec))
    return tmp_path / "data"


def test_sound_data_are_fine(dataset, capsys):
    assert main(["lint", "toy.yaml"]) == 0
    out = capsys.readouterr().out
    assert "24 train, 6 val, 8 test" in out
    assert "0 errors, 0 warnings, 0 suspicions, 0 notes. Nothing keeps you from" in out


def test_errors_are_grouped_and_end_with_code_2(dataset, capsys):
    masks = sorted((dataset / "masks/train").iterdir())
    held = ", ".join(map(str, np.unique(read(masks[0]) + 5)))
    for path in masks[:10]:
        save(path, read(path) + 5)
    masks[20].unlink()
    assert main(["lint", "toy.yaml"]) == 2
    out = capsys.readouterr().out
    assert "error mask-ids: a mask holds ids that no class has (10×)" in out
    assert (
        f"    masks/train/train_00000.png: {held} on 100 % of the pixels; classes are 0..2" in out
    )
    assert "… and 2 more (--all)" in out
    assert "train_00009.png" not in out
    assert (
        "error mask-missing: an image has no mask\n    images/train/train_00020.png: no "
        "train_00020 in" in out
    )
    assert "11 errors" in out
    assert main(["lint", "toy.yaml", "--all"]) == 2
    assert "train_00009.png" in capsys.readouterr().out


def test_warnings_alone_end_with_code_0(dataset, capsys):
    path = dataset / "images/train/train_00003.png"
    save(path, read(path) * 0)
    assert main(["lint", "toy.yaml"]) == 0
    assert "warning image-constant" in capsys.readouterr().out


def test_json_on_the_terminal_is_json_alone(dataset, capsys):
    (dataset / "masks/val/val_00002.png").write_bytes(b"")
    assert main(["lint", "toy.yaml", "--json", "-", "--fix", "fixed"]) == 0
    out, error = capsys.readouterr()
    found = json.loads(out)
    assert "copy: fixed/dataset.yaml: 0 errors" in error
    assert found["counts"] == {"error": 1, "warning": 0, "suspicion": 0, "note": 0}
    assert found["pairs"] == {"train": 24, "val": 6, "test": 8}
    (finding,) = found["findings"]
    assert finding["file"] == "masks/val/val_00002.png"
    assert finding["rule"] == "file-empty"
    assert finding["severity"] == "error"
    assert finding["split"] == "val"
    assert finding["fix"]
    assert set(found["class_pixels"]["train"]) == {"background", "crater", "boulder"}


def test_page_is_self_contained_and_escapes_names(dataset, tmp_path, capsys):
    name = "<b>bold</b>&.png".replace("/", "_")
    for kind in ("images", "masks"):
        (dataset / kind / "train/train_00000.png").rename(dataset / kind / "train" / name)
    assert main(["lint", "toy.yaml", "--html", "page.html", "--json", "out.json"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;bold&lt;_b&gt;&amp;.png" in page
    assert "<b>bold" not in page
    assert "http" not in page
    assert "a name will not survive other systems" in page
    assert "crater" in page
    out = capsys.readouterr().out
    assert "page: page.html" in out
    assert "findings: out.json" in out
    assert json.loads((tmp_path / "out.json").read_text())["rules"] == {"name-odd": 1}


def test_fix_writes_a_copy_that_lints_clean(dataset, capsys):
    path = dataset / "masks/train/train_00005.png"
    save(path, read(path)[::2, ::2])
    (dataset / "images/test/test_00001.png").write_bytes(b"\x89PNG")
    assert main(["lint", "toy.yaml", "--fix", "fixed"]) == 0
    out = capsys.readouterr().out
    # the enlarged mask is made of blocks, which is true and worth a look
    assert out.endswith(
        "0 errors, 0 warnings, 1 suspicion, 0 notes. Nothing keeps you from training.\n"
        "next: ablate run STUDY.yaml 'datasets=[fixed/dataset.yaml]'\n"
    )
    assert "corrected images/train/train_00005.png: mask resized by the nearest pixel" in out
    assert "left out images/test/test_00001.png: a file is not an image" in out
    assert "37 of 38 pairs written, 1 of them corrected; 1 file left out." in out
    assert main(["lint", "fixed/dataset.yaml"]) == 0
    assert "24 train, 6 val, 7 test" in capsys.readouterr().out


def test_what_a_copy_cannot_put_right_still_ends_with_code_2(dataset, capsys):
    for path in (dataset / "masks/train").iterdir():
        save(path, read(path) * 0)
    assert main(["lint", "toy.yaml", "--fix", "fixed"]) == 2
    out = capsys.readouterr().out
    assert "copy: fixed/dataset.yaml: 1 error," in out
    assert out.endswith("next: ablate lint fixed/dataset.yaml   says what is left to correct\n")


def test_the_copy_keeps_the_yaml_s_comments_and_what_holds(dataset, tmp_path):
    text = (
        "# Rocks of Crete.\n# Licence: ours.\nname: toy\n"
        f"# on the old disk\nroot: {tmp_path / 'data'}\n# in id order\nclasses:\n  - background  "
        f"# 0\n  - crater  # 1\n"
        "  - boulder\n\n# the two folders\nimages: images\nmasks: masks\nsplits: {train: train, "
        "val: val}\n"
        "# not labelled\nignore_ids: [255, 254]  # 254 is the rover\n# scene_pattern: ^([^_]+)_\n"
    )
    (tmp_path / "toy.yaml").write_text(text)
    (dataset / "masks/train/train_00001.png").write_bytes(b"")
    assert main(["lint", "toy.yaml", "--fix", "fixed"]) == 0
    lines = (tmp_path / "fixed/dataset.yaml").read_text().splitlines()
    assert lines == [
        "# The dataset toy, corrected by  ablate lint --fix",
        "# Comments are those of toy.yaml.",
        "# Rocks of Crete.",
        "# Licence: ours.",
        "name: toy_fixed",
        "# on the old disk",
        f"root: {tmp_path / 'fixed'}",
        *text.splitlines()[5:10],
        "splits: {train: train, val: val}",
        *text.splitlines()[15:],
    ]


def test_settings_can_be_tried_on_the_command_line(dataset, capsys):
    assert main(["lint", "toy.yaml", "classes=[a, b]", "ignore_ids=[]"]) == 2
    assert "mask-ids" in capsys.readouterr().out
    assert main(["lint", "toy.yaml", "value_map={0: 0, 1: 1, 2: 255}", "classes=[a, b]"]) == 0


def test_bad_input_is_one_line(dataset, capsys):
    assert main(["lint", "nothing.yaml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["lint", "toy.yaml", "--fix", "data"]) == 2
    assert "lies in the dataset itself" in capsys.readouterr().err.splitlines()[-1]


def test_every_file_that_is_left_out_is_named(dataset, tmp_path, capsys):
    for path in sorted((dataset / "masks/train").iterdir())[:11]:
        path.write_bytes(b"")
    lossy = dataset / "masks/train/train_00020.png"
    save(lossy.with_suffix(".jpg"), read(lossy))
    lossy.unlink()
    binary = dataset / "masks/val/val_00002.png"  # only a warning, and left out nevertheless
    save(binary, (read(binary) > 0).astype(np.uint8) * 255)
    main(["lint", "toy.yaml", "--fix", "fixed"])
    out = capsys.readouterr().out
    assert out.count("\nleft out ") == 8
    assert "… and 5 more left out: fixed/fixed.json names all" in out
    assert "13 files left out" in out
    left_out = json.loads((tmp_path / "fixed/fixed.json").read_text())["left_out"]
    assert len(left_out) == 13
    assert (
        left_out["images/val/val_00002.png"]
        == "a mask holds only 0 and 255 among masks of class ids"
    )
    assert (
        left_out["masks/train/train_00020.jpg"] == "a mask is stored with a loss, which changes ids"
    )
    main(["lint", "toy.yaml", "--fix", "again", "--all"])
    assert capsys.readouterr().out.count("\nleft out ") == 13


def test_a_copy_that_cannot_be_written_is_refused_before_anything_is_read(
    dataset, tmp_path, capsys
):
    (tmp_path / "fixed").mkdir()
    (tmp_path / "fixed/kept").touch()
    assert main(["lint", "toy.yaml", "--fix", "fixed"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert "fixed exists already" in error


def test_a_line_break_in_a_name_breaks_no_line(dataset, capsys):
    for kind in ("images", "masks"):
        (dataset / kind / "train/train_00000.png").rename(dataset / kind / "train/a\nb.png")
    assert main(["lint", "toy.yaml"]) == 0
    assert "    images/train/a�b.png: a control character" in capsys.readouterr().out


def test_what_is_required_is_the_dataset(capsys):
    with pytest.raises(SystemExit):
        main(["lint"])
    error = capsys.readouterr().err
    assert "required: dataset\n" in error


def test_a_copy_that_was_not_read_to_its_end_is_removed(dataset, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as stopped:

        def interrupt(*_arguments):
            assert (tmp_path / "fixed").is_dir()
            raise KeyboardInterrupt

        stopped.setattr(
            lint,
            "load_dataset",
            lambda reference, *rest: (
                interrupt() if "fixed" in reference else load_dataset(reference, *rest)
            ),
        )
        assert main(["lint", "toy.yaml", "--fix", "fixed"]) == 130
    assert capsys.readouterr().err == "stopped; the same command begins anew.\n"
    assert not (tmp_path / "fixed").exists()
    assert main(["lint", "toy.yaml", "--fix", "fixed"]) == 0
