"""The figure of one confidence record."""

from types import SimpleNamespace

import numpy as np

from encoder_ablations.experiments.reporting.figures.confidence import record_figure
from encoder_ablations.experiments.reporting.figures.drawing import style_context

BINS = 15


def record():
    """A model that is too sure."""
    confidence = [(place + 0.5) / BINS for place in range(BINS)]
    calibration = SimpleNamespace(
        ece=0.05,
        bin_pixels=[100] * BINS,
        bin_confidence=confidence,
        bin_accuracy=[min(1, value + 0.2) for value in confidence],
    )
    coverage = np.linspace(0.05, 1, 20).tolist()
    selective = SimpleNamespace(
        aurc=0.1, ideal_aurc=0.05, error=0.3, coverage=coverage, risk=[0.3] * 20
    )
    return SimpleNamespace(
        before=calibration,
        after=calibration,
        temperature=1.2,
        entropy=selective,
        disagreement=selective,
    )


def test_legends_lie_above_the_curves():
    with style_context():
        figure = record_figure(record())
        figure.canvas.draw()
        for axis in figure.axes:
            legend = axis.get_legend()
            assert len(legend.get_texts()) >= 2
            assert legend.get_window_extent().y0 >= axis.get_window_extent().y1
