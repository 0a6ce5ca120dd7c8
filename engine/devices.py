"""Where a model computes, and with which precision."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs

from encoder_ablations.utils.arithmetic import deterministic_kernels, tensor_float32
from encoder_ablations.utils.device_names import check_device_name
from encoder_ablations.utils.errors import InputError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def make_accelerator(device: str = "auto") -> Accelerator:
    """Return this process's device, its rank, and the number of processes of the run.

    Args:
        device: "auto" (a GPU if PyTorch sees one), "cpu", "cuda" or "cuda:N".

    Raises:
        InputError: another name, or a CUDA device that does not exist.
    """
    check_device_name(device)
    _check_processes(device)
    if device.startswith("cuda"):
        _choose_gpu(device)
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    return Accelerator(cpu=device == "cpu", kwargs_handlers=handlers)


def _choose_gpu(device: str) -> None:
    """Make "cuda:N" the current device; leave the choice open for "cuda".

    Raises:
        InputError: it does not exist.
    """
    if not torch.cuda.is_available():
        raise InputError(
            f"device '{device}' asked for, but PyTorch sees no CUDA device here. "
            "Use --device cpu or auto."
        )
    number = device.removeprefix("cuda").removeprefix(":")
    if not number:
        return
    count = torch.cuda.device_count()
    if int(number) >= count:
        raise InputError(
            f"device '{device}' does not exist. Allowed: cuda:0..cuda:{count - 1}, cpu, auto."
        )
    torch.cuda.set_device(int(number))


def _check_processes(device: str) -> None:
    """Refuse several processes on one run (torchrun) that would share a GPU.

    Raises:
        InputError: one GPU is named for all, or there are fewer GPUs than processes.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or device == "cpu":
        return
    if device.startswith("cuda:"):
        raise InputError(
            f"device '{device}' is one GPU, but every process of torchrun takes a GPU of its own. "
            "Say --device cuda, and choose the GPUs by CUDA_VISIBLE_DEVICES."
        )
    gpus = torch.cuda.device_count()
    if 0 < gpus < here:
        raise InputError(
            f"torchrun started {here} processes on this machine, but PyTorch sees {gpus} GPUs. "
            f"Allowed are --nproc_per_node 1..{gpus}, or --device cpu."
        )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return mixed precision for "bf16" and "fp16"; for others a context that does nothing."""
    if precision not in DTYPES:
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


@contextmanager
def computing(device: torch.device, precision: str, deterministic: bool) -> Iterator[None]:
    """Within the block PyTorch computes as a run asks for; afterwards as before.

    Args:
        device: where the run computes.
        precision: that of training, see ``Recipe``; only "tf32" changes how float32 is multiplied.
        deterministic: whether a GPU takes deterministic kernels. The CPU always does.
    """
    gpu = device.type == "cuda"
    with deterministic_kernels(deterministic or not gpu, gpu), tensor_float32(precision == "tf32"):
        yield


def precision_on(device: torch.device, precision: str) -> str:
    """Return what ``precision`` is on a device: "tf32" is "fp32" on the CPU."""
    if precision == "tf32" and device.type != "cuda":
        return "fp32"
    return precision
