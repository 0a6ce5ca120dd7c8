"""A head that is registered outside of the package, through the command: trained, evaluated, costed
and reported."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.fixture
def ablate(monkeypatch):
    """Start the command, with the folder of the head's module on the path or without."""

    def start(*arguments, installed=True):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        if installed:
            environment["PYTHONPATH"] = "heads"
        command = [sys.executable, "-m", "encoder_ablations.experiments.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return start


def test_a_study_of_a_head_from_elsewhere(studies, ablate):
    """In two processes, which find the head by its name alone."""
    Path("heads").mkdir()
    Path("heads/my_heads.py").write_text(HEAD)
    entry = {"name": "my_heads:MyHead", "kernel": 3}
    path = studies.write(steps=2, segmenters=[entry], recipe=RECIPE)
    done = ablate("run", path, "--device", "cpu", "--processes", "2")
    assert done.returncode == 0, done.stdout + done.stderr

    folder = Path("outputs/tiny")
    found = [json.loads(path.read_text()) for path in folder.glob("runs/*/record.json")]
    own = [record for record in found if record["spec"]["segmenter"] == entry]
    assert len(found) == 2
    assert len(own) == 2
    for record in own:
        assert "my-heads-MyHead" in record["run_id"]
        assert record["status"] == "finished"
        assert record["metrics"]["miou"] is not None
        # 3 classes × (32 channels × 3×3 + 1)
        assert record["cost"]["parameters_by_part"]["head"] == 3 * (32 * 9 + 1)

    # where the module is not installed, everything that only reads goes on
    reported = ablate("report", str(folder), installed=False)
    assert reported.returncode == 0, reported.stderr
    with (folder / "runs.csv").open() as file:
        assert {row["segmenter"] for row in csv.DictReader(file)} == {"my_heads:MyHead"}
    assert "my_heads:MyHead" in (folder / "report.html").read_text()
    status = ablate("status", str(folder), installed=False)
    assert "2 finished" in status.stdout, status.stderr
    again = ablate("run", path, "--device", "cpu", installed=False)
    assert again.returncode == 2
    assert "no module 'my_heads'" in again.stderr


RECIPE = {
    "steps": 2,
    "batch_size": 2,
    "evaluate_every": 2,
    "augmentation": {"crop": [64, 64]},
    "schedule": {"warmup_steps": 1},
}
