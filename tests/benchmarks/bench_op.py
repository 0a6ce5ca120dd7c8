"""Our deformable attention against the pure-PyTorch one to which the official Mask2Former falls
without its CUDA op."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from bench_timing import compare
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.segmenters.ops.deformable_attention import (
    deformable_attention,
    deformable_attention_path,
)

BATCH, HEADS, DIM, POINTS = 2, 8, 32, 4
SIDES = {"cpu": [512], "cuda": [512, 1024]}
"""Heights and widths of the square images; levels at strides 32, 16 and 8."""

Shapes = Sequence[tuple[int, int]]
Inputs = tuple[Tensor, Tensor, Tensor]


def theirs(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """``ms_deform_attn_core_pytorch`` (mask2former/modeling/pixel_decoder/ops/functions)
    restated."""
    batch, _, heads, dim = value.shape
    _, queries, _, levels, points, _ = locations.shape
    grids, samples = 2 * locations - 1, []
    for level, part in enumerate(value.split([height * width for height, width in shapes], dim=1)):
        part = part.flatten(2).transpose(1, 2).reshape(batch * heads, dim, *shapes[level])
        grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)
        samples.append(
            F.grid_sample(part, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        )
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, levels * points)
    output = (
        (torch.stack(samples, dim=-2).flatten(-2) * weights)
        .sum(-1)
        .view(batch, heads * dim, queries)
    )
    return output.transpose(1, 2).contiguous()


def make(shapes: Shapes, device: torch.device) -> Inputs:
    """Value, locations and weights as in the pixel decoder: each cell asks a few cells around
    its own place."""
    generator = torch.Generator().manual_seed(0)
    cells = sum(height * width for height, width in shapes)
    value = torch.randn(BATCH, cells, HEADS, DIM, generator=generator)
    places = []
    for height, width in shapes:
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        places.append(torch.stack([x / width, y / height], -1).flatten(0, 1))
    offsets = 2 * torch.randn(BATCH, cells, HEADS, len(shapes), POINTS, 2, generator=generator)
    sizes = torch.tensor([(width, height) for height, width in shapes])
    locations = torch.cat(places)[:, None, None, None] + offsets / sizes[:, None]
    weights = torch.randn(BATCH, cells, HEADS, len(shapes) * POINTS, generator=generator).softmax(
        -1
    )
    weights = weights.unflatten(-1, (len(shapes), POINTS))
    value, locations, weights = (
        tensor.to(device).requires_grad_() for tensor in (value, locations, weights)
    )
    return value, locations, weights


def _forward(function: Callable[..., Tensor], shapes: Shapes, inputs: Inputs) -> list[Tensor]:
    with torch.no_grad():
        return _finished([function(inputs[0], shapes, *inputs[1:])])


def _both(function: Callable[..., Tensor], shapes: Shapes, inputs: Inputs) -> list[Tensor]:
    output = function(inputs[0], shapes, *inputs[1:])
    return _finished([output.detach(), *torch.autograd.grad(output, inputs, output.detach())])


def _finished(tensors: list[Tensor]) -> list[Tensor]:
    if tensors[0].is_cuda:
        torch.cuda.synchronize()
    return tensors


def _peak(call: Callable[[], object]) -> float:
    """MiB that a call adds at its peak on the GPU."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def run(seconds: float) -> Iterator[str]:
    """Levels at strides 32, 16 and 8, 8 heads of 32, 4 points, 2 images, float32; every cell is
    a query."""
    for device in [
        torch.device("cpu"),
        *([torch.device("cuda")] if torch.cuda.is_available() else []),
    ]:
        for side in SIDES[device.type]:
            shapes = [(side // stride, side // stride) for stride in (32, 16, 8)]
            inputs = make(shapes, device)
            for name, way, target in [
                ("forward", _forward, 0.12),
                ("forward + backward", _both, 0.12),
            ]:
                fast = partial(way, deformable_attention, shapes, inputs)
                slow = partial(way, theirs, shapes, inputs)
                pairs = zip(fast(), slow(), strict=True)
                apart = max(float((ours - wanted).norm() / wanted.norm()) for ours, wanted in pairs)
                if device.type == "cuda":
                    target = 0.33
                notes = f"target ≤ {target}; differ by {apart:.0e} of the norm"
                if device.type == "cuda":
                    notes += f"; peak {_peak(fast):.0f} against {_peak(slow):.0f} MiB"
                path = deformable_attention_path(device)
                yield compare(fast, slow, seconds).line(f"op, {path}, {side}×{side}, {name}", notes)
