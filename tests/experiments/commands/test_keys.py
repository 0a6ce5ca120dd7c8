"""The list of keys: complete, and what the document says."""

from pathlib import Path

import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.commands.keys import all_sections

ROOT = Path(__file__).resolve().parents[3]


def test_the_document_is_what_the_command_prints(capsys):
    assert main(["keys"]) == 0
    assert (ROOT / "docs" / "configuration.md").read_text() == capsys.readouterr().out, (
        "docs/configuration.md is out of date: ablate keys > docs/configuration.md"
    )


@pytest.mark.parametrize("section", all_sections())
def test_every_key_is_explained(section):
    spec = all_sections()[section]
    fields = spec.model_fields.items()
    tag = {"name"} if section.startswith("segmenter") else set()
    silent = {name for name, field in fields if not field.description} - tag
    assert not silent, (
        f"{spec.__name__}: say in a docstring below the field what {', '.join(sorted(silent))} "
        f"means"
    )


def test_sections(capsys):
    assert main(["keys", "recipe", "encoder"]) == 0
    out = capsys.readouterr().out
    assert "| `steps` | `20000` | Optimiser steps. |" in out
    assert "## recipe.optimizer" in out
    assert "## encoder" in out
    assert "## dataset" not in out
    assert main(["keys", "recipee"]) == 2
    assert "Did you mean 'recipe'" in capsys.readouterr().err
