"""The table and the trace of one step."""

from types import SimpleNamespace

import pytest
import torch

from encoder_ablations.engine.training.logs.step_profile import (
    STEP,
    StepProfile,
    kind_of,
    table,
)


@pytest.fixture
def begun(tmp_path):
    path = tmp_path / "profile" / "encoder-head.txt"
    path.parent.mkdir()
    watched = StepProfile(path)
    watched.on_start(SimpleNamespace(writes=True))
    return watched


def multiply():
    torch.ones(8, 8) @ torch.ones(8, 8)


def test_one_step_is_written_with_its_trace(begun):
    for _ in range(STEP - 2):
        begun.on_step(None)
        assert begun.active is None
    begun.on_step(None)
    multiply()
    begun.on_step(None)
    text = begun.path.read_text()
    assert "matrix products" in text
    assert "aten::mm (1 calls)" in text
    assert "aten::mm" in begun.path.with_suffix(".trace.json").read_text()
    begun.on_step(None)
    assert begun.active is None


def test_an_evaluation_is_no_part_of_the_step(begun):
    for _ in range(STEP - 1):
        begun.on_step(None)
    multiply()
    begun.on_evaluation(None)
    torch.ones(8).cumsum(0)
    begun.on_step(None)
    assert "aten::mm" not in begun.path.read_text()
    assert "aten::cumsum" in begun.path.read_text()


def test_the_same_encoder_and_head_are_looked_at_once(begun):
    begun.path.write_text("earlier")
    begun.on_start(SimpleNamespace(writes=True))
    for _ in range(STEP + 1):
        begun.on_step(None)
    assert begun.path.read_text() == "earlier"


def test_a_training_that_ends_early_leaves_no_table(begun):
    for _ in range(STEP - 1):
        begun.on_step(None)
    begun.on_end(STEP - 1, finished=True)
    assert begun.active is None
    assert not begun.path.exists()


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("encoder_ablations::deformable_attention", "deformable attention"),
        ("aten::addmm", "matrix products"),
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::native_layer_norm_backward", "normalisation"),
        ("aten::_local_scalar_dense", "waiting for the GPU"),
        ("aten::grid_sampler_2d", "samples at points"),
        ("aten::add_", "everything else"),
    ],
)
def test_operations_have_words(operation, kind):
    assert kind_of(operation) == kind


def test_the_longest_come_first():
    text = table({"aten::mm": (3.0, 2), "aten::add": (1.0, 1)})
    assert "4.0 ms" in text.splitlines()[0]
    assert text.index("matrix products") < text.index("everything else")
    assert " 75.0 %  aten::mm (2 calls)" in text
