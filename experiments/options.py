"""Command-line options that several commands share."""

import argparse
import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from encoder_ablations.experiments.runs.execution import TRACKERS, Execution
from encoder_ablations.utils.config import find_config
from encoder_ablations.utils.device_names import ALLOWED, check_device_name
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.progress import Bar

ENCODER_HELP = (
    "a name (see 'ablate encoders'), a timm model, package.module:function for one of your own, or "
    "a YAML"
)


def make_parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser whose help ends with examples."""
    return argparse.ArgumentParser(
        prog=f"ablate {name}",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_execution_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`read_execution` reads."""
    parser.add_argument("--device", default="auto", help=f"{ALLOWED} (default auto)")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that load data (default: on a GPU up to 8, by this machine's cores; on the "
        "CPU 0, the main one)",
    )
    parser.add_argument(
        "--evaluation-batch",
        type=int,
        default=8,
        metavar="N",
        help="images of one size that a GPU predicts together in evaluations (default 8; the CPU "
        "takes one at a time)",
    )
    parser.add_argument(
        "--feature-cache-gb",
        type=float,
        default=0.0,
        metavar="N",
        help="keep features of frozen encoders on disk, at most N GiB (default 0: keep none)",
    )
    parser.add_argument(
        "--feature-cache",
        type=Path,
        metavar="DIR",
        help="where (default: in the user's cache folder)",
    )
    add_deterministic_option(parser)


def add_deterministic_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--deterministic``."""
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="on a GPU: deterministic kernels where they exist, slower and with more memory "
        "(the CPU always has them)",
    )


def read_execution(arguments: argparse.Namespace) -> Execution:
    """Return what the options say about how runs are computed.

    Raises:
        InputError: a value is not allowed.
    """
    check_device_name(arguments.device)
    if arguments.workers is not None and arguments.workers < 0:
        raise InputError(f"--workers {arguments.workers}: allowed are 0 and more.")
    if arguments.evaluation_batch < 1:
        raise InputError(
            f"--evaluation-batch {arguments.evaluation_batch}: allowed are 1 and more."
        )
    budget = arguments.feature_cache_gb
    if not 0 <= budget < math.inf:
        raise InputError(f"--feature-cache-gb {budget:g}: allowed are 0 (off) and more.")
    if arguments.feature_cache and not budget:
        raise InputError("--feature-cache says where, but not how much: add --feature-cache-gb N.")
    return Execution(
        arguments.device,
        arguments.workers,
        budget,
        arguments.feature_cache,
        arguments.deterministic,
        evaluation_batch=arguments.evaluation_batch,
    )


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`read_training` reads."""
    add_execution_options(parser)
    parser.add_argument(
        "--keep-last",
        action="store_true",
        help="keep checkpoints/last.pt of finished runs, which is three times as large as best.pt "
        "(without this option it is deleted)",
    )
    parser.add_argument(
        "--tracker",
        action="append",
        default=[],
        metavar="NAME",
        help=f"show runs in {' or '.join(TRACKERS)}, too; may be given twice "
        "(TensorBoard's files are always written)",
    )


def add_profile_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--profile``."""
    parser.add_argument(
        "--profile",
        action="store_true",
        help="write where the time of one training step goes, for each encoder and head, to the "
        "study's folder profile/",
    )


def read_training(arguments: argparse.Namespace) -> Execution:
    """Return what the options say about how runs are trained.

    Raises:
        InputError: a value is not allowed.
    """
    execution = read_execution(arguments)
    trackers = tuple(dict.fromkeys(arguments.tracker))
    for name in trackers:
        _check_tracker(name)
    profile = getattr(arguments, "profile", False)
    return replace(execution, keep_last=arguments.keep_last, trackers=trackers, profile=profile)


def _check_tracker(name: str) -> None:
    """Check that a tracker is known and its package is installed.

    Raises:
        InputError: it is not.
    """
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    if find_spec(name) is None:
        raise missing(name, ImportError(f"No module named '{name}'"))


def print_left_out(problems: Iterable[str]) -> None:
    """Print a line to stderr for each input that was left out."""
    for line in problems:
        print(f"left out: {line}", file=sys.stderr)


def add_output_option(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--output``."""
    parser.add_argument("--output", type=Path, help=f"folder for the results (default {default})")


def check_page(output: Path | None) -> None:
    """Check that ``--output`` names a file which browsers open as a page.

    Raises:
        InputError: it does not.
    """
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--output {output}: the page is one HTML file. Write {output}.html.")


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``key.sub=value``, any number of times."""
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key.sub=value",
        help=f"changes to the configuration, e.g. {example}",
    )


def as_folder(reference: str) -> Path | None:
    """Return the folder that a reference to a dataset means; None if it is a name or a YAML.

    The name of a built-in dataset wins over a folder of that name, which is ``./name``.
    """
    folder = Path(reference)
    named = "/" not in reference and find_config("datasets", reference) is not None
    if named or not folder.is_dir():
        return None
    return folder


def bar(title: str, unit: str, total: int | None = None) -> Bar:
    """Return the progress of a command's work, which leaves nothing behind."""
    return Bar(desc=title, unit=unit, total=total)
