"""The style of every encoder: its colour, its marker, and whether its weights were random."""

from collections.abc import Iterable
from itertools import count

from encoder_ablations.experiments.reporting.figures.drawing import COLORS, MARKERS, EncoderStyle
from encoder_ablations.experiments.reporting.findings.groups import RunGroup


def encoder_styles(groups: Iterable[RunGroup]) -> dict[str, EncoderStyle]:
    """Return the style of every encoder, the same in all figures of a study.

    An encoder from random weights has the colour and marker of the same network with loaded ones.
    """
    runs = {group.encoder: group for group in groups}
    # colours go to pretrained networks first, then to controls without one
    loaded = sorted(name for name, group in runs.items() if not group.random_weights)
    controls = sorted(runs.keys() - set(loaded))
    chosen = {encoder: number for number, encoder in enumerate(loaded)}
    # architecture -> number of its colour, until a control takes it
    unmatched = {runs[encoder].architecture: chosen[encoder] for encoder in reversed(loaded)}
    unused = count(len(loaded))
    for encoder in controls:
        number = unmatched.pop(runs[encoder].architecture, -1)
        chosen[encoder] = number if number >= 0 else next(unused)
    return {
        encoder: EncoderStyle(
            color=COLORS[number % len(COLORS)],
            marker=MARKERS[number % len(MARKERS)],
            dashed=runs[encoder].random_weights,
            number=position,
        )
        for position, (encoder, number) in enumerate(chosen.items())
    }
