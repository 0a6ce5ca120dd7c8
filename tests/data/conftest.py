"""A small dataset on disk, and a cache folder of its own for every test."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.config import build, find_config, read_yaml

MakeDataset = Callable[..., DatasetSpec]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Write images of random pixels and masks of 3 classes; keyword arguments change the spec."""

    def make(
        counts: Mapping[str, int] | None = None, size: tuple[int, int] = (24, 32), **changes: Any
    ) -> DatasetSpec:
        rng = np.random.default_rng(0)
        for split, count in (counts or {"train": 4, "val": 2}).items():
            for kind in ("images", "masks"):
                (tmp_path / kind / split).mkdir(parents=True)
            for number in range(count):
                image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                mask = rng.integers(0, 3, size, dtype=np.uint8)
                Image.fromarray(image).save(tmp_path / "images" / split / f"{split}_{number}.png")
                Image.fromarray(mask).save(tmp_path / "masks" / split / f"{split}_{number}.png")
        splits = {split: split for split in (counts or {"train": 4, "val": 2})}
        content = {
            "name": "toy",
            "root": str(tmp_path),
            "classes": ["a", "b", "c"],
            "splits": splits,
            **changes,
        }
        return build(DatasetSpec, content, "test")

    return make


@pytest.fixture
def camvid() -> DatasetSpec:
    """The real CamVid; skips where it is not there."""
    path = find_config("datasets", "camvid")
    assert path is not None
    spec = build(DatasetSpec, read_yaml(path), path)
    if "DATASETS_ROOT" not in os.environ or not spec.folder.is_dir():
        pytest.skip("needs DATASETS_ROOT with the folder camvid")
    return spec
