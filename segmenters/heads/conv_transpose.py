"""Transposed convolutions on the last map of a vision transformer."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

from torch import Tensor, nn

from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.heads.dense import DenseHead
from encoder_ablations.segmenters.heads.layers import classifier, initialize, norm_layer
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.spec import ConvTransposeSpec
from encoder_ablations.utils.errors import InputError

COARSE = 32
"""From this stride on the logits are doubled once more."""


def _doubling(inputs: int, outputs: int, bias: bool = False) -> nn.ConvTranspose2d:
    """Return a transposed convolution from B×inputs×h×w to B×outputs×2h×2w."""
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=bias)


@register_head("conv_transpose", ConvTransposeSpec, reads="maps")
class ConvTransposeHead(DenseHead):
    """Three transposed convolutions, each with its norm and ReLU, and a 3×3 convolution.

    They halve the channels and double the size: patches of 16 pixels give logits at stride 2. With
    patches of 32 pixels one more transposed convolution doubles the logits.
    """

    def __init__(self, spec: ConvTransposeSpec, num_classes: int, level: Level) -> None:
        super().__init__(spec, num_classes)
        self.name = level.name
        widths = [level.channels // 2**halvings for halvings in range(4)]
        steps: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            norm = norm_layer(spec.norm, outputs)
            steps += [_doubling(inputs, outputs), norm, nn.ReLU(inplace=True)]
        self.steps = nn.Sequential(*steps)
        self.stride = level.stride / 8
        self.classifier = classifier(widths[-1], num_classes, spec, kernel=3)
        initialize(self, self.classifier)
        self.last: nn.Module = nn.Identity()
        if level.stride >= COARSE:
            self.last = _doubling(num_classes, num_classes, bias=True)
            self.stride /= 2

    @classmethod
    def build(cls, spec: ConvTransposeSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for an encoder's only map.

        Raises:
            InputError: the encoder gives several maps, or one whose channels cannot be halved.
        """
        levels = encoder.levels
        if len(levels) > 1:
            raise InputError(
                f"conv_transpose reads one map, but the encoder gives {_names(levels)}. "
                "Set neck: none and taps: [1.0], which vision transformers have."
            )
        if levels[0].channels % 8:
            raise InputError(
                f"conv_transpose halves the channels three times, but the encoder's map has "
                f"{levels[0].channels}, which 8 does not divide. Use another encoder or head."
            )
        return cls(spec, num_classes, levels[0])

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×8h×8w of a map B×C×h×w; from stride 32 on B×K×16h×16w."""
        logits: Tensor = self.last(self.classifier(self.steps(pyramid[self.name])))
        return logits


def _names(levels: Sequence[Level]) -> str:
    return ", ".join(level.name for level in levels)
