"""Bodies and forms as structs: every problem named, whatever comes."""

import json
from datetime import date
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import FormData

from ticketing.core.errors import WrongInputError
from ticketing.kit.body import MAX_LIST, MAX_PROBLEMS, checked, form_body, json_body

Short = Annotated[str, msgspec.Meta(min_length=1, max_length=5)]


class Inner(msgspec.Struct, forbid_unknown_fields=True, rename={"from_": "from"}):
    from_: date | None = None
    days: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0


class Body(msgspec.Struct, kw_only=True):
    name: Short
    language: Literal["en", "ru"] = "en"
    mails: list[Short] = []
    contract: Inner | None = None
    note: Short | msgspec.UnsetType | None = msgspec.UNSET
    on: bool = False


class Request:
    def __init__(self, body):
        self._body = body

    async def body(self):
        return self._body


def read(body, kind=Body):
    try:
        json_body(Request(body), kind).send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def form(*pairs):
    try:
        form_body(None, Body, FormData(pairs)).send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def problems(run, *args):
    with pytest.raises(WrongInputError) as caught:
        run(*args)
    return {p.field: (p.problem, p.remedy) for p in caught.value.problems}


def test_what_is_right_becomes_a_struct():
    got = read(b'{"name":"x","mails":["a"],"contract":{"from":"2026-01-31","days":3},"note":null}')
    assert got == Body(name="x", mails=["a"], contract=Inner(date(2026, 1, 31), 3), note=None)
    assert read(b'{"name":"x"}').note is msgspec.UNSET


def test_all_that_is_wrong_is_told_at_once():
    body = {
        "name": "too long",
        "language": "fr",
        "mails": ["a", 5, "", "b"],
        "contract": {"from": "soon", "days": 11, "hours": 1},
        "on": "yes",
        "colour": 1,
    }
    found = problems(read, json.dumps(body).encode())
    assert set(found) == {
        "name", "language", "mails[1]", "mails[2]", "contract.from", "contract.days", "contract.hours", "on", "colour",
    }  # fmt: skip
    assert found["language"][1] == "give one of en, ru"
    assert found["name"][1] == "give a text of 1 to 5 characters"
    assert found["contract.days"][1] == "give a number from 0 to 10"
    assert "2026-11-30" in found["contract.from"][1]
    assert "name, language, mails" in found["colour"][1]


def test_what_is_missing_is_told():
    assert problems(read, b"") == {"name": ("is missing", "give a text of 1 to 5 characters")}


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b"[" * 100_000, b'{"name":"\\ud800"}', b"[]", b"1", b"null", b"[1e999]"]
)
def test_no_object_at_all(body):
    assert set(problems(read, body)) <= {"", "name"}


@pytest.mark.parametrize("name", ['"a\\u0000b"', "{}", "[[1]]", "12345678901234567890123"])
def test_values_that_cannot_be_kept(name):
    assert "name" in str(problems(read, b'{"name":%s}' % name.encode()))


def test_long_lists_make_no_long_answers():
    assert len(problems(read, json.dumps({f"f{n}": 1 for n in range(500)}).encode())) == MAX_PROBLEMS
    assert set(problems(read, json.dumps({"name": "x", "mails": [1] * 5000}).encode())) == {"mails"}
    assert len(problems(read, json.dumps({"name": "x", "mails": [1] * MAX_LIST}).encode())) == MAX_PROBLEMS


def test_forms_say_the_same():
    got = form(
        ("name", "x"), ("mails", "a\r\n b \r\n\r\n"), ("mails", "c"), ("contract.days", "3"), ("note", ""),
        ("on", "true"), ("csrf", "y"),
    )  # fmt: skip
    assert got == Body(name="x", mails=["a", "b", "c"], contract=Inner(None, 3), on=True)
    assert set(problems(form, ("name", ""), ("contract.days", "x"), ("language", "fr"))) == {
        "name", "contract.days", "language",
    }  # fmt: skip


KEYS = st.sampled_from(("name", "mails", "contract", "from", "days")) | st.text()
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30)


@given(VALUES)
def test_whatever_comes_is_a_struct_or_problems(value):
    try:
        found = checked(value, Body)
    except WrongInputError as error:
        found = error.problems
    assert isinstance(found, Body) or (found and all(p.problem and p.remedy for p in found))
