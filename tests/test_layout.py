"""The shape of the project itself: one-way imports, small files, every setting read, every
configuration buildable."""

import ast
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import encoder_ablations
from encoder_ablations.data.datasets.pseudo_labels.spec import PseudoLabelSpec
from encoder_ablations.data.datasets.spec import DatasetSpec, HubSource
from encoder_ablations.data.partitions.spec import DirichletSpec, LabelSkewSpec
from encoder_ablations.data.references import load_dataset
from encoder_ablations.data.views.augmentation import (
    AugmentationSpec,
    BlurSpec,
    ClassBalanceSpec,
    ColorSpec,
    GammaSpec,
    JpegSpec,
    MixSpec,
    NoiseSpec,
)
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.spec import AdaptSpec, EncoderSpec, LoraSpec
from encoder_ablations.encoders.table.lookup import ALIASES, ROWS, find_row
from encoder_ablations.encoders.text.spec import TextSpec
from encoder_ablations.engine.privacy import ClientPrivacySpec, PrivacySpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.recipe_parts import (
    CheckpointsSpec,
    EarlyStoppingSpec,
    EmaSpec,
    OptimizerSpec,
    ScheduleSpec,
    SwaSpec,
)
from encoder_ablations.engine.training.federated.spec import (
    FedAdam,
    FedAvgM,
    FederationSpec,
    FedProx,
    Local,
)
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.tuning.spec import (
    HalvingSpec,
    Range,
    TuneSpec,
    TuningRole,
)
from encoder_ablations.experiments.studies.pseudo_labels import PseudoLabelChoice
from encoder_ablations.experiments.studies.seed_rule import SeedRule, UntilNarrow
from encoder_ablations.experiments.studies.study import StudySpec, load_study_spec, plan
from encoder_ablations.segmenters.loss_registry import loss_entry, loss_names
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.registry import head_entry, head_names
from encoder_ablations.segmenters.spec import ImageHeadSpec
from encoder_ablations.segmenters.zero_shot.methods import (
    BlockRule,
    FolderSpec,
    SamSpec,
    SuperpixelSpec,
)
from encoder_ablations.segmenters.zero_shot.spec import PamrSpec
from encoder_ablations.utils.config import config_names

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["utils", "data", "encoders", "segmenters", "engine", "experiments"]
FILES = sorted(path for folder in ORDER for path in (ROOT / folder).rglob("*.py"))

MODULE_LINES = 300
FUNCTION_LINES = 50
FOLDER_FILES = 20
IMPORT_CHAIN = 12
DECISIONS_PER_TEN_LINES = 2.5
CONDITIONAL_EXPRESSIONS_PER_THOUSAND_LINES = 4

SPECS = [
    AugmentationSpec,
    BlurSpec,
    ClassBalanceSpec,
    ColorSpec,
    GammaSpec,
    JpegSpec,
    MixSpec,
    NoiseSpec,
    DatasetSpec,
    HubSource,
    ImageHeadSpec,
    BlockRule,
    FolderSpec,
    PamrSpec,
    SamSpec,
    SuperpixelSpec,
    EncoderSpec,
    AdaptSpec,
    LoraSpec,
    TextSpec,
    OptimizerSpec,
    ScheduleSpec,
    EmaSpec,
    SwaSpec,
    EarlyStoppingSpec,
    CheckpointsSpec,
    PrivacySpec,
    ClientPrivacySpec,
    DirichletSpec,
    LabelSkewSpec,
    FederationSpec,
    FedProx,
    FedAvgM,
    FedAdam,
    Local,
    Recipe,
    PseudoLabelSpec,
    PseudoLabelChoice,
    Range,
    HalvingSpec,
    TuneSpec,
    TuningRole,
    RunSpec,
    StudySpec,
    SeedRule,
    UntilNarrow,
]
SPECS += [head_entry(name).spec for name in head_names()]
SPECS += [loss_entry(name).spec for name in loss_names()]


@cache
def nodes(path):
    """Everything in a file's syntax tree; each file is parsed once."""
    return list(ast.walk(ast.parse(path.read_text())))


def names(path):
    return str(path.relative_to(ROOT))


def functions(path):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in nodes(path) if isinstance(node, kinds)]


def length(node):
    return node.end_lineno - node.lineno + 1


def imported(path):
    """(line, module) of every import, with ``from package import module`` as both."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@cache
def import_graph():
    """Module -> modules of the package that it imports, by names without ``encoder_ablations``."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in FILES
        if path.stem != "__init__"
    }
    graph = {}
    for module, path in modules.items():
        found = {name.removeprefix("encoder_ablations.") for _, name in imported(path)}
        graph[module] = (found & modules.keys()) - {module}
    return graph


def cycle_or_depths(graph):
    """Return (a cycle, {}) or ([], node -> length of the longest chain that begins there)."""
    depths, open_nodes = {}, []

    def visit(node):
        if node in open_nodes:
            return [*open_nodes[open_nodes.index(node) :], node]
        if node in depths:
            return []
        open_nodes.append(node)
        for other in sorted(graph.get(node, ())):
            if cycle := visit(other):
                return cycle
        open_nodes.pop()
        depths[node] = 1 + max((depths[other] for other in graph.get(node, ())), default=0)
        return []

    for node in graph:
        if cycle := visit(node):
            return cycle, {}
    return [], depths


def rooms_graph(folder):
    """Rooms and modules that lie in ``folder`` (``data.intake``) -> those they import from
    there."""
    level = folder.count(".") + 2
    graph = {}
    for module, others in import_graph().items():
        if module.startswith(f"{folder}."):
            room = ".".join(module.split(".")[:level])
            inside = {name for name in others if name.startswith(f"{folder}.")}
            rooms = {".".join(name.split(".")[:level]) for name in inside}
            graph[room] = graph.get(room, set()) | rooms - {room}
    return graph


@pytest.mark.parametrize("folder", ORDER)
def test_imports_between_folders_go_one_way(folder):
    left = ORDER[: ORDER.index(folder) + 1]
    if folder == "encoders":
        left.remove("data")
    for path in (path for path in FILES if path.relative_to(ROOT).parts[0] == folder):
        for line, module in imported(path):
            first, *rest = module.split(".")
            assert first not in ORDER, f"{path}:{line}: import encoder_ablations.{module}"
            if first == "encoder_ablations" and rest:
                # the front door imports from the folders, not they from it
                assert rest[0] in [*left, "__version__"], f"{path}:{line} imports {module}"


def test_no_module_imports_itself_in_the_end():
    cycle, depths = cycle_or_depths(import_graph())
    assert not cycle
    longest = max(depths, key=depths.get)
    assert depths[longest] <= IMPORT_CHAIN, f"{longest} begins a chain of {depths[longest]} imports"


FOLDERS = {".".join(path.relative_to(ROOT).parent.parts) for path in FILES}


@pytest.mark.parametrize("folder", sorted(FOLDERS | set(ORDER)))
def test_imports_between_the_rooms_of_a_folder_go_one_way(folder):
    cycle, _ = cycle_or_depths(rooms_graph(folder))
    assert not cycle


def test_a_cycle_is_found():
    assert cycle_or_depths({"a": {"b"}, "b": {"c"}, "c": {"b"}})[0] == ["b", "c", "b"]
    assert cycle_or_depths({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == (
        [],
        {"c": 1, "b": 2, "a": 3},
    )


def test_modules_functions_and_folders_fit():
    long = {path: path.read_text().count("\n") for path in FILES}
    assert not {names(path): n for path, n in long.items() if n > MODULE_LINES}
    for path in FILES:
        long = {node.name: length(node) for node in functions(path)}
        assert not {name: n for name, n in long.items() if n > FUNCTION_LINES}, path
    files = Counter(path.parent for path in FILES if path.stem != "__init__")
    # a command has a file, which is found by the command's name
    del files[ROOT / "experiments" / "commands"]
    assert not {names(folder): n for folder, n in files.items() if n > FOLDER_FILES}


BRANCHES = (
    ast.If | ast.For | ast.While | ast.IfExp | ast.ExceptHandler | ast.Assert | ast.match_case
)


def decisions(function):
    """How often a function branches: McCabe's complexity less one."""
    count = 0
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            count += 1
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            count += 1 + len(node.ifs)
    return count


def body_lines(function):
    """Lines without the docstring."""
    documented = ast.get_docstring(function) is not None
    return length(function) - documented * length(function.body[0])


def test_lines_decide_little():
    """Ruff holds the limit of each function (``C90``); these are means over the product."""
    every = [function for path in FILES for function in functions(path)]
    total = sum(map(decisions, every))
    assert 10 * total <= DECISIONS_PER_TEN_LINES * sum(map(body_lines, every))
    conditional = sum(isinstance(node, ast.IfExp) for path in FILES for node in nodes(path))
    lines = sum(path.read_text().count("\n") for path in FILES)
    assert 1000 * conditional <= CONDITIONAL_EXPRESSIONS_PER_THOUSAND_LINES * lines


def strings_and_attributes(path):
    for node in nodes(path):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_setting_is_read():
    """A field that no code but its own definition mentions would be silently ignored."""
    mentioned = {path: set(strings_and_attributes(path)) for path in FILES}
    for spec in SPECS:
        own = Path(sys.modules[spec.__module__].__file__)
        others = set().union(*(mentioned[path] for path in FILES if path != own))
        for field in spec.model_fields.keys() - others:
            inside = re.search(rf"self\.{field}\b", own.read_text())
            assert inside, f"{spec.__name__}.{field} is read nowhere"


def is_registration(decorator):
    return isinstance(decorator, ast.Call) and decorator.func.id.startswith("register_")


def made_at_top(node):
    """The names that a statement at the top of a module makes; a registered head or loss is
    found by another."""
    if isinstance(node, ast.ClassDef) and any(map(is_registration, node.decorator_list)):
        return set()
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name} - {"_"}  # the name of what a decorator alone keeps
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_nothing_is_there_for_tests_alone():
    """What stands at the top of a module is read by the product itself, or is public."""
    read = set(encoder_ablations.__all__)
    for node in (node for path in FILES for node in nodes(path)):
        if isinstance(node, ast.Attribute):
            read.add(node.attr)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            read.add(node.id)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) == "getattr":
            read.add(getattr(node.args[1], "value", None))
    # a script that is also a file of tests: pytest calls its functions
    for path in (path for path in FILES if not path.stem.startswith("test_")):
        for node in nodes(path)[0].body:
            unread = made_at_top(node) - read
            assert not unread, f"{path}:{node.lineno} {unread} is used nowhere in the product"


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
    assert plan(load_study_spec(name))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=names)
def test_yamls_are_headed(path):
    assert path.read_text().startswith("# "), (
        f"{path}: say in a comment what it is, how to run it, what it costs"
    )


@pytest.mark.parametrize("folder", ORDER)
def test_no_name_hides_a_module_of_python(folder):
    """``python experiments/train.py`` puts its own folder first on the path: a ``statistics``
    there breaks PyTorch."""
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
