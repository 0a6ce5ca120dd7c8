"""Writes a corrected copy of a dataset.

What cannot be corrected without knowing better is left out, and said so.
"""

import json
import shutil
import unicodedata
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from encoder_ablations.data.checks.copied_yaml import copied_yaml
from encoder_ablations.data.checks.facts import Content, PairFacts, differ, repeats
from encoder_ablations.data.checks.lint import SPLITS, THREADS, LintReport
from encoder_ablations.data.checks.mask_repair import BrokenRules, Hopeless, MaskRepair
from encoder_ablations.data.checks.portable_names import UNSAFE, name_problem
from encoder_ablations.data.datasets.pairing import Kind, Pair
from encoder_ablations.data.datasets.reading import image_size, read_image
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import new_folder, require_free
from encoder_ablations.utils.texts import readable

SAVED_ANEW = frozenset(
    {"image-rotated", "exif-contradicts", "image-alpha", "image-frames", "format-differs"}
)
"""Rules whose images are written as what training would have read from them."""
WITHOUT_PARTNER = frozenset(
    {"image-missing", "mask-missing", "mask-lossy", "stem-twice", "link-broken", "not-a-file"}
)
"""Rules about files that make no pair; a lossy mask may be in one."""
ABOUT = "fixed.json"
"""In the copy: what became of every file that was corrected or left out."""


@dataclass
class Repair:
    """What became of every pair.

    Attributes:
        config: the dataset YAML of the copy.
        written: pairs in the copy.
        corrected: file -> what was done.
        left_out: file -> why.
    """

    config: Path
    written: int = 0
    corrected: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def repair(report: LintReport, output: Path, source: Path | None = None) -> Repair:
    """Write images, masks and ``dataset.yaml`` into a new folder; the originals are only read.

    Args:
        report: what lint has found.
        output: the new folder.
        source: the dataset's YAML, whose comments are kept.

    Raises:
        InputError: the folder exists or lies in the dataset, cannot be written to, or no pair would
            be left.
    """
    spec = report.spec
    require_apart(spec, output.absolute())
    result = Repair(output / "dataset.yaml", left_out=_without_partner(report))
    names = _names(report.facts)
    with new_folder(output.absolute()) as folder:
        writer = _Writer(report, folder)
        with ThreadPoolExecutor(THREADS) as pool:
            outcomes = list(pool.map(writer.write, report.facts, names))
        name_of: dict[str, str] = {}
        empty = set(spec.splits)
        for each, name, outcome in zip(report.facts, names, outcomes, strict=True):
            shown = report.shorten(each.pair.image)
            if outcome.problem:
                result.left_out[shown] = outcome.problem
                continue
            if outcome.done:
                result.corrected[shown] = ", ".join(outcome.done)
            result.written += 1
            name_of[each.pair.id] = name
            empty.discard(each.split)
        if empty:
            raise InputError(f"nothing would be left of the split {', '.join(sorted(empty))}.")
        text = copied_yaml(spec, output.absolute(), name_of, source)
        (folder / "dataset.yaml").write_text(text, encoding="utf-8")
        (folder / ABOUT).write_text(_account(result), encoding="utf-8")
    return result


def require_apart(spec: DatasetSpec, output: Path) -> None:
    """Refuse a folder for the copy that is taken or lies in the dataset.

    Raises:
        InputError: a copy cannot be written there.
    """
    original = spec.folder.resolve()
    if output.resolve().is_relative_to(original):
        raise InputError(
            f"{output} lies in the dataset itself. Choose a folder outside of {original}."
        )
    require_free(output)


def _without_partner(report: LintReport) -> dict[str, str]:
    """Return why files are left out that make no pair."""
    paired = set(chain.from_iterable(each.pair for each in report.facts))
    alone = [each for each in report.findings if each.rule.code in WITHOUT_PARTNER]
    return {report.shorten(each.path): each.rule.title for each in alone if each.path not in paired}


def _account(result: Repair) -> str:
    left_out = {name: readable(why) for name, why in result.left_out.items()}
    about = {"corrected": result.corrected, "left_out": left_out}
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"


def _names(facts: list[PairFacts]) -> list[str]:
    """Return a name that survives everywhere for each pair, distinct within its split."""
    taken: defaultdict[str, set[str]] = defaultdict(set)
    names = []
    for each in facts:
        name = free = _portable(each.pair.id.replace("/", "__"))
        number = 1
        while free.casefold() in taken[each.split]:
            number += 1
            free = f"{name}_{number}"
        taken[each.split].add(free.casefold())
        names.append(free)
    return names


def _portable(name: str) -> str:
    """Return a name without what some system does not allow."""
    if name_problem(name):
        name = unicodedata.normalize("NFC", readable(name)).replace("�", "_")
        name = UNSAFE.sub("_", name.strip().rstrip("."))
    return name or "_"


def _superfluous(content: Content) -> dict[tuple[str, Pair], str]:
    """Return why copies are left out, by split and pair.

    If copies lie in several splits, the one that is evaluated stays. If their masks differ, none
    does.
    """
    found: dict[tuple[str, Pair], str] = {}
    # the copy that stays comes first: test goes before val, val before train
    ordered = sorted(content.images, key=lambda read: -SPLITS.index(read[0].split))
    for (kept, _), (each, _) in repeats(ordered, lambda read: read[1].digest):
        why = f"the same image is in {kept.split}"
        if each.split == kept.split:
            why = f"the same image as {readable(kept.pair.image.name)}"
            if differ(kept.mask, each.mask):
                why = found[kept.split, kept.pair] = "equal images have different masks"
        found[each.split, each.pair] = why
    return found


@dataclass
class _Outcome:
    """What was done to a pair; ``problem`` says why it was left out, "" = it was not."""

    done: list[str] = field(default_factory=list)
    problem: str = ""


class _Writer:
    """Writes the pairs of the copy; used by several threads at once."""

    def __init__(self, report: LintReport, folder: Path) -> None:
        self._spec = report.spec
        self._folder = folder
        self._superfluous = _superfluous(report.content)
        self._broken = BrokenRules(report.findings)
        self._masks = MaskRepair(report, self._broken)

    def write(self, facts: PairFacts, name: str) -> _Outcome:
        """Write one pair under its new name."""
        done: list[str] = []
        try:
            self._require_hope(facts)
            upright = self._is_upright(facts)
            ids = self._masks.correct(facts, image_size(facts.pair.image, upright), done)
            self._save_image(facts, name, upright, done)
            self._save_mask(facts, name, ids)
        except (Hopeless, InputError) as problem:
            return _Outcome(problem=str(problem))
        if {name} != {facts.pair.image.stem, facts.pair.mask.stem}:
            done.append(f"renamed to {name}")
        return _Outcome(done)

    def _require_hope(self, facts: PairFacts) -> None:
        """Refuse pairs that are left out whatever their masks hold."""
        why = self._superfluous.get((facts.split, facts.pair))
        if why is not None:
            raise Hopeless(why)
        if facts.image is None:
            raise self._broken.hopeless(facts.pair.image)
        if "exif-unclear" in self._broken.codes(facts.pair.image):
            raise Hopeless(
                "EXIF data turn the image, and nothing tells whether its mask is turned, too: "
                "look at it, and say masks_drawn_on=upright or masks_drawn_on=stored"
            )

    def _is_upright(self, facts: PairFacts) -> bool:
        """Whether the copy holds the image as its EXIF data turn it, as its mask was drawn."""
        turned_mask = "mask-rotated" in self._broken.codes(facts.pair.mask)
        return self._spec.upright and (turned_mask or facts.drawn_on != "stored")

    def _save_image(self, facts: PairFacts, name: str, upright: bool, done: list[str]) -> None:
        path = facts.pair.image
        codes = self._broken.codes(path) & SAVED_ANEW
        if not codes:
            shutil.copyfile(path, self._target("images", facts, name, path.suffix.lower()))
            return
        target = self._target("images", facts, name, ".png")
        Image.fromarray(read_image(path, upright)).save(target)
        way = "an RGB PNG of the pixels as they were stored, as its mask is"
        if upright:
            way = "an upright RGB PNG"
        done.append(f"image saved as {way} ({', '.join(sorted(codes))})")

    def _save_mask(self, facts: PairFacts, name: str, ids: np.ndarray | None) -> None:
        path = facts.pair.mask
        if ids is None:
            shutil.copyfile(path, self._target("masks", facts, name, path.suffix.lower()))
            return
        kind = np.promote_types(np.min_scalar_type(ids.max()), np.uint8)
        Image.fromarray(ids.astype(kind)).save(self._target("masks", facts, name, ".png"))

    def _target(self, kind: Kind, facts: PairFacts, name: str, suffix: str) -> Path:
        """Return where a file of the copy goes, in a folder that is there."""
        folder = self._folder / kind / facts.split
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}{suffix}"
