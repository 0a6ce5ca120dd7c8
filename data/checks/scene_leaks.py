"""Scenes whose images lie in several splits: by ``scene_pattern``, or by what names suggest."""

from collections import Counter
from collections.abc import Iterator
from operator import attrgetter

import numpy as np

from encoder_ablations.data.checks.facts import Content, PairFacts, grouped
from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.datasets.scene_names import likely_scenes
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.datasets.tile_names import scene_in
from encoder_ablations.utils.texts import first_names, plural

_Scenes = dict[str | None, list[PairFacts]]
"""Scene -> its pairs; None = the pairs whose name has none."""


def scene_findings(content: Content) -> Iterator[Finding]:
    """Find scenes that several splits share, and names without a scene."""
    pattern = content.spec.scene_pattern
    if pattern is None:
        yield from _likely_scenes(content)
        return
    scenes = _by_scene(pattern, content.pairs)
    for each in scenes.pop(None, []):
        yield each.about_image("scene-unnamed", f"scene_pattern '{pattern}'")
    for scene, splits in _shared(scenes).items():
        shares = [f"{plural(count, 'image')} in {split}" for split, count in splits.items()]
        yield finding("scene-leaked", None, "", f"scene '{scene}': {', '.join(shares)}")


def _by_scene(pattern: str, pairs: list[PairFacts]) -> _Scenes:
    return grouped(pairs, lambda each: scene_in(pattern, each.pair.id))


def _shared(scenes: _Scenes) -> dict[str | None, Counter[Split]]:
    """Return how many images of a scene each split holds, for scenes of several splits."""
    counts: dict[str | None, Counter[Split]] = {
        scene: Counter(map(attrgetter("split"), pairs)) for scene, pairs in scenes.items()
    }
    return {scene: splits for scene, splits in counts.items() if len(splits) > 1}


def _likely_scenes(content: Content) -> Iterator[Finding]:
    """Scenes that several splits share, where only names speak of scenes."""
    pairs = [each for each, _ in content.masks]
    pixels = np.array([mask.counts for _, mask in content.masks])
    found = likely_scenes([each.pair.id for each in pairs], pixels)
    if found is None or not found.sure:
        return
    shared = _shared(_by_scene(found.pattern, pairs))
    if shared:
        groups = f"{len(shared)} of {plural(found.scenes, 'group')}"
        detail = f"{groups} by '{found.pattern}' ({first_names(sorted(map(str, shared)))})"
        yield finding("scene-likely", None, "", detail)
