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
    """Accelerate's view of this process: its device, its rank, and how many processes work on the run.

    Args:
        device: "auto" (a GPU if there is one), "cpu", or "cuda".

    Raises:
        InputError: another name, or a CUDA device where there is none.
    """
    check_device_name(device)
    _check_processes(device)
    kind, _, number = device.partition(":")
    if kind == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available():
            raise InputError(
                f"device '{device}' asked for, but PyTorch sees no CUDA device here. Use --device cpu or auto."
            )
        if number:
            if int(number) >= count:
                raise InputError(
                    f"device '{device}' does not exist. Allowed: cuda:0..cuda:{count - 1}, cpu, auto."
                )
            torch.cuda.set_device(int(number))
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    return Accelerator(cpu=kind == "cpu", kwargs_handlers=handlers)


def _check_processes(device: str) -> None:
    """Of several processes on one run (torchrun) each must have a GPU of its own, or all the CPU.

    Raises:
        InputError: one GPU for all of them, or fewer GPUs than processes.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or device == "cpu":
        return
    if device.startswith("cuda:"):
        raise InputError(
            f"device '{device}' is one GPU, but every process of torchrun takes a GPU of its own. Say --device cuda, "
            "and choose the GPUs by CUDA_VISIBLE_DEVICES."
        )
    gpus = torch.cuda.device_count()
    if 0 < gpus < here:
        raise InputError(
            f"torchrun started {here} processes on this machine, but PyTorch sees {gpus} GPUs. Allowed are "
            f"--nproc_per_node 1..{gpus}, or --device cpu."
        )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Mixed precision for the forward pass: "fp32" and "tf32" do nothing, "bf16" and "fp16" autocast."""
    if precision not in DTYPES:
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


@contextmanager
def computing(device: torch.device, precision: str, deterministic: bool) -> Iterator[None]:
    """Within the block PyTorch computes as a run asks for; afterwards as before, so that runs do not see each other.

    Args:
        precision: that of training, see ``Recipe``. All but "tf32" leave float32 what it is.
        deterministic: whether a GPU takes deterministic kernels. The CPU always does.
    """
    gpu = device.type == "cuda"
    with deterministic_kernels(deterministic or not gpu, gpu), tensor_float32(precision == "tf32"):
        yield


def precision_on(device: torch.device, precision: str) -> str:
    """What ``precision`` is on a device: where there is no TF32 it is "fp32"."""
    return "fp32" if precision == "tf32" and device.type != "cuda" else precision
