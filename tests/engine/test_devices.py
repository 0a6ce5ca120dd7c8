"""What a run asks of PyTorch, by device and settings; no device is needed to see it."""

import pytest
import torch

from encoder_ablations.engine.devices import autocast, computing, precision_on
from encoder_ablations.utils.arithmetic import float32_products

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "deterministic", "expected"),
    [(CUDA, False, False), (CUDA, True, True), (CPU, False, True), (CPU, True, True)],
    ids=str,
)
def test_kernels_are_deterministic_where_asked_for_and_on_the_cpu(device, deterministic, expected):
    before = torch.are_deterministic_algorithms_enabled()
    with computing(device, "fp32", deterministic):
        assert torch.are_deterministic_algorithms_enabled() == expected
        assert not torch.backends.cudnn.benchmark
        fused = device == CPU or not deterministic
        assert torch.backends.cuda.flash_sdp_enabled() == fused
        assert torch.backends.cuda.mem_efficient_sdp_enabled() == fused
    assert torch.are_deterministic_algorithms_enabled() == before
    assert torch.backends.cuda.mem_efficient_sdp_enabled()


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_only_tf32_changes_what_float32_is(precision):
    """Half precision leaves float32 to what must not be rounded: sampling positions, losses, the
    optimiser."""
    before = float32_products("cuda")
    with computing(CUDA, precision, False):
        assert set(float32_products("cuda").values()) == {"tf32" if precision == "tf32" else "ieee"}
        with computing(CUDA, "fp32", False):
            assert set(float32_products("cuda").values()) == {"ieee"}
    assert float32_products("cuda") == before


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_tf32_is_no_autocast(precision):
    with autocast(CPU, precision):
        assert torch.is_autocast_enabled("cpu") == (precision in ("bf16", "fp16"))


def test_the_cpu_has_no_tf32():
    assert [precision_on(CPU, name) for name in ("fp32", "tf32", "bf16")] == [
        "fp32",
        "fp32",
        "bf16",
    ]
    assert precision_on(CUDA, "tf32") == "tf32"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_multiplies_as_it_is_told():
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("TF32 came with compute capability 8.0")
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(512, 512, generator=generator).cuda() for _ in range(2))
    images = torch.randn(2, 64, 32, 32, generator=generator).cuda()
    kernel = torch.randn(64, 64, 3, 3, generator=generator).cuda()
    exact = left.double() @ right.double(), torch.conv2d(images.double(), kernel.double())
    for precision, least, most in (("fp32", 0.0, 1e-5), ("tf32", 1e-5, 1e-2)):
        with computing(torch.device("cuda"), precision, False):
            found = left @ right, torch.conv2d(images, kernel)
        for ours, theirs in zip(found, exact, strict=True):
            error = ((ours - theirs).norm() / theirs.norm()).item()
            assert least < error < most, precision
