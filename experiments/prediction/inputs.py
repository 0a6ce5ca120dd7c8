"""Which files a prediction is made of."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.reading import read_image
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.utils.errors import InputError, unknown

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
"""Names of files that are looked for in folders end with one of these, in any case."""
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv")
"""A file that is named is a video if its name ends with one of these, in any case."""
STDIN = "-"


@dataclass(frozen=True)
class InputFile:
    """A file to predict.

    Attributes:
        name: of its outputs, without a suffix; with the sub-folders below a folder that was named.
        path: the file.
        labelled: the split of a dataset that it belongs to, and its place there; None = a file
            without a mask.
    """

    name: str
    path: Path
    labelled: tuple[FolderDataset, int] | None = None

    @property
    def is_video(self) -> bool:
        """Whether the file is a video, by its name."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    def read(self) -> Sample:
        """Return the image, with its mask if it has one.

        Raises:
            InputError: a file is damaged.
        """
        if self.labelled is not None:
            dataset, place = self.labelled
            return dataset[place]
        image = read_image(self.path)
        height, width = image.shape[:2]
        return Sample(image, None, self.name, (height, width), self.name)


def input_files(arguments: Sequence[str], stdin: TextIO = sys.stdin) -> list[InputFile]:
    """Return the files that the arguments name, in their order.

    Args:
        arguments: files, folders (searched for images, with their sub-folders), patterns with
            ``*``, or ``-``: paths from ``stdin``, one a line. Videos are files or of a pattern.
        stdin: where ``-`` reads.

    Raises:
        InputError: a path does not exist, holds no image, or two files would have one name.
    """
    found: list[InputFile] = []
    for argument in arguments:
        if argument == STDIN:
            lines = [line.strip() for line in stdin]
            found += input_files([line for line in lines if line], stdin)
        else:
            found += _files_of(Path(argument))
    _refuse_equal_names(found)
    return found


def files_of_split(data: DatasetSpec, split: str) -> list[InputFile]:
    """Return the images of a dataset's split, which have masks.

    Raises:
        InputError: there is no such split, or the files are not there.
    """
    by_name: dict[str, Split] = {name: name for name in data.splits}
    if split not in by_name:
        raise unknown(f"split of {data.name}", split, by_name)
    images = FolderDataset(data, by_name[split])
    return [
        InputFile(name, images.image_file(place), (images, place))
        for place, name in enumerate(images.ids)
    ]


def _files_of(path: Path) -> list[InputFile]:
    """Return the file itself, or the images in a folder or of a pattern."""
    if path.is_dir():
        files = [
            InputFile(str(each.relative_to(path).with_suffix("")), each) for each in _images(path)
        ]
        if not files:
            raise InputError(
                f"{path} holds no image. Names of images end with {', '.join(SUFFIXES)}. Name "
                "videos themselves, e.g. by a pattern '*.mp4'."
            )
        return files
    if path.is_file():
        return [InputFile(path.stem, path)]
    matching = sorted(path.parent.glob(path.name)) if "*" in path.name else []
    if not matching:
        raise InputError(f"there is no file, folder or pattern {path} to predict.")
    return [each for match in matching for each in _files_of(match)]


def _images(folder: Path) -> Iterable[Path]:
    return (
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )


def _refuse_equal_names(files: Sequence[InputFile]) -> None:
    """Refuse two files whose outputs would overwrite each other."""
    paths: dict[str, Path] = {}
    for file in files:
        # some file systems do not tell capitals from small letters
        key = file.name.casefold()
        other = paths.setdefault(key, file.path)
        if other != file.path:
            raise InputError(
                f"{other} and {file.path} would both be written as '{file.name}'. Predict them "
                "into two folders, or name the folder above them."
            )
