"""Splits that text files name, one image a line, as in Pascal VOC.

VOC calls them ``ImageSets/Segmentation/train.txt``, ``val.txt``, ….
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.folder_names import split_of
from encoder_ablations.data.intake.layouts.survey import Survey, text_of
from encoder_ablations.utils.texts import plural

MOST_MISSING = 0.1
"""Share of a list's images that may lack a mask; lists for other tasks name many more."""


@dataclass(frozen=True)
class Lists:
    """The lists of one folder.

    Attributes:
        paths: the text file of each split.
        listed: (image, split) of every line.
    """

    paths: dict[Split, Path]
    listed: set[tuple[str, Split]]

    def fits(self, ids: set[str]) -> bool:
        """Return whether nearly all listed images are there, and none is in two splits."""
        times = Counter(name for name, _ in self.listed)
        missing = len(times.keys() - ids)
        return 0 < times.total() == len(times) and missing <= MOST_MISSING * len(times)

    @property
    def rank(self) -> tuple[int, bool]:
        """What is larger for the better lists: of more images, or meant for masks."""
        folder = self.paths["train"].parent.name.lower()
        return len(self.listed), "segmentation" in folder


def take_lists(survey: Survey, root: Path, files: Iterable[Path]) -> None:
    """Give images the splits that lists name, where no folder names any.

    Images that stand in no list are left out.
    """
    if {source.split for source in survey.sources} != {None}:
        return
    best = _best_lists(files, {source.id for source in survey.sources})
    if best is None:
        return
    survey.lists = best.paths
    split_of_id = dict(best.listed)
    given = [replace(source, split=split_of_id.get(source.id)) for source in survey.sources]
    survey.sources = [source for source in given if source.split]
    dropped = [source.image for source in given if not source.split]
    named = ", ".join(path.relative_to(root).as_posix() for path in survey.lists.values())
    survey.remarks.append(f"Splits come from {named}.")
    if dropped:
        left_out = plural(len(dropped), "image", "stands/stand in none of them and is/are left out")
        survey.remarks.append(f"{left_out}, e.g. {dropped[0].relative_to(root)}.")


def _best_lists(files: Iterable[Path], ids: set[str]) -> Lists | None:
    """Return the lists of one folder that fit the images and name most; None where none fit."""
    every = [_read(paths, ids) for paths in _by_folder(files).values() if "train" in paths]
    fitting = [lists for lists in every if lists.fits(ids)]
    return max(fitting, key=lambda lists: lists.rank, default=None)


def _by_folder(files: Iterable[Path]) -> dict[Path, dict[Split, Path]]:
    """Return the text files that are called like splits, by their folder."""
    found: defaultdict[Path, dict[Split, Path]] = defaultdict(dict)
    for path in sorted(files):
        split = split_of(path.stem)
        if path.suffix.lower() == ".txt" and split:
            found[path.parent].setdefault(split, path)
    return found


def _read(paths: dict[Split, Path], ids: set[str]) -> Lists:
    listed = set()
    for split, path in paths.items():
        lines = filter(None, map(str.strip, text_of(path).splitlines()))
        listed |= {(_id_in(line, ids), split) for line in lines}
    return Lists(paths, listed)


def _id_in(line: str, ids: set[str]) -> str:
    """Return the image that a line names by its id or path; the line where none is known."""
    found = set()
    # a mask may stand behind the image
    for text in (line, line.split()[0]):
        path = PurePosixPath(text.replace("\\", "/"))
        found |= {text, path.name, path.stem} & ids
    return min(found, default=line)
