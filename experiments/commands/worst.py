"""``ablate worst``: the images, classes and regions that fail most, and where encoders differ."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.worst.selection import Compared, encoders_of, one_or_two
from encoder_ablations.utils.device_names import check_device_name
from encoder_ablations.utils.errors import InputError

EXAMPLES = """  ablate worst outputs/demo
  ablate worst outputs/demo/runs/RUN --images 40
  ablate worst outputs/demo/runs/RUN --against outputs/demo/runs/OTHER -o differences.html"""

PAGE = "worst.html"
MOST_IMAGES = 500
"""Most images of a page, which holds their pictures."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate worst --help``."""
    arguments = _parser().parse_args(argv)
    check_device_name(arguments.device)
    if not 1 <= arguments.images <= MOST_IMAGES:
        raise InputError(f"--images {arguments.images}: allowed are 1 to {MOST_IMAGES}.")
    options.check_page(arguments.output)
    compared = _compared(arguments.folder, arguments.against)
    options.print_left_out(compared.left_out)
    for note in compared.notes:
        print(f"note: {note}", file=sys.stderr)
    # PyTorch is not needed to refuse what is above
    from encoder_ablations.engine.devices import make_accelerator
    from encoder_ablations.engine.inference.spec import InferenceSpec
    from encoder_ablations.experiments.prediction.models import make_predictor
    from encoder_ablations.experiments.worst.report import write_worst

    page = arguments.output or arguments.folder / PAGE
    device = make_accelerator(arguments.device).device
    # as in the runs' own evaluation: no windows, no views
    predictors = [make_predictor([run], InferenceSpec(), device) for run in compared.runs]
    print(write_worst(compared, predictors, arguments.images, page))
    print(f"page: {page}")
    if compared.left_out:
        return LEFT_OUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser(
        "worst",
        "Predicts the test images again and writes a page of what goes wrong, worst first.",
        EXAMPLES,
    )
    parser.add_argument(
        "folder",
        type=Path,
        help="of a run; or of a study: its encoders, with the head, data and seed of the best run",
    )
    parser.add_argument("--against", type=Path, metavar="RUN", help="another run on the same data")
    parser.add_argument(
        "--images", type=int, default=24, help="images and regions on the page (default 24)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, help=f"the page (default: {PAGE} in the folder)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    return parser


def _compared(folder: Path, against: Path | None) -> Compared:
    """Return the runs that the page shows.

    Raises:
        InputError: a run is missing or unusable, or two of them cannot be compared.
    """
    if not (folder / "runs").is_dir():
        return one_or_two(folder, against)
    if against is not None:
        raise InputError(f"--against is for one run; {folder} is a study. Name one of its runs/.")
    return encoders_of(folder)
