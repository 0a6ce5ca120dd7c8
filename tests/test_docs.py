"""What the documents refer to is there: files, headings, commands and their options."""

import re
from pathlib import Path

import pytest

from encoder_ablations.experiments.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def name(path):
    return path.name


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document):
    for path, heading in re.findall(r"\]\(([^)#\s]*)(#[^)\s]+)?\)", document.read_text()):
        if "://" in path:
            continue
        target = document.parent / path if path else document
        assert target.exists(), f"{document.name}: {path}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert heading[1:] in map(anchor, headings), f"{document.name}: {path}{heading}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_and_options_exist(document, capsys):
    source = document.read_text().replace("\\\n", " ")
    for command, rest in re.findall(r"\bablate ([a-z-]+)([^\n`]*)", source):
        assert command in COMMANDS, f"{document.name}: ablate {command}"
        options = re.findall(r"(?<=\s)--[a-z-]+", rest.partition("#")[0])
        if options:
            with pytest.raises(SystemExit):
                main([command, "--help"])
            known = re.findall(r"--[a-z-]+", capsys.readouterr().out.partition("examples:")[0])
            assert set(options) <= set(known), f"{document.name}: ablate {command}{rest}"
