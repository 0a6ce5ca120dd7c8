"""Axes of a chart: from values to places, and where ticks stand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (1, 2, 5, 10)
"""Steps between ticks, times a power of ten."""
LEAST = 1e-9
"""Smallest width of an axis, and smallest value of a logarithmic one."""


@dataclass(frozen=True)
class Axis:
    """One axis of a panel.

    Attributes:
        low, high: the values at its ends; ``low`` may be larger, then the axis is reversed.
        label: what it shows, with the unit.
        ticks: values with their texts, of one or two lines.
        logarithmic: whether equal distances are equal ratios.
        unit: what is written behind a value that the pointer rests on.
        breaks: values at which the sign of a broken axis stands.
    """

    low: float
    high: float
    label: str = ""
    ticks: Sequence[tuple[float, str]] = ()
    logarithmic: bool = False
    unit: str = ""
    breaks: Sequence[float] = ()

    def share(self, value: float) -> float:
        """Return the place of a value: 0 at ``low``, 1 at ``high``."""
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = (math.log(max(each, LEAST)) for each in (low, high, at))
        return (at - low) / ((high - low) or LEAST)

    def within(self, value: float) -> float:
        """Return a value, or the end of the axis that it lies beyond."""
        low, high = sorted((self.low, self.high))
        return min(max(value, low), high)


def linear_axis(
    values: Sequence[float], label: str, unit: str = "", bounds: tuple[float, float] | None = None
) -> Axis:
    """Return an axis with round ticks around all values.

    Args:
        values: what is drawn; NaN does not count.
        label: of the axis.
        unit: see :class:`Axis`.
        bounds: ends that the axis does not go beyond, such as (0, 100) for percent.
    """
    low, high = _ends(values)
    step = round_step(low, high)
    low, high = step * math.floor(low / step), step * math.ceil(high / step)
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Axis(low, high, label, _ticks(low, high, step), unit=unit)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest value, at least a little apart."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if high - low < LEAST:
        return low - 0.5, high + 0.5
    return low, high


def round_step(low: float, high: float, count: int = 5) -> float:
    """Return the distance of about ``count`` round ticks: 1, 2 or 5 times a power of ten."""
    rough = max(high - low, LEAST) / count
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in STEPS if step * power >= rough * (1 - LEAST))


def _ticks(low: float, high: float, step: float) -> list[tuple[float, str]]:
    first, last = math.ceil(low / step - LEAST), math.floor(high / step + LEAST)
    return [(place * step, f"{place * step:.6g}") for place in range(first, last + 1)]


def logarithmic_axis(values: Sequence[float], label: str, unit: str = "") -> Axis:
    """Return a logarithmic axis with ticks at 1, 2 and 5 times powers of ten.

    Args:
        values: what is drawn; all above 0.
        label: of the axis.
        unit: see :class:`Axis`.
    """
    low, high = min(values) / 1.15, max(values) * 1.15
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places = [step * 10.0**power for power in powers for step in STEPS[:3]]
    ticks = [(place, f"{place:g}") for place in places if low <= place <= high]
    return Axis(low, high, label, ticks, logarithmic=True, unit=unit)


def cost_axis(values: Sequence[float], label: str, unit: str = "") -> Axis:
    """Return a logarithmic axis where values differ much, and else one from about 0 on."""
    if min(values) > 0 and max(values) > 3 * min(values):
        return logarithmic_axis(values, label, unit)
    margin = 0.1 * max(values)
    return linear_axis([max(min(values) - margin, 0), max(values) + margin], label, unit)
