"""The KEY VALUE pairs of a command line, and Detectron2's complaints about them in one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import yaml
from detectron2.config import CfgNode

from encoder_ablations.utils.errors import InputError, nearest

LONGEST = 400
"""How many characters of a message of Detectron2's are shown."""


def read_options(opts: Sequence[str]) -> dict[str, str]:
    """Return ``KEY VALUE KEY VALUE …`` as a mapping.

    Args:
        opts: everything after the first key, as argparse gives it.

    Raises:
        InputError: an option stands among them, or a key has no value.
    """
    misplaced = [word for word in opts if word.startswith("--")]
    if misplaced:
        raise InputError(
            f"{misplaced[0]} comes after a KEY VALUE pair; options that begin with -- go first."
        )
    if len(opts) % 2:
        raise InputError(
            f"configuration keys come as KEY VALUE pairs; '{opts[-1]}' has no partner."
        )
    return dict(zip(opts[::2], opts[1::2], strict=True))


def flat(options: dict[str, str]) -> list[str]:
    """Return a mapping as ``KEY VALUE KEY VALUE …``."""
    return list(chain.from_iterable(options.items()))


@contextmanager
def as_input_error(cfg: CfgNode, source: str) -> Iterator[None]:
    """Within the block, say in one line what Detectron2 finds wrong with a configuration.

    Raises:
        InputError: a key, a type or a file is wrong.
    """
    try:
        yield
    except InputError:
        raise
    except (KeyError, ValueError, AssertionError, AttributeError, yaml.YAMLError) as error:
        text, hint = _in_one_line(error), ""
        if "on-existent" in text:  # Detectron2 and yacs end such a message with the key
            hint = nearest(text.rpartition(" ")[2], _keys(cfg))
        raise InputError(f"{source}: {text.rstrip('.')}.{hint}") from error


def _in_one_line(error: Exception) -> str:
    """Return what an error says, without the middle of a long text such as a whole node."""
    reason: object = error
    if isinstance(error, KeyError):  # which would quote its text
        reason = next(iter(error.args), error)
    text = " ".join(str(reason).split())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    return text


def _keys(node: CfgNode, prefix: str = "") -> list[str]:
    """Return all keys of a configuration, those of nodes as ``NODE.KEY``."""
    found: list[str] = []
    for name, value in node.items():
        if isinstance(value, CfgNode):
            found += _keys(value, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found
