"""The head: a planted toy is segmented perfectly, padding is no content, bad settings are one
line."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads import zero_shot
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.segmenters.zero_shot.second_model import build_second_model
from encoder_ablations.segmenters.zero_shot.spec import ZeroShotSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError
from tests.segmenters.zero_shot.text_vit import (
    NORMALIZATION,
    ColourBlocks,
    TextViT,
    encoder_of,
)

COLOURS = torch.tensor([[230, 20, 20], [20, 220, 30], [30, 20, 240]])
QUERIES = {"red thing": 0, "green thing": 1, "blue thing": 2}
MEAN, STD = torch.tensor(NORMALIZATION.mean), torch.tensor(NORMALIZATION.std)
TEXTS = (COLOURS / 255 - MEAN) / STD
PLAIN = {"short_side": None, "long_side": None, "window": 16, "stride": 8}
VFM = {"name": "test_vit", "weights": "random"}
SUPERPIXELS = {"source": "superpixels", "count": 6}


def spec_of(**settings):
    return build(ZeroShotSpec, {"name": "zero_shot", "queries": QUERIES, **settings}, "settings")


def segmenter_of(blocks, texts=TEXTS, classes=3, **settings):
    found = build_segmenter(spec_of(**settings), encoder_of(blocks), classes, seed=0)
    found.head.take_texts(texts)
    return found.eval()


def planted(size=(24, 36)):
    """1×3×H×W uint8 with rectangles of whole patches, and their classes H×W."""
    classes = torch.zeros(size, dtype=torch.long)
    classes[:12, 12:] = 1
    classes[8:20, 24:] = 2
    return COLOURS[classes].permute(2, 0, 1)[None].to(torch.uint8), classes


def toy_is_segmented(blocks=None, size=(24, 36), **settings):
    images, classes = planted(size)
    model = segmenter_of(blocks or ColourBlocks(), **(PLAIN | settings))
    found = model.predict(images).labels(size)
    # between two patches scores are resized, so that only their middles are sure
    inside = torch.zeros(size, dtype=torch.bool)
    inside[1::4, 1::4] = inside[2::4, 2::4] = True
    return torch.equal(found[0][inside], classes[inside])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "clip"},
        {"method": "maskclip", "window": None},
        {"method": "reseg", "plan": [], "enlarged": "features", "averaged": "probabilities"},
        {"method": "clearclip", "scale": None},
        {"method": "sclip", "window": 7, "stride": 3},
        {"method": "sclip", "stride": 16},
        {"method": "sclip", "refine": {"steps": 2, "dilations": [1]}},
        {"method": "proxyclip", "vfm": VFM},
        {"method": "corrclip", "vfm": VFM, "regions": [SUPERPIXELS]},
    ],
)
def test_the_planted_toy_is_segmented(settings):
    assert toy_is_segmented(**settings)


def test_the_toy_of_another_size_than_whole_patches():
    assert toy_is_segmented(size=(25, 39))


def test_the_toy_enlarged():
    """Four times as large for the body, whose patches then are pixels: every pixel is right."""
    images, classes = planted((24, 36))
    model = segmenter_of(ColourBlocks(), short_side=96, long_side=None, window=32, stride=20)
    scores = model.scores(images)
    assert torch.equal(scores.argmax(1)[0], classes)
    assert torch.equal(model.predict(images).labels((24, 36))[0], classes)


def test_several_images_at_a_time():
    images, _ = planted()
    other = images.flip(-1)
    model = segmenter_of(ColourBlocks(), **PLAIN)
    both = model.scores(torch.cat([images, other]))
    assert torch.equal(both[:1], model.scores(images))
    assert torch.equal(both[1:], model.scores(other))


def test_windows_hold_no_padding():
    """Images are padded to whole patches by the segmenter; windows end where the image does."""
    images, _ = planted((22, 31))
    blocks = ColourBlocks()
    segmenter_of(blocks, **PLAIN).scores(images)
    normalized = (images.float() / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    (seen,) = blocks.seen
    assert seen.shape == (6, 3, 16, 16)
    torch.testing.assert_close(seen[-1], normalized[0, :, 6:, 15:])


def test_what_lies_in_the_padding_has_no_influence():
    images, _ = planted((22, 31))
    model = segmenter_of(TextViT(), torch.eye(3, 12), **PLAIN, method="clip")
    given = model.pyramid(images)
    assert given.images.shape[-2:] == (24, 32)
    other = given.images.clone()
    other[..., 22:, :], other[..., 31:] = 9, 9
    first, second = (
        model.head.predict(each, (22, 31)).maps for each in (given, given._replace(images=other))
    )
    assert torch.equal(first, second)


@torch.no_grad()
def test_scores_by_hand():
    """One window, softmax of 40 · cosines, the largest of two texts of one class."""
    queries = {"a": 0, "b": 1, "c": 0}
    texts = F.normalize(torch.randn(3, 12, generator=torch.Generator().manual_seed(0)), dim=1)
    images = torch.randint(0, 256, (1, 3, 16, 20), generator=torch.Generator().manual_seed(0))
    settings = {"short_side": None, "long_side": None, "window": None, "queries": queries}
    model = segmenter_of(TextViT(), texts, classes=2, method="clip", **settings)
    vit, tokens = TextViT(), None
    normalized = (images / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    tokens = vit.embed(normalized)
    for index in range(3):
        tokens = vit.run(index, tokens)
    patches = F.normalize(vit.in_text_space(tokens)[:, 1:], dim=-1) @ texts.T
    large = F.interpolate(
        patches.transpose(1, 2).unflatten(2, (4, 5)), size=(16, 20), mode="bilinear"
    )
    shares = (40 * large).softmax(dim=1)
    expected = torch.stack([torch.maximum(shares[:, 0], shares[:, 2]), shares[:, 1]], dim=1)
    torch.testing.assert_close(model.scores(images).exp(), expected, atol=1e-6, rtol=1e-5)
    # probabilities add up to 1, the rest of a class's synonyms left out
    found = model.predict(images).probabilities((16, 20))
    torch.testing.assert_close(found, expected / expected.sum(1, keepdim=True))


@torch.no_grad()
def test_averages_of_scores_and_of_probabilities_differ():
    images = torch.randint(0, 256, (1, 3, 24, 36), generator=torch.Generator().manual_seed(0))
    texts = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    one, other = (
        segmenter_of(TextViT(), texts, **PLAIN, averaged=averaged).scores(images)
        for averaged in ("scores", "probabilities")
    )
    assert (one - other).abs().max() > 1e-4
    torch.testing.assert_close(one.exp().sum(1), torch.ones(1, 24, 36))
    torch.testing.assert_close(other.exp().sum(1), torch.ones(1, 24, 36))


def test_the_background_where_no_class_is_sure():
    """Two texts and a background without one; a mixture of two colours is like neither."""
    images, classes = planted()
    images[0, :, 16:] = COLOURS[:2].float().mean(0).view(3, 1, 1).to(torch.uint8)
    queries = {"red": 0, "green": 1}
    settings = PLAIN | {"queries": queries, "background": 2, "threshold": 0.9, "scale": 5}
    model = segmenter_of(ColourBlocks(), TEXTS[:2], **settings)
    found = model.predict(images).labels((24, 36))[0]
    assert (found[18:] == 2).all()
    assert torch.equal(found[1:6:4, 1::4], classes[1:6:4, 1::4])


def test_regions_are_those_of_the_raw_image(tmp_path):
    """They are looked up by the image's own colours and reach the blocks, resized."""
    images, classes = planted()
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(tmp_path / "images" / "one.png")
    Image.fromarray(classes.numpy().astype(np.uint8)).save(tmp_path / "masks" / "one.png")
    folder = {
        "source": "folder",
        "masks": str(tmp_path / "masks"),
        "images": str(tmp_path / "images"),
    }
    plan = [{"blocks": [0, -1], "attend": "regions"}]
    settings = {"method": "clip", "plan": plan, "regions": [folder], "window": None}
    texts = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    model = segmenter_of(TextViT(), texts, **(PLAIN | settings))
    found = model.scores(images)
    free = segmenter_of(TextViT(), texts, **(PLAIN | {"method": "clip", "window": None}))
    assert (found - free.scores(images)).abs().max() > 1e-3
    # what happens in class 2 changes nothing elsewhere, but the image is then unknown
    with pytest.raises(InputError, match="36×24"):
        model.scores(images // 2)


def test_the_second_model_sees_its_own_normalisation_and_gives_the_grid():
    """The last map of test_vit, 16 pixels a patch, on a grid of patches of 4."""
    second = build_second_model(spec_of(method="proxyclip", vfm=VFM).vfm, NORMALIZATION)
    images = torch.randint(0, 256, (2, 3, 30, 40), generator=torch.Generator().manual_seed(0))
    seen = (images / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    own = second.encoder.normalization
    expected = images / 255
    expected = (expected - torch.tensor(own.mean).view(3, 1, 1)) / torch.tensor(own.std).view(
        3, 1, 1
    )
    maps = second.encoder.maps(expected)[-1]
    same = second(seen, (2, 3), 16.0)
    torch.testing.assert_close(same, maps, atol=1e-4, rtol=1e-4)
    fine = second(seen, (8, 10), 4.0)
    large = F.interpolate(maps, scale_factor=4, mode="bilinear")
    torch.testing.assert_close(fine, large[..., :8, :10], atol=1e-4, rtol=1e-4)
    assert not second.train().encoder.training
    assert not any(parameter.requires_grad for parameter in second.parameters())


def test_the_second_model_guides_the_attention():
    images = torch.randint(0, 256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    texts = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    one, other = (
        segmenter_of(TextViT(), texts, **PLAIN, method="proxyclip", vfm=VFM, vfm_shift=shift)
        for shift in (0.9, 1.0)
    )
    assert not torch.equal(one.scores(images), other.scores(images))
    assert torch.equal(one.scores(images), one.scores(images))


def test_a_batch_of_windows_counts_for_nothing_but_time(monkeypatch):
    images = torch.randint(0, 256, (1, 3, 40, 44), generator=torch.Generator().manual_seed(0))
    model = segmenter_of(TextViT(), torch.eye(3, 12), **PLAIN)
    expected = model.scores(images)
    monkeypatch.setattr(zero_shot, "WINDOW_BATCH", 5)
    torch.testing.assert_close(model.scores(images), expected, atol=1e-5, rtol=1e-5)


def test_nothing_learns():
    model = segmenter_of(ColourBlocks(), **PLAIN, method="proxyclip", vfm=VFM)
    assert not [value for value in model.head.parameters() if value.requires_grad]
    images, classes = planted()
    with pytest.raises(InputError, match="does not learn"):
        model.loss(images, classes[None])


def test_texts_are_brought_to_unit_length():
    images, _ = planted()
    one = segmenter_of(ColourBlocks(), TEXTS, **PLAIN)
    other = segmenter_of(ColourBlocks(), 7 * TEXTS, **PLAIN)
    torch.testing.assert_close(one.scores(images), other.scores(images))
    with pytest.raises(InputError, match="3 queries"):
        one.head.take_texts(TEXTS[:2])


def test_without_features_of_texts():
    images, _ = planted()
    model = build_segmenter(spec_of(), encoder_of(ColourBlocks()), 3, seed=0)
    with pytest.raises(InputError, match="take_texts"):
        model.scores(images)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "nacclip"}, r"'method'.*nacclip.*'naclip'.*segearth"),
        ({"regions": [{"count": 3}]}, "source: sam"),
        ({"method": "proxyclip"}, "vfm: dinov2_b14"),
        ({"vfm": "dinov2_b14"}, "reads no vfm"),
        ({"regions": [SUPERPIXELS]}, "no regions"),
        ({"method": "reseg", "regions": [SUPERPIXELS] * 2}, "2 entries, but 4 .* one for all"),
        ({"method": "reseg", "regions": []}, "0 entries, but 4"),
        ({"stride": 300}, "stride 300"),
        ({"averaged": "probabilities", "scale": None}, "scale"),
        ({"threshold": 0.4}, "background"),
        ({"queries": {}}, "queries"),
        ({"plan": [{"blocks": [0, 1], "attend": "neighbours", "radius": -1}]}, "radius.*-1"),
        ({"regions": [{"source": "same"}]}, "same"),
        ({"regions": [{"source": "superpixels", "cuont": 3}]}, "cuont"),
        ({"affinity": "qk"}, "vanilla"),
    ],
)
def test_settings_that_do_not_fit_together(settings, words):
    with pytest.raises(InputError, match=words) as caught:
        spec_of(**settings)
    assert "\n" not in str(caught.value)


def test_a_second_model_is_named_as_encoders_are(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text("{base: vit_ti16, weights: random}")
    of_file = spec_of(method="proxyclip", vfm=str(path)).vfm
    of_base = spec_of(method="proxyclip", vfm={"base": "vit_ti16", "weights": "random"}).vfm
    assert of_file == of_base
    assert (of_file.name, of_file.weights) == ("vit_ti16", "random")
    # as ever: the name alone leaves everything at its default
    assert spec_of(method="proxyclip", vfm="dinov2_b14").vfm.model_dump(exclude_unset=True) == {
        "name": "dinov2_b14"
    }
    with pytest.raises(InputError, match=r"there is no file none\.yaml"):
        spec_of(method="proxyclip", vfm="none.yaml")


@pytest.mark.parametrize("regions", [SUPERPIXELS, [SUPERPIXELS]])
def test_one_entry_of_regions_is_read_for_all(regions):
    spec = spec_of(method="reseg", regions=regions)
    assert len(spec.regions) == 1
    assert spec.switches.regions == spec.regions * 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window": 3, "stride": 2}, "window: 3 pixels"),
        ({"short_side": 2}, "short_side: 2 pixels"),
        ({"queries": None}, "no texts"),
        ({"queries": {"red": 0, "green": 1}}, "class 2 has no text"),
        ({"method": "proxyclip", "vfm": "dinov2_b41"}, "dinov2_b14"),
        ({"method": "proxyclip", "vfm": VFM | {"neck": "tap_pyramid"}}, "neck tap_pyramid"),
    ],
)
def test_settings_that_do_not_fit_the_encoder_or_the_classes(settings, words):
    with pytest.raises(InputError, match=words) as caught:
        build_segmenter(spec_of(**settings), encoder_of(ColourBlocks()), 3, seed=0)
    assert "\n" not in str(caught.value)


def test_a_vfm_is_a_name_or_settings():
    assert spec_of(method="proxyclip", vfm="dinov2_b14").vfm.name == "dinov2_b14"
    assert spec_of(method="proxyclip", vfm=VFM).vfm.weights == "random"


def test_a_saved_run_builds_the_same_head():
    """Its settings are those with all defaults written out."""
    settings = PLAIN | {"method": "corrclip", "vfm": VFM, "regions": [SUPERPIXELS]}
    saved = SegmenterSpec.model_validate(spec_of(**settings))
    assert build(ZeroShotSpec, saved.model_dump(mode="json"), "a run") == spec_of(**settings)
    images = torch.randint(0, 256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    texts = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    again = build_segmenter(saved, encoder_of(TextViT()), 3, seed=1).eval()
    again.head.take_texts(texts)
    first = segmenter_of(TextViT(), texts, **settings)
    assert torch.equal(first.scores(images), again.scores(images))


def test_cosines_where_there_is_no_softmax():
    images, _ = planted()
    found = segmenter_of(ColourBlocks(), **PLAIN, scale=None).scores(images)
    own = F.normalize(TEXTS, dim=1) @ F.normalize(TEXTS, dim=1).T
    assert math.isclose(found[0, 1, 1, 1].item(), own[0, 1].item(), abs_tol=1e-5)
