"""Which samples of a run are mixed, with which others, and how.

All of it follows from the seed and the position in the run. So micro-batches, processes, workers
and interruptions change nothing.
"""

from collections.abc import Collection

import numpy as np

from encoder_ablations.data.views.augmentation import MixSpec
from encoder_ablations.data.views.crop import Crop
from encoder_ablations.data.views.mixed_samples import blended, with_box, with_classes
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import numpy_stream


def check_partners(spec: MixSpec | None, samples: Collection[int]) -> None:
    """Check that there are two samples to mix.

    Args:
        spec: whether samples are mixed.
        samples: those that are trained on.

    Raises:
        InputError: there is one only.
    """
    if spec is not None and len(set(samples)) == 1:
        raise _no_partner(spec)


def _no_partner(spec: MixSpec) -> InputError:
    return InputError(
        f"recipe.augmentation.mix: {spec.kind} mixes two different training images, but there is "
        "only one. Use more images, or leave mix out."
    )


def mixer_of(
    spec: MixSpec | None, samples: Collection[int], seed: int, batch_size: int
) -> "Mixer | None":
    """Return what mixes the crops of a run; None where the settings ask for nothing.

    Raises:
        InputError: there is one sample only.
    """
    check_partners(spec, samples)
    if spec is None:
        return None
    return Mixer(spec, seed, batch_size)


class Mixer:
    """Mixes training crops.

    Args:
        spec: how.
        seed: of the run.
        batch_size: samples per step, over all processes and micro-batches.
    """

    def __init__(self, spec: MixSpec, seed: int, batch_size: int) -> None:
        self._spec = spec
        self._seed = seed
        self._batch_size = batch_size

    def partner(self, position: int, place: int, epoch: np.ndarray) -> int | None:
        """Return the sample that the one at ``place`` is mixed with; None if it stays as it is.

        Args:
            position: of the sample in the run.
            place: its index in the dataset.
            epoch: indices of all samples of the same epoch.

        Raises:
            InputError: the epoch shows one sample only.
        """
        if self._stream(position).random() >= self._spec.probability:
            return None
        others = epoch[epoch != place]
        if not len(others):
            raise _no_partner(self._spec)
        rng = numpy_stream(self._seed, "partner", position)
        return int(others[rng.integers(len(others))])

    def mix(
        self, position: int, own: Crop, other: Crop, ignore: int
    ) -> tuple[Crop, np.ndarray | None, float]:
        """Return a mixed crop.

        For MixUp also the other mask, and which share of the loss is that of the own one.

        Args:
            position: of the sample in the run.
            own: its image 3×H×W uint8 and mask H×W.
            other: those of its partner.
            ignore: the id of ignored pixels.
        """
        rng = self._stream(position)
        rng.random()  # whether it is mixed
        if self._spec.kind == "classmix":
            return with_classes(own, other, ignore, rng), None, 1.0
        share = rng.beta(self._spec.concentration, self._spec.concentration)
        if self._spec.kind == "cutmix":
            return with_box(own, other, share, rng), None, 1.0
        return (blended(own[0], other[0], share), own[1]), other[1], share

    def _stream(self, position: int) -> np.random.Generator:
        """Return the stream that decides how a sample is mixed, with MixUp that of its batch."""
        if self._spec.kind == "mixup":
            return numpy_stream(self._seed, "mix batch", position // self._batch_size)
        return numpy_stream(self._seed, "mix", position)
