"""Datasets of the Hugging Face hub: copied from parquet files, here in a local folder."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.references import load_dataset
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
from encoder_ablations.data.datasets import hub  # noqa: E402
from encoder_ablations.data.intake import hub_reference  # noqa: E402

COMMIT = "0123456789abcdef0123456789abcdef01234567"


CONTACT = hub._commit


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """The library takes a folder 'owner/name' for the hub's repository of that name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATASETS_ROOT", str(tmp_path / "data"))
    monkeypatch.setattr(hub, "_commit", lambda source: source.revision or COMMIT)
    datasets.disable_progress_bars()


def encoded(pixels, kind="PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def publish(name, splits, mask_of, features=None, kind="PNG", gray=False, **columns):
    """Writes owner/NAME with as many rows as ``splits`` says."""
    rng = np.random.default_rng(0)
    shape = (20, 30) if gray else (20, 30, 3)
    for split, count in splits.items():
        rows = {
            "image": [
                {"bytes": encoded(rng.integers(0, 256, shape, np.uint8), kind)}
                for _ in range(count)
            ],
            "mask": [mask_of(number) for number in range(count)],
            **{key: [value] * count for key, value in columns.items()},
        }
        picture = datasets.Image()
        known = {"image": picture, "mask": picture, **(features or {})}
        typed = datasets.Features(
            {key: known.get(key, datasets.List(datasets.Value("string"))) for key in rows}
        )
        path = Path("owner") / name / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, typed).to_parquet(path)


def ids(number, classes=3):
    return {
        "bytes": encoded(((np.arange(600).reshape(20, 30) + number) % classes).astype(np.uint8))
    }


def spec_of(name, **changes):
    content = {
        "name": name,
        "root": name,
        "classes": ["a", "b", "c"],
        "splits": {"train": "train", "val": "val"},
    }
    return build(
        DatasetSpec, {**content, "hub": {"repository": f"owner/{name}"}, **changes}, "test"
    )


def copied(spec, split):
    prepare_dataset(spec)
    return FolderDataset(spec, split)


def test_reading_never_downloads():
    publish("rocks", {"train": 5, "validation": 2}, ids)
    with pytest.raises(InputError, match=r"'rocks' has not been copied .*ablate lint"):
        FolderDataset(spec_of("rocks"), "train")
    assert not Path("rocks").exists()


def test_a_dataset_is_copied_when_it_is_prepared(tmp_path):
    publish("rocks", {"train": 5, "validation": 2}, ids)
    spec = spec_of("rocks")
    assert not spec.folder.exists()
    dataset = copied(spec, "train")
    assert dataset.ids == [f"train_{number:06d}" for number in range(5)]
    np.testing.assert_array_equal(dataset[3].mask, (np.arange(600).reshape(20, 30) + 3) % 3)
    assert len(copied(spec, "val")) == 2
    assert f'"revision": "{COMMIT}"' in (spec.folder / "hub.json").read_text()
    assert not list(spec.folder.rglob(".*"))
    (tmp_path / "owner").rename(tmp_path / "gone")
    assert len(copied(spec, "train")) == 5
    assert check_dataset(spec).scans["train"].counts.shape == (5, 3)


def test_images_are_copied_to_the_byte():
    publish("photos", {"train": 1, "val": 1}, ids, kind="JPEG")
    spec = spec_of("photos")
    image = copied(spec, "train").pairs[0].image
    assert image.suffix == ".jpg"
    row = datasets.load_dataset("owner/photos", split="train").cast_column(
        "image", datasets.Image(decode=False)
    )[0]
    assert image.read_bytes() == row["image"]["bytes"]


def test_an_interrupted_copy_goes_on(monkeypatch):
    publish("long", {"train": 4, "val": 1}, ids)
    spec = spec_of("long")
    write, written = hub._write_mask, []

    def stop(stem, content, source):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(stem)
        write(stem, content, source)

    monkeypatch.setattr(hub, "_write_mask", stop)
    with pytest.raises(KeyboardInterrupt):
        copied(spec, "train")
    assert not (spec.folder / "hub.json").exists()
    first = (spec.folder / "masks/train/train_000000.png").stat().st_mtime_ns
    monkeypatch.setattr(hub, "_write_mask", write)
    dataset = copied(spec, "train")
    assert len(dataset) == 4
    np.testing.assert_array_equal(dataset[3].mask, (np.arange(600).reshape(20, 30) + 3) % 3)
    assert (spec.folder / "masks/train/train_000000.png").stat().st_mtime_ns == first


def test_columns_splits_and_numbers_of_samples():
    publish("named", {"dev": 6, "holdout": 3}, ids)
    for path in Path("owner/named").rglob("*.parquet"):
        table = datasets.Dataset.from_parquet(str(path)).rename_columns(
            {"image": "img", "mask": "label"}
        )
        table.to_parquet(path)
    source = {
        "repository": "owner/named",
        "image_column": "img",
        "mask_column": "label",
        "max_samples": 2,
    }
    spec = spec_of("named", hub={**source, "splits": {"train": "dev", "val": "holdout"}})
    assert [len(copied(spec, split)) for split in ("train", "val")] == [2, 2]
    other = spec_of(
        "named", hub={**source, "splits": {"train": "dev", "val": "holdout"}, "max_samples": 3}
    )
    with pytest.raises(InputError, match="holds another copy from the hub"):
        hub.copy_from_hub(other.folder, other.hub)
    with pytest.raises(InputError, match=r"has no column 'mask'.*It has: img, label"):
        copied(spec_of("named", root="else", hub={**source, "mask_column": "mask"}), "train")


def test_grey_masks_saved_as_rgb_are_ids_and_colours_are_refused():
    publish(
        "rgb",
        {"train": 1, "val": 1},
        lambda n: {"bytes": encoded(np.full((20, 30, 3), 2, np.uint8))},
    )
    assert copied(spec_of("rgb"), "train").read_mask(0)[0, 0] == 2
    publish(
        "colors",
        {"train": 1, "val": 1},
        lambda n: {"bytes": encoded(np.full((20, 30, 3), (9, 0, 2), np.uint8))},
    )
    with pytest.raises(InputError, match="are colour pictures"):
        copied(spec_of("colors"), "train")


def test_ade20k_is_decoded_to_16_bit_tiff():
    """The column holds all levels of parts, objects first. 2978 is "wall", 312 "building"."""
    objects = np.zeros((20, 30, 3), np.uint8)
    objects[0, :3] = (116, 162, 1), (10, 56, 2), (0, 0, 0)
    parts = np.full((20, 30, 3), 99, np.uint8)
    small = np.zeros((20, 30, 3), np.uint8)
    small[0, 0] = (0, 64, 1)
    masks = [
        [{"bytes": encoded(objects)}, {"bytes": encoded(parts)}],
        [{"bytes": encoded(small)}],
    ]
    name = {"mask": datasets.List(datasets.Image())}
    publish("ADE20K", {"train": 2, "validation": 1}, lambda number: masks[number], features=name)
    full = load_dataset("ade20k_847")
    assert (full.hub.repository, full.hub.mask_column, full.hub.mask_format) == (
        "1aurent/ADE20K",
        "segmentations",
        "ade20k",
    )
    spec = full.model_copy(
        update={
            "hub": full.hub.model_copy(update={"repository": "owner/ADE20K", "mask_column": "mask"})
        }
    )
    dataset = copied(spec, "train")
    with Image.open(dataset.pairs[0].mask) as stored:
        assert (stored.format, stored.mode) == ("TIFF", "I;16")
        assert np.asarray(stored)[0, :3].tolist() == [2978, 312, 0]
    assert dataset.read_mask(0)[0, :3].tolist() == [full.classes.index("wall"), 1, 65535]
    with Image.open(dataset.pairs[1].mask) as stored:
        assert (stored.format, stored.mode) == ("TIFF", "I;16"), "small ids, too"
    assert full.classes[dataset.read_mask(1)[0, 0]].startswith("ashcan, trash can")


CARD = """---
configs:
- config_name: default
  data_files:
"""


def test_mars_bench_as_the_hub_has_it():
    """TIFFs with one channel, columns that nobody reads, parts of train as splits of their own."""
    counts = {
        "train": 4,
        "val": 2,
        "test": 1,
        "partition_train_0.50x_partition": 2,
        "few_shot_train_1_shot": 1,
    }
    boulders = {"bytes": encoded(np.eye(20, 30, dtype=np.uint8), "TIFF")}
    labels = ["Background", "Boulder"]
    publish(
        "mb-boulder_seg",
        counts,
        lambda number: boulders,
        kind="TIFF",
        gray=True,
        class_labels=labels,
    )
    files = "".join(f"  - split: {split}\n    path: data/{split}-*\n" for split in counts)
    Path("owner/mb-boulder_seg/README.md").write_text(f"{CARD}{files}---\n")
    named = load_dataset("mb_boulder")
    spec = named.model_copy(
        update={"hub": named.hub.model_copy(update={"repository": "owner/mb-boulder_seg"})}
    )
    assert [len(copied(spec, split)) for split in spec.splits] == [4, 2, 1]
    sample = copied(spec, "train")[0]
    assert sample.image.shape == (20, 30, 3)
    assert (sample.image == sample.image[..., :1]).all()
    np.testing.assert_array_equal(sample.mask, np.eye(20, 30))
    assert f'"revision": "{named.hub.revision}"' in (spec.folder / "hub.json").read_text()
    assert load_dataset("hub:owner/mb-boulder_seg").classes == tuple(labels)


def test_classes_are_found(tmp_path):
    publish(
        "craters", {"train": 12, "test": 2}, ids, class_labels=["Background", "Crater", "Boulder"]
    )
    spec = load_dataset("hub:owner/craters")
    assert spec.classes == ("Background", "Crater", "Boulder")
    assert spec.hub.revision == COMMIT
    train, val = (set(copied(spec, split).ids) for split in ("train", "val"))
    assert (len(train), len(val), len(train | val)) == (10, 2, 12), (
        "15 % of train become val, seed 42"
    )
    assert len(copied(spec, "test")) == 2
    (tmp_path / "owner").rename(tmp_path / "gone")
    assert load_dataset("hub:owner/craters") == spec
    assert load_dataset({"base": "hub:owner/craters", "name": "mine"}).name == "mine"


def test_of_more_than_255_named_classes_255_is_one():
    names = [f"class {number}" for number in range(300)]
    assert hub_reference._classes(names, [0, 255, 299, 65535], "a/b") == {
        "classes": names,
        "ignore_ids": [65535],
    }
    assert hub_reference._classes(names[:255], [0, 254, 255], "a/b") == {"classes": names[:255]}
    with pytest.raises(
        InputError, match="the masks hold the id 300, but the hub names 300 classes"
    ):
        hub_reference._classes(names, [0, 300, 65535], "a/b")


def test_masks_of_0_and_255_are_two_classes():
    publish(
        "binary",
        {"train": 2, "validation": 1},
        lambda n: {"bytes": encoded(np.eye(20, dtype=np.uint8) * 255)},
    )
    spec = load_dataset("hub:owner/binary?max_samples=1")
    assert spec.classes == ("background", "foreground")
    assert np.unique(copied(spec, "train").read_mask(0)).tolist() == [0, 1]
    assert spec.folder.name.startswith("owner__binary-")


def test_ids_without_names_are_counted():
    publish("plain", {"train": 2, "val": 1}, ids)
    assert load_dataset("hub:owner/plain@v1.0").classes == ("class_0", "class_1", "class_2")


def test_class_names_that_contradict_the_masks_are_refused():
    publish("wrong", {"train": 2, "val": 1}, ids, class_labels=["Background", "Crater"])
    with pytest.raises(InputError, match="masks hold the id 2, but the hub names 2 classes"):
        load_dataset("hub:owner/wrong")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hub:owner/name?colour=red", r"unknown option .* 'colour'"),
        ("hub:owner", "repository"),
        ("hub:owner/name?max_samples=0", "max_samples"),
        (
            "hub:owner/missing",
            "cannot get the dataset 'owner/missing' from the Hugging Face hub: .*HF_HUB_OFFLINE",
        ),
        ("hbu:owner/name", r"unknown dataset .*hub:owner/name"),
    ],
)
def test_bad_references_end_with_one_line(reference, message, monkeypatch):
    monkeypatch.setattr(hub, "_commit", CONTACT)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(reference)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [hub.HTTP_ERROR("no route to host"), TimeoutError("timed out")])
def test_an_unreachable_hub_is_one_line(error, monkeypatch):
    def fail(source):
        raise error

    monkeypatch.setattr(hub, "_commit", fail)
    with pytest.raises(
        InputError, match=r"cannot get .*'owner/far' .*(no route|timed out).*network"
    ) as caught:
        copied(spec_of("far"), "train")
    assert "\n" not in str(caught.value)


def test_an_unreachable_hub_is_asked_once(monkeypatch):
    """The library itself asks again for half a minute."""
    asked = []

    def fail(source):
        asked.append(source)
        raise hub.HTTP_ERROR("no route to host")

    monkeypatch.setattr(hub, "_commit", fail)
    monkeypatch.setattr(hub, "get_dataset_split_names", lambda *_, **__: pytest.fail("asked again"))
    with pytest.raises(InputError, match="no route"):
        load_dataset("hub:owner/far")
    assert len(asked) == 1


@pytest.mark.parametrize("half", [False, True], ids=["absent", "a folder called datasets"])
def test_without_the_package(half, monkeypatch, tmp_path):
    if half:
        (tmp_path / "datasets").mkdir()
    for name in [name for name in sys.modules if name.split(".")[0] == "datasets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "datasets", type(sys)("datasets") if half else None)
    monkeypatch.delitem(sys.modules, "encoder_ablations.data.datasets.hub")
    with pytest.raises(
        InputError, match=r"Hugging Face datasets cannot be imported .*pip install datasets"
    ) as caught:
        copied(spec_of("rocks"), "train")
    assert "\n" not in str(caught.value)


def test_a_column_of_labels_becomes_folders():
    """An interrupted copy goes on, with the same classes."""
    features = {"label": datasets.ClassLabel(names=["crater", "dune/field"])}
    publish("scenes", {"train": 5, "validation": 2}, ids, features, label=1)
    spec = spec_of(
        "scenes",
        task="classification",
        classes=["crater", "dune_field"],
        hub={"repository": "owner/scenes", "label_column": "label"},
    )
    train = copied(spec, "train")
    assert train.ids[-1] == "dune_field/train_000004"
    assert train[0].mask.tolist() == [[1]]
    written = {path: path.stat().st_mtime_ns for path in spec.folder.rglob("*.png")}
    (spec.folder / "hub.json").unlink()
    removed = spec.folder / "images/train/dune_field/train_000004.png"
    removed.unlink()
    assert copied(spec, "train").ids == train.ids
    kept = {path: path.stat().st_mtime_ns for path in written if path != removed}
    assert kept.items() <= written.items()


def test_labels_and_the_task_belong_together():
    hub_settings = {"repository": "owner/scenes", "label_column": "label"}
    with pytest.raises(InputError, match="label_column and task"):
        spec_of("scenes", hub=hub_settings)
    with pytest.raises(InputError, match="label_column and task"):
        spec_of("scenes", task="classification")
