"""How cost grows: with images, pixels, classes, runs, processes and machines, and a fitted exponent
each."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench_data import own_cache
from scaling_images import images_growth
from scaling_lint import lint_growth
from scaling_models import classes_growth, pixels_growth
from scaling_ray import ray_rate
from scaling_studies import plans_growth, processes_rate, reports_growth

IMAGES = [1000, 10_000, 100_000]
CHECKED = [500, 5000, 50_000]
"""In each of two splits; the last takes a quarter of an hour."""
SIDES = [256, 1024, 4096]
CLASSES = [2, 20, 200, 2000]
PLANS = [10, 100, 1000, 10_000]
REPORTS = [10, 100, 1000, 10_000]
PROCESSES, RUNS = [1, 2], 8
NODES, RUNS_OF_NODE = [1, 2, 4], 20
SHRINK = 1
"""The sizes are divided by it."""


def run(seconds: float) -> Iterator[str]:
    """One row for each job; ``seconds`` is not used, nothing to compare."""
    with tempfile.TemporaryDirectory() as temporary, own_cache(Path(temporary) / "cache"):
        folder = Path(temporary)
        yield classes_growth(shrunk(CLASSES, 2)).line()
        yield pixels_growth(shrunk(SIDES, 256, 0.5)).line()
        yield plans_growth(shrunk(PLANS, 10), folder).line()
        for each in images_growth(shrunk(IMAGES, 10), folder):
            yield each.line()
        yield lint_growth(shrunk(CHECKED, 10), folder / "distinct").line()
        yield processes_rate(PROCESSES, max(2, RUNS // SHRINK), folder)
        yield ray_rate(NODES, max(4, RUNS_OF_NODE // SHRINK), folder / "ray")
        largest = max(10, max(REPORTS) // SHRINK)
        reported = [runs for runs in REPORTS if runs <= largest]
        yield reports_growth(reported, folder / "reports").line()


def shrunk(sizes: list[int], smallest: int, power: float = 1) -> list[int]:
    """Sizes divided by a power of :data:`SHRINK`, none below the smallest, at least two."""
    found = sorted({max(smallest, round(size / SHRINK**power)) for size in sizes})
    return found if len(found) > 1 else [smallest, 2 * smallest]
