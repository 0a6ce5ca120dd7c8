"""What files hold between the vision tower and the space of texts, under timm's names.

timm calls CLIP's projection ``head`` and SigLIP's pool ``attn_pool``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TIMM_PARTS = ("head.", "attn_pool.")
TRANSFORMERS_POOL = {
    "head.probe": "attn_pool.latent",
    "head.attention.out_proj.weight": "attn_pool.proj.weight",
    "head.attention.out_proj.bias": "attn_pool.proj.bias",
    "head.layernorm.weight": "attn_pool.norm.weight",
    "head.layernorm.bias": "attn_pool.norm.bias",
    "head.mlp.fc1.weight": "attn_pool.mlp.fc1.weight",
    "head.mlp.fc1.bias": "attn_pool.mlp.fc1.bias",
    "head.mlp.fc2.weight": "attn_pool.mlp.fc2.weight",
    "head.mlp.fc2.bias": "attn_pool.mlp.fc2.bias",
}
"""timm's names of SigLIP's pool in transformers' files, but for the joint projection."""


@dataclass(frozen=True)
class Readout:
    """The weights of a read-out.

    Attributes:
        tensors: by timm's names; empty where the file has none.
        names: what the file calls them.
    """

    tensors: dict[str, Tensor]
    names: frozenset[str]


def readout_tensors(state: Mapping[str, Tensor], layout: str, root: str) -> Readout:
    """Return the read-out of a file.

    Args:
        state: tensors by the file's names.
        layout: name of the file's layout.
        root: what stands before the names of its vision tower.
    """
    if layout == "timm":
        return _of_timm(state, root)
    if layout == "OpenAI CLIP" and f"{root}proj" in state:
        # OpenAI multiplies from the right: x @ proj
        return _projection(f"{root}proj", state[f"{root}proj"].T)
    if layout == "transformers CLIP" and "visual_projection.weight" in state:
        name = "visual_projection.weight"
        return _projection(name, state[name])
    if layout == "transformers SigLIP":
        return _transformers_pool(state, root)
    return Readout({}, frozenset())


def _of_timm(state: Mapping[str, Tensor], root: str) -> Readout:
    """Return it from a file with timm's names; OpenCLIP puts a projection beside the trunk."""
    names = [name for name in state if name.removeprefix(root).startswith(TIMM_PARTS)]
    names = [name for name in names if name.startswith(root)]
    tensors = {name.removeprefix(root): state[name] for name in names}
    beside = "visual.head.proj.weight"
    if beside in state:
        projection = _projection(beside, state[beside])
        return Readout(tensors | projection.tensors, projection.names.union(names))
    return Readout(tensors, frozenset(names))


def _projection(name: str, weight: Tensor) -> Readout:
    """Return a projection without a bias; timm's has one, which is zero."""
    bias = torch.zeros(weight.shape[0], dtype=weight.dtype)
    tensors = {"head.weight": weight.contiguous(), "head.bias": bias}
    return Readout(tensors, frozenset([name]))


def _transformers_pool(state: Mapping[str, Tensor], root: str) -> Readout:
    """Return SigLIP's pool; queries, keys and values are one projection in the file."""
    tensors, names = {}, set()
    for own, target in TRANSFORMERS_POOL.items():
        name = root + own
        if name in state:
            names.add(name)
            tensors[target] = state[name]
    for kind in ("weight", "bias"):
        name = f"{root}head.attention.in_proj_{kind}"
        if name in state:
            names.add(name)
            query, key, value = state[name].chunk(3)
            tensors[f"attn_pool.q.{kind}"] = query
            tensors[f"attn_pool.kv.{kind}"] = torch.cat([key, value])
    return Readout(tensors, frozenset(names))
