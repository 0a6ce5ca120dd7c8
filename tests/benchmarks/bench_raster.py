"""``ablate predict`` of a GeoTIFF of any size: wall time, peak memory and pixels per second."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encoder_ablations.data.references import load_dataset
from encoder_ablations.data.synthetic.terrain import generate_terrain
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.spec import SegmenterSpec

SIDES = [2500, 5000]
"""Pixels; another choice: ``make bench ARGS="raster --sides 20000"``."""
WINDOW, OVERLAP = 512, 0.25
TILE = 512
TARGET = "under 1 GB"
PROGRAM = """
import sys
from encoder_ablations.experiments.commands.predict import main
code = main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""
"""Peak memory by VmHWM: that of getrusage would include what the parent had when it started the
process."""


class Measured(NamedTuple):
    """Wall seconds and peak bytes of a command, its start included."""

    seconds: float
    memory: int


def make_raster(path: Path, side: int) -> None:
    """Write a compressed, tiled GeoTIFF of three bands of 8 bits, one row of tiles at a time."""
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    rng = np.random.default_rng(0)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=side,
        width=side,
        count=3,
        dtype="uint8",
        crs="EPSG:32633",
        transform=from_origin(500_000, 4_100_000, 0.5, 0.5),
        tiled=True,
        blockxsize=TILE,
        blockysize=TILE,
        compress="deflate",
        zlevel=1,
    ) as file:
        for top in range(0, side, TILE):
            rows = min(TILE, side - top)
            coarse = rng.integers(0, 256, (3, -(-rows // 16), -(-side // 16)), np.uint8)
            pixels = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :rows, :side]
            file.write(pixels, window=Window(0, top, side, rows))


def make_run(folder: Path) -> Path:
    """Train a tiny vision transformer with a linear head for two steps; return its folder."""
    generate_terrain(folder / "terrain", train=8, val=2, test=2, size=64, seed=0)
    data = load_dataset("mars_terrain").model_copy(update={"root": str(folder / "terrain")})
    recipe = {"steps": 2, "batch_size": 2, "evaluate_every": 2}
    # each window goes through the model at a quarter of its side: the rest is what is measured
    recipe["augmentation"] = {"crop": [64, 64], "short_side": WINDOW // 4}
    spec = RunSpec(
        encoder=EncoderSpec(name="test_vit", weights="random", neck="none", taps=(1.0,)),
        segmenter=SegmenterSpec(name="linear"),
        dataset=data,
        recipe=Recipe.model_validate(recipe),
    )
    execute_run(spec, folder / spec.run_id, Execution("cpu"))
    return folder / spec.run_id


def measure(run: Path, raster: Path, output: Path) -> Measured:
    """Map a raster by a process of its own."""
    options = ["--window", str(WINDOW), "--overlap", str(OVERLAP), "--device", "cpu"]
    command = [sys.executable, "-c", PROGRAM, str(run), str(raster), "-o", str(output), *options]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Measured(time.perf_counter() - begin, 1024 * int(done.stdout.splitlines()[-1]))


def run(seconds: float) -> Iterator[str]:
    """One map of each side; ``seconds`` is not used, nothing to compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_run(folder)
        for side in SIDES:
            raster = folder / f"{side}.tif"
            make_raster(raster, side)
            found = measure(model, raster, folder / f"map {side}")
            rate = side**2 / found.seconds / 1e6
            yield (
                f"map of {side:,}² pixels: {found.seconds:.1f} s, {found.memory / 1e9:.2f} GB, "
                f"{rate:.2f} million pixels/s; target {TARGET}"
            )
            raster.unlink()
