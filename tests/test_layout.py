"""The shape of the project itself: one-way imports, small files, every setting read, every configuration buildable."""

import ast
import re
import sys
from pathlib import Path

import pytest

from encoder_ablations.data.datasets.spec import DatasetSpec, HubSource
from encoder_ablations.data.references import load_dataset
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table import ALIASES, ROWS, find_row
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe, ScheduleSpec
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.study import StudySpec, load_study, plan
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.registry import head_entry, head_names
from encoder_ablations.utils.config import config_names

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["utils", "data", "encoders", "segmenters", "engine", "experiments"]
FILES = sorted(path for folder in ORDER for path in (ROOT / folder).rglob("*.py"))
SPECS = [
    AugmentationSpec,
    DatasetSpec,
    HubSource,
    EncoderSpec,
    OptimizerSpec,
    ScheduleSpec,
    Recipe,
    RunSpec,
    StudySpec,
]
SPECS += [head_entry(name).spec for name in head_names()]


def names(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=names)
def test_imports_go_one_way(path):
    here = path.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            modules = [node.module or ""]
            if (
                node.module == "encoder_ablations"
            ):  # the front door imports from the folders, not they from it
                assert {alias.name for alias in node.names} == {"__version__"}, (
                    f"{path}:{node.lineno}"
                )
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            assert module.split(".")[0] not in ORDER, (
                f"{path}:{node.lineno}: import encoder_ablations.{module}"
            )
            if module.startswith("encoder_ablations."):
                there = module.split(".")[1]
                assert ORDER.index(there) <= ORDER.index(here), (
                    f"{path}:{node.lineno} imports {module}"
                )
                assert not (here == "encoders" and there == "data"), (
                    f"{path}:{node.lineno} imports {module}"
                )


@pytest.mark.parametrize("path", FILES, ids=names)
def test_files_and_functions_fit(path):
    source = path.read_text()
    assert source.count("\n") <= 320, f"{path} is too long; about 300 lines are the limit"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 62, f"{path}:{node.lineno} {node.name} has {lines} lines"


def test_every_setting_is_read():
    """A field that no code but its own definition mentions would be silently ignored."""
    text = {path: path.read_text() for path in FILES}
    for spec in SPECS:
        own = Path(sys.modules[spec.__module__].__file__)
        for field in spec.model_fields:
            pattern = re.compile(rf"\.{field}\b|[\"']{field}[\"']")
            readers = [
                path for path, source in text.items() if path != own and pattern.search(source)
            ]
            inside = re.search(rf"self\.{field}\b", text[own])
            assert readers or inside, f"{spec.__name__}.{field} is read nowhere"


def test_nothing_is_there_for_tests_alone():
    """What stands at the top of a module is read by the product itself."""
    trees = {path: ast.parse(path.read_text()) for path in FILES}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    read = {
        node.id
        for node in nodes
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)
    }
    read |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                made = {node.name} - {"_"}  # the name of what a decorator alone keeps
            else:
                targets = (
                    node.targets
                    if isinstance(node, ast.Assign)
                    else [getattr(node, "target", None)]
                )
                made = {target.id for target in targets if isinstance(target, ast.Name)}
            assert made <= read, (
                f"{path}:{node.lineno} {made - read} is used nowhere in the product"
            )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_encoder_is_one_row(row):
    """Nothing else has to be written for it; whatever it is called, it is the same."""
    spec = load_encoder(row.name)
    assert find_row(spec.name) is row
    assert (spec.weights == "random") == (row.model is None)
    assert (spec.grid == "resampled_patch") == ("patch14" in (row.model or ""))
    for alias in (alias for alias, name in ALIASES.items() if name == row.name):
        assert load_encoder(alias) == spec


@pytest.mark.parametrize("name", config_names("segmenters"))
def test_segmenter_yamls(name):
    load_segmenter(name)


@pytest.mark.parametrize("name", config_names("datasets"))
def test_dataset_yamls(name):
    load_dataset(name)


@pytest.mark.parametrize("name", config_names("studies"))
def test_study_yamls(name):
    assert plan(load_study(name))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=names)
def test_yamls_are_headed(path):
    assert path.read_text().startswith("# "), (
        f"{path}: say in a comment what it is, how to run it, what it costs"
    )


@pytest.mark.parametrize("folder", ORDER)
def test_no_name_hides_a_module_of_python(folder):
    """``python experiments/train.py`` puts its own folder first on the path: a ``statistics`` there breaks PyTorch."""
    names = {
        path.stem
        for path in (ROOT / folder).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert not names & sys.stdlib_module_names - {"__init__"}


def test_every_requirement_is_stated_once():
    (required,) = re.findall(
        r"install_requires=\[(.*?)\]", (ROOT / "setup.py").read_text(), re.DOTALL
    )
    packages = re.findall(r'^\s*"([\w-]+)', required, re.MULTILINE)
    assert len(packages) > 10
    assert sorted(packages) == sorted(set(packages))


def test_every_package_is_installed():
    source = (ROOT / "setup.py").read_text()
    for folder in ORDER:
        assert f'"{folder}"' in source
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), (
                f"{path.parent} has no __init__.py: a normal install drops it"
            )
