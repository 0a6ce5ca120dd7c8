"""The clone of the official Mask2Former: where it lies, its configurations, and its training script's ``Trainer``."""

import importlib.util
from pathlib import Path
from types import ModuleType

from encoder_ablations.segmenters import mask2former_official  # provides the operator before mask2former is imported
from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.optional import missing

DEFAULT = "ade20k/semantic-segmentation/maskformer2_R50_bs16_160k.yaml"


def _find_root() -> Path:
    package = importlib.util.find_spec(mask2former_official.add_maskformer2_config.__module__.partition(".")[0])
    assert package is not None  # imported above
    assert package.origin is not None
    root = Path(package.origin).resolve().parent.parent
    for part in ("train_net.py", "configs"):
        if not (root / part).exists():
            raise InputError(
                f"the Mask2Former in {root} is incomplete: {part} is missing. Clone "
                "https://github.com/facebookresearch/Mask2Former whole and put the clone on PYTHONPATH."
            )
    return root


def _load_script(root: Path) -> ModuleType:
    """The official ``train_net.py``, by its path: the name is also that of our own script."""
    spec = importlib.util.spec_from_file_location("mask2former_train_net", root / "train_net.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(script)
    except ImportError as error:
        raise missing("mask2former", error) from error
    return script


ROOT = _find_root()
OfficialTrainer = _load_script(ROOT).Trainer


def find_yaml(name: str) -> Path:
    """A configuration by path, or by its path below the clone's ``configs``.

    Raises:
        InputError: there is no such file.
    """
    for path in (Path(name), ROOT / "configs" / name):
        if path.is_file():
            return path
    known = [str(path.relative_to(ROOT / "configs")) for path in sorted((ROOT / "configs").rglob("*.yaml"))]
    raise InputError(
        f"there is no configuration {name}, neither here nor in {ROOT / 'configs'}.{nearest(name, known)} "
        f"Without --config-file it is {DEFAULT}."
    )
