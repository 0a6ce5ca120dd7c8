"""Deformable attention: its meaning is the official one, on every path, for every shape, from
every thread."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from bench_op import theirs as official
from fvcore.nn import FlopCountAnalysis
from torch import nn

from encoder_ablations.segmenters.ops import deformable_attention as module
from encoder_ablations.segmenters.ops import deformable_attention_pytorch
from encoder_ablations.segmenters.ops.deformable_attention import OPERATOR, deformable_attention
from encoder_ablations.utils.errors import InputError

SHAPES = [(4, 6), (3, 2), (1, 1)]


def plain_pytorch(value, shapes, locations, weights):
    return deformable_attention_pytorch.forward(value, locations, weights, shapes)


def make(shapes=SHAPES, batch=2, queries=5, heads=2, dim=4, points=3, dtype=torch.float32, seed=0):
    """Random inputs; about a third of the locations lies outside or on the border."""
    generator = torch.Generator().manual_seed(seed)
    cells = sum(height * width for height, width in shapes)
    value = torch.randn(batch, cells, heads, dim, generator=generator, dtype=torch.float64)
    sites = (batch, queries, heads, len(shapes), points)
    locations = torch.rand(*sites, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(*sites, generator=generator, dtype=torch.float64)
    return [tensor.to(dtype).requires_grad_() for tensor in (value, locations, weights)]


def run(function, inputs, shapes):
    """Output and the gradients of its product with fixed random numbers."""
    value, locations, weights = inputs
    output = function(value, shapes, locations, weights)
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, inputs, upstream)]


@pytest.fixture
def threads():
    """Sets the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("function", [deformable_attention, plain_pytorch])
def test_is_the_official_one(function):
    inputs = make(dtype=torch.float64)
    for ours, theirs in zip(
        run(function, inputs, SHAPES), run(official, inputs, SHAPES), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "sizes",
    [
        {"dim": 32, "heads": 8, "points": 4, "shapes": [(4, 4), (8, 8), (16, 16)], "queries": 150},
        {"dim": 1, "heads": 1, "points": 1, "shapes": [(7, 3)]},
        {"dim": 3, "heads": 5, "points": 2, "batch": 1},
        {"dim": 17, "heads": 2, "points": 5, "shapes": [(1, 9), (9, 1), (2, 2), (5, 4)]},
        {"shapes": [(0, 4), (3, 2), (2, 0)]},
        {"shapes": [(0, 0)]},
        {"shapes": []},
        {"queries": 0},
        {"batch": 0},
        {"points": 0},
        {"heads": 0},
        {"dim": 0},
    ],
    ids=str,
)
def test_kernels_equal_the_float64_path(sizes):
    shapes = sizes.get("shapes", SHAPES)
    narrow, exact = make(**sizes), make(**sizes, dtype=torch.float64)
    for given, wanted in zip(narrow, exact, strict=True):  # the same numbers in both
        wanted.data.copy_(given.data)
    for ours, reference in zip(
        run(deformable_attention, narrow, shapes),
        run(deformable_attention, exact, shapes),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), reference, rtol=1e-4, atol=2e-5)


def test_gradients_are_those_of_the_output():
    inputs = make(dtype=torch.float64, queries=3)
    assert torch.autograd.gradcheck(
        lambda *tensors: deformable_attention(tensors[0], SHAPES, *tensors[1:]), inputs
    )


def test_second_gradients_are_refused():
    inputs = make()
    output = deformable_attention(inputs[0], SHAPES, *inputs[1:])
    (gradient,) = torch.autograd.grad(output.square().sum(), inputs[:1], create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.sum(), inputs[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operator_obeys_pytorchs_rules(dtype):
    flat = [extent for shape in SHAPES for extent in shape]
    torch.library.opcheck(module._operator, (*make(dtype=dtype), flat))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_not_finite_stays_visible(which, bad):
    inputs = make()
    inputs[which].data[0, 1] = bad
    for ours, reference in zip(
        run(deformable_attention, inputs, SHAPES), run(official, inputs, SHAPES), strict=True
    ):
        if which == 1:  # a location
            assert torch.equal(ours.isnan(), reference.isnan())
        assert torch.equal(ours.isfinite(), reference.isfinite())
        finite = reference.isfinite()
        torch.testing.assert_close(ours[finite], reference[finite], rtol=1e-4, atol=2e-5)


def test_nothing_outside_is_read():
    inputs = make(batch=1)
    value = inputs[0].detach()
    padded = torch.full((value.numel() + 2000,), float("nan"))
    padded[1000:-1000] = value.flatten()
    inputs[0] = padded[1000:-1000].view(value.shape).requires_grad_()
    far = torch.tensor([-1e36, -1e30, -1e9, -2.0, -1e-7, 0.0, 1.0, 1 + 1e-7, 2.0, 1e9, 1e18, 1e36])
    inputs[1].data.flatten()[: len(far)] = far
    inputs[1].data.flatten()[-len(far) :] = far
    assert all(tensor.isfinite().all() for tensor in run(deformable_attention, inputs, SHAPES))


def test_points_at_and_beyond_the_border():
    """Every half cell, from three cells before a map to three behind it. Sizes are powers of two,
    so that nothing is rounded: at a cell the derivative depends on the side."""
    shapes, steps = [(2, 4), (1, 1)], torch.arange(-3, 7, 0.5, dtype=torch.float64)
    y, x = (axis.flatten() for axis in torch.meshgrid(steps, steps, indexing="ij"))
    exact = make(shapes, batch=1, queries=len(x), points=1, dtype=torch.float64)
    sizes = torch.tensor([(width, height) for height, width in shapes])
    places = (torch.stack([x, y], -1)[None, :, None, None] + 0.5) / sizes
    exact[1].data.copy_(places[:, :, :, :, None])
    narrow = [tensor.detach().float().requires_grad_() for tensor in exact]
    for ours, reference in zip(
        run(deformable_attention, narrow, shapes), run(official, exact, shapes), strict=True
    ):
        torch.testing.assert_close(ours.double(), reference, rtol=1e-4, atol=2e-5)


def test_empty_levels_are_not_sampled():
    shapes = [(0, 0), (3, 2), (0, 5)]
    inputs = make(shapes)
    wanted = run(deformable_attention, inputs, shapes)
    inputs[1].data[:, :, :, ::2] = float("inf")
    for dtype in (torch.float32, torch.float64):
        found = run(
            deformable_attention,
            [tensor.detach().to(dtype).requires_grad_() for tensor in inputs],
            shapes,
        )
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours.float(), theirs, rtol=1e-4, atol=2e-5)


def test_strides_do_not_matter():
    inputs = make()
    views = [tensor.detach().mT.contiguous().mT.requires_grad_() for tensor in inputs]
    assert not any(view.is_contiguous() for view in views)
    for ours, theirs in zip(
        run(deformable_attention, views, SHAPES),
        run(deformable_attention, inputs, SHAPES),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    output = deformable_attention(inputs[0], SHAPES, *inputs[1:])
    expanded = torch.autograd.grad(output.sum(), inputs[0])  # the gradient of a sum has stride 0
    torch.testing.assert_close(
        expanded, torch.autograd.grad(official(inputs[0], SHAPES, *inputs[1:]).sum(), inputs[0])
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    inputs = make(dtype=dtype)
    wide = [tensor.detach().float().requires_grad_() for tensor in inputs]
    ours, wanted = (
        run(deformable_attention, inputs, SHAPES),
        run(deformable_attention, wide, SHAPES),
    )
    assert torch.equal(ours[0], wanted[0].to(dtype))
    assert [tensor.dtype for tensor in ours] == [dtype] * 4


def test_autocast():
    value, locations, weights = make()
    project = nn.Linear(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        projected = project(value)
        output = deformable_attention(projected, SHAPES, locations, weights)
        wanted = deformable_attention(projected.float(), SHAPES, locations, weights)
    assert projected.dtype == output.dtype == torch.bfloat16
    assert wanted.dtype == torch.float32
    assert torch.equal(output, wanted.bfloat16())
    output.float().sum().backward()
    assert project.weight.grad.dtype == torch.float32
    assert project.weight.grad.abs().sum() > 0


def test_the_same_bits_whatever_the_threads(threads):
    sizes = {"shapes": [(8, 8), (16, 16)], "queries": 400, "heads": 3, "dim": 16}
    results = []
    for count in (1, 2, 5, 2):
        threads(count)
        results.append(run(deformable_attention, make(**sizes), sizes["shapes"]))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], result, strict=True))


def test_many_threads_at_once(threads):
    """Autograd and users call from threads of their own."""
    threads(2)
    sizes = {"shapes": [(8, 8), (16, 16)], "queries": 300}
    wanted = [
        run(deformable_attention, make(**sizes, seed=seed), sizes["shapes"]) for seed in range(4)
    ]

    def task(index):
        torch.set_num_threads(2)
        return run(deformable_attention, make(**sizes, seed=index % 4), sizes["shapes"])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(task, range(32)))
    for index, result in enumerate(found):
        assert all(torch.equal(a, b) for a, b in zip(result, wanted[index % 4], strict=True))


class Layer(nn.Module):
    def forward(self, value, locations, weights):
        return deformable_attention(value, SHAPES, locations, weights)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace`", "ignore::torch.jit.TracerWarning")
def test_is_seen_in_traces_by_name():
    inputs = tuple(tensor.detach() for tensor in make())
    traced = torch.jit.trace(Layer(), inputs)
    assert torch.equal(traced(*inputs), Layer()(*inputs))
    assert OPERATOR in {node.kind() for node in traced.graph.nodes()}
    analysis = FlopCountAnalysis(Layer(), inputs).set_op_handle(OPERATOR, lambda inputs, outputs: 7)
    assert analysis.total() == 7


def test_importing_does_not_cost_a_compiler():
    code = (
        "import sys, encoder_ablations.segmenters.ops.deformable_attention;"
        "import encoder_ablations.segmenters.scores;"
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def cut(index, **axes):
    def change(inputs):
        for axis, length in axes.items():
            inputs[index] = inputs[index].narrow(int(axis[1:]), 0, length)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut(0, a1=30), "31 cells, value has 30"),
        (cut(0, a0=1), "agree on the images"),
        (cut(0, a2=1), "agree on the images, heads"),
        (cut(2, a4=1), "weights' shape"),
        (cut(1, a5=1), "last axis of 2"),
        (lambda inputs: inputs.__setitem__(0, inputs[0][0]), "expected value B×S×M×D"),
        (lambda inputs: inputs.__setitem__(2, inputs[2].long()), "floating-point"),
        (lambda inputs: inputs.__setitem__(2, inputs[2].to("meta")), "one device"),
    ],
)
def test_wrong_shapes_are_named(change, message):
    inputs = [tensor.detach() for tensor in make()]
    change(inputs)
    with pytest.raises(InputError, match=message):
        deformable_attention(inputs[0], SHAPES, *inputs[1:])


def test_levels_must_match_the_shapes():
    value, locations, weights = make()
    with pytest.raises(InputError, match="levels"):
        deformable_attention(value, [(4, 6), (7, 1)], locations, weights)
    with pytest.raises(InputError, match="negative"):
        deformable_attention(value, [(-4, -6), (3, 2), (1, 1)], locations, weights)


def test_plain_pytorch_can_be_selected(monkeypatch):
    kernels = run(deformable_attention, make(), SHAPES)
    monkeypatch.setitem(sys.modules, f"{module.__name__}_numba", None)  # importing it would raise
    monkeypatch.setenv(module.VARIABLE, "pytorch")
    assert module.deformable_attention_path(torch.device("cpu")) == "pytorch"
    assert module.deformable_attention_path(torch.device("cuda"), torch.float16) == "pytorch"
    monkeypatch.setenv(module.VARIABLE, "triton")
    assert module.deformable_attention_path(torch.device("cpu")) == "numba"
    if module._has_triton():
        assert module.deformable_attention_path(torch.device("cuda"), torch.float16) == "triton"
    monkeypatch.setenv(module.VARIABLE, "pytorch")
    for ours, theirs in zip(run(deformable_attention, make(), SHAPES), kernels, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)
    monkeypatch.setenv(module.VARIABLE, "cuda")
    with pytest.raises(InputError, match=r"is 'cuda'\. Allowed: pytorch"):
        deformable_attention(*make()[:1], SHAPES, *make()[1:])
