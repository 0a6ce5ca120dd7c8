"""Numbers in sentences."""


def plural(count: int, word: str, rest: str = "") -> str:
    """1, "seed" -> "1 seed"; 3 -> "3 seeds"; 1, "class" -> "1 class"; 2 -> "2 classes".

    Args:
        rest: what agrees with it, as singular and plural: "is/are left" -> "1 seed is left", "3 seeds are left".
    """
    one = count == 1
    ending = "" if one else "es" if word.endswith("s") else "s"
    agreeing = " ".join(part.split("/")[0 if one else -1] for part in rest.split(" ") if part)
    return f"{count} {word}{ending}{' ' * bool(agreeing)}{agreeing}"
