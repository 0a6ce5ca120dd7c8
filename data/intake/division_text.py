"""A division in words: its table, and the lines of YAML that use it."""

from pathlib import Path

import numpy as np

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.intake.splits import Ratios
from encoder_ablations.utils.config import in_yaml
from encoder_ablations.utils.texts import first_names


def division_table(
    spec: DatasetSpec, parts: dict[str, list[int]], scenes: list[str], counts: np.ndarray | None
) -> str:
    """Return images, scenes and the share of each class's pixels, by part.

    Args:
        spec: the dataset.
        parts: positions of images by part.
        scenes: the scene of each image.
        counts: N×K pixels of each class; None = not known.
    """
    lines = [
        f"{'part':<8}{'images':>8}{'scenes':>8}  share of all images, and of each class's pixels"
    ]
    everything = sum(map(len, parts.values()))
    for part, positions in parts.items():
        share = f"{100 * len(positions) / everything:.1f} %"
        if counts is not None:
            totals = np.maximum(counts.sum(axis=0), 1)
            by_class = 100 * counts[positions].sum(axis=0) / totals
            named = zip(spec.classes, by_class, strict=True)
            shares = [f"{name} {value:.1f}" for name, value in named]
            share += f": {first_names(shares, 12)}"
        number = len({scenes[position] for position in positions})
        lines.append(f"{part:<8}{len(positions):>8}{number:>8}  {share}")
    if spec.scene_pattern is None:
        lines.append(
            "Every image counts as a scene of its own; if some belong together, say so with "
            "--scenes."
        )
    return "\n".join(lines)


def division_yaml(
    spec: DatasetSpec, reference: str, ratios: Ratios, folder: Path, *, with_scenes: bool
) -> str:
    """Return the lines for a study or a dataset's YAML.

    Args:
        spec: the dataset.
        reference: what the dataset is called on the command line.
        ratios: how it was divided.
        folder: where the lists lie, inside the dataset's folder.
        with_scenes: whether the lines hold the scene pattern, too, by which reports resample.
    """
    where = folder.relative_to(spec.folder.resolve()).as_posix()
    test = f", test: {where}/test_images.txt" if "test" in ratios.parts else ""

    def splits(prefix: str) -> str:
        train, val = (f"{where}/{prefix}{part}_images.txt" for part in ("train", "val"))
        return f"splits: {{train: {train}, val: {val}{test}}}"

    pattern = ""
    if with_scenes:
        pattern = in_yaml({"scene_pattern": spec.scene_pattern})[1:-1]
    if ratios.folds == 1:
        lines = [splits(""), pattern]
        return "\n".join(f"  {line}" for line in lines if line)
    lines = []
    for fold in range(ratios.folds):
        name = f"name: {spec.name}_fold_{fold}"
        keys = [f"base: {reference}", name, pattern, splits(f"fold_{fold}_")]
        lines.append(f"  - {{{', '.join(filter(None, keys))}}}")
    return "\n".join(lines)
