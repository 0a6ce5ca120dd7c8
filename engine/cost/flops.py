"""FLOPs by fvcore, with the operators that it does not know."""

import math
from collections import Counter
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import get_shape
from torch import Tensor, nn

from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.ops.deformable_attention import OPERATOR

Flops = tuple[int, dict[str, int]]
"""The multiply-adds of a model, and the share of each part."""
_counted: dict[tuple[str, torch.Size], Flops] = {}
"""Those of the models that have a name, by the size of the images."""


def flops_of(
    segmenter: Segmenter, images: Tensor, parts: tuple[str, ...], name: str | None
) -> Flops:
    """Return :func:`count_flops`; models of one name are counted once in a process.

    Args:
        segmenter: the model.
        images: B×3×H×W.
        parts: names of sub-modules of the segmenter; the same in all calls with one name.
        name: tells models apart whose FLOPs may differ; None = the model is counted.
    """
    if name is None:
        return count_flops(segmenter, images, parts)
    key = (name, images.shape)
    if key not in _counted:
        _counted[key] = count_flops(segmenter, images, parts)
    total, by_part = _counted[key]
    return total, dict(by_part)


def count_flops(segmenter: Segmenter, images: Tensor, parts: tuple[str, ...]) -> Flops:
    """Count the multiply-adds of one forward pass, from input to stride-4 scores.

    Args:
        segmenter: the model.
        images: B×3×H×W.
        parts: names of sub-modules of the segmenter.

    Returns:
        The total, and the share of each part.
    """
    analysis = FlopCountAnalysis(_Predict(segmenter), images)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention)
    analysis.set_op_handle("aten::baddbmm", _added_product)
    analysis.set_op_handle(OPERATOR, _deformable_attention)
    # the official code's name of the same operator
    analysis.set_op_handle("prim::PythonOp.MSDeformAttnFunction", _deformable_attention)
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    by_module = analysis.by_module()
    return int(by_module[""]), {part: _by_prefix(by_module, f"segmenter.{part}") for part in parts}


class _Predict(nn.Module):
    """The forward pass from tensors to tensors.

    It returns all tensors of the scores, because what leads to no output is not traced.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        scores = self.segmenter.predict(images)
        if scores.mixing is None:
            return (scores.maps,)
        return scores.maps, scores.mixing


def _by_prefix(by_module: Counter[str], name: str) -> int:
    """Return a module's count; one that is not called itself (a head) has its children's sum."""
    if by_module.get(name):
        return int(by_module[name])
    children = [key for key in by_module if key.rpartition(".")[0] == name]
    return sum(_by_prefix(by_module, child) for child in children)


def _attention(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Count scaled dot-product attention: queries times keys, weights times values."""
    *batch, queries, width = get_shape(inputs[0])
    keys, value_width = get_shape(inputs[1])[-2], get_shape(inputs[2])[-1]
    return Counter({"attention": math.prod(batch) * queries * keys * (width + value_width)})


def _added_product(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Count a batch of matrix products B×N×M · B×M×P."""
    *batch, rows, inner = get_shape(inputs[1])
    return Counter({"baddbmm": math.prod(batch) * rows * inner * get_shape(inputs[2])[-1]})


def _deformable_attention(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Count four bilinear terms and one weight for every sampled value and channel."""
    dim = get_shape(inputs[0])[-1]
    weights = next(
        shape for shape in map(get_shape, inputs[1:]) if shape is not None and len(shape) == 5
    )
    return Counter({"deformable_attention": math.prod(weights) * dim * 5})
