"""What differs between two studies besides their numbers: settings, data, versions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from encoder_ablations.experiments.reporting.comparing.arms import Pair
from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.utils.config import differences

LEFT_OUT: dict[str, Any] = {"seed": True, "dataset": {"root"}}
"""Settings that two studies may have differently: seeds are compared by themselves."""


def setting_lines(pairs: Sequence[Pair]) -> list[str]:
    """Return what differs in the specifications of the shared arms."""
    return _differing(pairs, _settings)


def version_lines(pairs: Sequence[Pair]) -> list[str]:
    """Return what differs in packages, revision, processor, GPU and threads of the shared arms."""
    return _differing(pairs, _environment)


def _differing(pairs: Sequence[Pair], read: Callable[[RunGroup], Mapping[str, Any]]) -> list[str]:
    """Return a line for each difference; it names its arms, unless all have it."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        for text in differences(read(pair.first), read(pair.second)):
            found.setdefault(text, []).append(pair.place.title)
    return [_with_arms(text, titles, len(pairs)) for text, titles in found.items()]


def _settings(group: RunGroup) -> Mapping[str, Any]:
    return group.spec.model_dump(mode="json", exclude=LEFT_OUT)


def _environment(group: RunGroup) -> Mapping[str, Any]:
    """Return the environment of a group's first run, without the command."""
    environment = group.runs[0].environment
    return {name: value for name, value in environment.items() if name != "command"}


def _with_arms(text: str, titles: Sequence[str], count: int) -> str:
    if len(titles) == count:
        return text
    more = ""
    if len(titles) > 1:
        more = f" and {len(titles) - 1} more"
    return f"{text} ({titles[0]}{more})"


def data_lines(pairs: Sequence[Pair]) -> list[str]:
    """Return which datasets, and which arms' training images, are not the same files."""
    lines = []
    for pair in pairs:
        one, other = pair.first.runs[0].data, pair.second.runs[0].data
        if one.dataset_sha256 != other.dataset_sha256:
            lines.append(f"{pair.place.dataset}: the files are not the same in both studies")
        if one.n_train != other.n_train:
            lines.append(
                f"{pair.place.dataset}, {pair.place.fraction:.4g} of it: "
                f"{one.n_train} → {other.n_train} training images"
            )
    return list(dict.fromkeys(lines))
