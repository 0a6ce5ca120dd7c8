"""A segmenter with a head of a user's own, tried out before it is trained."""

import torch
from torch import Tensor

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.encoders.base import Encoder
from encoder_ablations.segmenters.base import Head, Segmenter
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import HeadSpec
from encoder_ablations.utils.custom_code.failures import failing_in
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream

SIDES = (64, 96)
"""Height and width of the images that a head is tried on."""


def build_with_custom_head(
    head_class: type[Head],
    reference: str,
    settings: HeadSpec,
    encoder: Encoder,
    num_classes: int,
    seed: int,
) -> Segmenter:
    """Return a segmenter whose head is code of a user's own.

    Args:
        head_class: the head.
        reference: its name, ``package.module:Class``.
        settings: of the head.
        encoder: becomes part of the segmenter.
        num_classes: number of classes, K.
        seed: of the head's random stream.

    Raises:
        InputError: the head cannot be built, or its losses or scores are not what they must be.
    """
    where = f"segmenter '{reference}'"
    module = head_class.__module__
    with failing_in(module, f"{where}: build"), torch_stream(seed, "head"):
        head: object = head_class.build(settings, encoder, num_classes)
    if not isinstance(head, Head):
        raise InputError(f"{where}: build returned {type(head).__name__}, not a head.")
    if head.ignore != ignore_label(num_classes):
        raise InputError(
            f"{where}: ignore is {head.ignore}, but with {num_classes} classes ignored pixels have "
            f"the id {ignore_label(num_classes)} (data.datasets.sample.ignore_label)."
        )
    segmenter = Segmenter(encoder, head)
    # statistics of BatchNorms stay as they are
    segmenter.eval()
    with failing_in(module, f"{where}: a trial"), torch_stream(seed, "trial"):
        _try_out(segmenter, num_classes, where)
    segmenter.train()
    return segmenter


def _try_out(segmenter: Segmenter, num_classes: int, where: str) -> None:
    """Compute losses and scores of two small images of noise.

    Raises:
        InputError: they are not what they must be.
    """
    device = segmenter.mean.device
    images = torch.randint(0, 256, (2, 3, *SIDES)).to(device)
    masks = torch.randint(0, num_classes, (2, *SIDES)).to(device)
    if segmenter.head.task == "classification":
        masks = masks[:, :1, :1].clone()
    nothing = torch.full_like(masks, segmenter.head.ignore)
    # one row less than the masks have, at most
    masks[:, : min(8, masks.shape[1] - 1)] = segmenter.head.ignore
    if segmenter.head.learns:
        for labels, what in ((masks, "labels"), (nothing, "ignored pixels alone")):
            _check_losses(segmenter.loss(images, labels), f"{where}: with {what}")
    with torch.no_grad():
        predicted: object = segmenter.predict(images)
        if not isinstance(predicted, ScoreMaps):
            raise InputError(
                f"{where}: predict returned {type(predicted).__name__}, not segmenters.scores."
                "ScoreMaps."
            )
        shape = tuple(predicted.at(SIDES).shape)
    if shape != (2, num_classes, *SIDES):
        wanted = "×".join(map(str, (2, num_classes, *SIDES)))
        raise InputError(
            f"{where}: its scores are {'×'.join(map(str, shape))}, not {wanted}: one for each of "
            "the classes."
        )


def _check_losses(losses: object, where: str) -> None:
    if not isinstance(losses, dict) or not losses:
        raise InputError(f"{where}, loss must return a mapping of names to scalars.")
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.dim() != 0:
            raise InputError(f"{where}, the loss '{name}' is not a scalar tensor.")
        if not value.isfinite():
            raise InputError(
                f"{where}, the loss '{name}' is {value.item()}. A batch in which no pixel counts "
                "must give 0: divide by totals, but by no less than 1."
            )
