"""What all tests share: a small real dataset on disk, one thread per test process, caches in
temporary folders."""

import inspect
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.synthetic.terrain import generate_terrain

torch.set_num_threads(1)
# a shell starts background jobs with Ctrl-C ignored, which the commands that tests start and
# interrupt would inherit
signal.signal(signal.SIGINT, signal.default_int_handler)
# nohup has SIGHUP ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config, items):
    for name in ("ray", "slow"):
        if name not in config.option.markexpr:
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=f"asked for with -m {name}"))


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory):
    previous = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["HF_HUB_OFFLINE"] = "1"
    yield
    if previous is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = previous


@pytest.fixture(scope="session")
def terrain_folder(tmp_path_factory) -> Path:
    """A generated dataset of 64×64 images: 24 train, 6 val, 8 test."""
    folder = tmp_path_factory.mktemp("datasets") / "mars_terrain"
    generate_terrain(folder, train=24, val=6, test=8, size=64, seed=0)
    return folder


@pytest.fixture(scope="session")
def terrain(terrain_folder) -> DatasetSpec:
    """The dataset of ``terrain_folder``."""
    return DatasetSpec(
        name="mars_terrain",
        root=str(terrain_folder),
        classes=("background", "crater", "boulder"),
        splits={"train": "train", "val": "val", "test": "test"},
    )


ONLY_ON_GPUS = "if not input.is_cpu and torch.are_deterministic_algorithms_enabled():"


@pytest.fixture
def interpolated_as_on_gpus(monkeypatch):
    """``F.interpolate`` as it is on a GPU: with deterministic kernels it takes another path.

    It is compiled from PyTorch's own source, without its test for the CPU.
    Returns how deterministic each call was.
    """
    source = inspect.getsource(F.interpolate)
    if ONLY_ON_GPUS not in source:
        pytest.skip(
            f"F.interpolate of PyTorch {torch.__version__} does not hold the line: {ONLY_ON_GPUS}"
        )
    scope = dict(vars(F))
    exec(source.replace("not input.is_cpu and ", ""), scope)
    calls = []

    def interpolate(*args, **kwargs):
        calls.append(torch.are_deterministic_algorithms_enabled())
        return scope["interpolate"](*args, **kwargs)

    monkeypatch.setattr(F, "interpolate", interpolate)
    return calls


WIDE_CLASSES = 300


@pytest.fixture(scope="session")
def wide(tmp_path_factory) -> DatasetSpec:
    """300 classes in 16-bit masks of 60×76: blocks of ids, among them 255 in every mask, and
    ignored pixels (65535)."""
    folder, rng = tmp_path_factory.mktemp("wide"), np.random.default_rng(0)
    colors = rng.integers(0, 256, (WIDE_CLASSES, 3))
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count):
            blocks = rng.integers(0, WIDE_CLASSES, (5, 5))
            blocks[1, 1], blocks[2, 3], blocks[3, :2], blocks[4, 4] = 255, 299, 65535, 0
            mask = blocks.repeat(12, axis=0).repeat(16, axis=1)[:, :76].astype(np.uint16)
            image = colors[np.where(mask == 65535, 0, mask)] + rng.integers(-20, 20, (60, 76, 3))
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(
                folder / "images" / split / f"{split}_{number}.png"
            )
            Image.fromarray(mask).save(folder / "masks" / split / f"{split}_{number}.png")
    return DatasetSpec(
        name="wide",
        root=str(folder),
        classes=tuple(f"class {number}" for number in range(WIDE_CLASSES)),
        splits={"train": "train", "val": "val", "test": "test"},
        ignore_ids=(65535,),
    )
