"""How numbers are written in texts, tables and figures."""

from encoder_ablations.experiments.stats.seeds import Summary

DASH = "–"


def percent(share: float | None) -> str:
    """Return a share in percent: 0.7123 -> "71.2 %"."""
    return DASH if share is None else f"{share * 100:.1f} %"


def fraction(share: float) -> str:
    """Return a share of the training images: 0.05 -> "5 %", 0.0025 -> "0.25 %"."""
    return f"{share * 100:g} %"


def points(difference: float) -> str:
    """Return a difference of shares in points: 0.041 -> "+4.1", -0.002 -> "−0.2"."""
    text = f"{abs(difference) * 100:.1f}"
    return text if text == "0.0" else f"{'+' if difference > 0 else '−'}{text}"


def bare(difference: float) -> str:
    """Return a difference of shares in points, without its sign."""
    return points(abs(difference)).lstrip("+")


def bounds(over: Summary) -> str:
    """Return the bounds of a difference whose direction the text has already given.

    ``2.5 to 7.5`` for a mean of +5.0 (more) as well as of −5.0 (less).
    """
    low, high = over.low or 0.0, over.high or 0.0
    if (over.mean or 0.0) < 0:
        low, high = -high, -low
    return " to ".join(points(bound).lstrip("+") for bound in (low, high))


def large(number: float | None) -> str:
    """Return three significant digits with k, M, G or T: 86567656 -> "86.6 M"."""
    if number is None:
        return DASH
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= 0.9995 * size:
            return _three_digits(number / size) + unit
    return f"{number:.0f}"


def giga(number: float | None) -> str:
    """Return a number in billions: 23130000000 -> "23.1"."""
    return DASH if number is None else _three_digits(number / 1e9)


def milliseconds(value: float | None) -> str:
    """Return three significant digits: 41.26 -> "41.3"."""
    return DASH if value is None else _three_digits(value)


def memory(size: float | None) -> str:
    """Return a size in bytes as MB or GB: 1300000000 -> "1.30 GB"."""
    if size is None:
        return DASH
    if size < 1e9:
        return f"{_three_digits(size / 1e6)} MB"
    return f"{_three_digits(size / 1e9)} GB"


def times(ratio: float) -> str:
    """Return a ratio: 2.3456 -> "2.3 times"."""
    digits = 1 if ratio < 9.95 else 0
    return f"{ratio:.{digits}f} times"


def listing(words: list[str]) -> str:
    """Join words: ["a", "b", "c"] -> "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _three_digits(value: float) -> str:
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}"
