"""``ablate encoders``: the table of encoders, read from the models themselves."""

from collections.abc import Sequence

import torch

from encoder_ablations.encoders.base import Normalization
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table import ROWS, EncoderRow
from encoder_ablations.experiments import options
from encoder_ablations.utils.errors import InputError

EXAMPLES = """  ablate encoders
  ablate encoders dino"""

NORMALIZATIONS = {0.485: "ImageNet", 0.481: "CLIP", 0.5: "0.5"}
"""Names of the usual normalisations, by the mean of red."""

COLUMNS = "{:<16}{:<20}{:>8}  {:<6}{:>6}{:>7}  {:<13}{:<17}{}"


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate encoders --help``."""
    about = (
        "Lists the encoders that have a name here; any other timm vision transformer works by its "
        "timm name."
    )
    parser = options.make_parser("encoders", about, EXAMPLES)
    parser.add_argument(
        "text", nargs="?", default="", help="only encoders whose name or family contains this"
    )
    text = parser.parse_args(argv).text.lower()
    rows = [row for row in ROWS if text in row.name or text in row.family.lower()]
    if not rows:
        raise InputError(
            f"no encoder's name or family contains '{text}'. 'ablate encoders' lists all."
        )
    print(
        COLUMNS.format(
            "name", "family", "params", "patch", "width", "blocks", "mean/std", "licence", "weights"
        )
    )
    for row in rows:
        print(describe(row))
    return 0


def describe(row: EncoderRow) -> str:
    """Return one line of the table. The model is built without memory for its weights."""
    with torch.device("meta"):
        body = build_encoder(EncoderSpec(name=row.name, weights="random")).body
    facts = body.facts()
    return COLUMNS.format(
        row.name,
        row.family,
        f"{sum(parameter.numel() for parameter in body.parameters()) / 1e6:.1f} M",
        str(facts.get("patch_size", "–")),
        body.widths[-1],
        body.max_depth - 1,
        _name(body.normalization),
        row.licence or "–",
        row.model or "random only",
    )


def _name(normalization: Normalization) -> str:
    numbers = " ".join(f"{value:.2f}" for value in normalization.mean)
    return NORMALIZATIONS.get(round(normalization.mean[0], 3), numbers)
