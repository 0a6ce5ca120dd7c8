"""A head that is registered outside of the package, through the command: trained, evaluated, costed
and reported."""

import csv
import json
import sys
from pathlib import Path

import pytest
from warm_processes import warm_context

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.workers import child_process
from encoder_ablations.segmenters import registry

HEAD = """
from typing import Literal, Self

from torch import nn
from torch.nn import functional as F

from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import HeadSpec


class MySpec(HeadSpec):
    kernel: Literal[1, 3] = 1


@register_head("my_head", MySpec)
class MyHead(Head):
    def __init__(self, channels, classes, kernel):
        super().__init__()
        self.layer = nn.Conv2d(channels, classes, kernel, padding=kernel // 2)

    @classmethod
    def build(cls, spec, encoder, num_classes):
        return cls(encoder.levels[0].channels, num_classes, spec.kernel)

    def totals(self, masks):
        return {"pixels": (masks != self.ignore).sum().clamp(min=1)}

    def loss(self, pyramid, masks, totals):
        logits = F.interpolate(self.layer(pyramid["p2"]), masks.shape[-2:], mode="bilinear")
        sums = F.cross_entropy(logits, masks, ignore_index=self.ignore, reduction="sum")
        return {"class": sums / totals["pixels"]}

    def predict(self, pyramid, image_size):
        return ScoreMaps(self.layer(pyramid["p2"]), image_size)
"""
ENTRY = {"name": "my_heads:MyHead", "kernel": 3}
RECIPE = {
    "steps": 2,
    "batch_size": 2,
    "evaluate_every": 2,
    "augmentation": {"crop": [64, 64]},
    "schedule": {"warmup_steps": 1},
}


@pytest.fixture
def own_head(studies):
    """A study of the head, whose module lies in the folder "heads"."""
    Path("heads").mkdir()
    Path("heads/my_heads.py").write_text(HEAD)
    yield studies.write(steps=2, segmenters=[ENTRY], recipe=RECIPE)
    sys.modules.pop("my_heads", None)
    registry.HEADS.entries.pop("my_head", None)


def elsewhere(studies, *arguments):
    """Return the exit code and output of the command where the module is not installed."""
    process = studies.start(*arguments)
    printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


def test_a_study_of_a_head_from_elsewhere(studies, own_head, monkeypatch):
    """In two processes, which find the head by its name alone."""
    monkeypatch.setattr(child_process, "SPAWN", warm_context())
    with monkeypatch.context() as installed:
        installed.syspath_prepend("heads")
        assert main(["run", own_head, "--device", "cpu", "--processes", "2"]) == 0

    folder = Path("outputs/tiny")
    found = [json.loads(path.read_text()) for path in folder.glob("runs/*/record.json")]
    own = [record for record in found if record["spec"]["segmenter"] == ENTRY]
    assert len(found) == 2
    assert len(own) == 2
    for record in own:
        assert "my-heads-MyHead" in record["run_id"]
        assert record["status"] == "finished"
        assert record["metrics"]["miou"] is not None
        # 3 classes × (32 channels × 3×3 + 1)
        assert record["cost"]["parameters_by_part"]["head"] == 3 * (32 * 9 + 1)

    # where the module is not installed, everything that only reads goes on
    code, printed = elsewhere(studies, "report", folder)
    assert code == 0, printed
    with (folder / "runs.csv").open() as file:
        assert {row["segmenter"] for row in csv.DictReader(file)} == {"my_heads:MyHead"}
    assert "my_heads:MyHead" in (folder / "report.html").read_text()
    assert "2 finished" in elsewhere(studies, "status", folder)[1]
    code, printed = elsewhere(studies, "run", own_head, "--device", "cpu")
    assert code == 2
    assert "no module 'my_heads'" in printed
