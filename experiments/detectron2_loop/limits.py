"""What the keys of a Detectron2 configuration may be, checked before anything is built."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, reduce
from operator import getitem
from typing import Annotated, Any, Literal

import torch
from detectron2.config import CfgNode
from pydantic import BaseModel, Field, create_model

from encoder_ablations.experiments.detectron2_loop.refusals import refused
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import CannotContinue, InputError

HEAD, FORMER = "MODEL.SEM_SEG_HEAD", "MODEL.MASK_FORMER"
CLIPPING = "SOLVER.CLIP_GRADIENTS"

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Width = Annotated[int, Field(ge=32, multiple_of=32)]  # the official GroupNorms have 32 groups
Names = Annotated[tuple[str, ...], Field(min_length=1)]

LIMITS: dict[str, Any] = {
    f"{FORMER}.NUM_OBJECT_QUERIES": Count,
    f"{FORMER}.NHEADS": Count,
    f"{FORMER}.HIDDEN_DIM": Width,
    f"{FORMER}.DIM_FEEDFORWARD": Count,
    f"{FORMER}.DEC_LAYERS": Annotated[int, Field(ge=2)],  # counts one more than there are
    f"{FORMER}.TRAIN_NUM_POINTS": Count,
    f"{FORMER}.OVERSAMPLE_RATIO": Annotated[float, Field(ge=1, allow_inf_nan=False)],
    f"{FORMER}.IMPORTANCE_SAMPLE_RATIO": Share,
    f"{FORMER}.DROPOUT": Annotated[float, Field(ge=0, lt=1)],
    f"{FORMER}.SIZE_DIVISIBILITY": Annotated[int, Field(ge=-1)],
    f"{FORMER}.CLASS_WEIGHT": NotNegative,
    f"{FORMER}.MASK_WEIGHT": NotNegative,
    f"{FORMER}.DICE_WEIGHT": NotNegative,
    f"{FORMER}.NO_OBJECT_WEIGHT": NotNegative,
    f"{HEAD}.CONVS_DIM": Width,
    f"{HEAD}.MASK_DIM": Count,
    f"{HEAD}.TRANSFORMER_ENC_LAYERS": Count,
    f"{HEAD}.COMMON_STRIDE": Literal[4],
    f"{HEAD}.IN_FEATURES": Names,
    f"{HEAD}.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": Names,
    f"{HEAD}.IGNORE_VALUE": Natural,
    "INPUT.MIN_SIZE_TRAIN": Annotated[tuple[Count, ...], Field(min_length=1)],
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": Literal["choice", "range"],
    "INPUT.MAX_SIZE_TRAIN": Count,
    "INPUT.MIN_SIZE_TEST": Count,
    "INPUT.MAX_SIZE_TEST": Count,
    "INPUT.CROP.SIZE": tuple[Positive, Positive],
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": Annotated[float, Field(gt=0, le=1)],
    "INPUT.SIZE_DIVISIBILITY": Annotated[int, Field(ge=-1)],
    "SOLVER.OPTIMIZER": Literal["ADAMW", "SGD"],
    "SOLVER.MAX_ITER": Count,
    "SOLVER.IMS_PER_BATCH": Count,
    # anything else changes steps and batch after they were recorded
    "SOLVER.REFERENCE_WORLD_SIZE": Literal[0],
    "SOLVER.BASE_LR": Positive,
    "SOLVER.BACKBONE_MULTIPLIER": NotNegative,
    "SOLVER.MOMENTUM": Share,
    "SOLVER.WEIGHT_DECAY": NotNegative,
    "SOLVER.WEIGHT_DECAY_NORM": NotNegative,
    "SOLVER.WEIGHT_DECAY_EMBED": NotNegative,
    "SOLVER.WARMUP_ITERS": Natural,
    "SOLVER.WARMUP_FACTOR": NotNegative,
    "SOLVER.WARMUP_METHOD": Literal["linear", "constant"],
    "SOLVER.POLY_LR_POWER": Positive,
    "SOLVER.CHECKPOINT_PERIOD": Count,
    f"{CLIPPING}.CLIP_TYPE": Literal["full_model", "norm", "value"],
    f"{CLIPPING}.CLIP_VALUE": NotNegative,  # 0 = not clipped
    f"{CLIPPING}.NORM_TYPE": Positive,
    "TEST.EVAL_PERIOD": Natural,
    "DATALOADER.NUM_WORKERS": Natural,
    "DATASETS.TRAIN": Names,
    "DATASETS.TEST": tuple[str, ...],
    "VIS_PERIOD": Natural,
    # the largest that NumPy's generator takes
    "SEED": Annotated[int, Field(le=2**32 - 1)],
}
"""What is allowed, by key."""


@cache
def _limits() -> type[BaseModel]:
    """Return a model with a field for each key of ``LIMITS``, whose alias is that key."""
    fields: dict[str, Any] = {
        f"key_{number}": (kind, Field(alias=key))
        for number, (key, kind) in enumerate(LIMITS.items())
    }
    return create_model("Limits", **fields)


def value_of(cfg: CfgNode, key: str) -> Any:
    """Return the value of ``NODE.KEY``.

    Raises:
        KeyError: there is no such key.
    """
    return reduce(getitem, key.split("."), cfg)


def check_limits(cfg: CfgNode, processes: int) -> None:
    """Check each known key, and those that must fit each other.

    Args:
        cfg: the whole configuration.
        processes: how many train together, and divide the batch.

    Raises:
        InputError: the first value that is not allowed.
    """
    values = {key: value_of(cfg, key) for key in LIMITS}
    build(_limits(), values, "the Detectron2 configuration")
    # the pixel decoder has as many heads as the decoder
    for key in (f"{FORMER}.HIDDEN_DIM", f"{HEAD}.CONVS_DIM"):
        if values[key] % values[f"{FORMER}.NHEADS"]:
            raise _indivisible(cfg, key, f"{FORMER}.NHEADS", values[f"{FORMER}.NHEADS"])
    batch = "SOLVER.IMS_PER_BATCH"
    if values[batch] % max(processes, 1):
        raise _indivisible(cfg, batch, "the number of processes", processes)
    # Detectron2's relative crops cannot be combined with the official rule for crops
    if cfg.INPUT.CROP.ENABLED and cfg.INPUT.CROP.TYPE != "absolute":
        raise InputError(
            f"INPUT.CROP.TYPE is {cfg.INPUT.CROP.TYPE}, allowed is absolute: Mask2Former crops to "
            "INPUT.CROP.SIZE pixels. Or say INPUT.CROP.ENABLED False."
        )


def check_device(name: str) -> None:
    """Check that PyTorch can compute on a device.

    Raises:
        InputError: there is no such device here.
    """
    if name == "cuda":  # known to be there; using it would take memory in this process
        return
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"MODEL.DEVICE is {name}, which PyTorch cannot use here ({reason.rstrip('.')}). "
            "Say cpu, cuda or cuda:N, or leave it out."
        ) from error


def _indivisible(cfg: CfgNode, key: str, by: str, divisor: int) -> InputError:
    return InputError(
        f"{key} is {value_of(cfg, key)}, which {by} ({divisor}) does not divide. Choose a multiple."
    )


@contextmanager
def as_build_error(cfg: CfgNode, keys: Iterable[str]) -> Iterator[None]:
    """Within the block, which builds from a configuration, say in one line what does not work.

    Args:
        cfg: the configuration.
        keys: those that the user has given.

    Raises:
        InputError: a library failed; it names the keys whose values the error speaks of.
        Exception: our own code failed.
    """
    try:
        yield
    except (InputError, CannotContinue, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        text = f"the configuration cannot be built: {type(error).__name__}: {reason.rstrip('.')}."
        text = f"{text} {_suspects(cfg, keys, reason)}"
        raise refused(error, text, cfg.OUTPUT_DIR) from error


def _suspects(cfg: CfgNode, keys: Iterable[str], reason: str) -> str:
    """Return a sentence that names the keys to look at; those in ``reason`` if there are any."""
    given = {key: str(value_of(cfg, key)) for key in keys}
    words = set(reason.replace(",", " ").replace(":", " ").replace("'", " ").split())
    spoken_of = [key for key, value in given.items() if value in words or key in words]
    listed = ", ".join(f"{key} {given[key]}" for key in spoken_of or given)
    if not listed:
        return "Check the configuration file."
    return f"Check {listed}."
