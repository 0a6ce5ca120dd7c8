"""Names of frames and tiles are told from running numbers."""

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.scene_names import likely_scenes
from encoder_ablations.data.datasets.tile_names import tile_id
from encoder_ablations.data.intake.layouts.recognition import propose

COUNT = 120


def numbered(*beginnings, count=40, digits=5):
    return [
        f"{beginning}{number:0{digits}d}" for beginning in beginnings for number in range(count)
    ]


def tiles(*beginnings, rows=4, columns=5, between="_"):
    places = [(row, column) for row in range(rows) for column in range(columns)]
    return [
        f"{beginning}{row}{between}{column}" for beginning in beginnings for row, column in places
    ]


def drawn(count, frames):
    """Pixels of five classes: those of a slow walk, or of independent images."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(count, 5))
    logits = np.cumsum(0.2 * steps, axis=0) if frames else steps
    return (1e5 * np.exp(logits)).astype(np.int64)


SCENES = {
    "camvid": (numbered("0001TP_", "0006R0_f", "0016E5_"), 3),
    "videos": (numbered("video01_frame", "video02_frame"), 2),
    "dates": (numbered("IMG_20230501_", "IMG_20230502_"), 2),
    "slices": (numbered("patient7_slice_", "patient8_slice_", digits=1), 2),
    "suffix": ([f"{name}_rgb" for name in numbered("seq1_", "seq2_")], 2),
    "tiles": (tiles("scene12_tile_", "scene13_tile_"), 2),
    "half": (tiles("scene12_tile_", "scene13_tile_")[::2], 2),
    "letters": (tiles("austin1_y", "austin2_y", between="_x"), 2),
    "ours": (
        [tile_id(f"map{number}", 512 * row, 512) for number in range(3) for row in range(4)],
        3,
    ),
    "raster": (tiles("mosaic_", rows=8), 8),
    "rows": (tiles("ortho_row", rows=6, between="_col"), 6),
    "corners": (
        [
            f"P{number}_{x}_{x + 800}_{y}_{y + 800}"
            for number in (7, 8)
            for x in (0, 1)
            for y in (0, 1)
        ],
        2,
    ),
    "crops": ([f"{number:05d}_{crop}" for number in range(30) for crop in range(4)], 30),
    "one video": (numbered("frame_", count=500), 50),
}
INDEPENDENT = {
    "numbers": numbered("", count=COUNT, digits=6),
    "short numbers": numbered("", count=COUNT, digits=1),
    "splits": numbered("train_", "val_", "test_"),
    "coco": numbered("COCO_train2014_", "COCO_val2014_", digits=12),
    "cameras": numbered("IMG_", "DSC_"),
    "suffix": [f"{name}_sat" for name in numbered("", count=COUNT)],
    "kitti": [f"{number:06d}_10" for number in range(COUNT)],
    "digests": [
        f"{number * 2654435761 % 2**32:08x}-{number * 40503 % 65536:04x}" for number in range(COUNT)
    ],
    "one word": numbered("crater ", count=COUNT, digits=1),
    "few": ["seq1_1", "seq1_2", "seq2_1"],
}
OPEN = {
    "words": numbered("bear_", "camel_", "goat_"),
    "years": numbered("2007_", "2008_", "2009_", digits=6)[::3],
    "cities": [
        f"{city}_{number:06d}_000019" for city in ("aachen", "bochum") for number in range(60)
    ],
}


@pytest.mark.parametrize("name", SCENES)
def test_scenes_are_found(name):
    ids, count = SCENES[name]
    found = likely_scenes(ids)
    assert found is not None
    assert (found.sure, found.scenes) == (True, count)


@pytest.mark.parametrize("frames", [None, False])
@pytest.mark.parametrize("name", INDEPENDENT)
def test_running_numbers_alone_are_no_scenes(name, frames):
    ids = INDEPENDENT[name]
    assert likely_scenes(ids, None if frames is None else drawn(len(ids), frames)) is None


@pytest.mark.parametrize("name", OPEN)
def test_masks_decide_what_names_leave_open(name):
    ids = OPEN[name]
    assert not likely_scenes(ids).sure
    assert not likely_scenes(ids, drawn(len(ids), frames=False)).sure
    assert likely_scenes(ids, drawn(len(ids), frames=True)).sure


def test_numbers_whose_neighbours_have_nearly_equal_masks_may_be_a_video():
    ids = numbered("", count=400)
    found = likely_scenes(ids, drawn(400, frames=True))
    assert (found.sure, found.scenes) == (False, 40)


def test_the_order_of_names_does_not_matter():
    ids = numbered("", count=400)
    order = np.random.default_rng(1).permutation(400)
    shuffled = likely_scenes([ids[position] for position in order], drawn(400, frames=True)[order])
    assert shuffled == likely_scenes(ids, drawn(400, frames=True))


def test_camvid(camvid):
    ids = [name for split in ("train", "val") for name in FolderDataset(camvid, split).ids]
    found = likely_scenes(ids)
    assert (found.sure, found.scenes, found.largest) == (True, 3, "0016E5")


def test_validation_images_that_init_sets_apart_are_of_scenes_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    for name in numbered("scene1_", "scene2_", "scene3_", "scene4_", count=5):
        for kind, shape in (("images", (8, 8, 3)), ("masks", (8, 8))):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 3, shape, dtype=np.uint8)).save(
                tmp_path / kind / f"{name}.png"
            )
    proposal = propose(tmp_path)
    scenes = ["scene1", "scene2", "scene3", "scene4"]
    splits_of = {
        scene: {item.split for item in proposal.items if item.id[:6] == scene} for scene in scenes
    }
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert proposal.spec.scene_pattern is not None
    assert any("scene_pattern" in remark for remark in proposal.remarks)
