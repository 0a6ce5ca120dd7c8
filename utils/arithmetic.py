"""How PyTorch computes on a GPU: with deterministic kernels or the fastest ones, with TF32 or in full float32.

On the CPU neither setting changes a bit of a result.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

IEEE, TF32 = "ieee", "tf32"


@contextmanager
def deterministic_kernels(on: bool, gpu: bool = False) -> Iterator[None]:
    """Within the block PyTorch takes deterministic kernels where they exist, and warns where they do not.

    cuDNN's benchmark mode, which chooses convolutions by their speed at the moment, is off then. Elsewhere it stays as
    it is; PyTorch's default is off, too.

    Args:
        on: False gives the fastest kernels, also inside of a block that asks for deterministic ones.
        gpu: choose attention's kernels, too, which the CPU must keep. The fused ones know a deterministic gradient, but
            PyTorch takes it only where it may raise an error for every operation that has none, as ``grid_sample``.
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
    """Within the block attention may use fused kernels, or is made of matrix products and a softmax."""
    from torch.backends import cuda

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
    """Within the block GPUs round the factors of float32 products to TF32 (10 bits of fraction), or never do.

    It holds for matrix products and convolutions alike. PyTorch's own default is TF32 in convolutions alone.
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
    """How float32 is multiplied on a device at this moment: "ieee" or "tf32" for each kind of operation."""
    import torch

    if not device.startswith("cuda"):
        return {"matrix_products": IEEE, "convolutions": IEEE}
    cudnn: Any = torch.backends.cudnn
    asked = {
        "matrix_products": torch.backends.cuda.matmul.fp32_precision,
        "convolutions": cudnn.conv.fp32_precision,
    }
    return {kind: TF32 if value == TF32 else IEEE for kind, value in asked.items()}
