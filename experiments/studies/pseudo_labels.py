"""The arms of a study that learn from masks which a finished run predicts."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from encoder_ablations.data.datasets.pseudo_labels.spec import (
    Precision,
    PseudoLabelSpec,
    Threshold,
)
from encoder_ablations.experiments.runs.pseudo_labels.weights import weights_digest
from encoder_ablations.utils.config import Config
from encoder_ablations.utils.errors import InputError

PRECISION = 0.9
"""Of the kept validation pixels, where a study says ``threshold: val`` and no more."""


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


class PseudoLabelChoice(Config):
    """A teacher for the training images that a fraction leaves without labels."""

    run: Annotated[Path, AfterValidator(_absolute)]
    """Folder of a finished run of the same classes."""
    threshold: Threshold
    """Least probability of a pixel's class, 0..1. Other pixels are ignored in training. "val" = the
    lowest threshold at which the kept pixels of the validation images have ``precision``.
    """
    precision: Precision | None = None
    """With ``threshold: val``: share of the kept pixels that must be right, 0..1; null = 0.9."""

    @model_validator(mode="after")
    def _precision_fits(self) -> Self:
        if self.precision is not None and self.threshold != "val":
            raise ValueError("precision is read with threshold: val only. Leave out one of them")
        return self

    @property
    def wanted_precision(self) -> float | None:
        """Return the precision that validation images must have; None with a number."""
        if self.threshold != "val":
            return None
        return self.precision or PRECISION


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
        precision=choice.wanted_precision,
        folder=choice.run,
    )
