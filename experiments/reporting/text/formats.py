"""How numbers are written in texts, tables and figures."""

DASH = "–"


def percent(share: float | None) -> str:
    """0.7123 -> "71.2 %"."""
    return DASH if share is None else f"{share * 100:.1f} %"


def fraction(share: float) -> str:
    """A share of the training images: 0.05 -> "5 %", 0.0025 -> "0.25 %"."""
    return f"{share * 100:g} %"


def points(difference: float) -> str:
    """A difference of two percentages, with its sign: 0.041 -> "+4.1", -0.002 -> "−0.2"."""
    text = f"{abs(difference) * 100:.1f}"
    return text if text == "0.0" else f"{'+' if difference > 0 else '−'}{text}"


def bare(difference: float) -> str:
    """A difference in points without its sign."""
    return points(abs(difference)).lstrip("+")


def signed_range(low: float, high: float, mean: float) -> str:
    """Bounds of a difference that the text has already given a direction."""
    first, last = (low, high) if mean >= 0 else (-high, -low)
    return " to ".join(points(bound).lstrip("+") for bound in (first, last))


def large(number: float | None) -> str:
    """86567656 -> "86.6 M"; three significant digits with k, M, G or T."""
    if number is None:
        return DASH
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= 0.9995 * size:
            return _three_digits(number / size) + unit
    return f"{number:.0f}"


def giga(number: float | None) -> str:
    """In billions: 23130000000 -> "23.1"."""
    return DASH if number is None else _three_digits(number / 1e9)


def milliseconds(value: float | None) -> str:
    """41.26 -> "41.3"."""
    return DASH if value is None else _three_digits(value)


def memory(size: float | None) -> str:
    """Bytes: 1300000000 -> "1.30 GB"."""
    if size is None:
        return DASH
    return f"{_three_digits(size / 1e9)} GB" if size >= 1e9 else f"{_three_digits(size / 1e6)} MB"


def times(ratio: float) -> str:
    """2.3456 -> "2.3 times"."""
    return f"{ratio:.1f} times" if ratio < 9.95 else f"{ratio:.0f} times"


def listing(words: list[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return (
        words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
    )


def _three_digits(value: float) -> str:
    return (
        f"{value:.0f}"
        if abs(value) >= 99.95
        else f"{value:.1f}"
        if abs(value) >= 9.995
        else f"{value:.2f}"
    )
