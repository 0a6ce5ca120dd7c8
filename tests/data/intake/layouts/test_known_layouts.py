"""Folders as well-known tools write them become the datasets that they are."""

import numpy as np
import pytest
import yaml
from known_layouts import LAYOUTS, vistas

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.intake.layouts.choices import Unsure
from encoder_ablations.data.intake.layouts.recognition import propose
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments.cli import main


def read(spec):
    """Masks by id, and ids by split, as training reads them."""
    masks, splits = {}, {}
    for split in spec.splits:
        part = FolderDataset(spec, split)
        splits[split] = set(part.ids)
        for number, name in enumerate(part.ids):
            masks[name] = part[number].mask
    return masks, splits


def assert_layout(yaml_path, layout):
    spec = load_dataset(str(yaml_path))
    masks, splits = read(spec)
    assert spec.classes == layout.classes
    assert masks.keys() == layout.masks.keys()
    for name, expected in layout.masks.items():
        np.testing.assert_array_equal(masks[name], expected, err_msg=name)
    if layout.splits is None:
        assert set(splits) == {"train", "val"}
    elif "val" in layout.splits:
        assert splits == layout.splits
    else:
        assert splits["train"] | splits["val"] == layout.splits["train"]
        assert splits["test"] == layout.splits["test"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_known_layouts_are_read_right(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    layout = LAYOUTS[name](tmp_path / name)
    assert main(["init", name, "--output", "made.yaml"]) == 0
    capsys.readouterr()
    assert_layout(tmp_path / "made.yaml", layout)
    assert all(
        each.strip() for each in yaml.safe_load((tmp_path / "made.yaml").read_text())["classes"]
    )
    main(["lint", "made.yaml"])
    assert "error" not in capsys.readouterr().out.replace("0 errors", "")


@pytest.mark.parametrize("name", ["mmseg", "voc", "vistas"])
def test_what_needs_no_conversion_is_used_where_it_lies(name, tmp_path):
    LAYOUTS[name](tmp_path)
    proposal = propose(tmp_path)
    assert proposal.direct, proposal.spec
    assert proposal.spec.folder == tmp_path


def test_voc_is_found_from_any_of_its_folders(tmp_path):
    layout = LAYOUTS["voc"](tmp_path)
    for root in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit/VOC2012"):
        assert read(propose(root).spec)[1] == layout.splits


def test_two_versions_of_labels_are_a_question(tmp_path):
    layout = vistas(tmp_path, ("v1.2", "v2.0"))
    with pytest.raises(Unsure, match=r"--masks v1.2/labels .*--masks v2.0/labels") as caught:
        propose(tmp_path)
    assert len(caught.value.readings) == 2
    assert "\n" not in str(caught.value)
    proposal = propose(tmp_path, masks=["v1.2/labels"])
    np.testing.assert_array_equal(read(proposal.spec)[0]["rg_0"], layout.masks["rg_0"])
    assert "Class names come from config_v1.2.json." in proposal.remarks
