"""Heads are found by name, also those of users, and nothing else has to know them."""

import subprocess
import sys

import pytest

from encoder_ablations.segmenters import registry
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.registry import head_entry, head_names, register_head
from encoder_ablations.segmenters.spec import HeadSpec, SegmenterSpec
from encoder_ablations.utils.errors import InputError

OWN_HEAD = """
from typing import Literal
from torch import nn
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.spec import HeadSpec

class Spec(HeadSpec):
    kernel: Literal[1, 3] = 3

@register_head("plain", Spec)
class MyHead(Head):
    @classmethod
    def build(cls, spec, encoder, num_classes):
        head = cls()
        head.layer = nn.Conv2d(encoder.levels[0].channels, num_classes, spec.kernel)
        return head

class Unregistered(Head):
    pass
"""


@pytest.fixture(autouse=True)
def own_registry():
    """What a test registers is forgotten after it; the heads of the package stay."""
    built_in = head_names()
    yield
    for name in registry._entries.keys() - set(built_in):
        del registry._entries[name]


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
    for name in head_names():
        entry = head_entry(name)
        assert (entry.name, entry.reference) == (name, name)
        assert entry.spec(name=name)


def test_a_head_of_ones_own(module, make_encoder):
    spec = load_segmenter({"name": f"{module}:MyHead", "kernel": 1})
    assert spec.model_dump() == {"name": f"{module}:MyHead", "kernel": 1}
    head = build_segmenter(spec, make_encoder(), 4, seed=0).head
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
        ("nowhere.heads:Mine", "no module 'nowhere.heads'"),
        (":Mine", "no module ''"),
        ("{module}:Absent", "no registered head 'Absent'"),
        ("{module}:Unregistered", "no registered head 'Unregistered'"),
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


def test_a_record_is_read_without_its_head():
    content = {"name": "gone:Head", "kernel": 5}
    assert SegmenterSpec.model_validate(content).model_dump() == content
    with pytest.raises(InputError, match="no module 'gone'"):
        load_segmenter(content)
