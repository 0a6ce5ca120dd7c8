"""The package's public names, its version, and where its folders are found: installed, and in a
clone."""

import ast
import importlib
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import encoder_ablations

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "encoder_ablations" / "__init__.py"


def typed_names() -> dict[str, str]:
    """What type checkers and editors see: each name imported under TYPE_CHECKING, and its
    module."""
    statements = ast.parse(SOURCE.read_text()).body
    (block,) = [
        node for node in statements if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    ]
    assert block.test.id == "TYPE_CHECKING"
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names}


def run(program: str, folder: Path, **environment: str) -> str:
    """What a program prints that begins in ``folder`` and finds the package there or on
    PYTHONPATH, not installed."""
    without_install = (
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'ditable' not in repr(f)]; "
    )
    done = subprocess.run(
        [sys.executable, "-c", without_install + program],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_three_lists_of_names_agree():
    assert typed_names() == encoder_ablations._MODULES
    assert sorted(encoder_ablations.__all__) == sorted(encoder_ablations._MODULES)


@pytest.mark.parametrize("name", encoder_ablations.__all__)
def test_each_name_is_what_its_module_defines(name):
    module = importlib.import_module(typed_names()[name])
    assert getattr(encoder_ablations, name) is getattr(module, name)
    assert name in dir(encoder_ablations)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="build_encodr"):
        _ = encoder_ablations.build_encodr


def test_importing_it_is_quick():
    program = "import encoder_ablations; print({'torch', 'pydantic'} & set(sys.modules) or 'light')"
    assert run(program, ROOT) == "light"


def test_listing_encoders_is_quick():
    program = (
        "import encoder_ablations as ea; print(ea.list_encoders('dinov2_b14'), "
        "{'torch', 'timm', 'numba'} & set(sys.modules) or 'light')"
    )
    assert run(program, ROOT) == "['dinov2_b14'] light"


def test_the_version_is_stated_once():
    assert version("encoder-ablations") == encoder_ablations.__version__
    literal = f'"{encoder_ablations.__version__}"'
    assert literal not in (ROOT / "setup.py").read_text()


def test_a_clone_that_is_not_installed_finds_its_folders():
    """Its root comes first on the path of ``python -c`` and ``python -m``, and holds the front
    door without them."""
    program = "import encoder_ablations.data as data; print(data.__file__)"
    assert run(program, ROOT) == str(ROOT / "data" / "__init__.py")


def test_an_installation_finds_its_folders_within_itself(tmp_path):
    """With everything that a folder of Python files or configurations holds, and the mark of
    typed packages."""
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    program = (
        "import encoder_ablations.data as data; "
        "print(data.__file__, *sys.modules['encoder_ablations'].__path__)"
    )
    installed = tmp_path / "encoder_ablations"
    found = run(program, tmp_path, PYTHONPATH=str(tmp_path))
    assert found.split() == [str(installed / "data" / "__init__.py"), str(installed)]
    assert (installed / "py.typed").exists()
    for folder in ("data", "configs"):
        kept = {
            path.relative_to(ROOT)
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".py", ".yaml", ".html", ".css")
        }
        assert kept == {
            path.relative_to(installed)
            for path in (installed / folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc"  # those of the program above
        }


@pytest.mark.parametrize(
    ("option", "word"), [("--help", "commands:"), ("--version", encoder_ablations.__version__)]
)
def test_the_package_runs_as_a_module(option, word, tmp_path):
    """``torchrun -m encoder_ablations`` starts commands this way."""
    done = subprocess.run(
        [sys.executable, "-m", "encoder_ablations", option],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert word in done.stdout
