"""Writing a dataset that needs converting into the layout that training reads."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.intake.layouts.mask_values import THREADS
from encoder_ablations.data.intake.layouts.proposal import Item, Progress, Proposal
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import new_folder
from encoder_ablations.utils.optional import MissingPackageError
from encoder_ablations.utils.texts import plural


def prepare(
    proposal: Proposal, output: Path, progress: Progress = lambda done, total: None
) -> DatasetSpec:
    """Write a folder of single-channel masks and links to the images, and return its spec.

    Images are copied where links are impossible. Pairs whose mask cannot be read are left out, and
    ``proposal.remarks`` says so.

    Args:
        proposal: what was recognised.
        output: the new folder.
        progress: called with the number of pairs done and of all pairs.

    Raises:
        InputError: the folder exists or cannot be written to, or a split would be empty.
    """
    output = output.absolute()
    with new_folder(output) as folder:
        problems = _write_all(proposal, folder, progress)
        about = {
            "layout": proposal.layout,
            "masks": proposal.kind,
            "from": proposal.spec.root,
            "left_out": problems,
        }
        (folder / "prepared.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    if problems:
        left_out = plural(len(problems), "pair", "was/were left out")
        proposal.remarks.append(f"{left_out}, e.g. {problems[0]}")
    spec = proposal.spec
    places: dict[str, object] = {"root": str(output), "images": "images", "masks": "masks"}
    rules = {"value_map": None, "mask_format": "ids", "ignore_ids": (spec.ignore_label,)}
    return spec.model_copy(update=places | rules)


def _write_all(proposal: Proposal, folder: Path, progress: Progress) -> list[str]:
    """Write all pairs, and return why some cannot be written.

    Raises:
        InputError: a split would be empty.
    """
    splits = set(proposal.spec.splits)
    for split in splits:
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
    items = proposal.items
    problems = []
    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = pool.map(partial(_write, proposal, folder), items)
        for number, (item, problem) in enumerate(zip(items, outcomes, strict=True), start=1):
            progress(number, len(items))
            if problem is None:
                splits.discard(item.split)
            else:
                problems.append(problem)
    if splits:
        empty = ", ".join(sorted(splits))
        raise InputError(f"no mask of the split {empty} can be converted: {problems[0]}")
    return problems


def _write(proposal: Proposal, folder: Path, item: Item) -> str | None:
    """Write one pair, and return why it cannot be written, if so."""
    try:
        ids = proposal.read_mask(item)
    except MissingPackageError:
        raise
    except InputError as error:
        return str(error)
    Image.fromarray(ids).save(folder / "masks" / item.split / f"{item.id}.png")
    target = folder / "images" / item.split / f"{item.id}{item.image.suffix.lower()}"
    try:
        os.symlink(item.image, target)
    except (OSError, NotImplementedError):  # file systems without links
        shutil.copyfile(item.image, target)
    return None
