"""Check what every encoder gives: a script for one encoder, and tests for the whole table.

    python experiments/test_backbone_taps.py --encoder dinov2_b14     as ``ablate taps``
    pytest experiments/test_backbone_taps.py                          shapes of all encoders

The tests need no weights and no memory for any: models are built on PyTorch's device "meta", which
knows shapes alone.
"""

import math
import sys
from typing import Any

from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.table.lookup import TABLE
from encoder_ablations.experiments.cli import main

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
"""The pyramid that heads read, whatever the encoder is."""
HEIGHT, WIDTH = 90, 130
"""Of the image, in pixels: no multiples of any patch or stride."""


def pytest_generate_tests(metafunc: Any) -> None:
    """Make a test of every encoder of the table."""
    metafunc.parametrize("name", TABLE)


def test_shapes_and_strides(name: str) -> None:
    """Compare the sizes of all taps and pyramid levels with their strides."""
    import torch

    from encoder_ablations.encoders.build import build_encoder

    with torch.device("meta"):
        encoder = build_encoder(load_encoder(name, {"weights": "random"})).eval()
        images = torch.empty(2, 3, HEIGHT, WIDTH)
        maps, pyramid = encoder.body(images), encoder(images)
    # without a neck the levels are the body's maps, which are compared below
    if encoder.parts["neck"]:
        assert {level.name: level.stride for level in encoder.levels} == STRIDES
    assert {key: tuple(level.shape) for key, level in pyramid.items()} == {
        level.name: (2, level.channels, *_cells(level.stride)) for level in encoder.levels
    }
    body = encoder.body
    assert [tuple(each.shape) for each in maps] == [
        (2, width, *_cells(reduction))
        for width, reduction in zip(body.widths, body.reductions, strict=True)
    ]


def _cells(stride: float) -> tuple[int, int]:
    """Return rows and columns of a map of the image at a stride in pixels."""
    return math.ceil(HEIGHT / stride), math.ceil(WIDTH / stride)


if __name__ == "__main__":
    sys.exit(main(["taps", *sys.argv[1:]]))
