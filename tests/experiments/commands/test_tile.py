"""``ablate tile``: from folders and datasets of rasters to datasets of tiles."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.commands import tile

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SIDE = 96


@pytest.fixture
def rasters(tmp_path, monkeypatch) -> Path:
    """Two rasters for training and one for validation, with a dataset YAML; 255 is not labelled."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split, names in (("train", ("north_1", "south_1")), ("val", ("west_2",))):
        for name in names:
            for kind in ("images", "masks"):
                (tmp_path / "photos" / kind / split).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            ids = rng.choice([0, 10, 255], (SIDE, SIDE)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / "images" / split / f"{name}.tif")
            Image.fromarray(ids).save(tmp_path / "photos" / "masks" / split / f"{name}.tif")
    content = {
        "name": "photos",
        "root": str(tmp_path / "photos"),
        "classes": ["soil", "rock"],
        "splits": {"train": "train", "val": "val"},
        "value_map": {0: 0, 10: 1},
    }
    (tmp_path / "photos.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return tmp_path


def test_a_folder_becomes_tiles_that_init_understands(rasters, capsys):
    assert main(["tile", "photos", "--size", "48"]) == 0
    assert (
        "wrote 12 tiles of 3 images to photos_48\nnext: ablate init photos_48"
        in capsys.readouterr().out
    )
    assert main(["init", "photos_48"]) == 0
    spec = load_dataset("photos_48.yaml")
    train = FolderDataset(spec, "train")
    assert len(train) == 8
    assert sorted(set(train.scenes)) == ["north_1", "south_1"]
    assert main(["lint", "photos_48.yaml"]) == 0


def test_masks_of_several_kinds_are_named_before_anything_is_cut(rasters, capsys):
    rng = np.random.default_rng(1)
    for path in sorted((rasters / "photos/masks").rglob("*.tif")):
        other = rasters / "photos/labels_new" / path.parent.name / path.name
        other.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.choice([0, 1, 2], (SIDE, SIDE)).astype(np.uint8)).save(other)
    assert main(["tile", "photos", "--size", "48"]) == 2
    assert "Leave one of labels_new, masks in the folder" in capsys.readouterr().err
    assert not (rasters / "photos_48").exists()


def test_a_dataset_keeps_its_splits_and_its_meaning(rasters, capsys):
    assert main(["tile", "photos.yaml", "--size", "40"]) == 0
    assert "next: ablate lint photos_40.yaml" in capsys.readouterr().out
    before, after = load_dataset("photos.yaml"), load_dataset("photos_40.yaml")
    assert after.classes == before.classes
    assert after.name == "photos_40"
    for split in ("train", "val"):
        rasters_of_split, tiles = FolderDataset(before, split), FolderDataset(after, split)
        assert len(tiles) == 9 * len(rasters_of_split)
        assert set(tiles.scenes) == set(rasters_of_split.ids)
        whole = sum(
            np.bincount(rasters_of_split.read_mask(i).ravel(), minlength=256)
            for i in range(len(rasters_of_split))
        )
        parts = sum(
            np.bincount(tiles.read_mask(i).ravel(), minlength=256) for i in range(len(tiles))
        )
        np.testing.assert_array_equal(whole, parts)
    assert main(["lint", "photos_40.yaml"]) == 0


def test_a_single_raster_is_divided_by_rows(rasters):
    for name in ("south_1.tif", "../val/west_2.tif"):
        for kind in ("images", "masks"):
            (rasters / "photos" / kind / "train" / name).unlink()
    assert main(["tile", "photos", "--size", "32", "--output", "rows"]) == 0
    assert main(["init", "rows/images/..", "--output", "rows.yaml", "--name", "rows"]) == 0
    assert main(["split", "rows.yaml", "--val", "0.3", "--test", "0"]) == 0
    spec = load_dataset(
        {"base": "rows.yaml", "splits": {f: f"splits/{f}_images.txt" for f in ("train", "val")}}
    )
    places = {split: set(FolderDataset(spec, split).scenes) for split in ("train", "val")}
    assert places["train"] | places["val"] == {"00000", "00032", "00064"}
    assert not places["train"] & places["val"]


def test_a_scene_pattern_holds_for_the_tiles_too(rasters, capsys):
    content = yaml.safe_load((rasters / "photos.yaml").read_text())
    (rasters / "photos.yaml").write_text(
        yaml.safe_dump(content | {"scene_pattern": "^([a-z]+)_"}), encoding="utf-8"
    )
    assert main(["tile", "photos.yaml", "--size", "48"]) == 0
    assert set(FolderDataset(load_dataset("photos_48.yaml"), "train").scenes) == {"north", "south"}
    (rasters / "photos.yaml").write_text(
        yaml.safe_dump(content | {"scene_pattern": "^(.+)$"}), encoding="utf-8"
    )
    assert main(["tile", "photos.yaml", "--size", "32"]) == 2
    assert "finds the scene 'north_1' in 'north_1', but another one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "--size", "8"], "--size 8: allowed are 32 pixels and more"),
        (["photos", "--range", "5", "5"], "LOW must be less than HIGH"),
        (
            ["photos", "--bands", "1", "2"],
            "--bands names 2 bands: allowed are three, or one of grey",
        ),
        (["photos", "--bands", "4", "2", "1"], "has no band 4; allowed for --bands are 1 to 3"),
        (["photos/images"], "holds no image with a mask of the same name"),
        (["nowhere"], "unknown dataset 'nowhere'"),
        (["photos", "--output", "photos"], "photos exists already"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(rasters, capsys, arguments, message):
    before = sorted(rasters.rglob("*"))
    assert main(["tile", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert sorted(rasters.rglob("*")) == before


def test_a_damaged_raster_leaves_no_half_written_tiles(rasters, capsys):
    path = rasters / "photos" / "images" / "val" / "west_2.tif"
    path.write_bytes(path.read_bytes()[: SIDE * SIDE])
    before = sorted(rasters.rglob("*"))
    assert main(["tile", "photos", "--size", "48"]) == 2
    assert "west_2.tif" in capsys.readouterr().err
    assert sorted(rasters.rglob("*")) == before


def test_a_yaml_in_the_way_is_seen_before_the_work(rasters, capsys):
    (rasters / "photos_48.yaml").write_text("mine", encoding="utf-8")
    assert main(["tile", "photos.yaml", "--size", "48"]) == 2
    assert "photos_48.yaml exists already" in capsys.readouterr().err
    assert not (rasters / "photos_48").exists()


def test_rasters_that_would_share_names_are_refused(rasters, capsys):
    for folder in ("a/b", "a__b", "c"):
        target = rasters / "trees" / "all" / folder
        target.mkdir(parents=True)
        for kind in ("images", "masks"):
            (target / f"{kind}.tif").write_bytes(
                (rasters / f"photos/{kind}/train/north_1.tif").read_bytes()
            )
    content = yaml.safe_load((rasters / "photos.yaml").read_text())
    trees = {
        "root": str(rasters / "trees"),
        "images": "{split}/{id}/images.tif",
        "masks": "{split}/{id}/masks.tif",
    }
    content |= {**trees, "splits": {"train": "all", "val": "all"}}
    (rasters / "photos.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert main(["tile", "photos.yaml", "--size", "48"]) == 2
    assert "would give tiles of the same names" in capsys.readouterr().err


def test_tiles_and_their_yaml_appear_together_or_not_at_all(rasters, monkeypatch, capsys):
    before = sorted(rasters.rglob("*"))
    with monkeypatch.context() as stopped:

        def interrupt(*_arguments):
            assert (rasters / "photos_48").is_dir()
            raise KeyboardInterrupt

        stopped.setattr(tile, "write_text", interrupt)
        assert main(["tile", "photos.yaml", "--size", "48"]) == 130
    assert capsys.readouterr().err == "stopped; the same command begins anew.\n"
    assert sorted(rasters.rglob("*")) == before
    assert main(["tile", "photos.yaml", "--size", "48"]) == 0


def rewrite(folder: Path, kind: str, change, nodata: int | None = None) -> None:
    """Every raster of a kind, changed, as GDAL writes it."""
    for path in (folder / "photos" / kind).rglob("*.tif"):
        pixels = change(np.asarray(Image.open(path)))
        bands = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        shape = {"height": SIDE, "width": SIDE, "count": len(bands)}
        with rasterio.open(
            path, "w", driver="GTiff", dtype=str(pixels.dtype), nodata=nodata, **shape
        ) as file:
            file.write(bands)


def test_what_is_not_taken_is_said(rasters, capsys):
    rewrite(rasters, "images", lambda pixels: np.concatenate([pixels, pixels[..., :2]], axis=2))
    (rasters / "photos/masks/train/north_1.tif").unlink()
    assert main(["tile", "photos", "--size", "48"]) == 0
    out = capsys.readouterr().out
    assert "note: 1 image has no mask and is left out, e.g. images/train/north_1.tif.\n" in out
    assert (
        "note: of 2 images only the first bands are taken, not 4, 5 of south_1.tif; --bands takes "
        "others.\n" in out
    )
    assert (
        main(["tile", "photos", "--size", "48", "--bands", "4", "3", "2", "--output", "other"]) == 0
    )
    assert "bands" not in capsys.readouterr().out


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_without_data_is_not_labelled_for_init_either(rasters, capsys, dtype):
    rewrite(rasters, "masks", lambda ids: np.where(ids == 255, 2, ids // 10).astype(dtype), 0)
    assert main(["tile", "photos", "--size", "48"]) == 0
    out = capsys.readouterr().out
    assert "note: 3 pairs have pixels that are declared to be no data, 0 in " in out
    assert "these are not labelled in the tiles" in out
    assert main(["init", "photos_48", "--classes", "soil,rock"]) == 0
    assert main(["lint", "photos_48.yaml"]) == 0
    mask = FolderDataset(load_dataset("photos_48.yaml"), "val").read_mask(0)
    assert set(np.unique(mask)) == {0, 1, 255}


@pytest.mark.parametrize("values", [(0, 0, 255), (0, 127, 255)])
def test_masks_whose_255_is_a_class_keep_their_ids(rasters, capsys, values):
    rewrite(
        rasters, "masks", lambda ids: np.array(values, np.uint8)[np.searchsorted([0, 10, 255], ids)]
    )
    rewrite(rasters, "images", lambda pixels: pixels, 7)
    assert main(["tile", "photos", "--size", "48"]) == 0
    assert (
        "but 255 is a class in these masks, and the pixels keep their ids"
        in capsys.readouterr().out
    )
