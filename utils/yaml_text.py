"""YAML of a person's own: one document, read as data; what is wrong names its line."""

import json
import re
from typing import Any

import yaml
from yaml import MarkedYAMLError
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

DEEPEST = 50
"""Levels of lists and mappings inside one another."""
MOST_NODES = 1_000_000
"""Keys and values in one text, those of repeated anchors counted each time."""
SHOWN = 100
"""Characters of a value that a message repeats."""
MERGE = "tag:yaml.org,2002:merge"
"""The tag of ``<<``, which may stand in a mapping more than once."""
VALUE = "tag:yaml.org,2002:value"
"""The tag of ``=``, which PyYAML reads as a plain key."""
HINTS = {"'\\t'": " Indent with spaces, not with tabs.", "document": " Keep one of them."}
"""What to do, by a part of PyYAML's message."""


class NotYamlError(ValueError):
    """What is wrong with a text, and in which line, from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def parse_yaml(text: str | bytes) -> Any:
    """Return the content of a YAML text; None if it is empty.

    Args:
        text: one document; bytes are UTF-8.

    Raises:
        NotYamlError: the text is no YAML, says a key twice, holds itself, is too deep or too large.
    """
    try:
        return _parse(text)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start)
        raise _bad(line, "it is not UTF-8 text; save it as UTF-8") from error
    except ReaderError as error:
        character = f"the character U+{error.character:04X} is not allowed"
        raise _bad(_text(text).count("\n", 0, error.position), character) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        assert mark is not None  # PyYAML sets one of them in every error of a text
        raise _bad(mark.line, _reason(error)) from error


def _reason(error: MarkedYAMLError) -> str:
    """Return PyYAML's reason without the "but" that follows on its context."""
    return str(error.problem or error.context).removeprefix("but ")


def _text(text: str | bytes) -> str:
    if isinstance(text, bytes):
        return text.decode("utf-8")
    return text


def _bad(line: int, problem: str) -> NotYamlError:
    """Return the error of a text whose line ``line``, from 0, is wrong."""
    hint = "".join(hint for part, hint in HINTS.items() if part in problem)
    return NotYamlError(line + 1, f"{problem[: 2 * SHOWN]}.{hint}")


def _parse(text: str | bytes) -> Any:
    loader = _Loader(_text(text))
    try:
        return loader.get_single_data()
    except (ValueError, OverflowError) as error:  # \U with more than any character's number
        raise _problem(str(error), loader.get_mark()) from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, anchors that hold themselves, and what is too deep or too large.

    PyYAML would keep the last of two keys. It would run out of stack, or hand on a small text that
    means billions of values ("billion laughs").
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.nodes = 0
        self.sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Return the next node, counted with everything below it."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        is_alias = self.check_event(yaml.AliasEvent)
        before = self.nodes
        self.depth += 1
        if self.depth > DEEPEST:
            raise _problem(f"more than {DEEPEST} levels of lists and mappings", mark)
        node: Any = super().compose_node(parent, index)
        self.depth -= 1
        if is_alias and node not in self.sizes:
            raise _problem("an anchor is used inside of what it stands for", mark)
        self.nodes += self.sizes.get(node, 1)
        if self.nodes > MOST_NODES:
            raise _problem(f"more than {MOST_NODES} keys and values, with those of anchors", mark)
        self.sizes.setdefault(node, self.nodes - before)
        composed: yaml.Node = node
        return composed

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return the next mapping; a key that stands twice in it is an error."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: dict[Any, str] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == MERGE:
                continue
            key = key_node.value
            if key_node.tag != VALUE:
                key = self.construct_object(key_node)  # 1 and 0x1 are the same key
            shown = key_node.value[:SHOWN]
            if key in seen:
                raise _problem(_twice(seen[key], shown), key_node.start_mark)
            seen[key] = shown
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node; a tag that does not fit its text is an error of YAML."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode("utf-8")  # half of a surrogate pair has no encoding
                _refuse_nul(value)
        except (ValueError, OverflowError, LookupError, AttributeError) as error:
            kind = node.tag.rpartition(":")[2]
            shown = repr(node.value)[:SHOWN]
            raise _problem(f"{shown} is no valid {kind}", node.start_mark) from error
        return value


def _twice(first: str, second: str) -> str:
    """Return what is wrong with two keys of one value; yes, on and true are 1 to YAML."""
    if first == second:
        return f"the key '{second}' stands twice"
    return (
        f"the keys {first} and {second} are the same value. If they are words, write them in "
        f"quotes: '{first}', '{second}'"
    )


def _refuse_nul(value: str) -> None:
    """Raise ValueError for the character that no path and no command can hold."""
    if "\0" in value:
        raise ValueError("the character U+0000")


def _problem(text: str, mark: yaml.Mark) -> ConstructorError:
    return ConstructorError(None, None, text, mark)


def one_line(value: object) -> str:
    """Return one line of YAML; JSON where a plain word will not do."""
    if isinstance(value, dict):
        pairs = [f"{one_line(key)}: {one_line(each)}" for key, each in value.items()]
        return f"{{{', '.join(pairs)}}}"
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_./-]*", value)
    if plain and yaml.safe_load(str(value)) == value:
        return str(value)
    return json.dumps(value, ensure_ascii=False)
