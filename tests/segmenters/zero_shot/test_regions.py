"""Regions by SAM, from a folder and by superpixels; what was computed once is kept."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2VisionConfig,
    SamConfig,
    SamImageProcessor,
    SamModel,
    SamVisionConfig,
)

from encoder_ablations.segmenters.zero_shot.methods import (
    FolderSpec,
    SamSpec,
    SuperpixelSpec,
)
from encoder_ablations.segmenters.zero_shot.regions import maps, sam
from encoder_ablations.segmenters.zero_shot.regions.maps import region_map
from encoder_ablations.segmenters.zero_shot.regions.sam import painted, without_small_parts
from encoder_ablations.utils.errors import InputError

CPU = torch.device("cpu")
PROMPTS = {"hidden_size": 32, "image_size": 64, "patch_size": 16}
DECODER = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "mlp_dim": 32,
    "iou_head_hidden_dim": 16,
}
SUPERPIXELS = SuperpixelSpec(source="superpixels", count=9)


@pytest.fixture
def image():
    """H×W×3: a bright square in the middle of a dark field."""
    found = np.random.default_rng(0).integers(0, 20, (48, 64, 3), dtype=np.uint8)
    found[12:36, 16:48] += 200
    return found


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tiny_sam(tmp_path_factory):
    """A folder with a random SAM of two narrow blocks."""
    folder = tmp_path_factory.mktemp("sam")
    vision = SamVisionConfig(
        hidden_size=16,
        output_channels=32,
        num_pos_feats=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        global_attn_indexes=[0],
        mlp_dim=16,
        window_size=2,
    )
    prompts = PROMPTS | {"image_embedding_size": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SamModel(
            SamConfig(
                vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=DECODER
            )
        )
    model.save_pretrained(folder)
    size = {"longest_edge": 64}
    SamImageProcessor(
        size=size, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 16}
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_sam2(tmp_path_factory):
    """A folder with a random SAM 2 of five narrow blocks."""
    folder = tmp_path_factory.mktemp("sam2")
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[64, 64],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[2, 2, 2, 2],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[2, 2],
        mlp_ratio=2.0,
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=32,
    )
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=PROMPTS, mask_decoder_config=DECODER
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Sam2Model(config).save_pretrained(folder)
    square = {"height": 64, "width": 64}
    Sam2ImageProcessor(size=square, mask_size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def sam_spec(folder, **settings):
    loose = {"points_per_side": 2, "predicted_iou": 0.0, "stability": 0.0}
    return SamSpec(model=str(folder), **(loose | settings))


@pytest.mark.parametrize("model", ["tiny_sam", "tiny_sam2"])
def test_sam_gives_a_map_of_the_image(request, model, image):
    found = region_map(image, sam_spec(request.getfixturevalue(model)), CPU)
    assert found.shape == image.shape[:2]
    assert found.dtype == np.int32
    assert found.max() >= 1


def test_sam_is_asked_as_the_settings_say(tiny_sam, image, monkeypatch):
    asked = {}

    def generator(model, device):
        def generate(given, **settings):
            asked.update(settings, size=given.size, model=model)
            return {"masks": [np.ones((48, 64), dtype=bool), torch.ones(48, 64) > 2]}

        return generate

    monkeypatch.setattr(sam, "load_generator", generator)
    spec = SamSpec(
        points_per_side=4,
        predicted_iou=0.6,
        stability=0.7,
        crop_layers=1,
        crop_point_divisor=2,
    )
    assert (region_map(image, spec, CPU) == 1).all()
    assert asked == {
        "size": (64, 48),
        "model": "facebook/sam-vit-huge",
        "points_per_crop": 4,
        "pred_iou_thresh": 0.6,
        "stability_score_thresh": 0.7,
        "crops_n_layers": 1,
        "crop_n_points_downscale_factor": 2,
    }


def test_thresholds_leave_masks_out(tiny_sam, image):
    assert not region_map(image, sam_spec(tiny_sam, predicted_iou=1.0), CPU).any()


def test_crop_layers_run_on_crops(tiny_sam, image, monkeypatch):
    """The image, and in the first layer its four crops."""
    model = sam.load_generator(str(tiny_sam), CPU).model
    counted, embed = [], model.get_image_embeddings
    monkeypatch.setattr(
        model, "get_image_embeddings", lambda given: counted.append(1) or embed(given)
    )
    region_map(image, sam_spec(tiny_sam, crop_layers=1), CPU)
    assert len(counted) == 5


def test_later_masks_cover_earlier_ones():
    one, two = np.zeros((2, 3, 4), dtype=bool)
    one[:, :3], two[1:, 2:] = True, True
    assert painted([one, two], (3, 4), 0).tolist() == [[1, 1, 1, 0], [1, 1, 2, 2], [1, 1, 2, 2]]


def test_small_parts_and_holes_are_removed():
    mask = np.zeros((6, 8), dtype=bool)
    mask[:5, :5] = True
    mask[2, 2] = False  # a hole
    mask[5, 7] = True  # an island
    found = without_small_parts(mask, 3)
    expected = np.zeros((6, 8), dtype=bool)
    expected[:5, :5] = True
    assert np.array_equal(found, expected)
    assert np.array_equal(without_small_parts(mask, 0), mask)


def test_the_largest_part_stays_where_all_are_small():
    mask = np.zeros((4, 9), dtype=bool)
    mask[0, 0], mask[2, 4:7] = True, True
    found = without_small_parts(mask, 5)
    assert found.sum() == 3
    assert found[2, 5]


def test_superpixels_follow_edges(image):
    found = region_map(image, SUPERPIXELS, CPU)
    assert found.min() == 1
    bright = image[..., 0] > 100
    for number in range(1, found.max() + 1):
        share = bright[found == number].mean()
        assert min(share, 1 - share) < 0.02


def test_regions_are_computed_once_for_an_image_and_settings(image, monkeypatch):
    computed = []

    def count(given, spec):
        computed.append(spec.count)
        return np.full(given.shape[:2], spec.count, dtype=np.int32)

    monkeypatch.setattr(maps, "superpixel_regions", count)
    first = region_map(image, SUPERPIXELS, CPU)
    assert np.array_equal(region_map(image.copy(), SUPERPIXELS, CPU), first)
    assert computed == [9]
    region_map(image, SUPERPIXELS.model_copy(update={"count": 4}), CPU)
    region_map(image + 1, SUPERPIXELS, CPU)
    assert computed == [9, 4, 9]


def test_a_damaged_file_of_the_cache_is_computed_again(image, tmp_path):
    expected = region_map(image, SUPERPIXELS, CPU)
    (path,) = (tmp_path / "cache").rglob("*.npz")
    path.write_bytes(b"half")
    assert np.array_equal(region_map(image, SUPERPIXELS, CPU), expected)
    assert len(path.read_bytes()) > 4


def test_new_weights_in_the_models_folder_are_another_model(tiny_sam, image):
    before = maps._key(image, sam_spec(tiny_sam))
    assert maps._key(image, sam_spec(tiny_sam)) == before
    (tiny_sam / "note").write_text("changed")
    assert maps._key(image, sam_spec(tiny_sam)) != before


@pytest.fixture
def folders(tmp_path, image):
    """An image and its mask on disk."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    Image.fromarray(image).save(tmp_path / "images" / "one.png")
    ids = np.zeros(image.shape[:2], dtype=np.uint8)
    ids[:, 30:] = 200
    Image.fromarray(ids).save(tmp_path / "masks" / "one.png")
    return FolderSpec(
        source="folder", masks=str(tmp_path / "masks"), images=str(tmp_path / "images")
    ), ids


def test_regions_from_a_folder(folders, image):
    spec, ids = folders
    assert np.array_equal(region_map(image, spec, CPU), ids)


def test_a_folder_without_the_image(folders, image, tmp_path):
    spec, _ = folders
    with pytest.raises(InputError, match="64×48"):
        region_map(image + 1, spec, CPU)
    (tmp_path / "masks" / "one.png").unlink()
    with pytest.raises(InputError, match=r"one\.png does not exist"):
        region_map(image, spec, CPU)
    with pytest.raises(InputError, match="nowhere"):
        region_map(image, spec.model_copy(update={"images": "nowhere"}), CPU)


def test_a_mask_of_another_size(folders, image, tmp_path):
    spec, _ = folders
    Image.new("L", (9, 9)).save(tmp_path / "masks" / "one.png")
    with pytest.raises(InputError, match="9×9"):
        region_map(image, spec, CPU)


def test_a_model_that_is_no_sam(image, tmp_path):
    with pytest.raises(InputError, match="superpixels") as caught:
        region_map(image, SamSpec(model=str(tmp_path)), CPU)
    assert "\n" not in str(caught.value)


def test_scikit_image_is_not_installed(image, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.segmentation", None)
    with pytest.raises(InputError, match="pip install scikit-image"):
        region_map(image, SUPERPIXELS, CPU)
