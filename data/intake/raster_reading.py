"""How the numbers of a raster become an image: settings that the file does not hold itself."""

from typing import NamedTuple

from encoder_ablations.data.datasets.sample import IGNORE, WIDE_IGNORE


class Range(NamedTuple):
    """The numbers that become 0 and 255 in an 8-bit image."""

    low: float
    high: float


class Reading(NamedTuple):
    """What the files do not say themselves.

    Attributes:
        scale: how an image's numbers become 8 bits; needed unless it holds 8 bits, or 16-bit grey
            levels.
        bands: an image's red, green and blue band, or its grey one, counted from 1; () = the first
            ones.
        ignored: values of masks that mean "not labelled"; the largest that fits marks pixels
            without data.
    """

    scale: Range | None = None
    bands: tuple[int, ...] = ()
    ignored: tuple[int, ...] = (IGNORE, WIDE_IGNORE)


READ_AS_IT_IS = Reading()
