"""What ``ablate taps`` says about kinds of encoders, and what its pictures show."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from encoder_ablations.encoders.heatmaps import PANEL, heatmap, save_heatmaps
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.table.lookup import TABLE
from encoder_ablations.experiments.cli import main
from encoder_ablations.utils.errors import InputError

OWN = """
from torch import nn

class Small(nn.Module):
    widths, reductions = (8,), (8.0,)
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)

    def forward(self, images):
        return [self.patches(images)]

class WithBlocks(Small):
    max_depth = 4

    def depth_of(self, parameter):
        return 1
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The name of a module with two encoders of a user's own."""
    (tmp_path / "own_for_taps.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_for_taps"
    sys.modules.pop("own_for_taps", None)


def printed(capsys, *arguments):
    assert main(["taps", "--size", "64x96", "--encoder", *arguments]) == 0
    return capsys.readouterr().out


def test_blocks_of_ones_own_encoder(own, capsys):
    out = printed(capsys, f"{own}:WithBlocks", "weights=random", "neck=none")
    assert "  3 blocks\n" in out
    assert "tap 0 (map 0): 8×8×12, stride 8" in out
    out = printed(capsys, f"{own}:Small", "weights=random", "neck=none")
    assert "no blocks" in out


def test_stages_of_native_encoders(capsys):
    out = printed(capsys, "darknet_tiny", "channels=32")
    assert "5 blocks, which are its stages" in out
    assert "tap 0 (stage 2): 64×16×24, stride 4" in out
    out = printed(capsys, "unet_tiny")
    assert "tap 0 (stage 1): 8×64×96, stride 1" in out


def test_nothing_is_said_of_padding_where_there_is_none(capsys):
    out = printed(capsys, "test_resnet", "weights=random", "neck=none")
    assert "block" in out
    assert "padded" not in out


def test_help_names_functions(capsys):
    with pytest.raises(SystemExit):
        main(["taps", "--help"])
    assert "package.module:function" in " ".join(capsys.readouterr().out.split())


def test_heatmaps_say_what_they_show(tmp_path, capsys):
    arguments = ["darknet_tiny", "channels=32", "--heatmaps", str(tmp_path)]
    out = printed(capsys, *arguments)
    assert "mean of |activation| over the channels" in out
    assert "Weights of the encoder: random." in out
    assert "p2 to p5 come from a neck with random weights" in out
    assert "neck" not in printed(capsys, *arguments[:1], "neck=none", *arguments[2:])


def test_a_heatmap_is_the_mean_magnitude():
    features = torch.tensor([[[1.0, -3.0]], [[-1.0, 5.0]], [[1.0, 1.0]]])
    low, high = heatmap(features, (1, 2))[0]
    # viridis: dark blue to yellow
    assert low.tolist() == [68, 1, 84]
    assert high[0] > 250
    assert high[2] < 50


def test_the_overview_has_rows_and_a_caption(tmp_path):
    """Nine panels are three rows; large ones are reduced."""
    image = np.zeros((500, 1000, 3), np.uint8)
    maps = {f"map {number}": torch.rand(2, 5, 10) for number in range(8)}
    save_heatmaps(image, maps, tmp_path / "plain")
    save_heatmaps(image, maps, tmp_path / "told", "A sentence below the pictures. " * 10)
    plain, told = (Image.open(tmp_path / each / "overview.png") for each in ("plain", "told"))
    assert plain.size == (3 * (PANEL + 4), 3 * (PANEL // 2 + 16))
    assert told.width == plain.width
    assert told.height > plain.height
    below = np.asarray(told)[plain.height :]
    assert (below < 128).any()
    assert Image.open(tmp_path / "told" / "map 0.png").size == (1000, 500)


def test_an_unknown_encoder_is_told_its_neighbours():
    with pytest.raises(InputError) as raised:
        load_encoder("dinov2_b15")
    message = str(raised.value)
    assert "Did you mean 'dinov2_b14', " in message
    assert "'ablate encoders' lists all" in message
    assert 2 <= sum(name in message for name in TABLE) <= 5
