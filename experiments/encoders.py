"""``ablate encoders``: the table of encoders, read from the models themselves."""

import sys
from collections.abc import Sequence

import timm
import torch

from encoder_ablations.encoders.darknet import IMAGENET, DarkNetBody
from encoder_ablations.encoders.table import ROWS, DarkNetRow, EncoderRow
from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import command

EXAMPLES = """  ablate encoders
  ablate encoders dino"""

NORMALIZATIONS = {0.485: "ImageNet", 0.481: "CLIP", 0.5: "0.5"}
"""Names of the usual ones, by the mean of red."""

COLUMNS = "{:<16}{:<20}{:>8}  {:<6}{:>6}{:>7}  {:<13}{:<17}{}"


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate encoders --help``."""
    parser = options.make_parser("encoders", "Lists the encoders that have a name here; any other timm ViT works too.", EXAMPLES)
    parser.add_argument("text", nargs="?", default="", help="only encoders whose name or family contains this")
    text = parser.parse_args(argv).text.lower()
    print(COLUMNS.format("name", "family", "params", "patch", "width", "blocks", "mean/std", "licence", "weights"))
    for row in ROWS:
        if text in row.name or text in row.family.lower():
            print(describe(row))
    return 0


def describe(row: EncoderRow) -> str:
    """One line of the table. Models are built without memory for their weights."""
    if isinstance(row, DarkNetRow):
        with torch.device("meta"):
            body = DarkNetBody(row.blocks, row.stem, row.negative_slope)
        licence = timm.get_pretrained_cfg(row.model).license if row.model else "–"
        return _line(row, body, "–", body.widths[-1], 5, IMAGENET.mean, licence)
    model = timm.create_model(row.model, num_classes=0, global_pool="", device="meta")
    source = timm.get_pretrained_cfg(row.model)
    return _line(
        row, model, str(model.patch_embed.patch_size[0]), model.embed_dim, len(model.blocks), source.mean, source.license
    )


def _line(
    row: EncoderRow,
    model: torch.nn.Module,
    patch: str,
    width: int,
    depth: int,
    mean: tuple[float, ...],
    licence: str | None,
) -> str:
    millions = f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M"
    normalization = NORMALIZATIONS.get(round(mean[0], 3), " ".join(f"{value:.2f}" for value in mean))
    return COLUMNS.format(
        row.name, row.family, millions, patch, width, depth, normalization, licence or "–", row.model or "random only"
    )


if __name__ == "__main__":
    sys.exit(command(main))
