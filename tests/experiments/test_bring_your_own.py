"""The files of docs/bring-your-own.md, as they stand there, make a study."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from encoder_ablations.data.views.custom import find_transform
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.experiments.cli import main
from encoder_ablations.segmenters import loss_registry, registry
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.references import load_segmenter

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bring-your-own.md"
FILES = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
RECIPE = {"steps": 2, "batch_size": 2, "evaluate_every": 2}


@pytest.fixture
def files(studies):
    """Write the page's files into the current folder; their modules are forgotten afterwards."""
    for name, content in FILES:
        Path(name).write_text(content)
    yield studies
    for name, _ in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)
    find_transform.cache_clear()
    registry.HEADS.entries.pop("focal", None)
    registry.HEADS.entries.pop("finest", None)
    loss_registry.LOSSES.entries.pop("hinge", None)


def test_every_block_of_the_page_is_a_file():
    names = [name for name, _ in FILES]
    assert names == [
        "my_study.yaml",
        "my_models.py",
        "my_dense_heads.py",
        "my_heads.py",
        "my_losses.py",
        "my_transforms.py",
    ]
    assert len(re.findall(r"```(python|yaml)", PAGE.read_text())) == len(names)


def test_the_study_of_the_page_runs(files, capsys):
    study = yaml.safe_load(Path("my_study.yaml").read_text())
    study["datasets"], study["seeds"] = [files.dataset], [0]
    study["encoders"][1]["weights"] = "random"  # no network
    study["recipe"] |= RECIPE
    study["recipe"]["augmentation"]["crop"] = [64, 64]
    Path("my_study.yaml").write_text(yaml.safe_dump(study))
    assert main(["run", "my_study.yaml", "--device", "cpu"]) == 0, capsys.readouterr().err
    records = [json.loads(path.read_text()) for path in Path().glob("outputs/*/runs/*/record.json")]
    assert {record["spec"]["encoder"]["label"] for record in records} == {"small", "resnet18"}
    for record in records:
        assert record["status"] == "finished"
        # an encoder, two transforms, and a head or a loss
        assert len(record["code"]) == 4
        assert record["encoder"]["kind"] == "CustomBody"


def test_the_dense_head_of_the_page_takes_any_loss(files):
    settings = {"name": "my_dense_heads:FinestHead", "loss": {"dice": 1.0, "focal": 2.0}}
    encoder = build_encoder(EncoderSpec(name="test_resnet", weights="random", channels=32))
    segmenter = build_segmenter(load_segmenter(settings), encoder, 3, 0)
    images = torch.randint(0, 256, (2, 3, 48, 40), dtype=torch.uint8)
    assert segmenter.scores(images).shape == (2, 3, 48, 40)
    assert segmenter.loss(images, torch.zeros(2, 48, 40).long()).keys() == {"dice", "focal"}


def test_the_commands_of_the_page_run(files, capsys):
    small = ["--encoder", "my_models:make_small", "--size", "64x96", "weights=random"]
    assert main(["taps", *small]) == 0
    assert "tap 0 (map 0): 64×16×24, stride 4" in capsys.readouterr().out
    assert main(["taps", *small, "freeze=2", "settings.width=32"]) == 0
    assert "p5: 256×2×3" in capsys.readouterr().out
    assert find_transform("my_transforms:light").strength == 0.1
