"""Copies to a GPU that the processor does not wait for."""

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, itself if it is there already.

    A plain copy from the processor to a GPU waits until the GPU has done all its work. This one
    goes through page-locked memory and is done in its turn.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    # without a GPU the device is a pretended one
    if torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
