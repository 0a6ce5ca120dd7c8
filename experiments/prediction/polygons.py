"""The connected areas of a map as polygons."""

from collections.abc import Sequence
from pathlib import Path

import rasterio
from rasterio.features import shapes
from rasterio.warp import transform_geom

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_json

WGS84 = "EPSG:4326"
"""The only coordinates that GeoJSON allows (RFC 7946)."""


def write_polygons(mask: Path, classes: Sequence[str], ignore: int) -> Path:
    """Write the connected areas of a map as GeoJSON in longitude and latitude (RFC 7946).

    Args:
        mask: GeoTIFF of class ids.
        classes: names of the ids.
        ignore: the id of what has no class.

    Returns:
        The file, beside the mask.

    Raises:
        InputError: the map has no coordinate reference system.
    """
    path = mask.with_suffix(".geojson")
    with rasterio.open(mask) as source:
        if source.crs is None:
            raise InputError(
                f"{mask} has no coordinate reference system, so its areas have no coordinates. "
                "Leave out --polygons."
            )
        features = [
            {
                "type": "Feature",
                "properties": {"class": classes[int(value)], "id": int(value)},
                "geometry": transform_geom(source.crs, WGS84, shape),
            }
            for shape, value in shapes(rasterio.band(source, 1), transform=source.transform)
            if value != ignore
        ]
    write_json(path, {"type": "FeatureCollection", "features": features})
    return path
