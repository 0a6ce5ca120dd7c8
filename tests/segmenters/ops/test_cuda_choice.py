"""What computes deformable attention on a CUDA device. No device is needed: plain PyTorch stands in
for the kernels, and the device has only a name."""

import logging
from types import SimpleNamespace

import pytest
import torch

from encoder_ablations.segmenters.ops import cuda_choice, kernel_check
from encoder_ablations.segmenters.ops import deformable_attention_pytorch as plain
from encoder_ablations.segmenters.ops.cuda_choice import BF16_CAPABILITY, DTYPES, choose
from encoder_ablations.segmenters.ops.deformable_attention import deformable_attention_path

CPU = torch.device("cpu")
HALVES = (torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def widened(value, locations, weights):
    # PyTorch itself is wrong where positions are no integers of 32 bits
    near = kernel_check._within_integers(locations.double())
    return [value.double(), near, weights.double()]


def forward(value, locations, weights, shapes):
    return plain.forward(*widened(value, locations, weights), shapes).to(value.dtype)


def backward(gradient, value, locations, weights, shapes):
    tensors = widened(value, locations, weights)
    return tuple(
        each.to(value.dtype) for each in plain.backward(gradient.double(), *tensors, shapes)
    )


def kernels(**functions):
    parts = {"forward": forward, "backward": backward, "__file__": plain.__file__}
    return SimpleNamespace(**{**parts, **functions})


def scaled(index, factor):
    """Gradients of which one is wrong."""

    def wrong(*arguments):
        found = list(backward(*arguments))
        found[index] = found[index] * factor
        return tuple(found)

    return wrong


def blind_outside(value, locations, weights, shapes):
    """An error that only locations outside of the maps show."""
    return forward(value, locations.clamp(0, 1), weights, shapes)


def lost_far_away(value, locations, weights, shapes):
    """An error that only huge locations show: they wrap around."""
    wrapped = locations.where(~locations.isfinite() | (locations.abs() < 1e6), 0.5)
    return forward(value, wrapped, weights, shapes)


def blind_beyond_16_bits(value, locations, weights, shapes):
    """An error that only a huge level shows: cells after the 65,536th are read as zeros."""
    value = value.clone()
    value[:, 2**16 :] = 0
    return forward(value, locations, weights, shapes)


def test_right_kernels_are_used_in_every_precision(caplog):
    choice = choose(kernels(), CPU, "GPU A", BF16_CAPABILITY)
    assert choice.problems == {}
    assert choice.path(*DTYPES) == "triton"
    assert set(choice.report()) == {"float32", "float16", "bfloat16"}
    assert not caplog.records


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (kernels(forward=blind_outside), "output"),
        (kernels(forward=lost_far_away), "output"),
        (kernels(forward=blind_beyond_16_bits), "515"),
        (kernels(backward=scaled(0, 1.1)), "gradient to value"),
        (kernels(backward=scaled(1, 1.1)), "gradient to locations"),
        (kernels(backward=scaled(2, 1.1)), "gradient to weights"),
        (kernels(forward=lambda *_: 1 / 0), "ZeroDivisionError"),
    ],
    ids=["outside", "far", "huge", "value", "locations", "weights", "raises"],
)
def test_wrong_kernels_are_not_used_and_one_line_says_why(broken, word, caplog):
    with caplog.at_level(logging.WARNING):
        choice = choose(broken, CPU, "GPU A", BF16_CAPABILITY)
    assert choice.path(torch.float32) == "pytorch"
    assert word in choice.report()["float32"]
    lines = [record.getMessage() for record in caplog.records]
    assert any("GPU A" in line and word in line and "\n" not in line for line in lines)


def test_precisions_are_judged_one_by_one():
    def no_halves(value, *rest):
        if value.dtype in HALVES:
            raise RuntimeError("no such instruction\nin line 7")
        return forward(value, *rest)

    choice = choose(kernels(forward=no_halves), CPU, "GPU A", BF16_CAPABILITY)
    assert choice.path(torch.float32) == "triton"
    assert choice.path(torch.float32, torch.bfloat16) == "pytorch"
    assert choice.report()["float16"] == "pytorch: RuntimeError: no such instruction"


def test_devices_without_bfloat16_are_not_asked_for_it():
    asked = []

    def note(_kernels, _device, dtype):
        asked.append(dtype)

    choice = choose(kernels(), CPU, "GPU A", (7, 5), find_problem=note)
    assert asked == [torch.float32, torch.float16]
    assert list(choice.problems) == [torch.bfloat16]


def test_agreement_is_remembered_for_the_same_device_and_software(monkeypatch):
    asked = []

    def note(_kernels, _device, dtype):
        asked.append(dtype)
        return None if dtype == torch.float32 else "broken"

    def ask(name="GPU A", capability=BF16_CAPABILITY):
        asked.clear()
        return choose(kernels(), CPU, name, capability, find_problem=note), list(asked)

    first, compared = ask()
    assert compared == list(DTYPES)
    again, compared = ask()
    # what failed is compared again: it may have been mended
    assert again == first
    assert compared == list(HALVES)
    assert len(ask(name="GPU B")[1]) == 3
    assert len(ask(capability=(9, 0))[1]) == 3
    monkeypatch.setattr(cuda_choice, "__version__", "another")
    assert len(ask()[1]) == 3
    monkeypatch.setattr(torch, "__version__", "another")
    assert len(ask()[1]) == 3


def test_a_damaged_memory_is_read_as_none(own_cache):
    choose(kernels(), CPU, "GPU A", BF16_CAPABILITY)
    (place,) = own_cache.rglob("*.json")
    place.write_text("[")
    broken = kernels(backward=scaled(0, 2))
    assert choose(broken, CPU, "GPU A", BF16_CAPABILITY).path(torch.float32) == "pytorch"


def test_a_cache_that_cannot_be_written_is_no_error(own_cache):
    (own_cache / "encoder_ablations").write_text("a file where the folder should be")
    assert choose(kernels(), CPU, "GPU A", BF16_CAPABILITY).path(*DTYPES) == "triton"


def test_the_comparison_draws_no_random_numbers():
    before = torch.get_rng_state()
    kernel_check.find_problem(kernels(), CPU, torch.float32)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_choice_of_a_device_is_made_once_and_reported(monkeypatch):
    made = []

    def choice(device):
        made.append(device)
        return cuda_choice.Choice("GPU A", {torch.bfloat16: "broken"})

    monkeypatch.setattr(cuda_choice, "_choices", {})
    monkeypatch.setattr(cuda_choice, "_choose", choice)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    device = torch.device("cuda", 1)
    assert cuda_choice.report_of(device) == {}
    assert deformable_attention_path(device, torch.float32) == "triton"
    assert deformable_attention_path(torch.device("cuda"), torch.bfloat16) == "pytorch"
    assert deformable_attention_path(device, torch.float64) == "pytorch"
    assert made == [device]
    report = cuda_choice.report_of(device)["deformable_attention"]
    assert report["bfloat16"] == "pytorch: broken"
    assert report["float32"].startswith("triton")
    assert cuda_choice.report_of(CPU) == {}


def test_pretended_devices_are_not_asked():
    assert deformable_attention_path(torch.device("cuda"), torch.float32) == "pytorch"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_kernels_agree_on_this_device():
    pytest.importorskip("triton", reason="triton is not installed")
    from encoder_ablations.segmenters.ops import deformable_attention_triton

    device = torch.device("cuda", torch.cuda.current_device())
    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    choice = choose(deformable_attention_triton, device, name, capability)
    wanted = [torch.bfloat16] if capability < BF16_CAPABILITY else []
    assert list(choice.problems) == wanted, choice.problems
