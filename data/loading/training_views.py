"""What is trained on at each position of a run: which sample, which crop, mixed with which."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.loading.balancing import drawer
from encoder_ablations.data.loading.items import Batch, Samples, View
from encoder_ablations.data.loading.mixing import Mixer
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.data.views.class_balance import balance_of
from encoder_ablations.data.views.crop import Crop
from encoder_ablations.data.views.transforms import training_view
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import numpy_stream


class Key(NamedTuple):
    """What is shown at a position of a run.

    Attributes:
        position: counts the samples of the whole run.
        place: index of the sample in its dataset.
        epoch: how often all samples were shown before.
        partner: index of the sample that it is mixed with; None = not mixed.
    """

    position: int
    place: int
    epoch: int
    partner: int | None = None


class Order:
    """Position in a run -> its key.

    Args:
        indices: the samples that are trained on.
        seed: of the run.
        mixer: chooses partners; None = samples are not mixed.

    Raises:
        InputError: there is no sample.
    """

    def __init__(self, indices: Sequence[int], seed: int, mixer: Mixer | None = None) -> None:
        if not len(indices):
            raise InputError("there is no sample to train on.")
        self._mixer = mixer
        self._length = len(indices)
        self._draw = drawer(indices)
        self._seed = seed
        self._epoch = -1
        self._permutation = np.zeros(0, np.int64)

    def __getitem__(self, position: int) -> Key:
        epoch, place = divmod(position, self._length)
        if epoch != self._epoch:
            rng = numpy_stream(self._seed, "order", epoch)
            chosen = self._draw(rng)
            self._permutation = chosen[rng.permutation(len(chosen))]
            self._epoch = epoch
        index = int(self._permutation[place])
        if self._mixer is None:
            return Key(position, index, epoch)
        partner = self._mixer.partner(position, index, self._permutation)
        return Key(position, index, epoch, partner)


class Viewed(NamedTuple):
    """One image of a batch; see :class:`~.items.Batch`."""

    image: np.ndarray
    mask: np.ndarray
    views: tuple[View, ...] = ()
    other: np.ndarray | None = None
    share: float = 1.0
    image_class: int | None = None


class TrainingViews(Dataset[Any]):
    """Key -> what is trained on there, or the error of a file that cannot be read.

    Args:
        dataset: where the samples come from.
        augmentation: what is done to them.
        seed: of the run.
        mixer: mixes crops; None = they are not mixed.
        class_pixels: of each class in the samples that are trained on; needed where
            ``augmentation`` balances classes.
    """

    def __init__(
        self,
        dataset: Samples,
        augmentation: AugmentationSpec,
        seed: int,
        mixer: Mixer | None,
        class_pixels: Sequence[int] | None,
    ) -> None:
        self._dataset = dataset
        self._augmentation = augmentation
        self._seed = seed
        self._mixer = mixer
        self._balance = balance_of(augmentation.class_balance, class_pixels)

    def __getitem__(self, key: Key) -> Viewed | InputError:
        try:
            return self._view(key)
        except InputError as error:
            return error

    def _view(self, key: Key) -> Viewed:
        sample = self._dataset[key.place]
        if self._augmentation.views is None:
            rng = numpy_stream(self._seed, "augment", key.position)
            crop = self._crop(sample, rng)
            if self._mixer is None or key.partner is None:
                return Viewed(*crop, image_class=sample.image_class)
            return self._mixed(self._mixer, key.position, crop, self._dataset[key.partner])
        number = key.epoch % self._augmentation.views
        # not of the run's seed: all runs share the views
        rng = numpy_stream(0, "view", sample.id, number)
        view = View(key.place, number)
        return Viewed(*self._crop(sample, rng), (view,), image_class=sample.image_class)

    def _crop(self, sample: Sample, rng: np.random.Generator) -> Crop:
        return training_view(sample, self._augmentation, rng, self._balance)

    def _mixed(self, mixer: Mixer, position: int, own: Crop, partner: Sample) -> Viewed:
        rng = numpy_stream(self._seed, "augment partner", position)
        crop, mask, share = mixer.mix(position, own, self._crop(partner, rng), partner.ignore)
        return Viewed(*crop, (), mask, share)


def collate(found: list[Viewed | InputError]) -> Batch | InputError:
    """Return the images of a micro-batch together, or the first error.

    Without any image the tensors are 0×3×0×0 and 0×0×0.
    """
    for each in found:
        if isinstance(each, InputError):
            return each
    if not found:
        empty = torch.zeros(0, 0, 0, dtype=torch.uint8)
        return Batch(torch.zeros(0, 3, 0, 0, dtype=torch.uint8), empty)
    images, masks, views, others, shares, classes = zip(*cast(list[Viewed], found), strict=True)
    batch = Batch(_stacked(images), _stacked(masks), tuple(chain(*views)))
    # a mixed image shows two, of which neither class is that of the whole
    if None not in classes:
        batch = batch._replace(image_classes=torch.tensor(classes))
    if others[0] is None:
        return batch
    return batch._replace(others=_stacked(others), share=shares[0])


def _stacked(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
