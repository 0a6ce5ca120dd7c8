"""Our datasets in Detectron2's catalogs, read by Detectron2's own mappers and evaluator."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from image_classes import write_folders
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.reading import read_image
from encoder_ablations.utils.errors import InputError

pytestmark = pytest.mark.detectron2
pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog  # noqa: E402
from detectron2.data import transforms as T  # noqa: E402
from detectron2.data.detection_utils import read_image as read_as_detectron2  # noqa: E402
from detectron2.evaluation import SemSegEvaluator  # noqa: E402

from encoder_ablations.data.detectron2 import register_datasets  # noqa: E402


@pytest.fixture(autouse=True)
def _fresh_catalogs():
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def write_mask(tmp_path, values, dtype=np.uint8, palette=None) -> None:
    """The mask of the first training image, of 24×32 pixels; its first pixels are ``values``."""
    mask = np.zeros((24, 32), dtype)
    mask.flat[: len(values)] = values
    image = Image.fromarray(mask)
    if palette:
        image.putpalette(palette)
    image.save(tmp_path / "masks/train/train_0.png")


def copies() -> list[Path]:
    return sorted(Path(os.environ["XDG_CACHE_HOME"]).rglob("detectron2/*"))


def test_entries(make_dataset, tmp_path):
    assert register_datasets(make_dataset()) == ["toy_train", "toy_val"]
    records = DatasetCatalog.get("toy_train")
    assert [record["image_id"] for record in records] == [f"train_{number}" for number in range(4)]
    assert records[1]["file_name"] == str(tmp_path / "images/train/train_1.png")
    assert (records[1]["height"], records[1]["width"]) == (24, 32)
    metadata = MetadataCatalog.get("toy_val")
    assert metadata.stuff_classes == ["a", "b", "c"]
    assert len(metadata.stuff_colors) == 3
    assert (metadata.ignore_label, metadata.evaluator_type) == (255, "sem_seg")


def test_by_name():
    names = register_datasets("camvid", {"base": "mars_terrain", "name": "mars"})
    assert names == ["camvid_train", "camvid_val", "mars_train", "mars_val", "mars_test"]
    assert MetadataCatalog.get("camvid_train").stuff_colors[1] == [128, 0, 0]


@pytest.mark.parametrize(
    ("values", "changes", "form"),
    [
        ([0, 2, 255], {}, {}),
        ([0, 2, 7, 1], {"ignore_ids": [7]}, {}),
        ([0, 255, 9, 8], {"value_map": {0: 0, 255: 1, 9: 255, 1000: 2}, "ignore_ids": [8]}, {}),
        (
            [0, 1000, 9, 8],
            {"value_map": {0: 0, 1000: 2, 9: 1}, "ignore_ids": [8]},
            {"dtype": np.uint16},
        ),
        (
            [0, 1, 2, 255],
            {},
            {"palette": [value for index in range(256) for value in (255 - index, 0, 0)]},
        ),
    ],
    ids=["plain", "ignored", "mapped", "16 bit", "palette"],
)
def test_detectron2_sees_our_masks(make_dataset, tmp_path, values, changes, form):
    changes = {"ignore_ids": [255], **changes}
    spec = make_dataset(counts={"train": 1, "val": 1}, **changes)
    write_mask(tmp_path, values, **form)
    register_datasets(spec)
    (record,) = DatasetCatalog.get("toy_train")
    sample = FolderDataset(spec, "train")[0]
    # Mask2Former's mapper, Detectron2's mapper, and the evaluator read in three ways.
    np.testing.assert_array_equal(read_as_detectron2(record["sem_seg_file_name"]), sample.mask)
    mapper = DatasetMapper(is_train=True, augmentations=[T.NoOpTransform()], image_format="RGB")
    mapped = mapper(record)
    np.testing.assert_array_equal(mapped["sem_seg"], sample.mask)
    np.testing.assert_array_equal(mapped["image"].permute(1, 2, 0), sample.image)
    evaluator = SemSegEvaluator("toy_train", distributed=False)
    evaluator.reset()
    scores = (
        torch.nn.functional.one_hot(torch.from_numpy(sample.truth) % 255, 3)
        .permute(2, 0, 1)
        .float()
    )
    evaluator.process([record], [{"sem_seg": scores}])
    assert evaluator.evaluate()["sem_seg"]["pACC"] == 100


def test_deep_images_are_scaled_not_clipped(make_dataset, tmp_path):
    spec = make_dataset()
    path = tmp_path / "images/train/train_0.png"
    Image.fromarray((np.arange(24 * 32).reshape(24, 32) * 80).astype(np.uint16)).save(path)
    register_datasets(spec)
    record = DatasetCatalog.get("toy_train")[0]
    np.testing.assert_array_equal(read_as_detectron2(record["file_name"], "RGB"), read_image(path))


def test_copies_are_written_once_and_anew_after_a_change(make_dataset, tmp_path):
    spec = make_dataset()
    register_datasets(spec)
    first = DatasetCatalog.get("toy_train")
    states = [path.stat().st_mtime_ns for path in copies()]
    assert len(states) == 4
    assert DatasetCatalog.get("toy_train") == first
    assert [path.stat().st_mtime_ns for path in copies()] == states
    write_mask(tmp_path, [1, 1, 1])
    os.utime(tmp_path / "masks/train/train_0.png", ns=(1, 1))
    second = DatasetCatalog.get("toy_train")
    assert second[0]["sem_seg_file_name"] != first[0]["sem_seg_file_name"]
    assert second[1:] == first[1:]
    np.testing.assert_array_equal(
        read_as_detectron2(second[0]["sem_seg_file_name"]).flat[:4], [1, 1, 1, 0]
    )


def test_equal_stems_in_two_datasets_do_not_meet(make_dataset):
    spec = make_dataset()
    other = spec.model_copy(update={"name": "other", "value_map": {0: 2, 1: 1, 2: 0}})
    register_datasets(spec, other)
    files = [
        DatasetCatalog.get(name)[0]["sem_seg_file_name"] for name in ("toy_train", "other_train")
    ]
    ours, theirs = map(read_as_detectron2, files)
    np.testing.assert_array_equal(ours, 2 - theirs.astype(int))


def test_registering_twice_is_harmless(make_dataset):
    spec = make_dataset()
    assert register_datasets(spec) == register_datasets(spec, spec.model_copy())[:2]


def test_a_taken_name_is_an_error(make_dataset):
    spec = make_dataset()
    register_datasets(spec)
    with pytest.raises(
        InputError, match=r"already knows another dataset 'toy_train'.*MetadataCatalog.remove"
    ):
        register_datasets(spec.model_copy(update={"classes": ("a", "b", "d")}))
    DatasetCatalog.register("mine_train", list)
    with pytest.raises(InputError, match="another dataset 'mine_train'"):
        register_datasets(spec.model_copy(update={"name": "mine"}))


def test_bad_masks_are_named(make_dataset, tmp_path):
    register_datasets(make_dataset())
    write_mask(tmp_path, [0, 3])
    with pytest.raises(InputError, match=r"train_0\.png holds the id 3"):
        DatasetCatalog.get("toy_train")


def test_cache_that_cannot_be_written(make_dataset, tmp_path, monkeypatch):
    register_datasets(make_dataset())
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set XDG_CACHE_HOME"):
        DatasetCatalog.get("toy_train")


def test_a_dataset_without_masks_is_refused(tmp_path):
    with pytest.raises(InputError, match="is for classification"):
        register_datasets(write_folders(tmp_path / "colors"))
