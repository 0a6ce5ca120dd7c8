"""Scenes whose images lie in several splits: by ``scene_pattern``, or by what names suggest."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from encoder_ablations.data.checks.facts import PairFacts, with_mask
from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.datasets.scene_names import likely_scenes
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.texts import first_names, plural

_Splits = dict[str, Counter[str]]
"""Scene -> images in each split."""


def scene_findings(spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    """Find scenes that several splits share."""
    if spec.scene_pattern is None:
        yield from _likely_scenes(facts)
        return
    scenes, unnamed = _by_scene(spec.scene_pattern, facts)
    for each in unnamed:
        yield each.about_image("scene-unnamed", f"scene_pattern '{spec.scene_pattern}'")
    for scene, splits in sorted(scenes.items()):
        if len(splits) > 1:
            shares = [f"{plural(count, 'image')} in {split}" for split, count in splits.items()]
            yield finding("scene-leaked", None, "", f"scene '{scene}': {', '.join(shares)}")


def _by_scene(pattern: str, facts: list[PairFacts]) -> tuple[_Splits, list[PairFacts]]:
    """Return the splits of every scene, and the pairs in whose ids the pattern finds none."""
    scenes: _Splits = defaultdict(Counter)
    unnamed = []
    for each in facts:
        match = re.search(pattern, each.pair.id)
        if match is None or match[1] is None:
            unnamed.append(each)
        else:
            scenes[match[1]][each.split] += 1
    return scenes, unnamed


def _likely_scenes(facts: list[PairFacts]) -> Iterator[Finding]:
    """Scenes that several splits share, where only names speak of scenes."""
    read = with_mask(facts)
    ids = [each.pair.id for each, _ in read]
    found = likely_scenes(ids, np.array([mask.counts for _, mask in read]))
    if found is None or not found.sure:
        return
    scenes, _ = _by_scene(found.pattern, [each for each, _ in read])
    shared = sorted(scene for scene, splits in scenes.items() if len(splits) > 1)
    if shared:
        groups = f"{len(shared)} of {plural(found.scenes, 'group')}"
        detail = f"{groups} by '{found.pattern}' ({first_names(shared)})"
        yield finding("scene-likely", None, "", detail)
