"""Find images that show parts of other images: mirrored, cropped, turned or scaled.

Keypoints with binary descriptors (ORB: Rublee et al., ICCV 2011) are looked up by some of their
bits (locality-sensitive hashing), and what they propose is verified by the pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from encoder_ablations.utils.seeding import numpy_stream

SIDE = 400
"""The longer side of the images in which keypoints are looked for."""
KEYPOINTS = 150
TABLES, BITS = 10, 22
"""Hash tables, and bits of a descriptor that each of them looks at."""
OWNER = np.uint64(32)
"""Bits of an entry of a table that hold the number of its image."""
BLOCK = 1000
"""Images whose descriptors are looked at together."""
CROWDED = 1000
"""A box of more images says nothing of any of them, as stop words do (Sivic & Zisserman, "Video
Google", ICCV 2003). Without a limit the work grows with the square of the number of images.
"""
VOTES = 6
"""An image is compared if so many keypoints of another fall into its boxes."""
CANDIDATES = 3
"""Images that each image is compared with, at most."""
INLIERS = 12
"""Keypoints that one similarity transform has to bring together."""
TOLERANCE = 4.0
"""Pixels by which they may miss each other."""
OVERLAP = 0.3
"""Share of an image that the other has to cover."""
CORRELATION = 0.85
"""Least correlation of the grey levels there."""


@dataclass(frozen=True, eq=False, slots=True)
class Keypoints:
    """N places of an image: N×2 float32 (x, y) and N×32 uint8 descriptors."""

    places: np.ndarray
    descriptors: np.ndarray


NONE = Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8))
"""Of an image without any; all share it."""


@dataclass(frozen=True, slots=True)
class Match:
    """Image ``query`` shows a part of image ``target``: numbers in the lists that were compared.

    Attributes:
        matrix: 2×3, from the pixels of the shrunk target to those of the shrunk query.
    """

    query: int
    target: int
    matrix: np.ndarray


def shrink(pixels: np.ndarray) -> np.ndarray:
    """Return an image in grey, H×W uint8, its longer side at most SIDE."""
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, SIDE / max(gray.shape))
    return cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def keypoints(gray: np.ndarray) -> Keypoints:
    """Return the strongest keypoints of a shrunk image."""
    # one OpenCV object for each call: they are not safe between threads
    found, descriptors = cv2.ORB.create(KEYPOINTS).detectAndCompute(gray, None)
    if descriptors is None:
        return NONE
    return Keypoints(np.array([each.pt for each in found], np.float32), descriptors)


def find_matches(queries: list[Keypoints], targets: list[Keypoints]) -> Iterator[Match]:
    """Propose pairs of images of which one transform brings many keypoints together."""
    index = _Index(targets)
    for number, query in enumerate(queries):
        for target in index.candidates(query):
            matrix = _transform(query, targets[target])
            if matrix is not None:
                yield Match(number, target, matrix)


class _Index:
    """Images by the bits of their descriptors."""

    def __init__(self, images: list[Keypoints]) -> None:
        stream = numpy_stream(0, "keypoints")
        bits = [stream.choice(256, BITS, replace=False) for _ in range(TABLES)]
        self._tables = [_Table(images, chosen) for chosen in bits]
        self._count = len(images)

    def candidates(self, query: Keypoints) -> list[int]:
        """Return the images that share most boxes with this one, the best first."""
        boxes = [box for table in self._tables for box in table.boxes(query.descriptors)]
        if not boxes:
            return []
        votes = np.bincount(np.concatenate(boxes), minlength=self._count)
        likely = np.flatnonzero(votes >= VOTES)
        best = votes[likely].argsort(kind="stable")[::-1][:CANDIDATES]
        found: list[int] = likely[best].tolist()
        return found


class _Table:
    """Boxes of the images whose descriptors agree in some bits."""

    def __init__(self, images: list[Keypoints], bits: np.ndarray) -> None:
        self._bits = bits
        entries = [np.zeros(0, np.uint64)]
        # in blocks: the single bits take eight times the memory of their descriptors
        for start in range(0, len(images), BLOCK):
            block = images[start : start + BLOCK]
            owners = np.repeat(np.arange(len(block)), [len(each.places) for each in block])
            keys = self._keys(np.concatenate([each.descriptors for each in block]))
            entries.append(keys.astype(np.uint64) << OWNER | (owners + start).astype(np.uint64))
        # an image is once in a box; owners of a box follow each other, ascending
        distinct = np.unique(np.concatenate(entries))
        self._owners = distinct.astype(np.uint32)
        keys, starts, sizes = np.unique(
            (distinct >> OWNER).astype(np.uint32), return_index=True, return_counts=True
        )
        telling = sizes <= CROWDED
        self._known, self._starts = keys[telling], starts[telling]
        self._stops = self._starts + sizes[telling]

    def _keys(self, descriptors: np.ndarray) -> np.ndarray:
        """Return the chosen bits of descriptors, N×32 uint8, as N uint32."""
        bits = np.unpackbits(descriptors, axis=1)[:, self._bits]
        packed = np.packbits(bits, axis=1).astype(np.uint32)
        keys: np.ndarray = packed @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        return keys

    def boxes(self, descriptors: np.ndarray) -> list[np.ndarray]:
        """Return the owners of each box into which one of these descriptors falls."""
        keys = self._keys(descriptors)
        first, last = (np.searchsorted(self._known, keys, side) for side in ("left", "right"))
        rows = first[first < last]
        spans = zip(self._starts[rows].tolist(), self._stops[rows].tolist(), strict=True)
        return [self._owners[start:stop] for start, stop in spans]


def _transform(query: Keypoints, target: Keypoints) -> np.ndarray | None:
    """Return the similarity transform from target to query, 2×3, if enough keypoints agree."""
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    pairs = matcher.match(query.descriptors, target.descriptors)
    if len(pairs) < INLIERS:
        return None
    here = query.places[[each.queryIdx for each in pairs]]
    there = target.places[[each.trainIdx for each in pairs]]
    matrix, inliers = cv2.estimateAffinePartial2D(
        there, here, method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE
    )
    if matrix is None or inliers.sum() < INLIERS:
        return None
    return matrix


def shows_same(query: np.ndarray, target: np.ndarray, matrix: np.ndarray) -> bool:
    """Whether two shrunk grey images show the same where the transform lays one on the other."""
    height, width = query.shape
    moved = cv2.warpAffine(target, matrix, (width, height), flags=cv2.INTER_AREA)
    inside = cv2.warpAffine(np.full_like(target, 255), matrix, (width, height)) == 255
    if inside.mean() < OVERLAP:
        return False
    # a little blur: files differ by compression and resampling
    one, other = (cv2.GaussianBlur(each, (0, 0), 2.0)[inside] for each in (query, moved))
    if min(one.std(), other.std()) < 1:
        return False
    return float(np.corrcoef(one, other)[0, 1]) >= CORRELATION
