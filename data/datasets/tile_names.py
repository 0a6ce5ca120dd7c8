"""What tiles of a raster are called, and which of them belong together."""

import re
from collections.abc import Sequence

SCENE_PATTERN = r"^(.+)_y\d+_x\d+$"
"""A raster's tiles are one scene."""
ROW_PATTERN = r"_y(\d+)_x\d+$"
"""Each row of tiles is a scene: where all tiles are of one raster."""


def tile_id(raster: str, top: int, left: int) -> str:
    """The stem of a tile: the raster's, and the pixel that the tile begins with."""
    return f"{raster.replace('/', '__')}_y{top:05d}_x{left:05d}"


def find_scenes(stems: Sequence[str]) -> str | None:
    """The ``scene_pattern`` of tiles; None where a name is not that of a tile."""
    matches = [re.search(SCENE_PATTERN, stem) for stem in stems]
    rasters = {match[1] for match in matches if match}
    if not all(matches):
        return None
    return SCENE_PATTERN if len(rasters) > 1 else ROW_PATTERN
