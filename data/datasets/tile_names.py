"""Scenes in names: what a pattern finds, and what tiles of a raster are called."""

import re
from collections.abc import Sequence

SCENE_PATTERN = r"^(.+)_y\d+_x\d+$"
"""A raster's tiles are one scene."""
ROW_PATTERN = r"_y(\d+)_x\d+$"
"""Each row of tiles is a scene: where all tiles are of one raster."""
INDEPENDENT = "^(.+)$"
"""The ``scene_pattern`` that says that images are independent: each is a scene of its own."""


def scene_in(pattern: str, name: str) -> str | None:
    """Return what the first group of ``pattern`` finds in a name; None if it finds nothing."""
    match = re.search(pattern, name)
    return match and match[1]


def tile_id(raster: str, top: int, left: int) -> str:
    """Return the stem of a tile: the raster's, and the pixel that the tile begins with."""
    return f"{raster.replace('/', '__')}_y{top:05d}_x{left:05d}"


def find_scenes(stems: Sequence[str]) -> str | None:
    """Return the ``scene_pattern`` of tiles; None where a name is not that of a tile."""
    rasters = {scene_in(SCENE_PATTERN, stem) for stem in stems}
    if None in rasters:
        return None
    if len(rasters) > 1:
        return SCENE_PATTERN
    return ROW_PATTERN
