"""A study whose encoder, head and transform are a user's own, in the current folder: computed in
one process or two, recorded with the digest of its code, and refused where that has changed."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.runs.custom_code import changed_code
from encoder_ablations.experiments.runs.record import load_record, save_record

CODE = """
import numpy as np
from torch import nn
from torch.nn import functional as F


class Tiny(nn.Module):
    widths, reductions = (8, 8), (4, 8)
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.next = nn.Conv2d(8, 8, 2, 2)

    def forward(self, images):
        first = self.stem(images)
        return [first, self.next(first)]


def make_body(pretrained=False, scale=1.0):
    body = Tiny()
    if pretrained:
        nn.init.constant_(body.stem.bias, scale)
    return body


def darker(image, mask, rng):
    return (image * rng.uniform(0.5, 1)).astype(np.uint8), mask
"""
REFERENCE = "own_kit.parts:make_body"
ENCODERS = [
    {"name": REFERENCE, "settings": {"scale": 0.5}},
    {"name": REFERENCE, "weights": "random"},
]
RECIPE = {
    "steps": 2,
    "batch_size": 2,
    "evaluate_every": 2,
    "augmentation": {"crop": [64, 64], "custom": "own_kit.parts:darker"},
    "schedule": {"warmup_steps": 1},
}


@pytest.fixture
def study(studies):
    """Write the code and a study of it into the current folder, which is not on the path."""
    Path("own_kit").mkdir()
    Path("own_kit/parts.py").write_text(CODE)
    studies.write(encoders=ENCODERS, recipe=RECIPE)
    yield studies
    for name in ("own_kit", "own_kit.parts"):
        sys.modules.pop(name, None)


def run(study, *arguments):
    process = study.start("run", "tiny.yaml", "--device", "cpu", *arguments)
    printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


SEVERAL = pytest.param(["--processes", "2"], id="in processes", marks=pytest.mark.slow)


@pytest.mark.parametrize("where", [[], SEVERAL])
def test_a_study_of_ones_own_code(study, where):
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    code, printed = run(study, *where)
    assert code == 0, printed
    folder = Path("outputs/tiny")
    found = [json.loads(path.read_text()) for path in folder.glob("runs/*/record.json")]
    assert len(found) == 2
    weights = set()
    for record in found:
        assert record["run_id"].startswith("own-kit.parts-make-body")
        assert record["code"] == {REFERENCE: digest, "own_kit.parts:darker": digest}
        assert record["encoder"]["code_sha256"] == digest
        assert any(digest[:16] in text and REFERENCE in text for text in record["disclosures"])
        weights.add(record["encoder"]["weights_sha256"])
    assert len(weights) == 2
    page = (folder / "report.html").read_text()
    assert REFERENCE in page
    assert "own_kit.parts:darker" in page

    # what is finished stays; what would be compared with it is refused
    Path("own_kit/parts.py").write_text(CODE.replace("0.5, 1)", "0.1, 1)"))
    code, printed = run(study)
    assert code == 0, printed
    code, printed = run(study, "--extend", "seeds=[0,1]")
    assert code == 2, printed
    assert "the code of own_kit.parts:make_body has changed since the run" in printed

    run_folder = sorted(folder.glob("runs/*"))[0]
    process = study.start("evaluate", str(run_folder), "--split", "val", "--device", "cpu")
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 2, printed
    assert "has changed since the run" in printed
    # a run that had not finished does not go on
    record = (run_folder / "record.json").rename("record.json")
    code, printed = run(study)
    assert code == 2, printed
    assert f"has changed since the run {run_folder.name}" in printed
    record.rename(run_folder / "record.json")

    # where versions were mixed all the same, the report says so
    record = load_record(run_folder)
    save_record(record.model_copy(update={"code": {REFERENCE: "0" * 64}}), run_folder)
    (problem,) = collect(folder).damaged
    assert f"the code of {REFERENCE} changed" in problem


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoders": ["own_kit.parts:make_bodi"]}, "Did you mean 'make_body'"),
        ({"encoders": ["own_kit.absent:make"]}, "there is no module 'own_kit.absent'"),
        ({"encoders": [ENCODERS[0] | {"settings": {"scael": 1}}]}, "Did you mean 'scale'"),
        ({"segmenters": ["own_kit.parts:Head"]}, "has no 'Head'"),
        ({"recipe": RECIPE | {"augmentation": {"custom": "own_kit.parts:Tiny"}}}, "custom|Tiny"),
        ({"recipe": RECIPE | {"optimizer": {"layer_decay": 0.5}}}, "layer_decay 0.5 is per block"),
    ],
)
def test_mistakes_end_with_exit_code_2_before_training(study, capsys, changes, words):
    study.write(**{"encoders": ENCODERS, "recipe": RECIPE} | changes)
    assert main(["run", "tiny.yaml", "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert any(word in line for word in words.split("|"))
    assert not list(Path().glob("outputs/*/runs/*"))


def test_versions_are_counted_for_each_reference():
    codes = [{"a:b": "1", "a:c": "1"}, {"a:b": "2", "a:c": "1"}, {}]
    (line,) = changed_code(codes)
    assert "a:b" in line
    assert "2 versions" in line
