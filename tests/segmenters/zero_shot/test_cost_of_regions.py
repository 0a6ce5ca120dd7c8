"""Finding regions is timed in images of the dataset, and is part of a head's latency."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from encoder_ablations.engine.cost import regions
from encoder_ablations.engine.cost.measure import measure_cost
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.zero_shot.regions import reader
from encoder_ablations.segmenters.zero_shot.spec import ZeroShotSpec
from tests.segmenters.zero_shot.text_vit import TEXT, TextViT, encoder_of

SIZE = (16, 24)
PLAN = [{"blocks": [0, 1], "attend": "regions"}]
IMAGES = [torch.full((3, 64, 64), shade, dtype=torch.uint8) for shade in (50, 100, 150, 200)]


def model(**settings):
    own = {"name": "zero_shot", "queries": {"a": 0, "b": 1}, "window": None}
    own |= {"short_side": None, "long_side": None}
    found = build_segmenter(ZeroShotSpec(**own, **settings), encoder_of(TextViT()), 2, seed=0)
    found.head.take_texts(torch.randn(2, TEXT, generator=torch.Generator().manual_seed(0)))
    return found.eval()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(regions, "measure_cost", partial(measure_cost, seconds=0.0))


@pytest.fixture
def asked(monkeypatch):
    """What regions are looked for in: (shape, a value of the image, whether the cache is used)."""
    calls = []

    def count(image, spec, device, keep=True):
        calls.append((image.shape[:2], int(image[0, 0, 0]), keep))
        return np.ones(image.shape[:2], np.int32)

    monkeypatch.setattr(reader, "region_map", count)
    return calls


def test_regions_are_found_in_images_of_the_dataset(asked):
    segmenter = model(plan=PLAN, regions=[{"source": "superpixels"}])
    cost = regions.measure_with_regions(segmenter, SIZE, (1, 2), IMAGES)
    # once to warm up, then three times; the measured passes look for none
    assert asked == [(SIZE, shade, False) for shade in (50, 50, 100, 150)]
    assert cost.regions.images == 3
    assert cost.regions.milliseconds > 0
    segmenter.predict(torch.zeros(1, 3, *SIZE))
    assert asked[-1] == (SIZE, 0, True), "regions are looked for again afterwards"


def test_latencies_include_finding_them(asked, monkeypatch):
    seconds = iter(range(1, 4))
    monkeypatch.setattr(regions, "_seconds", lambda *given: next(seconds))
    segmenter = model(plan=PLAN, regions=[{"source": "superpixels"}])
    cost = regions.measure_with_regions(segmenter, SIZE, (1, 2), IMAGES)
    assert cost.regions.milliseconds == 2000
    for latency, least in zip(cost.latency_ms, (2000, 4000), strict=True):
        assert min(latency.p10, latency.median, latency.p90) > least
        assert latency.median_by_part["head"] > least
        assert latency.median_by_part["encoder.body"] < least


def test_flops_do_not_depend_on_the_images(asked):
    segmenter = model(plan=PLAN, regions=[{"source": "superpixels"}])
    cost = regions.measure_with_regions(segmenter, SIZE, (1,), IMAGES)
    expected = measure_cost(segmenter, SIZE, (1,), seconds=0.0)
    assert (cost.flops, cost.flops_by_part) == (expected.flops, expected.flops_by_part)


def test_other_models_are_measured_as_before(asked):
    segmenter = model()
    cost = regions.measure_with_regions(segmenter, SIZE, (1,), IMAGES)
    expected = measure_cost(segmenter, SIZE, (1,), seconds=0.0)
    assert not asked
    assert "regions" not in cost.model_dump()
    assert cost.model_dump(exclude={"latency_ms"}) == expected.model_dump(exclude={"latency_ms"})


def test_regions_from_a_folder_are_those_of_the_unchanged_image(tmp_path):
    """An image that is resized for measuring would not be found by its content."""
    for kind, shade in (("images", 50), ("masks", 1)):
        (tmp_path / kind).mkdir()
        pixels = np.full((64, 64, 3)[: 3 if kind == "images" else 2], shade, np.uint8)
        Image.fromarray(pixels).save(tmp_path / kind / "a.png")
    folder = {"source": "folder", "masks": f"{tmp_path}/masks", "images": f"{tmp_path}/images"}
    segmenter = model(plan=PLAN, regions=[folder])
    cost = regions.measure_with_regions(segmenter, SIZE, (1,), IMAGES[:1])
    assert cost.regions.images == 1
    assert cost.flops > 0
