"""How devices are called on the command line; known without PyTorch, whose import takes seconds."""

import re

from encoder_ablations.utils.errors import InputError

ALLOWED = "auto, cpu, cuda, cuda:N"


def check_device_name(device: str) -> None:
    """Whether there is such a device is seen by the engine.

    Raises:
        InputError: no device is called like that.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device, re.ASCII):
        raise InputError(f"unknown device '{device}'. Allowed: {ALLOWED}.")
