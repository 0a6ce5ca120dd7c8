"""Names of encoders, without importing a model."""

from fnmatch import fnmatchcase

from encoder_ablations.encoders.facts import timm_models
from encoder_ablations.encoders.table.lookup import TABLE


def list_encoders(pattern: str = "*", timm: bool = False) -> list[str]:
    """Return the names of encoders, sorted.

    PyTorch and timm are not imported for it.

    Args:
        pattern: names to return, such as ``*dinov3*``; ``*`` stands for any letters, ``?`` for one.
        timm: whether names of timm's other models are listed, too. Most of them can be encoders;
            which can be is seen when one is built.
    """
    names = set(TABLE)
    if timm:
        names = names.union(*timm_models().values())
    return sorted(name for name in names if fnmatchcase(name, pattern))
