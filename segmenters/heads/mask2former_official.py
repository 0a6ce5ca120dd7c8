"""The official Mask2Former (Cheng et al., CVPR 2022), unmodified, as one of our heads.

Its modules and its loss functions are used as they are in
https://github.com/facebookresearch/Mask2Former. Only the sums over a batch are divided by our
engine's counts, so that accumulation gives the loss of one large batch. Building such a head needs
Detectron2 and a clone of that repository on PYTHONPATH; importing this file does not.
"""

from collections.abc import Sequence
from functools import cache, reduce
from itertools import chain
from operator import getitem
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.losses.set_loss import set_totals
from encoder_ablations.segmenters.losses.targets import Targets, find_targets
from encoder_ablations.segmenters.ops.official_operator import AttentionWatch, provide_operator
from encoder_ablations.segmenters.ops.transfers import sent
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import OfficialMask2FormerSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import missing

NAME = "mask2former_official"
HEAD, FORMER = "MODEL.SEM_SEG_HEAD", "MODEL.MASK_FORMER"
KEYS = {
    "queries": f"{FORMER}.NUM_OBJECT_QUERIES",
    "hidden": f"{FORMER}.HIDDEN_DIM",
    "heads": f"{FORMER}.NHEADS",
    "encoder_layers": f"{HEAD}.TRANSFORMER_ENC_LAYERS",
    "decoder_feedforward": f"{FORMER}.DIM_FEEDFORWARD",
    "points": f"{FORMER}.TRAIN_NUM_POINTS",
    "oversample_ratio": f"{FORMER}.OVERSAMPLE_RATIO",
    "importance_ratio": f"{FORMER}.IMPORTANCE_SAMPLE_RATIO",
    "class_weight": f"{FORMER}.CLASS_WEIGHT",
    "mask_weight": f"{FORMER}.MASK_WEIGHT",
    "dice_weight": f"{FORMER}.DICE_WEIGHT",
    "no_object_weight": f"{FORMER}.NO_OBJECT_WEIGHT",
}
"""Our settings and the official keys of the same meaning.

``DEC_LAYERS`` is not among them: it is ``decoder_layers`` + 1.
"""
FIXED = {
    f"{HEAD}.NAME": "MaskFormerHead",
    f"{HEAD}.PIXEL_DECODER_NAME": "MSDeformAttnPixelDecoder",
    f"{HEAD}.NORM": "GN",
    f"{HEAD}.COMMON_STRIDE": 4,
    f"{FORMER}.TRANSFORMER_DECODER_NAME": "MultiScaleMaskedTransformerDecoder",
    f"{FORMER}.TRANSFORMER_IN_FEATURE": "multi_scale_pixel_decoder",
    f"{FORMER}.DROPOUT": 0.0,
}
"""Settings that all official semantic configurations share."""


class Official(NamedTuple):
    """The parts of Detectron2 and of the official repository that are used, by their names."""

    get_cfg: Any
    ShapeSpec: Any
    build_sem_seg_head: Any
    add_maskformer2_config: Any
    SetCriterion: Any
    HungarianMatcher: Any


@cache
def import_official() -> Official:
    """Import Detectron2 and the official Mask2Former, which then uses our operator.

    Raises:
        MissingPackageError: one of them is not installed; the message says how to get it.
    """
    try:
        from detectron2.config import get_cfg
        from detectron2.layers import ShapeSpec
        from detectron2.modeling import build_sem_seg_head
    except ImportError as error:
        raise missing("detectron2", error) from error
    provide_operator()
    try:
        from mask2former import add_maskformer2_config
        from mask2former.modeling.criterion import SetCriterion
        from mask2former.modeling.matcher import HungarianMatcher
    except ImportError as error:
        raise missing("mask2former", error) from error
    return Official(
        get_cfg,
        ShapeSpec,
        build_sem_seg_head,
        add_maskformer2_config,
        SetCriterion,
        HungarianMatcher,
    )


@register_head(NAME, OfficialMask2FormerSpec)
class OfficialMask2FormerHead(Head):
    """The official ``MaskFormerHead`` and ``SetCriterion``."""

    traced_for_one_size = True

    def __init__(
        self, sem_seg_head: nn.Module, criterion: Any, spec: OfficialMask2FormerSpec
    ) -> None:
        super().__init__()
        self.ignore = ignore_label(criterion.num_classes)
        self.sem_seg_head = sem_seg_head
        self._watch = AttentionWatch(sem_seg_head)
        self.criterion = criterion
        self.spec = spec

    @classmethod
    def build(cls, spec: OfficialMask2FormerSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a head with new weights, as the official code initialises them."""
        if spec.hidden % spec.heads:
            raise InputError(
                f"segmenter.heads: {spec.heads} does not divide segmenter.hidden ({spec.hidden})."
            )
        official = import_official()
        shapes = {
            level.name: official.ShapeSpec(channels=level.channels, stride=level.stride)
            for level in encoder.levels
        }
        sem_seg_head = official.build_sem_seg_head(
            config_of(spec, num_classes, encoder.levels), shapes
        )
        matcher = official.HungarianMatcher(
            cost_class=spec.class_weight,
            cost_mask=spec.mask_weight,
            cost_dice=spec.dice_weight,
            num_points=spec.points,
        )
        criterion = official.SetCriterion(
            num_classes,
            matcher=matcher,
            weight_dict={},  # read by the official MaskFormer, whose place is taken by loss()
            eos_coef=spec.no_object_weight,
            losses=["labels", "masks"],
            num_points=spec.points,
            oversample_ratio=spec.oversample_ratio,
            importance_sample_ratio=spec.importance_ratio,
        )
        return cls(sem_seg_head, criterion, spec)

    def attention_paths(self) -> set[str]:
        """Return what has computed the official attention modules, see :class:`AttentionWatch`."""
        return self._watch.paths

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """Return the counts "masks" and "classes", see :func:`set_totals`."""
        return set_totals(self.spec, masks, self.criterion.num_classes)

    def loss(
        self, pyramid: dict[str, Tensor], masks: Tensor, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the official losses, summed over the final and all auxiliary predictions.

        For a whole batch, and with the same random points, they equal the weighted sum that the
        official ``MaskFormer`` returns.

        Args:
            pyramid: levels B×C×h×w.
            masks: B×H×W int64.
            totals: divisors, see :meth:`totals`.

        Returns:
            "class", "mask" and "dice".
        """
        found, criterion = self._find(masks), self.criterion
        targets = [
            {
                "labels": sent(torch.tensor(classes, dtype=torch.int64), masks.device),
                "masks": segments,
            }
            for classes, segments in zip(found.classes, found.segments(), strict=True)
        ]
        # the official classification is a mean over these images alone: their share of the batch
        share = self.totals(masks)["classes"] / totals["classes"]
        count = max(totals["masks"].item(), 1.0)
        outputs = self.sem_seg_head(pyramid)
        sums = {"class": masks.new_zeros((), dtype=torch.float32)}
        sums |= {"mask": sums["class"].clone(), "dice": sums["class"].clone()}
        for layer in [outputs, *outputs["aux_outputs"]]:
            indices = criterion.matcher(layer, targets)
            losses = criterion.loss_labels(layer, targets, indices, count)
            losses |= criterion.loss_masks(layer, targets, indices, count)
            sums["class"] = sums["class"] + self.spec.class_weight * share * losses["loss_ce"]
            sums["mask"] = sums["mask"] + self.spec.mask_weight * losses["loss_mask"]
            sums["dice"] = sums["dice"] + self.spec.dice_weight * losses["loss_dice"]
        return sums

    def predict(self, pyramid: dict[str, Tensor], image_size: tuple[int, int]) -> ScoreMaps:
        """Return the queries' mask logits at stride 4, mixed by their class probabilities.

        The class "no object" is left out.
        """
        outputs = self.sem_seg_head(pyramid)
        probabilities = outputs["pred_logits"].float().softmax(-1)
        return ScoreMaps(
            outputs["pred_masks"], image_size, mixing=probabilities[..., :-1].transpose(1, 2)
        )

    def _find(self, masks: Tensor) -> Targets:
        return find_targets(masks, self.criterion.num_classes)


def config_of(spec: OfficialMask2FormerSpec, num_classes: int, levels: Sequence[Level]) -> Any:
    """Return the ``CfgNode`` of such a head."""
    official = import_official()
    cfg = official.get_cfg()
    official.add_maskformer2_config(cfg)
    names = [level.name for level in levels]
    settings = FIXED | {key: getattr(spec, field) for field, key in KEYS.items()}
    settings |= {
        f"{FORMER}.DEC_LAYERS": spec.decoder_layers + 1,
        f"{HEAD}.NUM_CLASSES": num_classes,
        f"{HEAD}.CONVS_DIM": spec.hidden,
        f"{HEAD}.MASK_DIM": spec.hidden,
        f"{HEAD}.IN_FEATURES": names,
        f"{HEAD}.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": names[1:],
    }
    cfg.merge_from_list(list(chain.from_iterable(settings.items())))
    return cfg


def spec_of(cfg: Any) -> OfficialMask2FormerSpec:
    """Return the settings that a configuration of the official repository holds."""
    settings = {field: reduce(getitem, key.split("."), cfg) for field, key in KEYS.items()}
    settings["decoder_layers"] = cfg.MODEL.MASK_FORMER.DEC_LAYERS - 1
    return OfficialMask2FormerSpec(name=NAME, **settings)
