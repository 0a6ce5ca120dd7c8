"""The arms of a study that learn from masks which a finished run predicts."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from encoder_ablations.data.datasets.pseudo_labels.spec import PseudoLabelSpec
from encoder_ablations.experiments.runs.pseudo_labels.weights import weights_digest
from encoder_ablations.utils.config import Config
from encoder_ablations.utils.errors import InputError


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


class PseudoLabelChoice(Config):
    """A teacher for the training images that a fraction leaves without labels."""

    run: Annotated[Path, AfterValidator(_absolute)]
    """Folder of a finished run of the same classes."""
    threshold: float = Field(ge=0, le=1)
    """Least probability of a pixel's class, 0..1. Other pixels are ignored in training."""


def teachers_of(
    choices: Iterable[PseudoLabelChoice | None], fractions: Sequence[float], where: str
) -> list[PseudoLabelSpec | None]:
    """Return the teachers of a study's arms; None is training without one.

    Args:
        choices: what the study lists.
        fractions: of the study.
        where: begins messages.

    Raises:
        InputError: a run has not finished, or no fraction leaves images without labels.
    """
    found: list[PseudoLabelSpec | None] = []
    for choice in choices:
        if choice is None:
            found.append(None)
        elif not any(0 < fraction < 1 for fraction in fractions):
            raise InputError(
                f"{where}: pseudo_labels is for images that a fraction leaves without labels, but "
                "no fraction lies between 0 and 1. Add one such as 0.05."
            )
        else:
            found.append(_teacher(choice))
    return found


def _teacher(choice: PseudoLabelChoice) -> PseudoLabelSpec:
    """Return a teacher by its name and the digest of its weights.

    Raises:
        InputError: the run has not finished.
    """
    # the record itself is read before the runs start
    if not (choice.run / "record.json").exists():
        raise InputError(
            f"pseudo_labels: {choice.run} is no run that has finished. Name the folder of one."
        )
    return PseudoLabelSpec(
        run_id=choice.run.name,
        checkpoint_sha256=weights_digest(choice.run),
        threshold=choice.threshold,
        folder=choice.run,
    )
