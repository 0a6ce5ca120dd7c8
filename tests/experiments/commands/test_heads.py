"""The list of heads and losses: complete, and what their settings say."""

from pathlib import Path

import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.segmenters.built_in import BUILT_IN
from encoder_ablations.segmenters.facts import read_facts
from encoder_ablations.segmenters.loss_spec import BUILT_IN_LOSSES

ROOT = Path(__file__).resolve().parents[3]


def test_all_heads(capsys):
    assert main(["heads"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line[:1].isalpha()}
    assert set(BUILT_IN) <= set(lines)
    for name, facts in read_facts().items():
        assert lines[name].split()[1] == facts.reads
    assert "7.55 M " in lines["upernet"]
    assert "6.60 M*" in lines["eomt"]
    assert "own" in lines["eomt"].split()
    assert "dense" in lines["linear"].split()
    assert "loss={cross_entropy: 1.0}  norm=batch  dropout=0.0  hidden=256" in out
    assert max(len(line) for line in out.splitlines() if line.startswith(" ")) <= 100


@pytest.mark.parametrize("name", BUILT_IN)
def test_one_head(capsys, name):
    assert main(["heads", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"## segmenter {name}\n")
    for field in BUILT_IN[name].model_fields:
        assert f"| `{field}` |" in out


def test_losses(capsys):
    assert main(["heads", "--losses"]) == 0
    out = capsys.readouterr().out
    names = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert names == sorted(BUILT_IN_LOSSES)
    assert "weight=1.0  alpha=0.25  gamma=2.0" in out
    assert main(["heads", "--losses", "focal"]) == 0
    assert "| `gamma` | `2.0` |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["upernt"], "unknown segmenter 'upernt'. Did you mean 'upernet'"),
        (["--losses", "dise"], "unknown loss 'dise'. Did you mean 'dice'"),
        (["focal"], "unknown segmenter 'focal'"),
    ],
)
def test_unknown_names_are_one_line(capsys, arguments, words):
    assert main(["heads", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_the_page_names_every_head():
    page = (ROOT / "docs" / "heads.md").read_text()
    for name, facts in read_facts().items():
        assert f"| `{name}` | {facts.reads} |" in page
