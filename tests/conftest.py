"""What all tests share: a small real dataset on disk, one thread per test process, caches in temporary folders."""

import os
from pathlib import Path

import pytest
import torch

from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.data.terrain import generate_terrain

torch.set_num_threads(1)


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
