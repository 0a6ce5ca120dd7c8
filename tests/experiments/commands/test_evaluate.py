"""What ``ablate evaluate`` refuses."""

import pytest

from encoder_ablations.experiments.cli import main


@pytest.mark.parametrize("options", [[], ["--dataset", "other.yaml"]], ids=["home", "elsewhere"])
def test_several_processes_would_multiply_the_counts(tmp_path, monkeypatch, capsys, options):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["evaluate", str(tmp_path), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "torchrun" in line
    assert "WORLD_SIZE" in line
