"""``ablate compare``: two studies side by side, arm by arm, with intervals of the differences."""

from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.utils import garbage
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_text

EXAMPLES = """  ablate compare outputs/camvid outputs/camvid_longer
  ablate compare outputs/camvid outputs/camvid_longer -o comparison.html"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate compare --help``."""
    parser = options.make_parser(
        "compare",
        "Says which arms two studies share, how their settings differ, and by how much their "
        "scores do.",
        EXAMPLES,
    )
    parser.add_argument("first", type=Path, help="folder of a study")
    parser.add_argument("second", type=Path, help="folder of another study")
    parser.add_argument("-o", "--output", type=Path, help="also write it as an HTML page")
    arguments = parser.parse_args(argv)
    options.check_page(arguments.output)
    if arguments.first.resolve() == arguments.second.resolve():
        raise InputError(f"{arguments.first} and {arguments.second} are the same study; name two.")
    garbage.not_at_exit()
    studies = collect(arguments.first), collect(arguments.second)
    # a folder without records is refused before what follows is imported
    from encoder_ablations.experiments.reporting.comparing.comparison import compare

    comparison = compare(*studies)
    print(comparison.text())
    if arguments.output is not None:
        write_text(arguments.output, comparison.page())
        print(f"\npage: {arguments.output}")
    options.print_left_out(comparison.problems)
    if comparison.problems:
        return LEFT_OUT
    return 0
