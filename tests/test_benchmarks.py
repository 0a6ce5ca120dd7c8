"""``make bench``: its rows, on inputs small enough for a test, and that it compares equal
things."""

import mmap
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import bench_adapter
import bench_cache
import bench_data
import bench_evaluation
import bench_op
import bench_predict
import bench_private
import bench_raster
import bench_report
import bench_scaling
import bench_startup
import bench_study
import bench_timing
import bench_training
import numpy as np
import psutil
import pytest
import scaling_images
import scaling_ray
import torch
from scaling_fit import Cost, Growth, growth
from scaling_images import images_growth
from scaling_lint import lint_growth
from scaling_models import classes_growth, pixels_growth
from scaling_ray import ray_rate
from scaling_studies import plans_growth, processes_rate, reports_growth
from simulated_study import Size

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.studies.study import load_study_spec, plan

FOLDER = Path(__file__).resolve().parent / "benchmarks"
IN_SECONDS = [bench_adapter, bench_cache, bench_evaluation, bench_op, bench_predict]
IN_SECONDS += [
    pytest.param(each, marks=pytest.mark.slow) for each in (bench_private, bench_training)
]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(bench_timing, "WARM_UP", 0)
    monkeypatch.setattr(bench_timing, "PAIRS", 1)
    monkeypatch.setattr(bench_adapter, "MODELS", ["vit_ti16"])
    monkeypatch.setattr(bench_op, "SIDES", {"cpu": [64], "cuda": [64]})
    monkeypatch.setattr(bench_cache, "MODEL", "vit_tiny_patch16_224")
    monkeypatch.setattr(bench_cache, "SIDE", 64)
    monkeypatch.setattr(bench_training, "SIDE", 64)
    monkeypatch.setattr(bench_predict, "IMAGES", 2)
    monkeypatch.setattr(bench_predict, "MODELS", [(bench_predict.REDUCED, 64)])
    monkeypatch.setattr(bench_private, "LINEAR_SIDE", 64)
    monkeypatch.setattr(bench_private, "MASK2FORMER_SIDE", 64)
    monkeypatch.setattr(bench_private, "BATCH", 2)
    monkeypatch.setattr(bench_data, "IMAGES", 8)


@pytest.mark.parametrize("module", IN_SECONDS, ids=lambda module: module.__name__)
def test_every_row_has_a_target(module):
    lines = list(module.run(0.0))
    assert lines
    assert all("target" in line for line in lines)


def run_program(monkeypatch, *arguments):
    """Run ``python tests/benchmarks`` in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["tests/benchmarks", *arguments])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(FOLDER), run_name="__main__")
    return exit_.value.code


def test_sizes_are_divided_by_one_or_more(monkeypatch, capsys):
    assert run_program(monkeypatch, "scaling", "--shrink", "0") == 2
    assert "--shrink 0: allowed are 1 and more" in capsys.readouterr().err


def test_the_program_prints_the_rows_that_are_asked_for(monkeypatch, capsys):
    arguments = ("op", "--seconds", "0", "--threads", "1")
    assert run_program(monkeypatch, *arguments) == 0
    _processor, header, *rows = capsys.readouterr().out.splitlines()
    assert "ratio" in header
    assert len(rows) == 2
    assert all(row.startswith("op, ") for row in rows)


@pytest.mark.parametrize(("ends", "code"), [(0, 0), (1, 1)])
def test_several_benchmarks_run_apart(monkeypatch, ends, code):
    programs = []

    def run(program):
        programs.append(program[2:])
        return subprocess.CompletedProcess(program, ends)

    monkeypatch.setattr(subprocess, "run", run)
    assert run_program(monkeypatch, "op", "evaluation", "--seconds", "0") == code
    options = ["--seconds", "0", "--rows-only"]
    assert programs == [["op", *options], ["evaluation", *options]][: 2 - ends]


def test_a_name_that_there_is_not_is_refused(monkeypatch, capsys):
    assert run_program(monkeypatch, "evaluatoin") == 2
    assert "evaluatoin" in capsys.readouterr().err


def test_every_benchmark_has_a_name():
    table = runpy.run_path(str(FOLDER / "__main__.py"))
    named = {f"bench_{name}" for name in [*table["BENCHMARKS"], *table["SLOW"]]}
    assert named == {path.stem for path in FOLDER.glob("bench_*.py")} - {
        "bench_gpu",
        "bench_timing",
    }


def test_no_name_hides_a_module():
    """The folder comes first on the path of ``python tests/benchmarks``."""
    names = {path.stem for path in FOLDER.glob("*.py")} - {"__main__"}
    assert not names & sys.stdlib_module_names
    assert not names & {path.stem for path in FOLDER.parents[1].iterdir()}


def test_data_without_camvid(monkeypatch):
    monkeypatch.delenv("DATASETS_ROOT", raising=False)
    lines = list(bench_data.run(0.0))
    assert "8 images of bench_data" in lines[0]
    assert "images/s" in lines[0]
    assert "target" in lines[0]
    # then against the official mapper twice, or why not
    assert len(lines) in (2, 3)


@pytest.mark.slow
def test_report(monkeypatch):
    monkeypatch.setattr(bench_report, "SIZES", {1000: Size(encoders=2, fractions=1, seeds=1)})
    (line,) = bench_report.run(0.0)
    assert line.startswith("report of 1,000 runs: ")
    assert 0.5 < float(line.split(" s of processor time")[0].split()[-1]) < 60
    memory = float(line.split(" GB")[0].split()[-1])
    assert 0.05 < memory < 1


@pytest.mark.slow
def test_raster(monkeypatch):
    """Twice as many rows need no more memory."""
    monkeypatch.setattr(bench_raster, "SIDES", [700, 1400])
    small, large = [float(line.split(" GB")[0].split()[-1]) for line in bench_raster.run(0.0)]
    assert 0.3 < small < 1.1
    assert large < small + 0.1


def test_startup(monkeypatch):
    monkeypatch.setattr(bench_startup, "COMMANDS", ["encoders"])
    (line,) = bench_startup.run(0.0)
    assert line.startswith("ablate encoders: ")
    assert "target" in line


def test_a_study_and_a_plain_loop_do_the_same_work(tmp_path):
    yaml = bench_study.write_computed_study(tmp_path, range(2))
    bench_study.compute_study(yaml, tmp_path / "study")
    specs = plan(load_study_spec(str(yaml)))
    records = [load_record(tmp_path / "study" / "runs" / spec.run_id) for spec in specs]
    plain = [counts.tolist() for counts in bench_study.compute_plainly(specs)]
    assert [record.confusion_matrix for record in records] == plain
    assert records[0].cost.latency_ms == [bench_study.NO_LATENCY] * 2


def test_study(monkeypatch):
    """What a study takes beside the work is the difference of both."""
    monkeypatch.setattr(bench_study, "RUNS", 1)
    monkeypatch.setattr(bench_study, "PAIRS", 1)
    monkeypatch.setattr(bench_study, "PLANNED", 20)
    monkeypatch.setattr("scaling_fit.PATIENCE", 0.0)
    planned, line = bench_study.run(0.0)
    assert planned.startswith("plan of 20 runs with their ids: ")
    assert "target ≤ 0.1 s" in line
    overhead, study, work = map(float, re.findall(r"(-?[\d.]+) s(?= of| in|; a|\))", line))
    assert overhead == pytest.approx(study - work, abs=0.002)


def test_evaluation_compares_equal_things():
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(1, bench_evaluation.CLASSES, 128, 171, generator=generator)
    truth = torch.randint(0, bench_evaluation.CLASSES, bench_evaluation.SIZE, generator=generator)
    truth[100:120] = 255
    ours, theirs = bench_evaluation.ours(maps, truth), bench_evaluation.theirs(maps, truth)
    assert ours.sum() == theirs.sum()
    assert np.abs(ours - theirs).sum() <= 4


def test_op_compares_equal_things():
    shapes = [(2, 3), (4, 6)]
    inputs = bench_op.make(shapes, torch.device("cpu"))
    for way in (bench_op._forward, bench_op._both):
        ours = way(bench_op.deformable_attention, shapes, inputs)
        for found, wanted in zip(ours, way(bench_op.theirs, shapes, inputs), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_exponent_is_the_slope_of_logarithms():
    sizes = [10, 100, 1000]
    for power in (0.5, 1.0, 2.0):
        found = Growth("job", sizes, [Cost(3 * size**power, 0) for size in sizes])
        assert found.exponent == pytest.approx(power)
        assert f"exponent {power:.2f}; target ≤ 1.1" in found.line()


def test_memory_that_work_needs_is_found(monkeypatch):
    monkeypatch.setattr("scaling_fit.PATIENCE", 0.0)

    def prepare(mebibytes):
        """A map of its own: an allocator may give what earlier tests have freed."""

        def work():
            with mmap.mmap(-1, mebibytes * 2**20) as pages:
                for page in range(0, len(pages), mmap.PAGESIZE):
                    pages[page] = 1

        return work

    small, large = growth("job", [64, 160], prepare).costs
    assert 44 < small.memory / 2**20 < 84
    assert 140 < large.memory / 2**20 < 180


@pytest.mark.slow
def test_growth_of_every_job_at_small_sizes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("scaling_fit.PATIENCE", 0.0)
    rows = [classes_growth([2, 4]), pixels_growth([32, 64]), plans_growth([10, 20], tmp_path)]
    rows += images_growth([4, 8], tmp_path)
    names = ["evaluate classes", "predict pixels by windows", "plan runs", "list images"]
    rows.append(lint_growth([4, 8], tmp_path / "distinct"))
    names += ["split images", "cache images", "check images"]
    assert [each.job for each in rows] == names
    assert all(cost.seconds > 0 for each in rows for cost in each.costs)


def test_each_division_reads_all_masks(tmp_path, monkeypatch):
    """What an earlier repeat has counted would make some sizes cheaper than others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    scaling_images.make_images(tmp_path / "images", 12)
    read, read_mask = [], FolderDataset.read_mask
    monkeypatch.setattr(
        FolderDataset, "read_mask", lambda self, index: read.append(index) or read_mask(self, index)
    )
    for _ in range(2):
        scaling_images.divide(scaling_images.spec_of(tmp_path / "images"))
        assert sorted(read) == list(range(12))
        read.clear()


@pytest.mark.slow
def test_growth_of_reports(tmp_path):
    """Draws two reports."""
    assert len(reports_growth([10, 100], tmp_path).costs) == 2


def test_what_a_study_of_few_runs_takes_does_not_count(tmp_path, monkeypatch):
    taken = {1: (9.0, 7.0), 7: (15.0, 13.0), 2: (9.0, 7.0), 8: (12.0, 13.0)}
    monkeypatch.setattr("scaling_studies._study_seconds", lambda _, runs, folder: taken[runs])
    line = processes_rate([1, 2], 6, tmp_path)
    assert "exponent 1.00," in line
    assert "1: 1.00 (1.00 s), 2: 2.00 (1.00 s)" in line


def test_without_ray_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.cluster_utils", None)
    line = ray_rate([1, 2], 1, tmp_path)
    assert line.startswith("Ray: not measured; ")
    assert "encoder-ablations[ray]" in line


@pytest.mark.ray
def test_ray_is_measured_and_cleared_away(tmp_path):
    pytest.importorskip("ray")
    before = {name: os.environ.get(name) for name in scaling_ray.SETTINGS}
    line = ray_rate([1, 2], 2, tmp_path)
    rates = [float(rate) for rate in re.findall(r"\d: ([\d.]+) \(", line)]
    assert len(rates) == 2
    assert 0 < rates[0] <= 1 / 0.5 + 0.01
    assert rates[1] > rates[0]
    assert {name: os.environ.get(name) for name in before} == before
    assert not psutil.Process().children(recursive=True)


def test_sizes_shrink(monkeypatch):
    monkeypatch.setattr(bench_scaling, "SHRINK", 100)
    assert bench_scaling.shrunk([1000, 10_000, 100_000], 10) == [10, 100, 1000]
    monkeypatch.setattr(bench_scaling, "SHRINK", 10**9)
    assert bench_scaling.shrunk([1000, 10_000], 10) == [10, 20]
