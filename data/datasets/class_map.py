"""Which classes two datasets share: a YAML, or equal names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from encoder_ablations.data.datasets.class_names import names_problem
from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.utils.config import Config, build, read_yaml
from encoder_ablations.utils.errors import InputError, unknown

OTHER = "(other)"
"""What a prediction counts as whose class the datasets do not share."""


class SharedClass(Config):
    """One class that both datasets know, perhaps as several."""

    trained: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Classes of the dataset that was trained on; default: the one of the same name."""
    tested: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Classes of the dataset that is tested on; default: the one of the same name."""

    @field_validator("trained", "tested")
    @classmethod
    def _names_are_there(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        problem = names_problem(names or ())
        if problem is not None:
            raise ValueError(problem)
        return names


class ClassMap(Config):
    """``shared``: name of a shared class -> what it is called in both datasets."""

    shared: dict[str, SharedClass] = Field(min_length=1)

    @field_validator("shared")
    @classmethod
    def _names_are_there(cls, shared: dict[str, SharedClass]) -> dict[str, SharedClass]:
        problem = names_problem(list(shared))
        if problem is not None:
            raise ValueError(problem)
        return shared


@dataclass(frozen=True, eq=False)
class SharedClasses:
    """S shared classes as tables.

    Attributes:
        names: of the S classes.
        trained, tested: the class map, with both sides' names written out.
        prediction: int64, id of the trained classes -> 0..S-1, or S for a class that is not shared.
        truth: int64 (256,), id in the tested masks -> 0..S-1, or 255 for what is not shared or not labelled. Of more
            than 255 tested classes (65536,); with more than 255 shared and other classes 65535 in place of 255.
    """

    names: tuple[str, ...]
    trained: dict[str, tuple[str, ...]]
    tested: dict[str, tuple[str, ...]]
    prediction: np.ndarray
    truth: np.ndarray

    def fold(self, matrix: np.ndarray) -> np.ndarray:
        """K×K counts of the trained classes -> (S+1)×(S+1) of the shared ones; truth that is not shared is left out."""
        size = len(self.names) + 1
        folded = np.zeros((size, size), np.int64)
        np.add.at(
            folded,
            (self.prediction[:, None], self.prediction[None, :]),
            np.asarray(matrix, np.int64),
        )
        folded[-1] = 0
        return folded


def read_class_map(path: Path) -> ClassMap:
    """
    Raises:
        InputError: the file cannot be read, or is no class map.
    """
    return build(ClassMap, read_yaml(path), path)


def share_classes(
    class_map: ClassMap | None, trained: Sequence[str], tested: Sequence[str], source: Path | str
) -> SharedClasses:
    """The tables of a class map for two datasets; without a map, classes of equal names are the same.

    Args:
        trained, tested: class names of both datasets, in id order.
        source: begins error messages: the map's file, or what was asked for.

    Raises:
        InputError: a name that a dataset does not have, one that stands twice, or no map where the names differ.
    """
    if class_map is None:
        if set(trained) != set(tested):
            raise InputError(f"{source}: {_difference(trained, tested)}")
        class_map = ClassMap(shared={name: SharedClass() for name in trained})
    names = tuple(class_map.shared)
    sides: list[dict[str, tuple[str, ...]]] = []
    for side, known in (("trained", trained), ("tested", tested)):
        chosen = {name: getattr(entry, side) or (name,) for name, entry in class_map.shared.items()}
        seen: set[str] = set()
        for name, members in chosen.items():
            for member in members:
                if member not in known:
                    raise InputError(
                        f"{source}, shared.{name}.{side}: {unknown('class', member, known)}"
                    )
                if member in seen:
                    raise InputError(
                        f"{source}: the {side} class '{member}' stands twice; it can mean one class only."
                    )
                seen.add(member)
        sides.append(chosen)
    prediction = np.full(len(trained), len(names), np.int64)
    truth = np.full(ignore_label(len(tested)) + 1, ignore_label(len(names) + 1), np.int64)
    for index, name in enumerate(names):
        prediction[[list(trained).index(member) for member in sides[0][name]]] = index
        truth[[list(tested).index(member) for member in sides[1][name]]] = index
    return SharedClasses(names, sides[0], sides[1], prediction, truth)


def _difference(trained: Sequence[str], tested: Sequence[str]) -> str:
    both = [name for name in trained if name in tested]
    only = [name for name in (*trained, *tested) if name not in both]
    shared = f"share only {', '.join(both)}" if both else "share no class by name"
    return (
        f"the two datasets {shared} (not {', '.join(only)}). Say which mean the same with --class-map FILE.yaml, e.g. "
        "shared: {road: {trained: [road, lane], tested: [street]}}."
    )
