"""Named datasets and all formats of masks in Detectron2's catalogs, as its readers see them."""

import numpy as np
import pytest
import torch
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.references import load_dataset
from encoder_ablations.utils.config import config_names

pytestmark = pytest.mark.detectron2
pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog  # noqa: E402
from detectron2.data import transforms as T  # noqa: E402
from detectron2.data.detection_utils import read_image  # noqa: E402
from detectron2.evaluation import SemSegEvaluator  # noqa: E402

from encoder_ablations.data.detectron2 import register_datasets  # noqa: E402

COLORS = [[255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 0, 0]]
WALL, BUILDING, ADDING_MACHINE = (116, 162, 1), (10, 56, 0), (120, 76, 0)


@pytest.fixture(autouse=True)
def _fresh_catalogs():
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


@pytest.mark.parametrize("name", config_names("datasets"))
def test_every_named_dataset_is_in_the_catalog(name):
    spec = load_dataset(name)
    if spec.task == "classification":
        pytest.skip("Detectron2's models here read masks")
    assert register_datasets(name) == [f"{spec.name}_{split}" for split in spec.splits]
    metadata = MetadataCatalog.get(f"{spec.name}_train")
    assert metadata.stuff_classes == list(spec.classes)
    assert len(metadata.stuff_colors) == len(spec.classes)
    assert metadata.ignore_label == (65535 if len(spec.classes) > 255 else 255)


def full_ade20k():
    spec = load_dataset("ade20k_847")
    return {
        "mask_format": "ade20k",
        **{key: getattr(spec, key) for key in ("classes", "value_map", "ignore_others")},
    }


@pytest.mark.parametrize(
    ("pixels", "rules"),
    [
        ([0, 1, 3, 2], {"reduce_zero_label": True}),
        (COLORS, {"mask_format": "colors", "mask_colors": COLORS, "ignore_ids": [3]}),
        ([0, 127, 128, 255], {"mask_format": "matte"}),
        ([1, 2, 3, 1], {"value_map": {1: 1, 2: 0}, "ignore_ids": [3]}),
        ([WALL, BUILDING, (0, 1, 0), ADDING_MACHINE], "full ADE20K"),
    ],
    ids=["zero is ignored", "colours", "matte", "trimap", "847 classes"],
)
def test_detectron2_sees_our_masks(make_dataset, tmp_path, pixels, rules):
    rules = full_ade20k() if rules == "full ADE20K" else rules
    spec = make_dataset({"train": 1, "val": 1}, **rules)
    values = np.array(pixels, np.uint8)
    mask = np.broadcast_to(values[0], (24, 32, *values.shape[1:])).copy()
    mask[0, :4] = values
    Image.fromarray(mask).save(tmp_path / "masks/train/train_0.png")
    register_datasets(spec)
    (record,) = DatasetCatalog.get("toy_train")
    sample = FolderDataset(spec, "train")[0]
    # as Mask2Former's mappers read; Detectron2's own reads 8 bits
    np.testing.assert_array_equal(read_image(record["sem_seg_file_name"]), sample.mask)
    if len(spec.classes) <= 255:
        mapper = DatasetMapper(is_train=True, augmentations=[T.NoOpTransform()], image_format="RGB")
        np.testing.assert_array_equal(mapper(record)["sem_seg"], sample.mask)
    evaluator = SemSegEvaluator("toy_train", distributed=False)
    evaluator.reset()
    classes = len(spec.classes)
    prediction = torch.from_numpy(np.where(sample.mask == spec.ignore_label, 0, sample.truth))
    scores = torch.nn.functional.one_hot(prediction, classes).permute(2, 0, 1).float()
    evaluator.process([record], [{"sem_seg": scores}])
    assert evaluator.evaluate()["sem_seg"]["pACC"] == 100
    if classes == 847:
        assert sample.mask[0, :4].tolist() == [0, 1, 65535, 846]


def test_patterns_and_index_files(tmp_path, monkeypatch):
    monkeypatch.setenv("DATASETS_ROOT", str(tmp_path))
    for split in ("train", "val"):
        for stem in (f"rome_00000{len(split)}_000019", f"rome_00000{len(split)}_000020"):
            names = (
                f"leftImg8bit/{split}/rome/{stem}_leftImg8bit",
                f"gtFine/{split}/rome/{stem}_gtFine_labelIds",
            )
            for name, shape in zip(names, ((8, 8, 3), (8, 8)), strict=True):
                path = tmp_path / "cityscapes" / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full(shape, 7, np.uint8)).save(path)
    (tmp_path / "cityscapes/few.txt").write_text(
        "leftImg8bit/train/rome/rome_000005_000020_leftImg8bit.png\n"
    )
    register_datasets(
        "cityscapes", {"base": "cityscapes", "name": "few", "splits": {"train": "few.txt"}}
    )
    assert [record["image_id"] for record in DatasetCatalog.get("cityscapes_val")] == [
        "rome_000003_000019",
        "rome_000003_000020",
    ]
    assert [record["image_id"] for record in DatasetCatalog.get("few_train")] == [
        "rome_000005_000020"
    ]
