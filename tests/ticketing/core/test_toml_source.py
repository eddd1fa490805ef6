"""Where a key stands in a TOML file, whatever stands around it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.core.toml_source import NotTomlError, NotUtf8Error, TomlSource, key_lines, where_and_what

# Values with all that could be mistaken for the end of a statement, and how many lines each takes.
VALUES = st.sampled_from(
    [
        ("1", 1),
        ('"]#[{\\" ="', 1),
        ("'[[a]]'", 1),
        ('"""\n[no]\nb = 1 \\"""\n"""', 4),
        ('"""""a"""""', 1),
        ("'''\n# '' [\n'''", 3),
        ("[ # ] \"\n 1, # '\n [2,\n\n]]", 5),
        ('{a = [1], b = "}"}', 1),
    ]
)


@given(st.lists(st.tuples(VALUES, st.sampled_from(["", "# [x]\n", "\n\n", "[t%d]\n", "[[l]]\n"])), max_size=12))
def test_every_key_is_found_on_its_line(parts: list[tuple[tuple[str, int], str]]) -> None:
    text, expected, line = "", [], 1
    for number, ((value, height), before) in enumerate(parts):
        lead = before % number if "%" in before else before
        text += f"{lead}k{number} = {value}\n"
        line += lead.count("\n")
        expected.append((f"k{number}", line))
        line += height
    source = TomlSource(text.encode())
    found = {where[-1]: at for where, at in source.lines.items() if str(where[-1]).startswith("k")}
    assert found == dict(expected)


def test_a_long_array_is_read_once() -> None:
    text = "release = [\n" + "{a = 1},\n" * 20_000 + "]\nb = 1\n"
    begun = time.perf_counter()
    assert key_lines(text)[("b",)] == 20_003
    assert time.perf_counter() - begun < 10


def test_what_has_no_line_stands_at_its_table() -> None:
    source = TomlSource(b"\xef\xbb\xbfa = 1\r\n[t]\r\n[[l]]\r\nx = 1\r\n[[l]]\r\n")
    wheres = [("a",), ("t", "none"), ("l", 0, "x"), ("l", 1, "x"), ("none",)]
    assert [source.line(where) for where in wheres] == [1, 2, 4, 5, 1]


@pytest.mark.parametrize(
    ("raw", "line", "kind"),
    [(b"a = 1\nb =\n", 2, NotTomlError), (b"a = [\n", 1, NotTomlError), (b"a = 1\n\xff", 2, NotUtf8Error)],
)
def test_what_is_no_toml_has_a_line_too(raw: bytes, line: int, kind: type[NotTomlError]) -> None:
    with pytest.raises(kind) as caught:
        TomlSource(raw)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("said", "where", "what"),
    [
        ("Expected `int` - at `$.clock[2].level`", ("clock", 2, "level"), "Expected `int`"),
        ("Object contains unknown field `x` - at `$.a`", ("a", "x"), "Object contains unknown field `x`"),
        ("Expected `float` >= 0.0 - at `$.mix[...]`", ("mix",), "Expected `float` >= 0.0"),
        ("Object missing required field `name`", (), "Object missing required field `name`"),
    ],
)
def test_where_msgspec_found_it(said: str, where: tuple[str | int, ...], what: str) -> None:
    assert where_and_what(said) == (where, what)
