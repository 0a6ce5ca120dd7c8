"""One published number of segmentation by texts, where weights and data are at hand."""

import os
from pathlib import Path

import pytest
import yaml

from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.studies.study import load_study_spec

HEAD = "NACLIP + PAMR"
WEIGHTS = "ZERO_SHOT_WEIGHTS"
FILE = "model.safetensors"
TOLERANCE = 0.5
"""Points of mIoU: they compute in float16."""


@pytest.fixture
def weights():
    """A folder that holds openai/clip-vit-base-patch16 in transformers' format."""
    given = os.environ.get(WEIGHTS)
    if given is None:
        pytest.skip(f"{WEIGHTS} names no folder with openai/clip-vit-base-patch16")
    if not load_dataset("voc2012").is_prepared:
        pytest.skip("DATASETS_ROOT holds no VOCdevkit/VOC2012")
    return Path(given).resolve()


def naclip_on_voc(weights):
    """The study of VOC21 with NACLIP alone, on weights of a folder."""
    study = load_study_spec("zero_shot_voc21").model_dump(mode="json")
    (head,) = (each for each in study["segmenters"] if each["label"] == HEAD)
    (encoder,) = study["encoders"]
    (score,) = (each for each in study["published"] if each["segmenter"] == HEAD)
    text = {"templates": "imagenet", "tower": str(weights)}
    return study | {
        "encoders": [encoder | {"weights": str(weights / FILE)}],
        "segmenters": [head | {"text": text}],
        "published": [score],
    }


@pytest.mark.slow
def test_naclip_on_voc_is_as_published(weights, tmp_path):
    """64.07 in sinahmr/NACLIP; one pass over 1,449 images, on a GPU if there is one."""
    study = naclip_on_voc(weights)
    path = tmp_path / "voc.yaml"
    path.write_text(yaml.safe_dump(study))
    assert main(["run", str(path), "--output", str(tmp_path / "voc")]) == 0
    (found,) = tmp_path.glob("voc/runs/*/record.json")
    (score,) = study["published"]
    ours = 100 * load_record(found.parent).metrics.miou
    assert ours == pytest.approx(score["miou"], abs=TOLERANCE)


def test_the_study_of_that_number_is_one_run(tmp_path, monkeypatch, capsys):
    """The test above is skipped nearly everywhere; its study is read here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE).write_bytes(b"")
    path = tmp_path / "voc.yaml"
    path.write_text(yaml.safe_dump(naclip_on_voc(tmp_path)))
    assert main(["run", str(path), "--dry-run"]) == 0
    assert HEAD in capsys.readouterr().out
