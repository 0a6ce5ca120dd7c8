"""Folders of published datasets for which a YAML is ready in ``configs/datasets``."""

from pathlib import Path
from typing import NamedTuple

MARKS = {
    # a drive of Cambridge by which its frames are called
    "camvid": ("images/train/0006R0_*", "masks/train/0006R0_*"),
    "ade20k": ("images/training", "annotations/training", "objectInfo150.txt"),
    "cityscapes": ("leftImg8bit/train", "gtFine/train"),
}
"""What lies in the folder of a dataset, by the dataset's name; ``*`` is anything within a name."""
FOLDER_NAMES = {"ADEChallengeData2016": "ade20k"}
"""Names that archives give to a folder, of which some files may be missing."""


class Ready(NamedTuple):
    """A dataset for which a YAML is ready: its name there, and its folder."""

    name: str
    folder: Path

    @property
    def advice(self) -> str:
        """One line: what the dataset is called, and how to say where it lies."""
        return (
            f"{self.folder} is '{self.name}', whose YAML is ready: ablate lint {self.name} "
            f"root={self.folder}; in a study, datasets: [{{base: {self.name}, "
            f"root: {self.folder}}}]"
        )


def ready_dataset(root: Path) -> Ready | None:
    """Return the published dataset that lies in a folder or one below it; None for any other."""
    if not root.is_dir():
        return None
    root = root.resolve()
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        name = FOLDER_NAMES.get(folder.name, "")
        if name and (folder / MARKS[name][1]).is_dir():
            return Ready(name, folder)
        for name, marks in MARKS.items():
            if all(any(folder.glob(mark)) for mark in marks):
                return Ready(name, folder)
    return None
