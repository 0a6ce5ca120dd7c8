"""Numbers in sentences."""


def plural(count: int, word: str) -> str:
    """1, "seed" -> "1 seed"; 3 -> "3 seeds"."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
