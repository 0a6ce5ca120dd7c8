"""How PyTorch computes on a GPU: deterministic or fastest kernels, TF32 or full float32.

On the CPU neither setting changes a bit of a result.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

IEEE, TF32 = "ieee", "tf32"


@contextmanager
def deterministic_kernels(on: bool, gpu: bool = False) -> Iterator[None]:
    """Within the block PyTorch takes deterministic kernels where they exist, and warns elsewhere.

    cuDNN's benchmark mode, which chooses convolutions by their measured speed, is then off.

    Args:
        on: False gives the fastest kernels, also inside a block that asks for deterministic ones.
        gpu: also choose attention's kernels, which must not change on the CPU. The fused ones have
            a deterministic gradient, but PyTorch uses it only where every operation without one
            (as ``grid_sample``) raises an error.
    """
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    if on:
        # cuBLAS reads it once, at the first matrix product on a GPU, so there is nothing to restore
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(on, warn_only=True)
    try:
        with fused_attention(not on) if gpu else nullcontext():
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def fused_attention(on: bool) -> Iterator[None]:
    """Within the block allow fused attention, or force matrix products and a softmax."""
    import torch

    cuda: Any = torch.backends.cuda

    before = cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled()
    switches = (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_cudnn_sdp)
    for switch in switches:
        switch(on)
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch(value)


@contextmanager
def tensor_float32(on: bool) -> Iterator[None]:
    """Within the block GPUs round the factors of float32 products to TF32, or never do.

    TF32 has 10 bits of fraction. Matrix products and convolutions are treated alike; PyTorch's own
    default is TF32 in convolutions only.
    """
    import torch

    cudnn: Any = torch.backends.cudnn  # type checkers see no sub-modules of it
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = TF32 if on else IEEE
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


def float32_products(device: str) -> dict[str, str]:
    """Return how a device now multiplies float32: "ieee" or "tf32" for each kind of operation."""
    import torch

    if not device.startswith("cuda"):
        return {"matrix_products": IEEE, "convolutions": IEEE}
    cudnn: Any = torch.backends.cudnn
    asked = {
        "matrix_products": torch.backends.cuda.matmul.fp32_precision,
        "convolutions": cudnn.conv.fp32_precision,
    }
    return {kind: TF32 if value == TF32 else IEEE for kind, value in asked.items()}
