"""How numbers are written in texts, tables and figures; NaN stands for what is unknown."""

import math
from collections.abc import Sequence

from encoder_ablations.experiments.stats.seeds import Summary
from encoder_ablations.utils.texts import plural

DASH = "–"
UNITS = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))
"""Size and ending, largest first."""
UNSIGNED = {"+0.0": "0.0", "-0.0": "0.0", "+nan": ""}
"""Points that have no direction."""


def number(value: float, form: str, missing: str = "") -> str:
    """Return ``value`` in a format of Python (``.2f``), or ``missing`` for NaN."""
    if math.isnan(value):
        return missing
    return format(value, form)


def percent(share: float, digits: int = 1, missing: str = "") -> str:
    """Return a share in percent, without the sign: 0.7123 -> "71.2"; ``missing`` for NaN."""
    return number(100 * share, f".{digits}f", missing)


def fraction(share: float) -> str:
    """Return a share of the training images: 0.05 -> "5 %", 0.0025 -> "0.25 %"."""
    return f"{share * 100:g} %"


def points(difference: float) -> str:
    """Return a difference of shares in points: 0.041 -> "+4.1", -0.002 -> "−0.2", NaN -> ""."""
    text = f"{100 * difference:+.1f}"
    return UNSIGNED.get(text, text).replace("-", "−")


def bare(difference: float) -> str:
    """Return a difference of shares in points, without its sign."""
    return points(abs(difference)).lstrip("+")


def interval(low: float, high: float) -> str:
    """Return two differences of shares in points: "−1.2 to +3.4"."""
    return f"{points(low)} to {points(high)}"


def change(over: Summary) -> str:
    """Return a difference in points and its bounds, as far as there are any.

    "−2.2 (−5.0 to +0.5)"; bounds of two seeds are called a range; a dash without shared seeds.
    """
    if over.n == 0:
        return DASH
    if not over.spread:
        return points(over.mean)
    kind = over.spread.replace("95 % interval", "")
    ends = f"{kind} {interval(over.low, over.high)}".lstrip()
    return f"{points(over.mean)} ({ends})"


def bounds(over: Summary) -> str:
    """Return the bounds of a difference whose direction the text has already given.

    ``2.5 to 7.5`` for a mean of +5.0 (more) as well as of −5.0 (less).
    """
    low, high = over.low, over.high
    if over.mean < 0:
        low, high = -high, -low
    return interval(low, high).replace("+", "")


def behind(over: Summary) -> str:
    """Return the bounds of second minus first, from those of first minus second.

    It is "" for fewer than two seeds.
    """
    if over.n < 2:
        return ""
    return interval(-over.high, -over.low)


def half_width(over: Summary) -> str:
    """Return half the interval in points: "± 1.4"; "" below three seeds."""
    if math.isnan(over.half_width):
        return ""
    return f"± {100 * over.half_width:.1f}"


def large(count: float) -> str:
    """Return three significant digits with k, M, G or T: 86567656 -> "86.6 M"."""
    for size, unit in UNITS:
        if abs(count) >= 0.9995 * size:
            return three_digits(count / size) + unit
    return f"{count:.0f}"


def giga(count: float) -> str:
    """Return a number in billions: 23130000000 -> "23.1"."""
    return three_digits(count / 1e9)


def times(ratio: float) -> str:
    """Return a ratio: 2.3456 -> "2.3 times"."""
    digits = int(ratio < 9.95)
    return f"{ratio:.{digits}f} times"


def listing(words: Sequence[str]) -> str:
    """Join words: ["a", "b", "c"] -> "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def no_more(seeds: int) -> str:
    """Return the clause that warns of too few seeds."""
    return f"{plural(seeds, 'seed')} cannot show more than that"


def three_digits(value: float) -> str:
    """Return three significant digits: 41.26 -> "41.3"; a dash for NaN."""
    digits = 2 - (abs(value) >= 9.995) - (abs(value) >= 99.95)
    return number(value, f".{digits}f", DASH)
