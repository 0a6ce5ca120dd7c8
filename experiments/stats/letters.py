"""Letters of significance: names that share a letter do not differ."""

from collections.abc import Iterable, Sequence
from string import ascii_lowercase


def significance_letters(names: Sequence[str], different: Iterable[tuple[str, str]]) -> list[str]:
    """Return the letters of every name; two names share one unless they differ.

    Piepho (2004), "An algorithm for a letter-based representation of all-pairwise comparisons":
    insert and absorb.

    Args:
        names: best first; the first one gets the letter a.
        different: pairs of names that a test has found to differ.

    Returns:
        "a", "ab", …, one text for each name; all "" where the alphabet has too few letters.
    """
    groups = [frozenset(names)]
    for first, second in different:
        # a letter that both have becomes two letters: one without each of them
        split = [group for group in groups if {first, second} <= group]
        groups = [group for group in groups if group not in split]
        groups += [group - {name} for group in split for name in (first, second)]
        groups = _absorbed(groups)
    place = {name: number for number, name in enumerate(names)}
    groups.sort(key=lambda group: sorted(place[name] for name in group))
    if len(groups) > len(ascii_lowercase):
        return [""] * len(names)
    lettered = list(zip(ascii_lowercase, groups, strict=False))
    return ["".join(letter for letter, group in lettered if name in group) for name in names]


def _absorbed(groups: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    """Return the groups that lie in no other one, each once."""
    unique = list(dict.fromkeys(groups))
    return [group for group in unique if not any(group < other for other in unique)]
