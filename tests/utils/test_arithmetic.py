"""What PyTorch is told about GPUs, and that it is as before afterwards.

None of it changes a bit on the CPU.
"""

import pytest
import torch

from encoder_ablations.utils.arithmetic import (
    deterministic_kernels,
    float32_products,
    tensor_float32,
)

IEEE = {"matrix_products": "ieee", "convolutions": "ieee"}
TF32 = {"matrix_products": "tf32", "convolutions": "tf32"}


def settings():
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        *(backend.fp32_precision for backend in backends),
        *attention(),
    )


def attention():
    """Which fused kernels attention may use."""
    cuda = torch.backends.cuda
    return cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled()


def test_tf32_is_for_matrix_products_and_convolutions_alike():
    before = settings()
    with tensor_float32(False):
        assert float32_products("cuda") == IEEE
        with tensor_float32(True):
            assert float32_products("cuda:1") == TF32
            assert (
                torch.backends.cudnn.allow_tf32
            )  # what libraries ask that know PyTorch's older names
        assert float32_products("cuda") == IEEE
        assert not torch.backends.cuda.matmul.allow_tf32
    assert settings() == before


def test_pytorchs_own_default_is_told():
    """TF32 in convolutions alone: a run that says "fp32" must not compute like that."""
    assert float32_products("cuda") == {"matrix_products": "ieee", "convolutions": "tf32"}


def test_cpus_have_no_tf32():
    with tensor_float32(True):
        assert float32_products("cpu") == IEEE


def divide_by_zero(deterministic):
    with deterministic_kernels(deterministic, gpu=True):
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert set(attention()) == {not deterministic}
        1 / 0  # noqa: B018


def test_the_cpu_keeps_its_fused_attention():
    """Another kernel would round otherwise."""
    before = attention()
    with deterministic_kernels(True):
        assert attention() == before == (True, True, True)


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("inner", [False, True])
def test_determinism_lasts_as_long_as_the_block(outer, inner):
    before = settings()
    with deterministic_kernels(outer):
        around = settings()
        with pytest.raises(ZeroDivisionError):
            divide_by_zero(inner)
        assert settings() == around
    assert settings() == before


def test_cudnn_does_not_choose_by_the_clock_where_bits_shall_repeat(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with deterministic_kernels(True):
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark


def test_the_cpu_computes_the_same_bits():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 8, 20, 20, generator=generator)
    kernel = torch.randn(16, 8, 3, 3, generator=generator)

    def compute():
        maps = torch.nn.functional.conv2d(images, kernel).flatten(2)
        return maps.transpose(1, 2) @ maps

    expected = compute()
    for deterministic, tf32 in ((True, False), (False, True), (True, True)):
        with deterministic_kernels(deterministic), tensor_float32(tf32):
            assert torch.equal(compute(), expected)
