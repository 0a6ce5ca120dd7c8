"""Cases that test_deformable_attention_triton.py runs in a process with TRITON_INTERPRET=1, all
on the CPU."""

from functools import partial

import pytest
import torch

from encoder_ablations.segmenters.ops import cuda_choice, kernel_check
from encoder_ablations.segmenters.ops import deformable_attention as module
from encoder_ablations.segmenters.ops import deformable_attention_triton as kernels
from encoder_ablations.segmenters.ops.deformable_attention import deformable_attention

SHAPES = [(4, 6), (3, 2), (1, 1)]
TINY = kernel_check.Case(((4, 6), (0, 2), (1, 1)), queries=5, heads=1, dim=3, points=1)
PRECISION = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def make(shapes=SHAPES, batch=2, queries=5, heads=2, dim=4, points=3, dtypes=(torch.float32,) * 3):
    """Random inputs; about a third of the locations lies outside or on the border."""
    generator = torch.Generator().manual_seed(0)
    cells = sum(height * width for height, width in shapes)
    sites = (batch, queries, heads, len(shapes), points)
    value = torch.randn(batch, cells, heads, dim, generator=generator)
    locations = torch.rand(*sites, 2, generator=generator) * 1.6 - 0.3
    weights = torch.rand(*sites, generator=generator)
    return [
        tensor.to(dtype).requires_grad_()
        for tensor, dtype in zip((value, locations, weights), dtypes, strict=True)
    ]


def run(inputs, shapes):
    """Output and gradients, through the public function."""
    output = deformable_attention(inputs[0], shapes, *inputs[1:])
    upstream = torch.linspace(-1, 1, output.numel()).sin().view(output.shape).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, inputs, upstream)]


@pytest.fixture
def compare(monkeypatch):
    """Our kernels against plain PyTorch in float64, both called through the public function."""

    def check(inputs, shapes):
        made = []
        wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
        wanted = run(wide, shapes)
        with monkeypatch.context() as patch:
            for name in ("forward", "backward"):
                original = getattr(kernels, name)
                patch.setattr(
                    kernels, name, lambda *args, f=original, n=name: (made.append(n), f(*args))[1]
                )
            patch.setattr(module, "deformable_attention_path", lambda device, *dtypes: "triton")
            found = run(inputs, shapes)
        assert made == ["forward", "backward"]
        for ours, reference, like in zip(found, wanted, [inputs[0], *inputs], strict=True):
            assert ours.dtype == like.dtype
            assert torch.equal(ours.isnan(), reference.isnan())
            if reference.numel():
                scale = max(1.0, float(reference.nan_to_num(0).abs().max()))
                precision = max(PRECISION[tensor.dtype] for tensor in inputs)
                difference = (ours.double() - reference).nan_to_num(0).abs().max()
                assert difference <= precision * scale

    return check


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"dim": 32, "queries": 20, "shapes": [(4, 4), (8, 8)], "batch": 1},
        {"dim": 1, "heads": 1, "points": 1, "shapes": [(7, 3)]},
        {"dim": 3, "heads": 5, "points": 2, "batch": 1},
        {"dim": 17, "points": 5, "shapes": [(1, 9), (9, 1), (2, 2), (5, 4)]},
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
def test_float32(sizes, compare):
    compare(make(**sizes), sizes.get("shapes", SHAPES))


@pytest.mark.parametrize(
    "dtypes",
    [
        (torch.bfloat16,) * 3,
        (torch.float16,) * 3,
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float32, torch.float32, torch.float16),
    ],
    ids=str,
)
def test_half_precision(dtypes, compare):
    compare(make(dtypes=dtypes, dim=5), SHAPES)


def test_halves_are_added_up_in_float32(compare):
    """300 queries at one place: sums in bfloat16 would stop growing."""
    inputs = make(
        dtypes=(torch.bfloat16, torch.float32, torch.float32),
        queries=300,
        shapes=[(1, 1)],
        dim=1,
        points=1,
    )
    inputs[1].data.fill_(0.5)
    inputs[2].data.fill_(1)
    output = kernels.forward(*(tensor.detach() for tensor in inputs), [(1, 1)])
    to_value, _, _ = kernels.backward(
        torch.ones_like(output), *(tensor.detach() for tensor in inputs), [(1, 1)]
    )
    assert torch.equal(to_value.float(), torch.full((2, 1, 2, 1), 300.0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -1e9])
def test_far_away(bad, compare):
    inputs = make(queries=3)
    inputs[1].data[0, 1] = bad
    compare(inputs, SHAPES)


def test_borders(compare):
    """Just inside and just outside of the last place where a corner counts."""
    inputs = make(shapes=[(4, 8)], queries=3, points=4, batch=1, heads=1)
    near = torch.tensor(
        [-0.0624, -0.0626, 1.0624, 1.0626, 0.0, 1.0, 0.0626, 0.9374, -0.126, 1.126, 0.5, 0.51]
    )
    inputs[1].data[..., 0] = near.view(1, 3, 1, 1, 4)
    inputs[1].data[..., 1] = near.flip(0).view(1, 3, 1, 1, 4)
    compare(inputs, [(4, 8)])


def test_strides(compare):
    views = [tensor.detach().mT.contiguous().mT.requires_grad_() for tensor in make()]
    assert not any(view.is_contiguous() for view in views)
    compare(views, SHAPES)


def test_nothing_outside_is_read():
    inputs = [tensor.detach() for tensor in make(dim=5)]
    padded = torch.full((inputs[0].numel() + 2000,), float("nan"))
    padded[1000:-1000] = inputs[0].flatten()
    inputs[0] = padded[1000:-1000].view(inputs[0].shape)
    output = kernels.forward(*inputs, SHAPES)
    results = [output, *kernels.backward(torch.ones_like(output), *inputs, SHAPES)]
    assert all(tensor.isfinite().all() for tensor in results)


def choose(monkeypatch, tmp_path):
    """What is used on a device that has only a name, as at its first use."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    check = partial(kernel_check.find_problem, cases=[TINY])
    return cuda_choice.choose(kernels, torch.device("cpu"), "a device", (9, 0), check)


def test_kernels_are_used_where_they_agree(monkeypatch, tmp_path):
    assert choose(monkeypatch, tmp_path).problems == {}


def test_a_broken_kernel_is_not_used(monkeypatch, tmp_path, caplog):
    def broken(*arguments):
        to_value, *others = right(*arguments)
        return -to_value, *others

    right = kernels.backward
    monkeypatch.setattr(kernels, "backward", broken)
    choice = choose(monkeypatch, tmp_path)
    assert set(choice.problems) == set(cuda_choice.DTYPES)
    assert "gradient to value" in caplog.text
