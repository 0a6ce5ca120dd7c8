"""Writes a corrected copy of a dataset. What cannot be corrected without knowing better is left out, and said so."""

import json
import re
import shutil
import unicodedata
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from encoder_ablations.data.checks.comparisons import usual_palette
from encoder_ablations.data.checks.copied_yaml import copied_yaml
from encoder_ablations.data.checks.facts import PairFacts
from encoder_ablations.data.checks.file_names import name_problem
from encoder_ablations.data.checks.lint import SPLITS, THREADS, LintReport
from encoder_ablations.data.checks.rules import readable
from encoder_ablations.data.datasets.reading import image_size, opened, read_ids, read_image
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import new_folder, require_free

SAVED_ANEW = frozenset(
    {"image-rotated", "exif-contradicts", "image-alpha", "image-frames", "format-differs"}
)
"""Rules whose images are written as what training would have read from them."""

HARMLESS = frozenset({"mask-constant", "mask-repeated", "mask-unlabelled"})
"""Rules about what a mask says and not about its file."""
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


class _Hopeless(Exception):
    """This pair cannot be corrected; the text says why."""


def repair(report: LintReport, output: Path, source: Path | None = None) -> Repair:
    """Writes images, masks and ``dataset.yaml`` into a new folder; the originals are only read.

    Args:
        source: the dataset's YAML, whose comments are kept.

    Raises:
        InputError: the folder exists or lies in the dataset, cannot be written to, or no pair would be left.
    """
    given, output = output, output.absolute()
    spec = report.spec
    require_apart(spec, output)
    result = Repair(given / "dataset.yaml")
    paired = {path for each in report.facts for path in (each.pair.image, each.pair.mask)}
    for found in report.findings:
        if (
            found.path is not None
            and found.path not in paired
            and found.rule.code in WITHOUT_PARTNER
        ):
            result.left_out[report.shorten(found.path)] = found.rule.title
    fixer = _Fixer(report)
    names = _names(report.facts)
    with new_folder(output) as folder:
        for split in spec.splits:
            for kind in ("images", "masks"):
                (folder / kind / split).mkdir(parents=True)
        with ThreadPoolExecutor(THREADS) as pool:
            outcomes = list(
                pool.map(lambda each: fixer.write(each, folder, names[id(each)]), report.facts)
            )
        for each, (done, why) in zip(report.facts, outcomes, strict=True):
            result.written += why is None
            if why is not None:
                result.left_out[report.shorten(each.pair.image)] = why
            elif done:
                result.corrected[report.shorten(each.pair.image)] = ", ".join(done)
        left = [each for each, (_, why) in zip(report.facts, outcomes, strict=True) if why is None]
        empty = set(spec.splits) - {each.split for each in left}
        if empty:
            raise InputError(f"nothing would be left of the split {', '.join(sorted(empty))}.")
        text = copied_yaml(spec, output, {each.pair.id: names[id(each)] for each in left}, source)
        (folder / "dataset.yaml").write_text(text, encoding="utf-8")
        about = {
            "corrected": result.corrected,
            "left_out": {name: readable(why) for name, why in result.left_out.items()},
        }
        (folder / ABOUT).write_text(
            json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return result


def require_apart(spec: DatasetSpec, output: Path) -> None:
    """
    Raises:
        InputError: a copy cannot be written there: something is there, or it lies in the dataset.
    """
    if output.resolve().is_relative_to(spec.folder.resolve()):
        raise InputError(
            f"{output} lies in the dataset itself. Choose a folder outside of {spec.folder.resolve()}."
        )
    require_free(output)


def _names(facts: list[PairFacts]) -> dict[int, str]:
    """A name that survives everywhere for each pair, distinct within its split."""
    taken: defaultdict[str, set[str]] = defaultdict(set)
    names = {}
    for each in facts:
        name = each.pair.id.replace("/", "__")
        if name_problem(name):
            name = (
                unicodedata.normalize("NFC", readable(name)).replace("�", "_").strip().rstrip(".")
            )
            name = re.sub(r'[\x00-\x1f\x7f<>:"|?*\\]', "_", name)
        free, number = name or "_", 1
        while free.casefold() in taken[each.split]:
            number += 1
            free = f"{name}_{number}"
        taken[each.split].add(free.casefold())
        names[id(each)] = free
    return names


class _Fixer:
    def __init__(self, report: LintReport) -> None:
        self._spec = report.spec
        self._place_of = {color: value for value, color in usual_palette(report.facts).items()}
        self._superfluous = _superfluous(report.facts)
        self._title = {(each.path, each.rule.code): each.rule.title for each in report.findings}
        self._binary = len(report.spec.classes) == 2 and any(
            e.rule.code == "single-class" for e in report.findings
        )
        self._codes: defaultdict[Path | None, set[str]] = defaultdict(set)
        for each in report.findings:
            self._codes[each.path].add(each.rule.code)
        self._value_of = {target: value for value, target in (report.spec.value_map or {}).items()}

    def write(self, facts: PairFacts, folder: Path, name: str) -> tuple[list[str], str | None]:
        """Writes one pair; what was done to it, and why it was left out, if it was."""
        done: list[str] = []
        try:
            if why := self._superfluous.get(id(facts)):
                raise _Hopeless(why)
            if facts.image is None:
                raise _Hopeless(self._reason(facts.pair.image))
            if "exif-unclear" in self._codes[facts.pair.image]:
                raise _Hopeless(
                    "EXIF data turn the image, and nothing tells whether its mask is turned, too: look at it, and say "
                    "masks_drawn_on=upright or masks_drawn_on=stored"
                )
            ids = self._mask(facts, done)
            self._save_image(facts, folder / "images" / facts.split, name, done)
            target = folder / "masks" / facts.split
            if ids is None:
                shutil.copyfile(facts.pair.mask, target / f"{name}{facts.pair.mask.suffix.lower()}")
            else:
                Image.fromarray(ids.astype(np.uint8 if ids.max() < 256 else np.uint16)).save(
                    target / f"{name}.png"
                )
        except (_Hopeless, InputError) as problem:
            return [], str(problem)
        if {name} != {facts.pair.image.stem, facts.pair.mask.stem}:
            done.append(f"renamed to {name}")
        return done, None

    def _reason(self, path: Path) -> str:
        return (
            "; ".join(title for (where, _), title in self._title.items() if where == path)
            or "cannot be read"
        )

    def _save_image(self, facts: PairFacts, folder: Path, name: str, done: list[str]) -> None:
        path = facts.pair.image
        codes = self._codes[path] & SAVED_ANEW
        if codes:
            upright = self._is_upright(facts)
            Image.fromarray(read_image(path, upright)).save(folder / f"{name}.png")
            way = (
                "an upright RGB PNG"
                if upright
                else "an RGB PNG of the pixels as they were stored, as its mask is"
            )
            done.append(f"image saved as {way} ({', '.join(sorted(codes))})")
        else:
            shutil.copyfile(path, folder / f"{name}{path.suffix.lower()}")

    def _is_upright(self, facts: PairFacts) -> bool:
        """Whether the copy holds the image as its EXIF data turn it: the way up that its mask was drawn on."""
        turned_mask = "mask-rotated" in self._codes[facts.pair.mask]
        return self._spec.upright and (turned_mask or facts.drawn_on != "stored")

    def _mask(self, facts: PairFacts, done: list[str]) -> np.ndarray | None:
        """The corrected values, or None when the file is right as it is."""
        path, codes = facts.pair.mask, self._codes[facts.pair.mask] - HARMLESS
        if codes and self._spec.mask_format != "ids":
            raise _Hopeless(self._reason(path))
        if facts.mask is None:
            ids = (
                self._from_colors(path)
                if "mask-color" in codes
                else _from_floats(path)
                if "mask-float" in codes
                else None
            )
            if ids is None:
                raise _Hopeless(self._reason(path))
            done.append("mask saved as ids")
            values = set(np.unique(ids).tolist())
            if values - {
                *range(len(self._spec.classes)),
                *self._spec.ignore_ids,
                *(self._spec.value_map or {}),
            }:
                raise _Hopeless("the mask's values are no class ids")
        elif {
            "mask-ids",
            "mask-interpolated",
            "mask-frames",
            "mask-binary",
        } & codes and not self._is_binary(facts):
            raise _Hopeless(self._reason(path))
        elif codes & {
            "mask-palette",
            "mask-rotated",
            "size-differs",
            "format-differs",
        } or self._is_binary(facts):
            ids = self._corrected(facts, codes, done)
        else:
            return None
        size = image_size(facts.pair.image, self._is_upright(facts))
        if ids.shape != size:
            ids = _resized(ids, size)
            done.append("mask resized by the nearest pixel")
        return ids

    def _is_binary(self, facts: PairFacts) -> bool:
        return self._binary and facts.mask is not None and set(facts.mask.values) <= {0, IGNORE}

    def _corrected(self, facts: PairFacts, codes: set[str], done: list[str]) -> np.ndarray:
        ids = read_ids(facts.pair.mask)
        if self._is_binary(facts):
            ids = (ids > 0).astype(np.uint8)
            done.append("255 became class 1")
        if "mask-palette" in codes and facts.mask is not None:
            table = np.arange(65536)
            for value, color in facts.mask.palette.items():
                table[value] = self._place_of.get(color, value)
            ids = table[ids]
            done.append("palette set in order")
        if "mask-rotated" in codes:
            with opened(facts.pair.mask) as image:
                turn = Image.Exif()
                turn[0x0112] = image.getexif()[0x0112]
            carrier = Image.fromarray(ids.astype(np.int32))
            carrier.getexif()[0x0112] = turn[0x0112]
            upright = np.asarray(ImageOps.exif_transpose(carrier))
            if (
                facts.image is None
                or ids.shape == facts.image.size
                or upright.shape != facts.image.size
            ):
                raise _Hopeless(
                    "the mask's EXIF data turn it, and whether that is meant cannot be told from its size"
                )
            ids = upright
            done.append("mask turned upright")
        return ids

    def _from_colors(self, path: Path) -> np.ndarray | None:
        """Ids of a colour picture that is grey after all, or that has only the colours of the classes."""
        with opened(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        if (pixels == pixels[..., :1]).all():
            return pixels[..., 0]
        if self._spec.colors is None:
            return None
        ids = np.full(pixels.shape[:2], -1)
        for number, color in enumerate(self._spec.colors):
            ids[(pixels == color).all(axis=-1)] = self._value_of.get(number, number)
        ids[(ids < 0) & (pixels == 0).all(axis=-1)] = (
            self._spec.ignore_ids[0] if self._spec.ignore_ids else -1
        )
        return ids if ids.min() >= 0 else None


def _superfluous(facts: list[PairFacts]) -> dict[int, str]:
    """Copies: of those in several splits the one that is evaluated stays; of those with different masks none does."""
    groups = defaultdict(list)
    for each in facts:
        if each.image is not None:
            groups[each.image.digest].append(each)
    found: dict[int, str] = {}
    for group in groups.values():
        last = max((each.split for each in group), key=SPLITS.index)
        kept: PairFacts | None = None
        contradict = (
            len({each.mask.digest for each in group if each.mask and each.split == last}) > 1
        )
        for each in group:
            if each.split != last:
                found[id(each)] = f"the same image is in {last}"
            elif contradict:
                found[id(each)] = "equal images have different masks"
            elif kept is not None:
                found[id(each)] = f"the same image as {readable(kept.pair.image.name)}"
            else:
                kept = each
    return found


def _from_floats(path: Path) -> np.ndarray | None:
    with opened(path) as image:
        numbers = np.asarray(image)
    whole = np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    return (
        numbers.astype(np.int64) if whole and numbers.min() >= 0 and numbers.max() < 65536 else None
    )


def _resized(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The nearest pixel's id, for masks of the image's proportions."""
    rows, columns = ids.shape
    if abs(rows * size[1] - columns * size[0]) > max(rows, columns, *size):
        raise _Hopeless("the mask has another shape than its image")
    chosen = [
        ((np.arange(to) + 0.5) * of / to).astype(int)
        for of, to in zip(ids.shape, size, strict=True)
    ]
    return ids[chosen[0][:, None], chosen[1]]
