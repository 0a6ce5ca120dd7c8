"""``ablate encoders``: the table of encoders."""

from collections.abc import Sequence

from encoder_ablations.encoders.facts import EncoderFacts, read_facts
from encoder_ablations.encoders.table.lookup import ROWS
from encoder_ablations.encoders.table.rows import EncoderRow
from encoder_ablations.experiments import options
from encoder_ablations.utils.errors import InputError

EXAMPLES = """  ablate encoders
  ablate encoders dino"""

NORMALIZATIONS = {0.485: "ImageNet", 0.481: "CLIP", 0.5: "0.5", 0.0: "none"}
"""Names of the usual normalisations, by the mean of red."""

COLUMNS = "{:<20}{:<20}{:>8}{:>6}  {:<6}{:>6}{:>7}  {:<10}{:<27}{}"


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate encoders --help``."""
    about = (
        "Lists the encoders that have a name here; any other timm vision transformer, and any timm "
        "model with maps at strides 4, 8, 16 and 32, works by its timm name."
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
    head = "name family params size patch width blocks mean/std licence weights"
    print(COLUMNS.format(*head.split()))
    facts = read_facts()
    for row in rows:
        print(describe(row, facts[row.name]))
    return 0


def describe(row: EncoderRow, facts: EncoderFacts) -> str:
    """Return one line of the table."""
    return COLUMNS.format(
        row.name,
        row.family,
        f"{facts.parameters / 1e6:.1f} M",
        facts.size or "–",
        facts.patch or "–",
        facts.width,
        facts.blocks,
        _name(facts),
        facts.licence or "–",
        row.model or "random only",
    )


def _name(facts: EncoderFacts) -> str:
    numbers = " ".join(f"{value:.2f}" for value in facts.mean)
    return NORMALIZATIONS.get(round(facts.mean[0], 3), numbers)
