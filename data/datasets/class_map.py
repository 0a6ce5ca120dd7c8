"""Which classes two datasets share: a YAML, or equal names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from pydantic import Field

from encoder_ablations.data.datasets.class_names import Named, Names
from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.utils.config import Config, build, read_yaml
from encoder_ablations.utils.errors import InputError, unknown

OTHER = "(other)"
"""The name that predictions of classes get which the datasets do not share."""


class SharedClass(Config):
    """One class that both datasets know, perhaps as several."""

    trained: Names | None = Field(default=None, min_length=1)
    """Classes of the dataset that was trained on; default: the one of the same name."""
    tested: Names | None = Field(default=None, min_length=1)
    """Classes of the dataset that is tested on; default: the one of the same name."""


class ClassMap(Config):
    """``shared``: name of a shared class -> what it is called in both datasets."""

    shared: Named[SharedClass] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class SharedClasses:
    """S shared classes as tables.

    Attributes:
        names: the S classes' names.
        trained: shared class -> its classes in the dataset that was trained on.
        tested: the same in the dataset that is tested on.
        prediction: int64, id of the trained classes -> 0..S-1, or S for a class that is not shared.
        truth: int64 (256,), id in the tested masks -> 0..S-1, or 255 for what is not shared or not
            labelled. It has 65536 entries for more than 255 tested classes. With 255 and more
            shared classes 65535 takes the place of 255.
    """

    names: tuple[str, ...]
    trained: dict[str, tuple[str, ...]]
    tested: dict[str, tuple[str, ...]]
    prediction: np.ndarray
    truth: np.ndarray

    def fold(self, matrix: np.ndarray) -> np.ndarray:
        """Return K×K counts of the trained classes as (S+1)×(S+1) counts of the shared ones.

        Truth that is not shared is left out.

        Args:
            matrix: rows are truth, columns prediction.
        """
        size = len(self.names) + 1
        folded = np.zeros((size, size), np.int64)
        places = np.ix_(self.prediction, self.prediction)
        np.add.at(folded, places, np.asarray(matrix, np.int64))
        folded[-1] = 0
        return folded


def read_class_map(path: Path) -> ClassMap:
    """Return the class map in a YAML.

    Raises:
        InputError: the file cannot be read, or is no class map.
    """
    return build(ClassMap, read_yaml(path), path)


def share_classes(
    class_map: ClassMap | None, trained: Sequence[str], tested: Sequence[str], source: Path | str
) -> SharedClasses:
    """Return the tables of a class map for two datasets.

    Args:
        class_map: None = classes of equal names are the same.
        trained: class names of the dataset that was trained on, in id order.
        tested: class names of the dataset that is tested on, in id order.
        source: begins error messages: the map's file, or what was asked for.

    Raises:
        InputError: a name that a dataset does not have, one that stands twice, or no map where the
            names differ.
    """
    if class_map is None:
        if set(trained) != set(tested):
            raise InputError(f"{source}: {_difference(trained, tested)}")
        class_map = ClassMap(shared={name: SharedClass() for name in trained})
    ours = _members(class_map, "trained", trained, source)
    theirs = _members(class_map, "tested", tested, source)
    names = tuple(class_map.shared)
    not_shared = ignore_label(len(names) + 1)
    return SharedClasses(
        names,
        ours,
        theirs,
        prediction=_table(ours, trained, len(trained), len(names)),
        truth=_table(theirs, tested, ignore_label(len(tested)) + 1, not_shared),
    )


def _members(
    class_map: ClassMap, side: str, known: Sequence[str], source: Path | str
) -> dict[str, tuple[str, ...]]:
    """Return what each shared class is called in one of the datasets.

    Raises:
        InputError: the dataset lacks a class, or two shared classes claim it.
    """
    chosen = {name: getattr(entry, side) or (name,) for name, entry in class_map.shared.items()}
    for name, members in chosen.items():
        for member in members:
            if member not in known:
                problem = unknown("class", member, known)
                raise InputError(f"{source}, shared.{name}.{side}: {problem}")
    twice = Counter(chain.from_iterable(chosen.values())) - Counter(known)
    if twice:
        raise InputError(
            f"{source}: the {side} class '{next(iter(twice))}' stands twice; "
            "it can mean one class only."
        )
    return chosen


def _table(
    chosen: Mapping[str, tuple[str, ...]], known: Sequence[str], length: int, otherwise: int
) -> np.ndarray:
    """Return an int64 table: class id -> position of its shared class, or ``otherwise``."""
    table = np.full(length, otherwise, np.int64)
    for position, members in enumerate(chosen.values()):
        table[[known.index(member) for member in members]] = position
    return table


def _difference(trained: Sequence[str], tested: Sequence[str]) -> str:
    """Return a sentence about two lists of names that are not the same."""
    both = [name for name in trained if name in tested]
    only = [name for name in (*trained, *tested) if name not in both]
    shared = "share no class by name"
    if both:
        shared = f"share only {', '.join(both)}"
    return (
        f"the two datasets {shared} (not {', '.join(only)}). Say which mean the same with "
        "--class-map FILE.yaml, e.g. shared: {road: {trained: [road, lane], tested: [street]}}."
    )
