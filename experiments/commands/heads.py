"""``ablate heads``: the segmentation heads, and the losses of dense ones."""

import textwrap
from collections.abc import Sequence

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from encoder_ablations.experiments import options
from encoder_ablations.experiments.commands.keys import describe
from encoder_ablations.segmenters.built_in import BUILT_IN
from encoder_ablations.segmenters.facts import CHANNELS, CLASSES, WIDTH, HeadFacts, read_facts
from encoder_ablations.segmenters.loss_registry import loss_names, loss_settings
from encoder_ablations.segmenters.registry import head_settings
from encoder_ablations.segmenters.spec import DenseSpec, HeadSpec
from encoder_ablations.utils.config import in_yaml

EXAMPLES = """  ablate heads                     all heads
  ablate heads upernet             the settings of one
  ablate heads --losses            all losses of dense heads
  ablate heads --losses focal      the settings of one"""

COLUMNS = "{:<22}{:<9}{:<10}{:>8}  {:<8}{}"
INDENT = " " * 4
LINE = 100
"""Columns of the lines of settings."""
UNBROKEN = "\u00a0"
"""A space at which no line is broken."""
TAG = "name"
"""The field that names the head itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate heads --help``."""
    parser = options.make_parser(
        "heads", "Lists the segmentation heads, or shows the settings of one.", EXAMPLES
    )
    parser.add_argument(
        "name",
        nargs="?",
        help="a head, also one of your own as package.module:Class (default: list all)",
    )
    parser.add_argument(
        "--losses", action="store_true", help="the losses of dense heads in place of heads"
    )
    arguments = parser.parse_args(argv)
    if arguments.losses:
        print(losses(arguments.name))
    elif arguments.name:
        spec, reference = head_settings(arguments.name)
        print(describe(f"segmenter {reference}", spec))
    else:
        print(all_heads())
    return 0


def all_heads() -> str:
    """Return a table of the built-in heads, two lines each or more."""
    facts = read_facts()
    lines = [COLUMNS.format("name", "reads", "learns", "params", "loss", "what it is")]
    for name, spec in BUILT_IN.items():
        lines += [_row(name, spec, facts[name]), _defaults(spec)]
    lines.append(
        f"\nParams are those of {CLASSES} classes on a pyramid of {CHANNELS} channels, or where *, "
        f"on a ViT of width {WIDTH}.\n"
        "learns: by training steps, by one pass over the training images, or nothing (no labels).\n"
        "dense: takes the losses of 'ablate heads --losses'; own: has a loss of its own."
    )
    return "\n".join(lines)


def losses(name: str | None) -> str:
    """Return the settings of a loss of dense heads; a table of all if no name is given."""
    if name is not None:
        spec, reference = loss_settings(name)
        return describe(f"loss {reference}", spec)
    lines = []
    for each in loss_names():
        spec, _ = loss_settings(each)
        lines += [f"{each:<22}{_summary(spec)}", _defaults(spec)]
    return "\n".join(lines)


def _row(name: str, spec: type[HeadSpec], facts: HeadFacts) -> str:
    parameters = "–"
    if facts.parameters is not None:
        parameters = f"{facts.parameters / 1e6:.2f} M"
    if facts.counted_on == "vit":
        parameters += "*"
    loss = "own"
    if issubclass(spec, DenseSpec):
        loss = "dense"
    if facts.learns != "steps":
        loss = "–"
    return COLUMNS.format(name, facts.reads, facts.learns, parameters, loss, _summary(spec))


def _summary(spec: type[BaseModel]) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join((spec.__doc__ or "").partition("\n\n")[0].split())


def _default(field: FieldInfo) -> object:
    """Return the default of a setting as plain values."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value


def _defaults(spec: type[BaseModel]) -> str:
    """Return the settings with their defaults, as on the command line, in indented lines."""
    fields = spec.model_fields.items()
    found = [f"{key}={in_yaml(_default(field))}" for key, field in fields if key != TAG]
    # lines are broken between settings alone
    words = "  ".join(each.replace(" ", UNBROKEN) for each in found)
    lines = textwrap.fill(
        words,
        LINE,
        initial_indent=INDENT,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace(UNBROKEN, " ")
