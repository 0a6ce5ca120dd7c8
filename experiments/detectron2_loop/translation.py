"""A Detectron2 configuration in the terms of our records, so that reports can read both."""

import json
from typing import Any

import torch
from detectron2.config import CfgNode

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.heads.mask2former_official import spec_of
from encoder_ablations.utils.config import build

ELSEWHERE = {
    "": ("OUTPUT_DIR", "SEED", "DATASETS", "VERSION", "VIS_PERIOD", "CUDNN_BENCHMARK", "GLOBAL"),
    "MODEL": ("ENCODER_ABLATIONS", "DEVICE", "PIXEL_MEAN", "PIXEL_STD"),
    "SOLVER": ("CHECKPOINT_PERIOD",),
}
"""Keys that decide nothing, or that have a field of their own in ``RunSpec``, by their node."""
DECAYS = {"WarmupPolyLR": "poly", "WarmupCosineLR": "cosine"}
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
"""What ``SOLVER.AMP.DTYPE`` may be."""
SHORT_NAMES = {"float16": "fp16", "bfloat16": "bf16"}
FLOAT32 = {"high": "tf32", "medium": "tf32"}
"""What ``FLOAT32_PRECISION`` means to our engine, if it is not "fp32"."""


def run_spec_of(
    cfg: CfgNode, encoder: EncoderSpec, dataset: DatasetSpec, fraction: float
) -> RunSpec:
    """Return what decides the result of training ``cfg``.

    Raises:
        InputError: a value that no run can have, such as a crop of less than 32 pixels.
    """
    content = {
        "encoder": encoder,
        "segmenter": spec_of(cfg),
        "dataset": dataset,
        "fraction": fraction,
        "seed": cfg.SEED,
        "recipe": _recipe(cfg),
        "detectron2": _rest(cfg),
    }
    return build(RunSpec, content, "the Detectron2 configuration")


def precision_of(cfg: CfgNode) -> str:
    """Return ``Recipe.precision`` of a configuration.

    Without mixed precision Detectron2's FLOAT32_PRECISION decides.
    """
    if cfg.SOLVER.AMP.ENABLED:
        return SHORT_NAMES[cfg.SOLVER.AMP.DTYPE]
    return FLOAT32.get(cfg.get("FLOAT32_PRECISION", ""), "fp32")


def _recipe(cfg: CfgNode) -> dict[str, Any]:
    solver, inputs = cfg.SOLVER, cfg.INPUT
    sides = [side / inputs.MIN_SIZE_TEST for side in inputs.MIN_SIZE_TRAIN]
    clip_norm = None
    if solver.CLIP_GRADIENTS.ENABLED and solver.CLIP_GRADIENTS.CLIP_TYPE == "full_model":
        clip_norm = solver.CLIP_GRADIENTS.CLIP_VALUE
    crop = (inputs.MIN_SIZE_TEST, inputs.MIN_SIZE_TEST)
    if inputs.CROP.ENABLED:
        crop = inputs.CROP.SIZE
    return {
        "steps": solver.MAX_ITER,
        "batch_size": solver.IMS_PER_BATCH,
        "precision": precision_of(cfg),
        "evaluate_every": cfg.TEST.EVAL_PERIOD or solver.MAX_ITER,
        "augmentation": {
            "crop": [int(side) for side in crop],
            "short_side": inputs.MIN_SIZE_TEST,
            "scale": [min(sides), max(sides)],
            "flip": 0.5,
            "photometric": inputs.COLOR_AUG_SSD,
        },
        "optimizer": {
            "lr": solver.BASE_LR,
            "encoder_lr_multiplier": solver.BACKBONE_MULTIPLIER,
            "weight_decay": solver.WEIGHT_DECAY,
            "clip_norm": clip_norm,
        },
        "schedule": {
            "decay": DECAYS.get(solver.LR_SCHEDULER_NAME, "constant"),
            "warmup_steps": solver.WARMUP_ITERS,
            "power": solver.get("POLY_LR_POWER", 0.9),
        },
    }


def _rest(cfg: CfgNode) -> dict[str, Any]:
    """Return what a configuration says beside the fields of ``RunSpec``."""
    content: dict[str, Any] = json.loads(json.dumps(cfg))
    nodes = {"": content, **content}
    for node, keys in ELSEWHERE.items():
        for key in keys:
            nodes[node].pop(key, None)
    content["MODEL"]["SEM_SEG_HEAD"].pop("NUM_CLASSES")
    return content
