import numpy as np
import torch

from encoder_ablations.utils.seeding import derive, numpy_stream, seed_global, torch_stream


def test_streams_are_independent_and_repeatable():
    assert derive(0, "head") == derive(0, "head")
    assert (
        len(
            {
                derive(seed, *labels)
                for seed in (0, 1)
                for labels in (("a",), ("b",), ("a", "b"), ("ab",))
            }
        )
        == 8
    )
    assert 0 <= derive(5, "x") < 2**63
    assert np.array_equal(numpy_stream(1, "x").random(4), numpy_stream(1, "x").random(4))


def test_a_stream_does_not_depend_on_what_was_drawn_before():
    with torch_stream(0, "head"):
        first = torch.rand(3)
    torch.rand(1000)
    with torch_stream(0, "head"):
        second = torch.rand(3)
    assert torch.equal(first, second)


def test_a_stream_leaves_the_global_generator_alone():
    seed_global(0, "step", 1)
    expected = torch.rand(3)
    seed_global(0, "step", 1)
    with torch_stream(9, "other"):
        torch.rand(10)
    assert torch.equal(torch.rand(3), expected)
