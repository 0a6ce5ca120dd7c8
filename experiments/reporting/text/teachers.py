"""Names of arms that learn from predicted masks: short ones, in place of the teacher's run id."""

import re
from collections import Counter
from collections.abc import Iterable

from encoder_ablations.data.datasets.pseudo_labels.spec import PseudoLabelSpec
from encoder_ablations.experiments.runs.spec import RunSpec, slug
from encoder_ablations.experiments.studies.grid import teacher_title
from encoder_ablations.segmenters.built_in import BUILT_IN

NO_MASKS = "no predicted masks"
RUN_ID = re.compile(r"(?P<model>.+)-(?P<percent>[\d.]+)pct-seed\d+.*-(?P<hash>[0-9a-f]{10})")
"""Encoder, head and dataset of a run id; its share of the images; its hash."""


def arm_names(specs: Iterable[RunSpec]) -> dict[str, str]:
    """Return the teacher's title of each run -> a short name of its arm.

    ``masks by zero_shot naclip ≥ 0.7``; the encoder is named where the run has another one. Names
    that two teachers share get the hashes of the teachers' run ids.

    Args:
        specs: of all runs that are shown together.
    """
    found = {teacher_title(spec): spec for spec in specs}
    names = {title: _arm_name(spec) for title, spec in found.items()}
    often = Counter(names.values())
    return {
        title: name if often[name] == 1 else _arm_name(found[title], with_hash=True)
        for title, name in names.items()
    }


def _arm_name(spec: RunSpec, with_hash: bool = False) -> str:
    labels = spec.pseudo_labels
    if labels is None:
        return NO_MASKS
    return f"masks by {_teacher(labels.run_id, spec, with_hash)} {_threshold(labels)}"


def _threshold(labels: PseudoLabelSpec) -> str:
    if labels.precision is None:
        return f"≥ {labels.threshold:g}"
    return f"with precision ≥ {labels.precision:g} on val"


def _teacher(run_id: str, spec: RunSpec, with_hash: bool) -> str:
    """Return the teacher's head, its encoder unless it is the run's, and its share of the images.

    A run id of another form, such as one that was cut, is returned as it is.
    """
    parts = RUN_ID.fullmatch(run_id)
    if parts is None:
        return run_id
    model = parts["model"].removesuffix(f"-{slug([spec.dataset.name])}")
    name = _head_name(model.removeprefix(f"{slug([spec.encoder.title])}-"))
    notes = []
    if parts["percent"] != "0":
        notes.append(f"{parts['percent']} %")
    if with_hash:
        notes.append(parts["hash"])
    if not notes:
        return name
    return f"{name} ({', '.join(notes)})"


def _head_name(words: str) -> str:
    """Return words of a run id with the head at their start as users write it."""
    # the longest first: "unet" begins "unet-plain", too
    for head in sorted(BUILT_IN, key=len, reverse=True):
        start = slug([head])
        if words == start or words.startswith(f"{start}-"):
            return f"{head} {words[len(start) + 1 :]}".strip()
    return words
