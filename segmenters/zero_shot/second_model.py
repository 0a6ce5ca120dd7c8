"""The second vision model of a method, whose features guide the attention."""

import torch
from torch import Tensor, nn

from encoder_ablations.encoders.base import Encoder, Normalization
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.pyramids.resize import scale_bilinear
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.encoders.table.rows import ViTRow
from encoder_ablations.utils.errors import InputError


class SecondModel(nn.Module):
    """A frozen encoder without a neck: its last map, of windows that another encoder also sees.

    Of a vision transformer this is the output of the last block after the final norm.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, encoder: Encoder, seen: Normalization) -> None:
        """Take an encoder.

        Args:
            encoder: gives maps of normalised images.
            seen: the normalisation of the windows that are given.
        """
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)
        own = encoder.normalization
        # (x · std + mean - own mean) / own std, as one multiplication and one addition
        std, mean, own_std, own_mean = (
            torch.tensor(each).view(3, 1, 1) for each in (seen.std, seen.mean, own.std, own.mean)
        )
        self.register_buffer("factor", std / own_std, persistent=False)
        self.register_buffer("offset", (mean - own_mean) / own_std, persistent=False)

    def train(self, mode: bool = True) -> "SecondModel":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor, grid: tuple[int, int], reduction: float) -> Tensor:
        """Return the last map W×C×rows×columns on the grid of another encoder's patches.

        Args:
            images: W×3×h×w, normalised for the other encoder.
            grid: (rows, columns) of its patches.
            reduction: image pixels per patch.
        """
        found = self.encoder.maps(images * self.factor + self.offset)[-1]
        factor = self.encoder.body.reductions[-1] / reduction
        if factor == 1:
            return found
        fits = (found.shape[-2] * factor, found.shape[-1] * factor) == grid
        return scale_bilinear(found, (factor, factor), grid, fits)


def build_second_model(spec: EncoderSpec, seen: Normalization) -> SecondModel:
    """Return the second model of a method.

    Args:
        spec: its settings; the last of its maps is read, by default that of the last block.
        seen: the normalisation of the windows that are given.

    Raises:
        InputError: an unknown name, a neck, or weights that cannot be loaded.
    """
    if spec.neck not in (None, "none"):
        raise InputError(
            f"segmenter.vfm: {spec.name} has the neck {spec.neck}, but a second vision model is "
            "read without one. Remove neck."
        )
    changes: dict[str, object] = {"neck": "none"}
    if isinstance(find_row(spec.name), ViTRow) and spec.taps is None:
        changes["taps"] = (1.0,)
    return SecondModel(build_encoder(spec.model_copy(update=changes)), seen)
