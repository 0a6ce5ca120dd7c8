"""Masks of SAM as regions."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from encoder_ablations.segmenters.zero_shot.methods import SamSpec
from encoder_ablations.utils.errors import InputError


def sam_regions(image: np.ndarray, spec: SamSpec, device: torch.device) -> np.ndarray:
    """Return the mask of every pixel, H×W int32: masks from 1 in their order, 0 = in no mask.

    A later mask covers an earlier one, as in ReSeg-CLIP.

    Args:
        image: H×W×3 uint8, RGB.
        spec: the model and how it is asked.
        device: where it computes.

    Raises:
        InputError: the model cannot be loaded.
    """
    found = load_generator(spec.model, device)(
        Image.fromarray(image),
        points_per_crop=spec.points_per_side,
        pred_iou_thresh=spec.predicted_iou,
        stability_score_thresh=spec.stability,
        crops_n_layers=spec.crop_layers,
        crop_n_points_downscale_factor=spec.crop_point_divisor,
    )
    masks = [np.asarray(mask, dtype=bool) for mask in found["masks"]]
    return painted(masks, image.shape[:2], spec.minimal_area)


def painted(masks: list[np.ndarray], size: tuple[int, int], minimal_area: int) -> np.ndarray:
    """Return the number of the last mask that covers each pixel, H×W int32; 0 = none does.

    Args:
        masks: H×W bool each; the first one has the number 1.
        size: (H, W).
        minimal_area: parts and holes with fewer pixels are removed from each mask.
    """
    regions = np.zeros(size, dtype=np.int32)
    for number, mask in enumerate(masks, start=1):
        regions[without_small_parts(mask, minimal_area)] = number
    return regions


def without_small_parts(mask: np.ndarray, area: int) -> np.ndarray:
    """Return a mask without holes and parts of fewer pixels than ``area``.

    Holes are filled first. If every part is small, the largest one stays. This is
    ``remove_small_regions`` of facebookresearch/segment-anything.

    Args:
        mask: H×W bool.
        area: in pixels; 0 = the mask stays as it is.
    """
    if area == 0 or not mask.any():
        return mask
    labels, areas = _components(~mask)
    mask = mask | np.isin(labels, np.flatnonzero(areas < area) + 1)
    labels, areas = _components(mask)
    kept = np.flatnonzero(areas >= area) + 1
    if not len(kept):
        kept = np.array([areas.argmax() + 1])
    return np.isin(labels, kept)


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the connected part of every pixel, H×W from 1 (0 = outside), and each part's area."""
    _, labels, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels, facts[1:, cv2.CC_STAT_AREA]


@lru_cache(maxsize=2)
def load_generator(model: str, device: torch.device) -> Any:
    """Return transformers' generator of masks; a model that was asked for before is kept.

    Args:
        model: a name on the hub, or a folder.
        device: where it computes.

    Raises:
        InputError: there is no such model, or it is neither SAM nor SAM 2.
    """
    from transformers import pipeline

    try:
        return pipeline("mask-generation", model=model, device=device)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"segmenter.regions: the model '{model}' cannot be loaded ({reason}). Give a name on "
            "the hub such as facebook/sam-vit-base, a folder that holds SAM or SAM 2, or use "
            "{source: superpixels}, which needs no weights."
        ) from error
