"""The clone of the official Mask2Former: its folder, its configurations, its ``Trainer``."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from encoder_ablations.segmenters.heads.mask2former_official import import_official
from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.optional import missing

DEFAULT = "ade20k/semantic-segmentation/maskformer2_R50_bs16_160k.yaml"


@cache
def clone_root() -> Path:
    """Return the folder of the clone on PYTHONPATH.

    Raises:
        InputError: Detectron2 or Mask2Former is not there, or the clone is incomplete.
    """
    package = importlib.util.find_spec(
        import_official().add_maskformer2_config.__module__.partition(".")[0]
    )
    assert package is not None  # imported above
    assert package.origin is not None
    root = Path(package.origin).resolve().parent.parent
    for part in ("train_net.py", "configs"):
        if not (root / part).exists():
            raise InputError(
                f"the Mask2Former in {root} is incomplete: {part} is missing. Clone "
                "https://github.com/facebookresearch/Mask2Former whole and put the clone on "
                "PYTHONPATH."
            )
    return root


@cache
def official_trainer() -> Any:
    """Execute the official ``train_net.py`` and return its class ``Trainer``.

    The script is found by its path, because its name is also that of our own.

    Raises:
        InputError: as :func:`clone_root`, or the script needs a package that is not installed.
    """
    spec = importlib.util.spec_from_file_location(
        "mask2former_train_net", clone_root() / "train_net.py"
    )
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(script)
    except ImportError as error:
        raise missing("mask2former", error) from error
    return script.Trainer


def find_yaml(name: str) -> Path:
    """Return a configuration by its path, or by its path below the clone's ``configs``.

    Raises:
        InputError: there is no such file.
    """
    configs = clone_root() / "configs"
    for path in (Path(name), configs / name):
        if path.is_file():
            return path
    known = [str(path.relative_to(configs)) for path in sorted(configs.rglob("*.yaml"))]
    raise InputError(
        f"there is no configuration {name}, neither here nor in {configs}.{nearest(name, known)} "
        f"Without --config-file it is {DEFAULT}."
    )
