"""Which levels Detectron2's heads read, and the levels above p5."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch import nn

from encoder_ablations.encoders.base import STRIDES
from encoder_ablations.utils.errors import InputError, nearest

NODE = "MODEL.ENCODER_ABLATIONS"
EXTRA_STRIDES = {"p6": 64, "p7": 128}
KNOWN = [*STRIDES, *EXTRA_STRIDES]
READERS = {
    "RetinaNet": ("RETINANET",),
    "GeneralizedRCNN": ("RPN", "ROI_HEADS"),
    "ProposalNetwork": ("RPN",),
    "PanopticFPN": ("RPN", "ROI_HEADS", "SEM_SEG_HEAD"),
}
"""Nodes below ``MODEL`` whose ``IN_FEATURES`` a META_ARCHITECTURE reads; others: SEM_SEG_HEAD."""


def readers(cfg: CfgNode) -> tuple[str, ...]:
    """Return the nodes below ``MODEL`` whose IN_FEATURES are read."""
    return READERS.get(cfg.MODEL.META_ARCHITECTURE, ("SEM_SEG_HEAD",))


def levels_allowed(cfg: CfgNode) -> list[str]:
    """Return the levels that heads may read: those of ``OUT_FEATURES``, by default p2..p7.

    Raises:
        InputError: see :func:`levels_read`.
    """
    if cfg.MODEL.ENCODER_ABLATIONS.get("OUT_FEATURES"):
        return levels_read(cfg)
    return list(KNOWN)


def levels_read(cfg: CfgNode) -> list[str]:
    """Return the levels that the backbone gives out, finest first.

    They are those of ``OUT_FEATURES``. Where that is empty, they are what the heads read; models
    of R-CNN type, whose default is a single level for heads of other kinds, get p2..p5 at least.

    Raises:
        InputError: ``OUT_FEATURES`` names a level that does not exist.
    """
    chosen = set(cfg.MODEL.ENCODER_ABLATIONS.get("OUT_FEATURES", []))
    if not chosen:
        nodes = readers(cfg)
        # names that no level has are reported by check_config, with the key of the head
        chosen = {name for node in nodes for name in cfg.MODEL[node].IN_FEATURES} & set(KNOWN)
        if "RPN" in nodes or not chosen:
            chosen |= set(STRIDES)
    for name in sorted(chosen - set(KNOWN)):
        raise InputError(
            f"{NODE}.OUT_FEATURES: there is no level {name}.{nearest(name, KNOWN)} "
            f"Allowed: {', '.join(KNOWN)}."
        )
    return [name for name in KNOWN if name in chosen]


def top_block(levels: Sequence[str], channels: int) -> nn.Module | None:
    """Return what makes the levels above p5 of it; None if they are not asked for.

    p6 alone is every second pixel of p5, as in Detectron2's FPN and in ViTDet. With p7 both are
    convolutions, as in RetinaNet.
    """
    if "p7" in levels:
        block: nn.Module = LastLevelP6P7(channels, channels, in_feature="p5")
        return block
    if "p6" in levels:
        pooled: nn.Module = LastLevelMaxPool()
        return pooled
    return None
