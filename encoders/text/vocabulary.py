"""Vocabularies: the texts by which each class is found."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder_ablations.utils.config import read_yaml_value
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.texts import first_names
from encoder_ablations.utils.yaml_text import one_line

FORMS = "Write lines 'class: [text, other text]', or a list of class names."
_PLACEHOLDER = re.compile(r"(class[ _-]?)?\d+", re.IGNORECASE)
"""Names that stand in for names of classes."""
OF_DATASETS = "classes"
"""Where the YAML of a dataset, as ``ablate init`` writes it, names its classes."""


@dataclass(frozen=True)
class Vocabulary:
    """Classes and their texts.

    Attributes:
        names: of the classes, in the order of their ids.
        queries: text -> class id; several texts may stand for one class.
    """

    names: tuple[str, ...]
    queries: dict[str, int]

    @property
    def texts(self) -> dict[str, list[str]]:
        """Class -> its texts, as :func:`load_vocabulary` reads them."""
        found: dict[str, list[str]] = {name: [] for name in self.names}
        for text, own in self.queries.items():
            found[self.names[own]].append(text)
        return found

    def queries_for(self, class_names: Sequence[str], where: str = "vocabulary") -> dict[str, int]:
        """Return text -> id among the classes of a dataset; a class may have no text.

        Args:
            class_names: of the dataset, in the order of their ids.
            where: begins the message.

        Raises:
            InputError: the dataset has no class of a name.
        """
        for name in self.names:
            if name not in class_names:
                raise InputError(f"{where}: {unknown('class', name, class_names)}")
        ids = [class_names.index(name) for name in self.names]
        return {text: ids[own] for text, own in self.queries.items()}


def load_vocabulary(
    source: Path | str | Mapping[str, Any] | Sequence[str], where: str = "vocabulary"
) -> Vocabulary:
    """Return the classes and texts of a YAML file, of a mapping, or of a list of names.

    A mapping has lines ``class: [text, other text]``, and a list has names that are their own
    texts. The YAML of a dataset, as ``ablate init`` writes it, is read as the list of its classes.

    Args:
        source: of these.
        where: begins messages about what is no file.

    Raises:
        InputError: there are no classes, a class has no texts, or a text stands for two classes.
    """
    content: Any = source
    if isinstance(source, str | Path):
        content, where = read_yaml_value(source), str(source)
    texts: dict[str, list[str]] = {}
    for name, given in _pairs(content, where):
        word = _word(name, where)
        if word in texts:
            raise InputError(f"{where}: the class '{word}' stands twice. Remove one.")
        texts[word] = _texts_of(word, given, where)
    return Vocabulary(tuple(texts), _queries(texts, where))


def _pairs(content: Any, where: str) -> list[tuple[Any, Any]]:
    """Return each class and what is given for it; a class of a list stands for itself.

    Raises:
        InputError: there is no class, or this is neither a mapping nor a list.
    """
    if isinstance(content, Mapping) and "root" in content and OF_DATASETS in content:
        content = content[OF_DATASETS]
    if content is None or content in ([], {}):
        raise InputError(f"{where}: the vocabulary is empty. {FORMS}")
    if isinstance(content, Mapping):
        return list(content.items())
    if isinstance(content, str) or not isinstance(content, Sequence):
        raise InputError(f"{where}: a vocabulary is needed, not '{content}'. {FORMS}")
    return [(name, name) for name in content]


def _texts_of(name: Any, given: Any, where: str) -> list[str]:
    """Return the texts of a class; a single one needs no list."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list | tuple) or not given:
        raise InputError(f"{where}: the class '{name}' has no texts. Write {name}: [{name}].")
    return [_word(text, where) for text in given]


def _word(text: Any, where: str) -> str:
    """Return a text without blanks around it."""
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: '{text}' is no text. Put words in quotes, such as 'no'.")
    return text.strip()


def _queries(texts: Mapping[str, Sequence[str]], where: str) -> dict[str, int]:
    """Return text -> class id, after checking that each text stands for one class."""
    owners: dict[str, str] = {}
    queries: dict[str, int] = {}
    for number, (name, own) in enumerate(texts.items()):
        for text in own:
            # the towers do not see capitals
            owner = owners.setdefault(text.lower(), name)
            if text.lower() in {each.lower() for each in queries}:
                raise InputError(
                    f"{where}: the text '{text}' stands for {owner} and for {name}. Keep one."
                )
            queries[text] = number
    return queries


def warning_of_placeholders(queries: Iterable[str]) -> str | None:
    """Return a warning if texts are numbered and not words, as ``ablate init`` invents them.

    Args:
        queries: the texts.
    """
    found = [text for text in queries if _PLACEHOLDER.fullmatch(text)]
    if not found:
        return None
    return (
        f"the texts {first_names(found)} name nothing that can be seen, so that scores are "
        "chance. Write the names of the classes into the vocabulary."
    )


def texts_of_names(names: Sequence[str]) -> dict[str, list[str]]:
    """Return class -> its name, with blanks in place of underscores, as its only text."""
    return {name: [name.replace("_", " ")] for name in names}


def vocabulary_yaml(names: Sequence[str]) -> str:
    """Return a first vocabulary as YAML: every class by its own name."""
    lines = [
        "# The texts that stand for each class. Add synonyms; no text may stand for two classes.",
        "# Use it:  segmenters: [{name: zero_shot, vocabulary: THIS_FILE}]   or  ablate zero-shot",
    ]
    for name, texts in texts_of_names(names).items():
        lines.append(f"{one_line(name)}: {one_line(texts)}")
    return "\n".join([*lines, ""])
