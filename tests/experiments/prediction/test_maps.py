"""Rasters with coordinates: maps that lie where the raster lies."""

import json

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")

from encoder_ablations.experiments.cli import main  # noqa: E402

SIDE = 150
CORNER = (500000.0, 4100000.0)
METRES = 2.0


@pytest.fixture
def raster(tmp_path):
    """A GeoTIFF in UTM zone 33 with a corner without data."""
    path = tmp_path / "tile.tif"
    pixels = np.random.default_rng(0).integers(1, 256, (3, SIDE, SIDE), np.uint8)
    pixels[:, :40, :40] = 0
    transform = rasterio.transform.from_origin(*CORNER, METRES, METRES)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=SIDE,
        width=SIDE,
        count=3,
        dtype="uint8",
        crs="EPSG:32633",
        transform=transform,
        nodata=0,
    ) as file:
        file.write(pixels)
    return path


def run(*arguments):
    return main(["predict", *map(str, arguments), "--device", "cpu"])


def test_a_map_lies_where_the_raster_lies(study, raster, tmp_path):
    out = tmp_path / "out"
    options = ["--window", 64, "--probabilities", "--polygons"]
    assert run(study, raster, "-o", out, *options) == 0
    with rasterio.open(raster) as source, rasterio.open(out / "masks" / "tile.tif") as mask:
        assert (mask.crs, mask.transform, mask.shape) == (source.crs, source.transform, (150, 150))
        assert mask.nodata == 255
        ids = mask.read(1)
        assert mask.colormap(1)[1][:3] != mask.colormap(1)[0][:3]
    # without data there is no class
    assert (ids[:40, :40] == 255).all()
    assert (ids[40:] < 3).all()
    with rasterio.open(out / "probabilities" / "tile.tif") as file:
        values = file.read()
        assert file.descriptions == ("background", "crater", "boulder")
    assert np.isnan(values[:, :40, :40]).all()
    assert (values[:, 40:].argmax(axis=0) == ids[40:]).all()
    with rasterio.open(out / "uncertainty" / "tile.tif") as file:
        levels = file.read(1)
    assert (levels[:40, :40] == 255).all()
    assert levels[40:].max() <= 250
    # a map has no layers to choose from, but its classes have colours
    page = (out / "index.html").read_text()
    assert "1 image." in page
    assert "<select" not in page
    assert "<script" not in page
    assert page.count('class="swatch"') == 3
    (described,) = json.loads((out / "predictions.json").read_text())
    counts = np.bincount(ids[ids < 255], minlength=3)
    assert list(described["pixels"].values()) == counts.tolist()
    assert list(described["square_metres"].values()) == (counts * METRES**2).tolist()


def test_polygons_cover_what_the_mask_says(study, raster, tmp_path):
    out = tmp_path / "out"
    assert run(study, raster, "-o", out, "--polygons") == 0
    features = json.loads((out / "masks" / "tile.geojson").read_text())["features"]
    with rasterio.open(out / "masks" / "tile.tif") as mask:
        ids = mask.read(1)
        drawn = rasterio.features.rasterize(
            (
                (rasterio.warp.transform_geom("EPSG:4326", mask.crs, each["geometry"]), place)
                for each in features
                for place in [each["properties"]["id"]]
            ),
            out_shape=mask.shape,
            transform=mask.transform,
            fill=255,
        )
    assert (drawn == ids).mean() > 0.999
    longitude, latitude = features[0]["geometry"]["coordinates"][0][0]
    assert 14 < longitude < 16
    assert 36 < latitude < 38


def test_numbers_of_16_bits_need_a_range(study, raster, tmp_path, capsys):
    wide = tmp_path / "wide.tif"
    with rasterio.open(raster) as source:
        profile = source.profile | {"dtype": "uint16"}
        with rasterio.open(wide, "w", **profile) as file:
            file.write(source.read().astype(np.uint16) * 10)
    out = tmp_path / "out"
    assert run(study, wide, "-o", out) == 2
    assert "--range" in capsys.readouterr().err
    assert run(study, wide, "-o", tmp_path / "more", "--range", 0, 2550) == 0
    assert run(study, raster, "-o", tmp_path / "same") == 0
    masks = []
    for folder, name in (("more", "wide"), ("same", "tile")):
        with rasterio.open(tmp_path / folder / "masks" / f"{name}.tif") as file:
            masks.append(file.read(1))
    assert np.array_equal(*masks)


def test_a_full_disk_is_told_before(study, raster, tmp_path, capsys, monkeypatch):
    from encoder_ablations.experiments.prediction import raster_output

    class Usage:
        free = 1000

    monkeypatch.setattr(raster_output.shutil, "disk_usage", lambda folder: Usage)
    assert run(study, raster, "-o", tmp_path / "out", "--probabilities") == 2
    assert "free" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.tif"))


def test_clean_up_and_missing_bands_are_refused(study, raster, tmp_path, capsys):
    assert run(study, raster, "-o", tmp_path / "a", "--post", "opening.all=1") == 2
    assert "--post" in capsys.readouterr().err
    assert run(study, raster, "-o", tmp_path / "b", "--bands", 4, 3, 2) == 2
    assert "no band 4" in capsys.readouterr().err


def test_a_tiff_without_coordinates_is_an_image(study, tmp_path):
    from PIL import Image

    path = tmp_path / "photo.tif"
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(path)
    assert run(study, path, "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "masks" / "photo.png").exists()
