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


@dataclass(frozen=True, eq=False)
class Keypoints:
    """N places of an image: N×2 float32 (x, y) and N×32 uint8 descriptors."""

    places: np.ndarray
    descriptors: np.ndarray


NONE = Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8))
"""Of an image without any; all share it."""


@dataclass(frozen=True)
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
        self._bits = [stream.choice(256, BITS, replace=False) for _ in range(TABLES)]
        self._count = len(images)
        descriptors = np.concatenate([each.descriptors for each in images])
        owners = np.repeat(np.arange(len(images)), [len(each.places) for each in images])
        self._tables = []
        for keys in self._keys(descriptors):
            order = keys.argsort(kind="stable")
            self._tables.append((keys[order], owners[order]))

    def _keys(self, descriptors: np.ndarray) -> list[np.ndarray]:
        bits = np.unpackbits(descriptors, axis=1)
        powers = 1 << np.arange(BITS)
        return [bits[:, chosen] @ powers for chosen in self._bits]

    def candidates(self, query: Keypoints) -> list[int]:
        """Return the images that share most boxes with this one, the best first."""
        votes = np.zeros(self._count, np.int64)
        for keys, (known, owners) in zip(self._keys(query.descriptors), self._tables, strict=True):
            first, last = (np.searchsorted(known, keys, side) for side in ("left", "right"))
            for start, stop in zip(first, last, strict=True):
                votes[np.unique(owners[start:stop])] += 1
        best = votes.argsort(kind="stable")[::-1][:CANDIDATES]
        return [int(each) for each in best if votes[each] >= VOTES]


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
