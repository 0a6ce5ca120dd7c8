"""When a process cannot go on: another one of its run has ended, or its device is lost."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from encoder_ablations.utils.errors import CannotContinue


@contextmanager
def in_contact() -> Iterator[None]:
    """Within the block this process works with the others of its run.

    Raises:
        CannotContinue: one of them has ended. Why is for that one to say: here only the connection has broken.
    """
    try:
        yield
    except RuntimeError as error:
        if not lost_contact(error):
            raise
        raise CannotContinue(
            "another process of this run has ended or cannot be reached; it says why. The same command goes on."
        ) from error


def lost_contact(error: BaseException) -> bool:
    """Whether an error is that of communication between processes: NCCL's, or one of gloo, which has no type."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def device_is_lost() -> bool:
    """Whether the GPU of this process no longer works, as after some errors of CUDA until the process ends."""
    if not torch.cuda.is_initialized():
        return False
    try:
        _compute_on_gpu()
    except RuntimeError:
        return True
    return False


def _compute_on_gpu() -> None:
    torch.ones(1, device="cuda").add_(1)
    torch.cuda.synchronize()  # kernels run later, and fail later
