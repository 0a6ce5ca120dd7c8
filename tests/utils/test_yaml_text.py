"""Every oddity of YAML ends with one line that names the file and its line."""

import pytest

from encoder_ablations.utils.config import parse_overrides, read_yaml
from encoder_ablations.utils.errors import InputError

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

BROKEN = {
    "not an integer": (b"a: 1\nb: !!int abc\n", 2, "'abc' is no valid int"),
    "no date": (b"a: 2020-13-45\n", 1, "timestamp"),
    "no boolean": (b"a: !!bool x\n", 1, "bool"),
    "too many digits": (b"a: " + b"9" * 5000, 1, "int"),
    "brackets": (b"a: " + b"[" * 20_000, 1, "levels"),
    "braces": (b"{a: " * 20_000, 1, "levels"),
    "merged into itself": (b"a: &a {<<: *a}\n", 1, "inside"),
    "list in itself": (b"\na: &a [*a]\n", 2, "inside"),
    "key twice": (b"a: 1\nb: 2\na: 3\n", 3, "'a' stands twice"),
    "inner key twice": (b"a: {b: 1,\n b: 2}\n", 2, "'b' stands twice"),
    "number twice": (b"a: {1: x, 0x1: y}\n", 1, "the keys 1 and 0x1 are the same value"),
    "words that are one value": (b"yes: [a]\nno: [b]\n1: [c]\n", 3, "in quotes: 'yes', '1'"),
    "billion laughs": (LAUGHS.encode(), 7, "anchors"),
    "two documents": (b"a: 1\n---\nb: 2\n", 2, "another document"),
    "tab": (b"a:\n\tb: 1\n", 2, "spaces"),
    "nul": (b"a: 1\nb: \0\n", 2, r"U\+0000"),
    "undecodable": (b"a: ok\nb: \xff\n", 2, "UTF-8"),
    "half of a pair": (b'a: "\\ud800"\n', 1, "str"),
    "no character": (b'a: "\\U00110000"\n', 1, "range"),
    "list as a key": (b"? [a]\n: 1\n", 1, "unhashable"),
    "an object": (b"a: !!python/object:os.system x\n", 1, "constructor"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_with_its_line(name, tmp_path):
    content, line, reason = BROKEN[name]
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"study\.yaml, line {line}: .*{reason}") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("value", ["!!int abc", "[" * 20_000, "&a {<<: *a}", "1\n---\n2", "\0"])
def test_a_broken_override_is_one_short_line(value):
    with pytest.raises(InputError, match="override 'recipe") as caught:
        parse_overrides([f"recipe={value}"])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_anchors_and_merges_are_read(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b\n  <<: *a\n  x: 3\nc: {<<: *b, =: 4}\nd: [*a, *a]\n")
    assert read_yaml(path) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 3, "y": 2},
        "c": {"x": 3, "y": 2, "=": 4},
        "d": [{"x": 1, "y": 2}] * 2,
    }
