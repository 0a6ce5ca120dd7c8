"""Configuration: pydantic models with defaults, a YAML over them, ``key.sub=value`` over that.

Unknown keys and impossible values end with one line that names the file, the key, what is allowed
and the nearest name.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.texts import as_cell, shortened
from encoder_ablations.utils.yaml_text import NotYamlError, parse_yaml

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


class Config(BaseModel):
    """Base of every configuration: immutable, and a key that no field reads is an error.

    Numbers are finite: an infinite or undefined one would only fail hours later, in training.

    The text below a field is its description, which ``ablate keys`` lists.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


Model = TypeVar("Model", bound=BaseModel)
UNION_TAG = re.compile(
    r"as (text|list|mapping)|str|constrained-\w+|\w+Spec"
    r"|(literal|tuple|list|dict|function-[\w-]+)\[.*"
)
"""Where a value may be of several kinds, pydantic adds the kind to its place, as one of these."""
SHOULD_BE = "Input should be "
"""How pydantic begins the message about each kind that a value may be of."""
OTHER_NAMES = {"learning_rate": "lr"}
"""What settings are called elsewhere -> here."""
Number = TypeVar("Number", int, float)


def at_most(limit: float, reason: str) -> AfterValidator:
    """Return the check of a field that a number is no more than ``limit``.

    Args:
        limit: the largest number that is allowed.
        reason: completes the message, after "because".
    """

    def check(number: Number) -> Number:
        if number > limit:
            raise ValueError(f"at most {limit} is allowed, because {reason}")
        return number

    return AfterValidator(check)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        InputError: the file is missing, is not YAML, says a key twice, or holds something else.
    """
    content = read_yaml_value(path)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected 'key: value' lines, found {type(content).__name__}.")
    return content


def read_yaml_value(path: Path | str) -> Any:
    """Return the content of a YAML file, whatever it is; None if it is empty.

    Raises:
        InputError: the file is missing, is not YAML, or says a key twice.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from error
    return _parsed(text, str(path))


def _parsed(text: str | bytes, source: str) -> Any:
    """Return the content of a YAML text; ``source`` begins the message of its error."""
    try:
        return parse_yaml(text)
    except NotYamlError as error:
        problem = as_cell(error)
        raise InputError(f"{source}, line {error.line}: not valid YAML: {problem}") from error


def find_config(kind: str, name: str) -> Path | None:
    """Return the YAML that ``name`` means; None if there is no such file.

    Args:
        kind: "datasets", "segmenters" or "studies"; built-in encoders are rows of a table.
        name: a path, or the stem of a file in the package's ``configs/<kind>``.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if path.exists():
            return path
        name = path.stem if path.parent in (Path(f"configs/{kind}"), Path()) else name
    path = CONFIGS / kind / f"{name}.yaml"
    return path if path.exists() else None


def config_names(kind: str) -> list[str]:
    """Return the stems of the YAML files in the package's ``configs/<kind>``."""
    return sorted(path.stem for path in (CONFIGS / kind).glob("*.yaml"))


def merge(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``delta`` over it: mappings are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in delta.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def in_yaml(value: Any) -> str:
    """Return a value as one line of YAML: ``[a, b]``, ``{encoder: [a]}``, ``null``."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
    )
    return text.removesuffix("...\n").strip()


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return what changed, a phrase for each key: ``recipe.steps 80 → 100``.

    Lists are compared as a whole.
    """
    found = []
    for key in dict.fromkeys([*before, *after]):
        name = f"{prefix}{key}"
        if key not in after:
            found.append(f"{name} is gone")
        elif key not in before:
            found.append(f"{name} is new")
        elif isinstance(before[key], Mapping) and isinstance(after[key], Mapping):
            found += differences(before[key], after[key], f"{name}.")
        elif before[key] != after[key]:
            found.append(f"{name} {in_yaml(before[key])} → {in_yaml(after[key])}")
    return found


def parse_overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """Return ``{"recipe": {"steps": 100}}`` for ``["recipe.steps=100"]``; values are YAML.

    Raises:
        InputError: an assignment without "=".
    """
    result: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(key.split(".")):
            raise InputError(
                f"cannot read the override '{shortened(assignment)}': write it as key.sub=value, "
                "e.g. recipe.steps=100."
            )
        value = _parsed(text, f"the value of the override '{shortened(assignment)}'")
        for part in reversed(key.split(".")):
            value = {part: value}
        result = merge(result, value)
    return result


def build(
    model: type[Model],
    content: Mapping[str, Any],
    source: Path | str,
    overrides: Mapping[str, Any] | None = None,
    given: str = "the given settings",
) -> Model:
    """Return a ``model`` of ``content``.

    Args:
        model: the kind of configuration.
        content: its keys and values.
        source: where ``content`` came from (a file, "the command line"), for the error message.
        overrides: keys of ``content`` that came from elsewhere.
        given: from where.

    Raises:
        InputError: the first key that is unknown or holds an impossible value.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problem = _first_problem(error.errors())
        # what settings say together is no fault of the file that stood alone
        if overrides and (not problem["loc"] or problem["loc"][0] in overrides):
            source = given
        raise InputError(f"{source}: {_in_words(model, problem, error.errors())}") from error


def _first_problem(problems: Sequence[ErrorDetails]) -> ErrorDetails:
    # a misspelt key that is required is reported as missing, too; the misspelling says more
    return next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])


def _place(problem: ErrorDetails) -> list[str]:
    """Return the keys and positions that lead to a value, without the kinds of unions."""
    return [part for part in map(str, problem["loc"]) if not UNION_TAG.fullmatch(part)]


def _in_words(model: type[BaseModel], problem: ErrorDetails, found: list[ErrorDetails]) -> str:
    """Return what is wrong as one sentence; ``found`` are all problems."""
    where = _place(problem)
    if not where:
        return f"{_lower(_what_to_write(model, problem, where))}."
    key = shortened(".".join(where))
    if problem["type"] == "extra_forbidden":
        allowed = _fields_at(model, where[:-1])
        hint = nearest(where[-1], allowed) or _below(model, where)
        return f"unknown key '{key}'.{hint} Allowed: {', '.join(sorted(allowed))}."
    if problem["type"] == "missing":
        given = ", ".join(shortened(str(each)) for each in problem["input"]) or "nothing"
        return f"the key '{key}' is missing; given: {given}."
    if problem["type"] == "too_short":
        least, given = problem["ctx"]["min_length"], problem["ctx"]["actual_length"]
        return f"'{key}' needs at least {least} entry, it has {given}."
    message = _what_to_write(model, problem, where)
    if message.startswith(SHOULD_BE):
        message = _all_kinds([each["msg"] for each in found if _place(each) == where])
    given = problem["input"]
    shown = ""
    if isinstance(given, str | int | float | bool | None):
        shown = f" (given: {shortened(repr(given))})"
    return f"'{key}': {_lower(message)}{shown}."


def _lower(message: str) -> str:
    return message[0].lower() + message[1:]


def _all_kinds(messages: Sequence[str]) -> str:
    """Return what pydantic says about the kinds that a value may be of, as one message."""
    kinds = [text.removeprefix(SHOULD_BE) for text in messages if text.startswith(SHOULD_BE)]
    if len(kinds) > 1:
        kinds = [kind.partition(", unable")[0] for kind in kinds]
    return SHOULD_BE + " or ".join(dict.fromkeys(kinds))


def _what_to_write(model: type[BaseModel], problem: ErrorDetails, where: Sequence[str]) -> str:
    """Return what is wrong with the value at ``where``, or what kind of value belongs there."""
    if problem["type"] == "model_type":
        keys = ", ".join(_fields_at(model, where))
        return f"write a mapping {{key: value}}, whose keys may be {keys}"
    if problem["type"] in ("tuple_type", "list_type"):
        return "write a list, e.g. [a, b]"
    return problem["msg"].removeprefix("Value error, ")


def _below(model: type[BaseModel], where: Sequence[str]) -> str:
    """Return a hint at the setting that an unknown key is called like, further down; or ""."""
    *path, key = where
    wanted = OTHER_NAMES.get(key, key)
    for name in _fields_at(model, path):
        if wanted in _fields_at(model, [*path, name]) and name != wanted:
            full = ".".join([*path, name, wanted])
            return f" Did you mean '{full}'?"
    return ""


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the fields of the model at ``path``, skipping tags of unions and list positions."""
    candidates: list[type[BaseModel]] = [model]
    for part in path:
        following = []
        for candidate in candidates:
            if part in candidate.model_fields:
                following += _models_in(candidate.model_fields[part].annotation)
        candidates = following or candidates
    fields = [pair for candidate in candidates for pair in candidate.model_fields.items()]
    return sorted({field.alias or name for name, field in fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [
        found for argument in getattr(annotation, "__args__", ()) for found in _models_in(argument)
    ]
