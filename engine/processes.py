"""Tell whether a process can go on: the others of its run are reachable, its device works."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from encoder_ablations.utils.errors import CannotContinue


@contextmanager
def in_contact() -> Iterator[None]:
    """Within the block this process works with the others of its run.

    Raises:
        CannotContinue: the connection to one of them has broken; that one reports the cause.
    """
    try:
        yield
    except RuntimeError as error:
        if not lost_contact(error):
            raise
        raise CannotContinue(
            "another process of this run has ended or cannot be reached; it says why. "
            "The same command goes on."
        ) from error


def lost_contact(error: BaseException) -> bool:
    """Return whether communication between processes failed; gloo's errors have no type."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def device_is_lost() -> bool:
    """Return whether this process's GPU no longer works, as after some errors of CUDA."""
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
