"""Planning, reporting and computing many runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from scaling_fit import Growth, growth, rate_exponent, silent
from simulated_study import Size, write_simulated_study

from encoder_ablations.data.references import load_dataset
from encoder_ablations.data.synthetic.terrain import generate_terrain
from encoder_ablations.experiments.reporting.page.page import report_of
from encoder_ablations.experiments.reporting.planned import reported
from encoder_ablations.experiments.studies.study import load_study_spec, plan

STUDIES = {
    10: Size(2, 1, 5),
    100: Size(4, 5, 5),
    1000: Size(20, 5, 10),
    10_000: Size(25, 10, 10, 2, 2),
}
"""Simulated studies that are reported, by their number of runs."""
PLANNED = """
name: planned
encoders: [clip_b16, {name: clip_b16, weights: random}]
segmenters: [linear]
datasets: [camvid]
fractions: [1.0, 0.5, 0.25, 0.1, 0.05]
"""
COMPUTED = """
name: computed
encoders: [{name: test_vit, weights: random, neck: none, taps: [1.0]}]
segmenters: [linear]
recipe: {steps: 1, batch_size: 2, evaluate_every: 1, augmentation: {crop: [64, 64]}}
"""
PROGRAM = "import sys; from encoder_ablations.experiments.cli import main; sys.exit(main())"


def plans_growth(sizes: Sequence[int], folder: Path) -> Growth:
    """From a study's YAML to the ids of its runs."""

    def prepare(runs: int) -> Callable[[], object]:
        path = folder / f"planned {runs}.yaml"
        path.write_text(f"{PLANNED}seeds: {list(range(runs // 10))}\n")
        return partial(_planned, path, runs)

    return growth("plan runs", sizes, prepare)


def _planned(path: Path, runs: int) -> None:
    assert len({run.run_id for run in plan(load_study_spec(str(path)))}) == runs


def reports_growth(sizes: Sequence[int], folder: Path) -> Growth:
    """From records and counts of each image to the report."""

    def prepare(runs: int) -> Callable[[], object]:
        write_simulated_study(folder / str(runs), STUDIES[runs])
        return partial(_reported, folder / str(runs))

    return growth("report runs", sizes, prepare)


def _reported(folder: Path) -> None:
    with silent():
        report_of(reported(folder))


def write_computed_study(folder: Path, seeds: Iterable[int]) -> Path:
    """Write the images and the YAML of a study of runs of one step; return the YAML."""
    terrain, study = folder / "terrain", folder / "computed.yaml"
    if not terrain.exists():
        generate_terrain(terrain, train=8, val=2, test=2, size=64, seed=0)
    data = load_dataset("mars_terrain").model_copy(update={"root": str(terrain)})
    listed = json.dumps([data.model_dump(mode="json")])
    study.write_text(f"{COMPUTED}seeds: {list(seeds)}\ndatasets: {listed}\n")
    return study


def processes_rate(processes: Sequence[int], runs: int, folder: Path) -> str:
    """Return a row: runs per second of a study of tiny runs by the number of processes, ascending.

    A study of one run for each process is computed before, and taken off: so the start, the first
    use of each process and most of the report do not count. Latencies are measured as always, for
    two seconds in each run.
    """
    rates, each = [], []
    for count in processes:
        small = _study_seconds(count, count, folder)
        large = _study_seconds(count, count + runs, folder)
        wall, used = (max(more - less, 1e-6) for more, less in zip(large, small, strict=True))
        rates.append(runs / wall)
        each.append(f"{count}: {rates[-1]:.2f} ({used / runs:.2f} s)")
    return (
        f"study of {runs} runs by processes: {rate_exponent(processes, rates)}; runs per second, "
        f"and processor time of a run: {', '.join(each)}"
    )


def _study_seconds(processes: int, runs: int, folder: Path) -> tuple[float, float]:
    """Return wall and processor seconds of ``ablate run``, start and report included."""
    study, output = write_computed_study(folder, range(runs)), folder / f"{runs} by {processes}"
    options = ["--processes", str(processes), "--output", str(output), "--device", "cpu"]
    command = [sys.executable, "-c", PROGRAM, "run", str(study), *options]
    wall, processor = time.perf_counter(), os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr + done.stdout)
    took, after = time.perf_counter() - wall, os.times()
    return took, sum(after[2:4]) - sum(processor[2:4])
