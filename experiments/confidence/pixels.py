"""Labelled pixels of images with what is predicted for them, a part at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.engine.inference.array_source import Array
from encoder_ablations.engine.inference.prediction import decide
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import numpy_stream

MOST_VALUES = 2**24
"""Probabilities that a part holds at most."""


class Pixels(NamedTuple):
    """Labelled pixels; ignored ones are not among them.

    Attributes:
        probabilities: N×K.
        truth: N int64, 0..K-1.
        uncertainty: N, entropy, 0..1.
        disagreement: N, mutual information, 0..1.
    """

    probabilities: Tensor
    truth: Tensor
    uncertainty: Tensor
    disagreement: Tensor

    @property
    def predicted(self) -> Tensor:
        """Return the most probable class, N int64."""
        return self.probabilities.argmax(dim=1)


def labelled_pixels(predictor: Predictor, sample: Sample) -> Iterator[Pixels]:
    """Yield an image's labelled pixels, in parts of bounded size.

    Args:
        predictor: of the classes that the mask's ids mean.
        sample: an image with its mask.
    """
    mask = torch.from_numpy(sample.truth)
    for block in predictor.blocks(Array(sample.image)):
        found = decide(block.values)
        truth = mask[block.rows, block.columns]
        labelled = truth != sample.ignore
        whole = (
            found.probabilities[:, labelled].T,
            truth[labelled],
            found.uncertainty[labelled],
            found.disagreement[labelled],
        )
        rows = max(1, MOST_VALUES // len(found.probabilities))
        yield from map(Pixels, *(values.split(rows) for values in whole))


@dataclass(frozen=True)
class Chosen:
    """Some images of a split.

    Attributes:
        images: the split.
        places: in it.
    """

    images: FolderDataset
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Sample]:
        return (self.images[place] for place in self.places)

    @property
    def ids(self) -> list[str]:
        """Return the images' ids."""
        return [self.images.ids[place] for place in self.places]


@dataclass(frozen=True)
class Division:
    """The images that temperature and thresholds come from, and those that are evaluated."""

    calibration: Chosen
    evaluation: Chosen

    @property
    def fingerprint(self) -> str:
        """Return a digest of both lists of ids."""
        calibration = [f"calibration {id}" for id in self.calibration.ids]
        return fingerprint([*calibration, *(f"evaluation {id}" for id in self.evaluation.ids)])


def divide(spec: DatasetSpec) -> Division:
    """Return val for calibration and test for evaluation.

    A dataset without test has its val images divided at random, half and half; whole scenes, where
    the dataset names them.

    Raises:
        InputError: files are missing, or there is no test and a single val image (or scene).
    """
    val = FolderDataset(spec, "val")
    if "test" in spec.splits:
        test = FolderDataset(spec, "test")
        return Division(_all(val), _all(test))
    # an image without a scene is one of its own
    scenes = sorted(set(val.scenes))
    if len(scenes) < 2:
        raise InputError(
            f"'{spec.name}' has no test images, and all val images are of one scene; the "
            "temperature is fitted on some scenes of val and evaluated on the others. Add a test "
            "split, or say by scene_pattern in the dataset's YAML which part of a name is its "
            "scene (now: "
            f"{spec.scene_pattern}); without scene_pattern each image is a scene of its own."
        )
    order = numpy_stream(0, "halves of val").permutation(len(scenes)).tolist()
    first = {scenes[place] for place in order[: len(scenes) // 2]}
    halves: dict[bool, list[int]] = {True: [], False: []}
    for place, scene in enumerate(val.scenes):
        halves[scene in first].append(place)
    return Division(Chosen(val, halves[True]), Chosen(val, halves[False]))


def _all(images: FolderDataset) -> Chosen:
    return Chosen(images, range(len(images)))


def labelled_count(sample: Sample) -> int:
    """Return how many pixels of an image have a class."""
    mask = torch.from_numpy(sample.truth)
    return int((mask != sample.ignore).sum())
