"""Writes a dataset that needs converting into the layout that everything here reads; the originals stay."""

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
    """Makes a new folder of single-channel masks, and of links to the images (copies where links are impossible).

    Pairs whose mask cannot be read are left out; ``proposal.remarks`` says so.

    Raises:
        InputError: the folder exists or cannot be written to, or a split would be empty.
    """
    output = output.absolute()
    problems = []
    with new_folder(output) as folder:
        for split in proposal.spec.splits:
            for kind in ("images", "masks"):
                (folder / kind / split).mkdir(parents=True)
        written = set()
        with ThreadPoolExecutor(THREADS) as pool:
            outcomes = pool.map(partial(_write, proposal, folder), proposal.items)
            for number, (item, problem) in enumerate(
                zip(proposal.items, outcomes, strict=True), start=1
            ):
                progress(number, len(proposal.items))
                if problem is None:
                    written.add(item.split)
                else:
                    problems.append(problem)
        if set(proposal.spec.splits) - written:
            empty = ", ".join(sorted(set(proposal.spec.splits) - written))
            raise InputError(f"no mask of the split {empty} can be converted: {problems[0]}")
        about = {
            "layout": proposal.layout,
            "masks": proposal.kind,
            "from": proposal.spec.root,
            "left_out": problems,
        }
        (folder / "prepared.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    if problems:
        proposal.remarks.append(
            f"{plural(len(problems), 'pair', 'was/were left out')}, e.g. {problems[0]}"
        )
    spec = proposal.spec
    places: dict[str, object] = {"root": str(output), "images": "images", "masks": "masks"}
    rules = {"value_map": None, "mask_format": "ids", "ignore_ids": (spec.ignore_label,)}
    return spec.model_copy(update=places | rules)


def _write(proposal: Proposal, folder: Path, item: Item) -> str | None:
    """Writes one pair; why it cannot be, if so."""
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
