"""Regions from a folder are found by the content of whole images; parts of them are refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.zero_shot.spec import ZeroShotSpec
from encoder_ablations.utils.errors import InputError
from tests.segmenters.zero_shot.text_vit import TEXT, TextViT, encoder_of

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
PLAN = [{"blocks": [0, 1], "attend": "regions"}]


@pytest.fixture
def segmenter(tmp_path):
    """segmenter(regions) -> a model whose first two blocks read these regions of images."""
    for name, pixels in (("images", IMAGE), ("masks", (IMAGE[..., 0] > 99).astype(np.uint8))):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
    folder = {
        "source": "folder",
        "masks": f"{tmp_path}/masks",
        "images": f"{tmp_path}/images",
    }

    def make(**settings):
        own = {"name": "zero_shot", "queries": {"a": 0, "b": 1}, "window": 32, "stride": 16}
        given = {"plan": PLAN, "regions": [folder]} | settings
        found = build_segmenter(ZeroShotSpec(**own, **given), encoder_of(TextViT()), 2, seed=0)
        found.head.take_texts(torch.randn(2, TEXT, generator=torch.Generator().manual_seed(0)))
        return found.eval()

    return make


def predictor(model, short_side=None, **spec):
    return Predictor([Member(model, short_side)], ("a", "b"), InferenceSpec(**spec))


@pytest.mark.parametrize(
    ("short_side", "spec"),
    [(None, {"window": 32}), (None, {"views": {"flips": ["horizontal"]}}), (32, {})],
)
def test_parts_and_changes_of_images_are_refused(segmenter, short_side, spec):
    with pytest.raises(InputError, match=r"folder.*--window") as caught:
        predictor(segmenter(), short_side, **spec)
    assert "\n" not in str(caught.value)


def test_windows_of_rasters_are_refused(segmenter):
    whole = predictor(segmenter())
    assert whole.predict(IMAGE).mask.shape == (48, 48)
    with pytest.raises(InputError, match="--window"):
        whole.windowed(32)


@pytest.mark.parametrize(
    "settings",
    [{"plan": None, "regions": None}, {"regions": [{"source": "superpixels", "count": 4}]}],
)
def test_windows_are_allowed_without_such_regions(segmenter, settings):
    assert predictor(segmenter(**settings), window=32).windows((48, 48)) == 4
