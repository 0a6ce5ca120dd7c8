"""What the documents refer to is there: files, headings, commands and their options; and what
the site adds to them."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
import yaml

import encoder_ablations
from encoder_ablations.experiments.cli import main, summaries

ROOT = Path(__file__).resolve().parent.parent
MAINTAINERS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
DOCUMENTS = [*MAINTAINERS, *sorted((ROOT / "docs").glob("*.md"))]


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
    commands = summaries()
    for command, rest in re.findall(r"\bablate ([a-z-]+)([^\n`]*)", source):
        assert command in commands, f"{document.name}: ablate {command}"
        options = re.findall(r"(?<=\s)--[a-z-]+", rest.partition("#")[0])
        if options:
            with pytest.raises(SystemExit):
                main([command, "--help"])
            known = re.findall(r"--[a-z-]+", capsys.readouterr().out.partition("examples:")[0])
            assert set(options) <= set(known), f"{document.name}: ablate {command}{rest}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_modules_and_configurations_exist(document):
    """A path in code marks that begins with a folder of the repository is a file or folder
    there."""
    folders = "utils|data|encoders|segmenters|engine|experiments|configs|tests|examples"
    quoted = re.findall(r"`([^`\n]+)`", document.read_text())
    for path in (word for word in quoted if re.fullmatch(rf"({folders})/[\w/.-]*", word)):
        if "NAME" in path:  # stands for any name
            continue
        assert (ROOT / path).exists(), f"{document.name}: {path}"


def test_the_snippet_of_the_readme_runs():
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = {}
    exec(snippet, names)
    images = torch.randint(0, 256, (1, 3, 224, 320))
    assert names["model"](images).shape == (1, 3, 224, 320)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == encoder_ablations.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_every_guide_is_in_the_navigation_and_no_font_is_fetched():
    """The strict build of "make docs" checks links; it says nothing about a site that needs the
    network."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    listed = re.findall(r"\w[\w-]*\.md", str(site["nav"]))
    guides = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(listed) == sorted([*guides, "index.md", "changelog.md", "contributing.md"])
    assert site["theme"]["font"] is False


@pytest.fixture(scope="module")
def hooks():
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("index.md", "docs/setup.md", "setup.md"),
        ("index.md", "examples/python_study.py", "examples/python_study.py"),
        ("setup.md", "../notebooks/encoder_ablations.ipynb", "notebooks/encoder_ablations.ipynb"),
        ("setup.md", "../README.md", "index.md"),
        ("contributing.md", "CHANGELOG.md", "changelog.md"),
        ("setup.md", "gone.md", None),
        ("setup.md", "https://pytorch.org/", None),
    ],
)
def test_links_of_the_repository_lead_to_places_of_the_site(hooks, page, link, there):
    target = hooks.repository_path(page, link)
    assert (target and hooks.site_path(target)) == there
    rewritten = hooks.on_page_markdown(f"see [it]({link}#part)", page=Page(page))
    assert rewritten == f"see [it]({there or link}#part)"


class Page:
    """As much of mkdocs' page as the hook reads."""

    def __init__(self, uri):
        self.file = self
        self.src_uri = uri


def test_every_module_has_a_page_of_the_api(hooks, monkeypatch, tmp_path):
    package = tmp_path / "package"
    for name in ("__init__", "alone", "inner/__init__", "inner/deep/__init__", "inner/deep/leaf"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").touch()
    (package / "configs").mkdir()
    monkeypatch.setattr(hooks, "PACKAGE", package)
    deep = {"deep": ["api/inner/deep/index.md", {"leaf": "api/inner/deep/leaf.md"}]}
    assert hooks.navigation(package) == [
        "api/index.md",
        {"alone": "api/alone.md"},
        {"inner": ["api/inner/index.md", deep]},
    ]
