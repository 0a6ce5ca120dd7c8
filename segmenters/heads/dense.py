"""What all heads share that give logits for every class at every place of a grid."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from encoder_ablations.data.datasets.sample import IGNORE, ignore_label
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.custom_loss import build_loss
from encoder_ablations.segmenters.dense_loss import DenseLoss, divided
from encoder_ablations.segmenters.features import OtherMasks
from encoder_ablations.segmenters.loss_registry import checked_losses
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import DenseSpec, HeadSpec


class DenseHead(Head):
    """A head whose ``forward`` makes logits B×K×h×w of a pyramid; its losses are a setting.

    A subclass gives ``build``, ``forward`` and ``stride``. One with a ``loss`` of its own also
    gives its ``blended_loss``, or says that it does not learn blends.

    Attributes:
        stride: image pixels per step of the logits.
        terms: names of the losses, as in the setting ``loss``.
    """

    stride: float
    learns_blends = True
    spec_type: ClassVar[type[HeadSpec]] = DenseSpec

    def __init__(self, spec: DenseSpec, num_classes: int) -> None:
        """Build the losses; PyTorch's generator stays as it is.

        Args:
            spec: the head's settings.
            num_classes: number of classes, K.

        Raises:
            InputError: the settings of a loss do not fit the classes, or one of a user's own fails.
        """
        super().__init__()
        self.ignore = ignore_label(num_classes)
        settings = checked_losses(spec.loss, f"segmenter {spec.name}")
        self.terms = list(settings)
        self.weights = [own.weight for own in settings.values()]
        self.losses = nn.ModuleList(
            build_loss(name, own, num_classes) for name, own in settings.items()
        )

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×h×w of a pyramid of levels B×C×h×w."""
        raise NotImplementedError

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """Return the divisor of every loss for masks B×H×W int64, by the loss's name."""
        totals = [loss.total(masks) for loss in self._losses()]
        return dict(zip(self.terms, totals, strict=True))

    def loss(
        self, pyramid: dict[str, Tensor], masks: Tensor, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return every loss by its name, weighted, of the logits at the masks' size.

        They are computed in float32, whatever the surrounding autocast.

        Args:
            pyramid: levels B×C×h×w.
            masks: B×H×W int64.
            totals: what each sum is divided by, see :meth:`totals`.
        """
        return self._of_scores(self(pyramid).float(), masks, totals)

    def blended_loss(
        self,
        pyramid: dict[str, Tensor],
        masks: Tensor,
        totals: dict[str, Tensor],
        other: OtherMasks,
    ) -> dict[str, Tensor]:
        """Return every loss of both masks of blended images, in their shares, by its name.

        See :meth:`Head.blended_loss`.
        """
        scores = self(pyramid).float()
        own = self._of_scores(scores, masks, totals)
        blended_in = self._of_scores(scores, other.masks, other.totals)
        return {
            name: (1 - other.share) * own[name] + other.share * blended_in[name] for name in own
        }

    def _of_scores(
        self, scores: Tensor, masks: Tensor, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return every loss by its name, of scores B×K×h×w float32."""
        with torch.autocast(masks.device.type, enabled=False):
            if self.ignore == IGNORE:
                sums = self._sums(scores, masks)
            else:
                # logits of very many classes at full size would fill a GPU: one image at a time
                parts = zip(torch.split(scores, 1), torch.split(masks, 1), strict=True)
                images = [checkpoint(self._sums, *part, use_reentrant=False) for part in parts]
                sums = tuple(torch.stack(each).sum() for each in zip(*images, strict=True))
        named = zip(self.terms, self.weights, sums, strict=True)
        return {name: weight * divided(value, totals[name]) for name, weight, value in named}

    def _sums(self, scores: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        """Return the sum of every loss, of scores B×K×h×w and masks B×H×W."""
        logits = resized(scores, masks.shape[-2:])
        return tuple(loss(logits, masks) for loss in self._losses())

    def _losses(self) -> Iterable[DenseLoss]:
        return cast(Iterable[DenseLoss], self.losses)

    def predict(self, pyramid: dict[str, Tensor], image_size: tuple[int, int]) -> ScoreMaps:
        """Return the logits as scores at ``stride``; ``image_size`` is (H, W) without padding."""
        return ScoreMaps(self(pyramid), image_size, stride=self.stride)


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps B×C×h×w resized bilinearly to ``size`` (H, W), with half-pixel centres."""
    return F.interpolate(maps, size=list(size), mode="bilinear", align_corners=False)
