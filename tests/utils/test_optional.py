"""What someone without an optional package is told."""

import importlib
import subprocess
import sys

import pytest

from encoder_ablations.segmenters.heads.mask2former_official import import_official
from encoder_ablations.utils.errors import InputError


@pytest.mark.parametrize("module", ["encoders.frameworks.detectron2", "data.detectron2"])
def test_without_detectron2(module, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("detectron2.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    monkeypatch.delitem(sys.modules, f"encoder_ablations.{module}", raising=False)
    with pytest.raises(
        InputError,
        match=r"Detectron2 cannot be imported .*pip install .*detectron2\.readthedocs\.io",
    ) as e:
        importlib.import_module(f"encoder_ablations.{module}")
    assert isinstance(e.value, ImportError)
    assert "\n" not in str(e.value)


@pytest.mark.detectron2
@pytest.mark.parametrize(
    "content", [None, "", "raise ImportError('no such op')"], ids=["absent", "half", "broken"]
)
def test_without_a_whole_mask2former(content, monkeypatch, tmp_path):
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    for name in [name for name in sys.modules if name.split(".")[0] == "mask2former"]:
        monkeypatch.delitem(sys.modules, name)
    import_official.cache_clear()
    if content is None:
        monkeypatch.setitem(sys.modules, "mask2former", None)
    else:
        (tmp_path / "mask2former").mkdir()
        (tmp_path / "mask2former" / "__init__.py").write_text(content)
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        InputError, match=r"official Mask2Former cannot be imported .*github\.com.*PYTHONPATH"
    ) as e:
        import_official()
    assert "\n" not in str(e.value)


def test_importing_our_head_imports_nothing_of_theirs():
    program = (
        "import sys, encoder_ablations.segmenters.heads.mask2former_official; "
        "heavy = {'detectron2', 'mask2former', 'MultiScaleDeformableAttention'}; "
        "sys.exit(bool(heavy & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
