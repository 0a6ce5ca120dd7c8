"""What someone without an optional package is told."""

import importlib
import sys

import pytest

from encoder_ablations.utils.errors import InputError


@pytest.mark.parametrize("module", ["encoders.detectron2", "data.detectron2"])
def test_without_detectron2(module, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("detectron2.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    monkeypatch.delitem(sys.modules, f"encoder_ablations.{module}", raising=False)
    with pytest.raises(
        InputError, match=r"Detectron2 cannot be imported .*pip install .*detectron2\.readthedocs\.io"
    ) as e:
        importlib.import_module(f"encoder_ablations.{module}")
    assert isinstance(e.value, ImportError)
    assert "\n" not in str(e.value)
