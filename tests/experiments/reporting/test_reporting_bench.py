"""``ablate bench report`` on a study small enough for a test."""

from encoder_ablations.experiments.benchmarks import report
from encoder_ablations.experiments.benchmarks.simulated_study import Size


def test_bench_report(monkeypatch):
    monkeypatch.setattr(report, "SIZES", {1000: Size(encoders=2, fractions=1, seeds=1)})
    (line,) = report.run(0.0)
    assert line.startswith("report of 1,000 runs: ")
    assert line.endswith("target 10 s and 1 GB")
    memory = float(line.split(" GB")[0].split()[-1])
    assert 0.05 < memory < 1
