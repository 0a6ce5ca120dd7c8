"""Numbers in sentences."""


def duration(seconds: float) -> str:
    """Return a time span in the two units that matter: "4.2 s", "3 min 20 s", "1 h 02 min", "2 d 04 h"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    whole, minutes = round(seconds), round(seconds / 60)
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60:02d} h"


def plural(count: int, word: str, rest: str = "") -> str:
    """1, "seed" -> "1 seed"; 3 -> "3 seeds"; 1, "class" -> "1 class"; 2 -> "2 classes".

    Args:
        rest: what agrees with it, as singular and plural: "is/are left" -> "1 seed is left", "3 seeds are left".
    """
    one = count == 1
    ending = "" if one else "es" if word.endswith("s") else "s"
    agreeing = " ".join(part.split("/")[0 if one else -1] for part in rest.split(" ") if part)
    return f"{count} {word}{ending}{' ' * bool(agreeing)}{agreeing}"
