"""A dense loss of a user's own, tried out before it is trained with."""

import torch
from torch import Tensor

from encoder_ablations.segmenters.dense_loss import DenseLoss
from encoder_ablations.segmenters.loss_registry import loss_entry
from encoder_ablations.segmenters.loss_spec import LossSpec
from encoder_ablations.utils.custom_code.failures import failing_in
from encoder_ablations.utils.custom_code.names import is_reference
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream

SIDES = (6, 8)
"""Height and width of the images that a loss is tried on."""
TOLERANCE = 1e-3
"""Relative difference that rounding may make."""


def build_loss(reference: str, spec: LossSpec, num_classes: int) -> DenseLoss:
    """Return a loss; one of a user's own has been tried out.

    Args:
        reference: name of the loss, or ``package.module:Class``.
        spec: its settings.
        num_classes: number of classes, K.

    Raises:
        InputError: its settings do not fit, or a loss of a user's own is not what it must be.
    """
    entry = loss_entry(reference)
    if not is_reference(reference):
        return entry.loss(spec, num_classes)
    where = f"loss '{reference}'"
    module = entry.loss.__module__
    # the weights that the head starts from must not depend on what the trial draws
    # a plan builds models on the device "meta", where no loss has a value
    with torch_stream(0, "trial"), torch.device("cpu"):
        with failing_in(module, f"{where}: building it"):
            loss = entry.loss(spec, num_classes)
        with failing_in(module, f"{where}: a trial"):
            _try_out(loss, where)
    return loss


def _try_out(loss: DenseLoss, where: str) -> None:
    """Compute the loss of three small images of noise, and of ignored pixels alone.

    Raises:
        InputError: it is no scalar, not finite, depends on ignored pixels, or does not add up.
    """
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, loss.num_classes, (3, *SIDES), generator=generator)
    masks[:, :2] = loss.ignore
    masks[2] = loss.ignore
    logits = torch.randn(3, loss.num_classes, *SIDES, generator=generator)
    # what adds up comes first: a mean over pixels shows there, and is not finite below
    labelled = [_computed(loss, logits[i, None], masks[i, None], where) for i in range(2)]
    pair = _computed(loss, logits[:2], masks[:2], where)
    _same(pair[0], sum(part[0] for part in labelled), f"{where}: the sums of single images")
    _same(pair[1], sum(part[1] for part in labelled), f"{where}: the totals of single images")
    nothing = f"{where}, of an image of ignored pixels alone"
    empty = _computed(loss, logits[2:], masks[2:], nothing)
    if empty[0] or empty[1]:
        raise InputError(
            f"{nothing}: the sum is {empty[0]:g} and the total {empty[1]:g}. Both must be 0."
        )
    value, total, gradient = _computed(loss, logits, masks, where)
    _same(value, pair[0], f"{where}: the sums of images, one of ignored pixels alone,")
    _same(total, pair[1], f"{where}: the totals of images, one of ignored pixels alone,")
    if gradient.transpose(0, 1)[:, masks == loss.ignore].any():
        raise InputError(f"{where} has a gradient at ignored pixels. Leave them out of the sum.")
    elsewhere = logits + 3 * (masks == loss.ignore)[:, None]
    changed = _computed(loss, elsewhere, masks, where)[0]
    if abs(changed - value) > TOLERANCE * abs(value):
        raise InputError(f"{where} depends on logits at ignored pixels. Leave them out.")


def _computed(
    loss: DenseLoss, logits: Tensor, masks: Tensor, where: str
) -> tuple[float, float, Tensor]:
    """Return the sum, the total, and the gradient of the sum by the logits."""
    leaf = logits.clone().requires_grad_()
    value: object = loss(leaf, masks)
    total: object = loss.total(masks)
    for name, each in (("the loss", value), ("total", total)):
        if not isinstance(each, Tensor) or each.dim() != 0:
            raise InputError(f"{where}: {name} must return a scalar tensor.")
        if not each.isfinite():
            raise InputError(f"{where}: {name} is {each.item()}; it must be finite.")
    assert isinstance(value, Tensor)
    assert isinstance(total, Tensor)
    if not value.requires_grad:
        raise InputError(f"{where}: the loss does not depend on the logits; nothing would learn.")
    gradient = torch.autograd.grad(value, leaf)[0]
    if not gradient.isfinite().all():
        raise InputError(f"{where}: its gradient is not finite.")
    return value.item(), total.item(), gradient


def _same(whole: float, parts: float, where: str) -> None:
    if abs(whole - parts) > TOLERANCE * max(1, abs(whole)):
        raise InputError(
            f"{where} add up to {parts:g}, but those of the batch are {whole:g}. Then "
            "micro-batches would change the loss: return sums over images and divide by nothing."
        )
