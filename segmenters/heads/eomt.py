"""EoMT: the encoder-only mask transformer (Kerssies et al., CVPR 2025).

"Your ViT is Secretly an Image Segmentation Model". The structure is that of ``models/eomt.py`` of
tue-mps/eomt. Queries are added to the tokens before the last blocks of the body, which thereby
becomes the decoder. Two things differ: the set loss leaves out ignored pixels exactly, and with
annealed masks no prediction is masked. There the repository still masks while training goes on, so
that its scores depend on random numbers.
"""

import math
from typing import Self

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.encoders.base import Encoder
from encoder_ablations.encoders.blocks import Blocks, Tokens
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.features import BodyInput
from encoder_ablations.segmenters.losses.set_loss import SetLoss
from encoder_ablations.segmenters.losses.targets import find_targets
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import EomtSpec
from encoder_ablations.utils.errors import InputError

FIRST, LAST = 1 / 6, 4 / 6
"""Shares of training after which annealing begins, in the first and in the last block."""
SPAN = 1 / 6
"""Share of training that the annealing of one block takes."""
POWER = 0.9
"""Exponent of its polynomial decay."""
MASK_STRIDE = 2
"""log2 of the stride of mask logits that patches are doubled towards."""


class Doubling(nn.Module):
    """Twice the size: transposed convolution, GELU, 3×3 depthwise convolution, LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.norm = LayerNorm2d(width)

    def forward(self, maps: Tensor) -> Tensor:
        """Return B×C×2h×2w of B×C×h×w."""
        doubled: Tensor = self.norm(self.conv2(self.act(self.conv1(maps))))
        return doubled


class MaskPredictor(nn.Module):
    """Mask logits: products of queries, after an MLP, with patches at a finer grid.

    Args:
        width: channels of queries and patches.
        doublings: how often the grid's sides are doubled.
    """

    def __init__(self, width: int, doublings: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
        )
        self.upscale = nn.Sequential(*(Doubling(width) for _ in range(doublings)))

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Return B×Q×h·2ⁿ×w·2ⁿ of queries B×Q×C and patches B×C×h×w, with n doublings."""
        return torch.einsum("bqc,bchw->bqhw", self.mlp(queries), self.upscale(patches))


@register_head("eomt", EomtSpec, reads="body")
class EomtHead(Head):
    """Queries, their classes and masks; the decoder is the body's last blocks.

    Attributes:
        stride: image pixels per step of the mask logits.
        done: share of the training steps that are done, 0..1; only the loss depends on it.
    """

    def __init__(self, spec: EomtSpec, num_classes: int, blocks: Blocks) -> None:
        """Draw new weights, as PyTorch initialises its layers.

        Args:
            spec: the settings.
            num_classes: number of classes, K.
            blocks: of the body; their depth, width and patch size are read.

        Raises:
            InputError: the body has fewer blocks than the queries are to pass through.
        """
        super().__init__()
        self.ignore = ignore_label(num_classes)
        self.count = _block_count(spec, blocks.depth)
        self.masked_attention = spec.masked_attention
        self.done = 0.0
        doublings = max(1, int(math.log2(blocks.reduction)) - MASK_STRIDE)
        self.stride = blocks.reduction / 2**doublings
        self.queries = nn.Embedding(spec.queries, blocks.width)
        self.class_predictor = nn.Linear(blocks.width, num_classes + 1)
        self.mask_predictor = MaskPredictor(blocks.width, doublings)
        self.set_loss = SetLoss(spec, num_classes)

    @classmethod
    def build(cls, spec: EomtSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's body.

        Raises:
            InputError: the body has no blocks to run one by one, or too few.
        """
        return cls(spec, num_classes, encoder.body.as_blocks())

    def progressed(self, done: float) -> None:
        """Take over the share of training that is done, on which annealing depends."""
        self.done = done

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """Return the counts "masks" and "classes", see :meth:`SetLoss.totals`."""
        return self.set_loss.totals(masks)

    def loss(
        self, pyramid: BodyInput, masks: Tensor, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the set loss over the last prediction and those before each block of queries.

        Args:
            pyramid: the body and the images.
            masks: B×H×W int64.
            totals: divisors, see :meth:`totals`.

        Returns:
            "class", "mask" and "dice".
        """
        probabilities = [self._probability(index) for index in range(self.count)]
        predictions = self.predictions(pyramid, probabilities)
        if self.masked_attention == "never":
            predictions = predictions[-1:]
        # the final prediction first
        class_logits, mask_logits = zip(predictions[-1], *predictions[:-1], strict=True)
        targets = find_targets(masks, self.set_loss.num_classes)
        points = self.set_loss.draw(len(class_logits), targets)
        return self.set_loss(class_logits, mask_logits, targets, totals, points)

    def predict(self, pyramid: BodyInput, image_size: tuple[int, int]) -> ScoreMaps:
        """Return the queries' mask logits, mixed by their class probabilities.

        The class "no object" is left out.
        """
        always = float(self.masked_attention == "always")
        class_logits, mask_logits = self.predictions(pyramid, [always] * self.count)[-1]
        probabilities = class_logits.float().softmax(-1)[..., :-1]
        return ScoreMaps(mask_logits, image_size, probabilities.transpose(1, 2), self.stride)

    def predictions(
        self, given: BodyInput, probabilities: list[float]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return class logits B×Q×(K+1) and mask logits B×Q×h×w, the final ones last.

        Args:
            given: the body and the images.
            probabilities: for each block of queries, how likely a query reads only the patches of
                its mask. If all are 0, only the final prediction is made in evaluation mode.
        """
        blocks = given.blocks
        found = []
        tokens = blocks.embed(given.images)
        first = blocks.depth - self.count
        for index in range(first):
            tokens = blocks.run(index, tokens)
        tokens = tokens.with_added(self.queries.weight.expand(len(given.images), -1, -1))
        for index, probability in enumerate(probabilities, first):
            mask = None
            if self.training or probability > 0:
                found.append(self._predict(blocks, tokens))
            if probability > 0:
                mask = _attention_mask(tokens, found[-1][1], probability)
            tokens = blocks.run(index, tokens, mask)
        return [*found, self._predict(blocks, tokens)]

    def _predict(self, blocks: Blocks, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Return class logits B×Q×(K+1) and mask logits B×Q×h×w."""
        values = blocks.norm(tokens)
        queries = values[:, tokens.added]
        masks = self.mask_predictor(queries, tokens.as_map(values))
        return self.class_predictor(queries), masks

    def _probability(self, index: int) -> float:
        """Return how likely a query is masked in a block of queries, 0..1, at this progress.

        The blocks begin at even distances. In each the probability falls from 1 to 0 as the
        polynomial of the repository's ``mask_annealing``.
        """
        if self.masked_attention != "annealed":
            return float(self.masked_attention == "always")
        begin = FIRST + (LAST - FIRST) * index / max(1, self.count - 1)
        # before it begins it is 1, after it has ended 0
        left = min(1.0, max(0.0, 1 - (self.done - begin) / SPAN))
        return math.pow(left, POWER)


@torch.no_grad()
def _attention_mask(tokens: Tokens, mask_logits: Tensor, probability: float) -> Tensor:
    """Return B×1×T×T bool: queries read the patches inside their masks, all else reads all.

    Args:
        tokens: T of them.
        mask_logits: B×Q×h×w.
        probability: how likely a query is masked. Which ones are is drawn from the device's global
            generator, unless it is 1.
    """
    logits = F.interpolate(mask_logits.float(), tokens.grid, mode="bilinear", align_corners=False)
    inside = logits.flatten(2) > 0
    if probability < 1:
        free = torch.rand(inside.shape[:2], device=inside.device) > probability
        inside |= free[..., None]
    count = tokens.values.shape[1]
    mask = torch.ones(len(inside), 1, count, count, dtype=torch.bool, device=inside.device)
    mask[:, 0, tokens.added, tokens.patches] = inside
    return mask


def _block_count(spec: EomtSpec, depth: int) -> int:
    """Return how many blocks the queries pass through.

    Raises:
        InputError: more than there are.
    """
    if spec.blocks is None:
        # ViT-S and B, L, and giant ones
        usual = 3 + (depth > 12) + (depth > 24)
        return min(usual, depth)
    if spec.blocks > depth:
        raise InputError(
            f"segmenter.blocks: queries are to pass through {spec.blocks} blocks, but the encoder "
            f"has {depth}. Allowed: 1..{depth}."
        )
    return spec.blocks
