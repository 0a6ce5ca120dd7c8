"""The weights of a teacher."""

from pathlib import Path

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import sha256_of

BEST = Path("checkpoints", "best.pt")
"""Where a run's folder holds its best weights."""


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of a run's best weights.

    Raises:
        InputError: they are missing.
    """
    try:
        return sha256_of(folder / BEST)
    except OSError as error:
        raise InputError(
            f"cannot read {folder / BEST}: {error.strerror}. Restore it, or delete the run's "
            "folder to run it again."
        ) from error
