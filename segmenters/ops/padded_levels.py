"""The levels of deformable attention with borders of zeros, for the compiled kernels on the CPU.

Letters: S cells of all levels together, S' with their borders, D numbers per cell.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

BORDER = 2
"""Width of the border of zeros: the four corners of a sample far outside lie in it."""


class Level(NamedTuple):
    """A level with cells.

    Attributes:
        number: its index among all levels.
        height: its rows.
        width: its columns.
        start: its first cell among the S cells without borders.
        corner: the upper left cell of its border, among the S' cells with borders.
    """

    number: int
    height: int
    width: int
    start: int
    corner: int

    def plain(self, cells: np.ndarray) -> np.ndarray:
        """Return a view h×w×D of this level in cells S×D."""
        own = cells[self.start : self.start + self.height * self.width]
        return own.reshape(self.height, self.width, cells.shape[1])

    def inside(self, padded: np.ndarray) -> np.ndarray:
        """Return a view h×w×D of this level, without its border, in cells S'×D."""
        rows, columns = self.height + 2 * BORDER, self.width + 2 * BORDER
        own = padded[self.corner : self.corner + rows * columns]
        own = own.reshape(rows, columns, padded.shape[1])
        return own[BORDER:-BORDER, BORDER:-BORDER]


def levels_with_cells(shapes: Sequence[tuple[int, int]]) -> list[Level]:
    """Return the levels that have cells."""
    levels, start, corner = [], 0, 0
    for number, (height, width) in enumerate(shapes):
        if height * width > 0:
            levels.append(Level(number, height, width, start, corner))
            corner += (height + 2 * BORDER) * (width + 2 * BORDER)
        start += height * width
    return levels


def table(levels: list[Level]) -> np.ndarray:
    """Return the levels as the rows of an array."""
    return np.array(levels, np.int64).reshape(-1, len(Level._fields))


def zeros(*shape: int) -> np.ndarray:
    """Return float32 zeros that begin at a line of the cache."""
    array = _empty(shape)
    array.fill(0)
    return array


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """Return a contiguous float32 copy that begins at a line of the cache."""
    copy = _empty(array.shape)
    copy[:] = array
    return copy


def padded_cells(cells: np.ndarray, levels: list[Level]) -> np.ndarray:
    """Return a copy S'×D, with borders of zeros, of cells S×D."""
    sizes = [(level.height + 2 * BORDER) * (level.width + 2 * BORDER) for level in levels]
    padded = zeros(sum(sizes), cells.shape[1])
    for level in levels:
        level.inside(padded)[:] = level.plain(cells)
    return padded


def _empty(shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 memory of PyTorch, because NumPy's does not begin at a line of the cache.

    A vector of 16 numbers is then one line, not parts of two.
    """
    array: np.ndarray = torch.empty(shape, dtype=torch.float32, device="cpu").numpy()
    return array
