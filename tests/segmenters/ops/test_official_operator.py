"""The module that the official Mask2Former imports: what is accepted, what is refused, and that
it really runs."""

import importlib.util
import logging
import sys
from types import ModuleType

import pytest
import torch

from encoder_ablations.segmenters.ops.deformable_attention import (
    deformable_attention,
    deformable_attention_backward,
)
from encoder_ablations.segmenters.ops.official_operator import (
    FAILED,
    IMPORTER,
    NAME,
    Operator,
    provide_operator,
)
from encoder_ablations.utils.errors import InputError

SHAPES = torch.tensor([(4, 6), (3, 2), (1, 1)])
STARTS = torch.tensor([0, 24, 30])
WORKING = """
from encoder_ablations.segmenters.ops import deformable_attention_pytorch as op
calls = []
def ms_deform_attn_forward(value, shapes, starts, locations, weights, step):
    calls.append("forward")
    return op.forward(value, locations, weights, shapes.tolist())
def ms_deform_attn_backward(value, shapes, starts, locations, weights, gradient, step):
    calls.append("backward")
    return list(op.backward(gradient, value, locations, weights, shapes.tolist()))
"""
BROKEN = {
    "wrong numbers (to locations)": WORKING + "right = ms_deform_attn_backward\n"
    "def ms_deform_attn_backward(*inputs): a, b, c = right(*inputs); return a, 2 * b, c\n",
    "wrong numbers (output)": WORKING.replace("return op", "return 1.01 * op"),
    "not compiled with GPU": (
        "def ms_deform_attn_forward(*inputs): raise RuntimeError('not compiled with GPU')"
    ),
    "no attribute": "",
    "positional argument": "def ms_deform_attn_forward(value): pass",
    "undefined symbol": "raise ImportError('libc10.so: undefined symbol')",
    "No module named 'nowhere'": "import nowhere",
    "no GPU": "raise RuntimeError('no GPU')",
    "SystemExit": "raise SystemExit(3)",
    "SyntaxError": "1 +",
}


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch):
    """As in a fresh process: neither the operator nor the official code was imported."""
    for name in (NAME, IMPORTER):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # remembers what was there
        del sys.modules[name]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a module of the operator's name with the given source."""

    def install(source):
        (tmp_path / f"{NAME}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)

    return install


def make(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(2, 31, 2, 4, generator=generator)
    locations = torch.rand(2, 5, 2, 3, 3, 2, generator=generator) * 1.6 - 0.3
    weights = torch.rand(2, 5, 2, 3, 3, generator=generator)
    gradient = torch.randn(2, 5, 8, generator=generator)
    return [tensor.to(dtype) for tensor in (value, locations, weights, gradient)]


def call(value, locations, weights, gradient):
    """Both functions, through an import as in the official code."""
    module = importlib.import_module(NAME)
    output = module.ms_deform_attn_forward(value, SHAPES, STARTS, locations, weights, 128)
    return [
        output,
        *module.ms_deform_attn_backward(value, SHAPES, STARTS, locations, weights, gradient, 128),
    ]


def expected(value, locations, weights, gradient):
    shapes = SHAPES.tolist()
    output = deformable_attention(value, shapes, locations, weights)
    return [output, *deformable_attention_backward(gradient, value, shapes, locations, weights)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_ours_where_nothing_is_compiled(dtype):
    assert provide_operator() == "numba"
    inputs = make(dtype)
    reference = expected(*(tensor.double() for tensor in inputs))
    for ours, theirs in zip(call(*inputs), reference, strict=True):
        assert ours.dtype == dtype
        precision = {
            torch.float32: 1e-5,
            torch.float64: 1e-12,
            torch.bfloat16: 2e-2,
            torch.float16: 2e-3,
        }[dtype]
        torch.testing.assert_close(ours.double(), theirs, rtol=precision, atol=precision)
    path = "pytorch" if dtype == torch.float64 else "numba"
    assert sys.modules[NAME].last == path


def test_layers_share_one_reading_of_the_sizes(monkeypatch):
    """The official code gives all layers of a pass one tensor."""
    read, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: read.append(self) or tolist(self))
    provide_operator()
    module, (value, locations, weights, _) = importlib.import_module(NAME), make()
    for shapes in (SHAPES, SHAPES, SHAPES.clone(), SHAPES.flip(0)):
        module.ms_deform_attn_forward(value, shapes, STARTS, locations, weights, 128)
    assert [tolist(each) for each in read] == [tolist(SHAPES)] * 2 + [tolist(SHAPES.flip(0))]


def test_each_gradient_has_the_dtype_of_its_tensor():
    provide_operator()
    value, locations, weights, gradient = make()
    found = call(value.bfloat16(), locations, weights.half(), gradient.bfloat16())
    assert [tensor.dtype for tensor in found] == [
        torch.bfloat16,
        torch.bfloat16,
        torch.float32,
        torch.float16,
    ]


def test_providing_twice_keeps_the_module():
    assert provide_operator() == "numba"
    module = sys.modules[NAME]
    assert provide_operator("cuda") == "pytorch"
    assert sys.modules[NAME] is module
    assert isinstance(module, Operator)
    assert importlib.util.find_spec(
        NAME
    )  # libraries ask so whether it is there; without a spec this raises


def test_a_working_compiled_module_is_used(installed, caplog):
    installed(WORKING)
    assert provide_operator() == "compiled"
    compiled = sys.modules[NAME].compiled
    assert compiled.calls == ["forward", "backward"]
    inputs = make()
    for ours, theirs in zip(call(*inputs), expected(*inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert compiled.calls == ["forward", "backward"] * 2
    assert sys.modules[NAME].last == "compiled"
    call(*make(torch.float16))  # the official one cannot
    assert sys.modules[NAME].last == "numba"
    assert len(compiled.calls) == 4
    assert not caplog.records


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_compiled_module_is_refused_by_name(problem, installed, caplog):
    installed(BROKEN[problem])
    with caplog.at_level(logging.WARNING):
        assert provide_operator() == "numba"
        assert provide_operator() == "numba"
    (message,) = caplog.messages
    assert NAME in message
    assert problem in message
    inputs = make()
    for ours, theirs in zip(call(*inputs), expected(*inputs), strict=True):
        assert torch.equal(ours, theirs)


def test_an_error_is_remembered_and_shown_once(caplog):
    provide_operator()
    value, locations, weights, gradient = make()
    for _ in range(2):
        with pytest.raises(InputError):
            call(value[:, 1:], locations, weights, gradient)
        assert sys.modules[NAME].last == FAILED
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "change", [lambda gradient: gradient[:, 1:], lambda gradient: gradient.to("meta")]
)
def test_a_wrong_gradient_is_named(change):
    value, locations, weights, gradient = make()
    with pytest.raises(InputError, match=r"expected a gradient \(2, 5, 8\) on cpu"):
        deformable_attention_backward(change(gradient), value, SHAPES.tolist(), locations, weights)


def test_too_late(monkeypatch):
    """mask2former holds another module: ours would never be called."""
    importer = ModuleType(IMPORTER)
    importer.MSDA = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, IMPORTER, importer)
    with pytest.raises(InputError, match="before the first import of mask2former"):
        provide_operator()
    assert NAME not in sys.modules


def test_a_compiled_module_is_tried_in_inference_mode_too(installed, caplog):
    """Evaluation may be the first to meet a device; the small input needs gradients, which
    inference mode forbids."""
    installed(WORKING)
    with torch.inference_mode():
        assert provide_operator() == "compiled"
        inputs = make()
        output = sys.modules[NAME].ms_deform_attn_forward(
            *inputs[:1], SHAPES, STARTS, *inputs[1:3], 128
        )
        torch.testing.assert_close(output, expected(*inputs)[0], rtol=1e-4, atol=1e-5)
        assert torch.is_inference_mode_enabled()
    assert sys.modules[NAME].last == "compiled"
    assert not caplog.records
