"""Heads are found by name, also those of users, and nothing else has to know them."""

import subprocess
import sys

import pytest

from encoder_ablations.segmenters import registry
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.built_in import BUILT_IN
from encoder_ablations.segmenters.heads.dense import DenseHead
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.registry import head_entry, head_names, register_head
from encoder_ablations.segmenters.spec import HeadSpec, SegmenterSpec
from encoder_ablations.utils.errors import InputError

OWN_HEAD = """
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import HeadSpec


class Spec(HeadSpec):
    kernel: Literal[1, 3] = 3
    fault: str = ""


@register_head("plain", Spec)
class MyHead(Head):
    @classmethod
    def build(cls, spec, encoder, num_classes):
        if spec.fault == "build":
            return {}["key"]
        if spec.fault == "type":
            return nn.Identity()
        head = cls()
        head.fault = spec.fault
        head.ignore = 254 if spec.fault == "ignore" else 255
        outputs = num_classes + (spec.fault == "scores")
        side = spec.kernel // 2
        head.norm = nn.BatchNorm2d(encoder.levels[0].channels)
        head.layer = nn.Conv2d(encoder.levels[0].channels, outputs, spec.kernel, padding=side)
        return head

    def totals(self, masks):
        pixels = (masks != self.ignore).sum()
        return {"pixels": pixels if self.fault == "ignored" else pixels.clamp(min=1)}

    def forward(self, pyramid):
        return self.layer(self.norm(pyramid["p2"]))

    def loss(self, pyramid, masks, totals):
        logits = F.interpolate(self(pyramid), masks.shape[-2:], mode="bilinear")
        if self.fault == "loss":
            raise RuntimeError("no loss today")
        if self.fault == "pixels":
            return {"pixels": logits}
        if self.fault == "bare":
            return logits.sum()
        sums = F.cross_entropy(logits, masks, ignore_index=self.ignore, reduction="sum")
        return {"class": sums / totals["pixels"]}

    def predict(self, pyramid, image_size):
        if self.fault == "tensor":
            return self(pyramid)
        return ScoreMaps(self(pyramid), image_size)

    class Inner(Head):
        pass


class Unregistered(Head):
    pass


not_a_class = 3
"""


@pytest.fixture(autouse=True)
def own_registry():
    """What a test registers is forgotten after it; the heads of the package stay."""
    built_in = head_names()
    yield
    for name in registry.HEADS.entries.keys() - set(built_in):
        del registry.HEADS.entries[name]


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """The name of a module of a user's own with a head, on the path."""
    name = f"own_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(OWN_HEAD)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_registry_alone_imports_no_head():
    program = (
        "import sys; from encoder_ablations.segmenters.registry import head_entry\n"
        "print([name for name in ('torch', 'transformers', 'detectron2') if name in sys.modules])\n"
        "head_entry('linear')\n"
        "print('transformers' in sys.modules)"
    )
    assert run(program).splitlines() == ["[]", "False"]


def test_every_file_of_the_folder_is_found_by_its_name():
    assert set(head_names()) >= {"linear", "mask2former", "mask2former_official"}
    for name in BUILT_IN:
        entry = head_entry(name)
        assert (entry.name, entry.reference) == (name, name)
        assert entry.spec(name=name)


def test_a_head_of_ones_own(module, make_encoder):
    spec = load_segmenter({"name": f"{module}:MyHead", "kernel": 1})
    assert spec.model_dump() == {"name": f"{module}:MyHead", "kernel": 1, "fault": ""}
    segmenter = build_segmenter(spec, make_encoder(), 4, seed=0)
    assert all(each.training for each in segmenter.modules())
    head = segmenter.head
    assert (head.norm.running_mean == 0).all()  # the trial before training leaves no trace
    assert type(head).__name__ == "MyHead"
    assert head.layer.kernel_size == (1, 1)


def test_any_process_finds_it_by_the_name_in_its_spec(module):
    """Also where it was named as it was registered, which only this process has seen."""
    assert load_segmenter(f"{module}:MyHead") == load_segmenter("plain")
    assert load_segmenter("plain").name == f"{module}:MyHead"


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"kernal": 1}, "Did you mean 'kernel'"), ({"kernel": 2}, r"'kernel'.*1 or 3.*given: 2")],
)
def test_its_own_settings_are_checked(module, settings, words):
    with pytest.raises(InputError, match=words):
        load_segmenter({"name": f"{module}:MyHead"} | settings)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mask2formr", "Did you mean 'mask2former'"),
        ("mask2former_initialization", "unknown segmenter 'mask2former_initialization'"),
        ("nowhere.heads:Mine", "no module 'nowhere'.*PYTHONPATH"),
        (":Mine", r"written package\.module:name"),
        ("{module}:MyHaed", "has no 'MyHaed'. Did you mean 'MyHead'"),
        ("{module}:Unregistered", "'Unregistered' is no registered head"),
        ("{module}:MyHead.Inner", r"'MyHead\.Inner' is no registered head"),
        ("{module}:not_a_class", "'not_a_class' is no registered head"),
    ],
)
def test_what_is_no_head(module, name, words):
    for reference in (name.format(module=module), {"name": name.format(module=module)}):
        with pytest.raises(InputError, match=words):
            load_segmenter(reference)


def test_a_name_belongs_to_one_head():
    head_entry("linear")
    with pytest.raises(InputError, match="two heads are called 'linear'"):
        register_head("linear", HeadSpec)(type("Other", (), {}))


def test_the_name_of_a_built_in_head_is_taken_before_that_is_imported(tmp_path, monkeypatch):
    program = OWN_HEAD.replace('"plain"', '"mask2former"')
    (tmp_path / "own_taken.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="two heads are called 'mask2former'"):
        load_segmenter("own_taken:MyHead")


class Complete(Head):
    """As much of a head as is looked at when it is registered."""

    build = totals = loss = predict = lambda *_: None


class Dense(DenseHead):
    """A dense head, which needs settings with losses."""

    build = classmethod(lambda *_: None)


@pytest.mark.parametrize(
    ("head", "spec", "words"),
    [
        (type("Other", (), {}), HeadSpec, "a class derived from segmenters.base.Head"),
        (type("Other", (Head,), {}), HeadSpec, "does not define build, totals, loss, predict"),
        (type("Other", (Complete,), {"loss": Head.loss}), HeadSpec, "does not define loss"),
        (Complete, dict, "derived from segmenters.spec.HeadSpec"),
        (Dense, HeadSpec, "derived from segmenters.spec.DenseSpec"),
        (lambda: None, HeadSpec, "a class derived from segmenters.base.Head"),
    ],
)
def test_what_cannot_be_registered(head, spec, words):
    with pytest.raises(InputError, match=words):
        register_head("other", spec)(head)
    assert "other" not in head_names()


def test_what_a_head_cannot_read():
    with pytest.raises(InputError, match=r"reads is 'bodies'\. Allowed: pyramid, maps, body"):
        register_head("other", HeadSpec, reads="bodies")


def test_a_head_within_a_function_is_found_by_no_other_process():
    class Local(Complete):
        pass

    with pytest.raises(InputError, match="within a function"):
        register_head("local", HeadSpec)(Local)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("build", r"build failed at .*\.py:\d+: KeyError: 'key'"),
        ("type", "build returned Identity, not a head"),
        ("ignore", "ignore is 254, but with 4 classes ignored pixels have the id 255"),
        ("loss", r"a trial failed at .*\.py:\d+: RuntimeError: no loss today"),
        ("bare", "loss must return a mapping"),
        ("pixels", "the loss 'pixels' is not a scalar"),
        ("ignored", "with ignored pixels alone, the loss 'class' is nan"),
        ("tensor", "predict returned Tensor, not"),
        ("scores", "its scores are 2×5×64×96, not 2×4×64×96"),
    ],
)
def test_a_head_that_does_not_work_is_found_out_before_training(module, make_encoder, fault, words):
    spec = load_segmenter({"name": f"{module}:MyHead", "fault": fault})
    with pytest.raises(InputError, match=words) as raised:
        build_segmenter(spec, make_encoder(), 4, seed=0)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("import absent_of_mine", r"own_broken\.py:1: ModuleNotFoundError"),
        ("raise OSError('no licence')", r"own_broken\.py:1: OSError: no licence"),
    ],
)
def test_a_module_that_fails_is_named_with_its_line(tmp_path, monkeypatch, content, words):
    """It lies in the current folder, which a console script does not have on its path."""
    (tmp_path / "own_broken.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        load_segmenter("own_broken:MyHead")


def test_a_record_is_read_without_its_head():
    content = {"name": "gone:Head", "kernel": 5}
    assert SegmenterSpec.model_validate(content).model_dump() == content
    with pytest.raises(InputError, match="no module 'gone'"):
        load_segmenter(content)
