"""Queries that read the patches of one level through a plain transformer decoder.

The decoder is that of a hybrid of DarkNet-53, a concatenating FPN and queries
(https://github.com/mohamed-naser-awd/hybrid-segmentation-model), with the same layers. There the
image has 640×640 pixels; here it has any size.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.built_in import QueryDecoderSpec
from encoder_ablations.segmenters.heads.layers import norm_layer
from encoder_ablations.segmenters.losses.fixed_assignment import FixedAssignmentLoss
from encoder_ablations.segmenters.losses.set_loss import SetLoss, set_totals
from encoder_ablations.segmenters.losses.targets import Targets, find_targets
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.utils.errors import InputError

LEVEL = "p3"
"""The level that is read, at stride 8."""
PATCH = 2
"""Steps of that level along a side of a patch."""
NEGATIVE_SLOPE = 0.1
"""Of LeakyReLU, as in DarkNet."""


class QueryPredictions(NamedTuple):
    """What Q queries predict for B images.

    Attributes:
        pred_logits: B×Q×(K+1) of K classes; the last one is "no object".
        pred_masks: B×Q×h×w, logits at the patches.
    """

    pred_logits: Tensor
    pred_masks: Tensor


@register_head("query_decoder", QueryDecoderSpec)
class QueryDecoderHead(Head):
    """Patches of p3, a transformer decoder, and a class and a mask for every query.

    A mask is the product of a vector of the query with the vectors of all patches. Only the last
    layer's predictions are trained; there is no loss behind the other layers. Layers have PyTorch's
    initial weights, so all layers of the decoder begin as copies of one.
    """

    levels = (LEVEL,)

    def __init__(self, spec: QueryDecoderSpec, num_classes: int, level: Level) -> None:
        super().__init__()
        self.ignore = ignore_label(num_classes)
        self.spec = spec
        self.num_classes = num_classes
        self.stride = level.stride * PATCH
        hidden = spec.hidden
        self.patchify = nn.Sequential(
            nn.Conv2d(level.channels, hidden, PATCH, stride=PATCH, bias=False),
            norm_layer(spec.norm, hidden),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
        )
        self.positions = nn.Embedding(spec.position_grid**2, hidden)
        nn.init.zeros_(self.positions.weight)
        self.queries = nn.Embedding(spec.queries, hidden)
        # Sequence first: with the batch first, evaluation takes a fused kernel that no counter of
        # FLOPs knows.
        layer = nn.TransformerDecoderLayer(
            hidden, spec.heads, spec.decoder_feedforward, spec.dropout, batch_first=False
        )
        self.decoder = nn.TransformerDecoder(layer, spec.decoder_layers)
        objects = num_classes - (spec.background is not None)
        self.classes = nn.Linear(hidden, objects + 1)
        self.mask = nn.Linear(hidden, hidden)
        self.pixels = nn.Conv2d(hidden, hidden, 1)
        self.fixed = FixedAssignmentLoss(spec, objects)
        self.matched = SetLoss(spec, objects)

    @classmethod
    def build(cls, spec: QueryDecoderSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's level p3.

        Raises:
            InputError: settings that do not fit together, or do not fit the classes.
        """
        _check(spec, num_classes)
        levels = {level.name: level for level in encoder.levels}
        return cls(spec, num_classes, levels[LEVEL])

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """Return the divisors of the losses, see the assignment's own loss."""
        if self.spec.assignment == "fixed":
            return self.fixed.totals(self._targets(masks))
        return set_totals(self.spec, masks, self.num_classes, self.spec.background)

    def loss(
        self, pyramid: dict[str, Tensor], masks: Tensor, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses "class", "mask" and "dice" (with fixed assignment if it weighs).

        Args:
            pyramid: levels B×C×h×w.
            masks: B×H×W int64.
            totals: divisors, see :meth:`totals`.
        """
        logits, maps = self(pyramid)
        targets = self._targets(masks)
        if self.spec.assignment == "fixed":
            return self.fixed(logits, maps, targets, totals)
        points = self.matched.draw(1, targets)
        return self.matched([logits], [maps], targets, totals, points)

    def predict(self, pyramid: dict[str, Tensor], image_size: tuple[int, int]) -> ScoreMaps:
        """Return the queries' mask logits, mixed by their class probabilities.

        The class "no object" is left out.
        """
        logits, maps = self(pyramid)
        mixing = logits.float().softmax(-1)[..., :-1].transpose(1, 2)
        background = self.spec.background
        if background is not None:
            # no query speaks of that class
            nothing = torch.zeros_like(mixing[:, :1])
            mixing = torch.cat([mixing[:, :background], nothing, mixing[:, background:]], dim=1)
        return ScoreMaps(maps, image_size, mixing, self.stride, background)

    def forward(self, pyramid: dict[str, Tensor]) -> QueryPredictions:
        """Return the class and mask logits of all queries for a pyramid of levels B×C×h×w."""
        patches = self.patchify(pyramid[LEVEL])
        height, width = patches.shape[-2:]
        # (h·w)×B×C
        tokens = (patches + self._positions(height, width)).flatten(2).permute(2, 0, 1)
        queries = self.queries.weight[:, None].expand(-1, tokens.shape[1], -1)
        hidden = self.decoder(queries, tokens).transpose(0, 1)
        masks = torch.einsum("bqc,bchw->bqhw", self.mask(hidden), self.pixels(patches))
        return QueryPredictions(self.classes(hidden), masks)

    def _positions(self, height: int, width: int) -> Tensor:
        """Return the learned positions of h×w patches: C×h×w."""
        side = self.spec.position_grid
        grid = self.positions.weight.view(side, side, -1)
        rows, columns = (_resizing(side, length, grid.device) for length in (height, width))
        return torch.einsum("hi,wj,ijc->chw", rows, columns, grid)

    def _targets(self, masks: Tensor) -> Targets:
        return find_targets(masks, self.num_classes, self.spec.background)


def _resizing(side: int, length: int, device: torch.device) -> Tensor:
    """Return the matrix length×side that resizes a grid bilinearly along one side.

    It averages over all that a place covers, so every position is trained also by small images. A
    product of matrices has the same gradient in every run, which PyTorch's own kernel has not on a
    GPU.
    """
    single = torch.eye(side, device=device)[None, None]
    resized = F.interpolate(
        single, size=(length, side), mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0, 0]


def _check(spec: QueryDecoderSpec, num_classes: int) -> None:
    """Check the settings against each other and against the number of classes.

    Raises:
        InputError: the first that does not fit.
    """
    if spec.hidden % spec.heads:
        raise InputError(
            f"segmenter.heads: {spec.heads} does not divide segmenter.hidden ({spec.hidden})."
        )
    objects = num_classes
    if spec.background is not None:
        objects -= 1
        if spec.background >= num_classes or not objects:
            raise InputError(
                f"segmenter.background is {spec.background}, but the dataset has "
                f"{num_classes} classes. It must be the id of one of at least two classes."
            )
    if spec.assignment == "fixed" and objects > spec.queries:
        raise InputError(
            f"segmenter.queries is {spec.queries}, but assignment: fixed gives each of {objects} "
            f"classes a query of its own. Set queries to {objects} or more, or assignment to "
            "hungarian."
        )
