"""What a request brings, as a struct: every problem is named at once, and nothing was done yet.

    {"errors": [{"field": "emails[1]", "problem": "…", "remedy": "…"}]}      422

A body is a JSON object or one of our own forms. The struct says what is needed (`msgspec.Meta` bounds, `Literal`
choices, `UNSET` for what a PATCH leaves alone); what it cannot say is for the feature to check, with `Problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import FormData
from starlette.requests import Request

from ticketing.core.errors import Problem, WrongInputError

T = TypeVar("T")

MAX_PROBLEMS = 50  # named in one answer: a long list of nonsense must not make a longer one
MAX_LIST = 200  # entries of any list
YEARS = (1900, 2999)  # of days and instants: no term counted from one of them leaves the calendar
_AT = re.compile(r"^(?P<problem>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)


class Problems:
    """Gathers what is wrong; `raise_any` after everything has been looked at."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, field: str, problem: str, remedy: str) -> None:
        """One thing more that is wrong."""
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(Problem(field, problem, remedy))

    def raise_any(self) -> None:
        """Refuse what was sent if anything is wrong with it."""
        if self.found:
            raise WrongInputError(*self.found)


async def json_body(request: Request, kind: type[T]) -> T:
    """The JSON body as a `kind`; an empty one is `{}`. How large it may be is the shield's to say.

    Raises
    ------
    WrongInputError
        With all that is wrong.
    """
    body = await request.body()
    try:
        value = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WrongInputError(Problem("", f"the body is no JSON: {error}", "send a JSON object")) from error
    return checked(value, kind)


async def form_body(request: Request, kind: type[T], fields: FormData) -> T:
    """The fields of a form as a `kind`: `a.b` is a field of an object, equal names or lines are entries of a list.

    A field left empty is as one that is not there. Fields that the struct does not have are the form's own.

    Raises
    ------
    WrongInputError
        With all that is wrong.
    """
    return checked(_nested(fields, kind), kind, strict=False)


def checked(value: Any, kind: type[T], *, strict: bool = True) -> T:
    """`value` as a `kind`; without `strict` a text may stand for a number, as in forms.

    Raises
    ------
    WrongInputError
        With all that is wrong.
    """
    problems = Problems()
    for problem in _wrong(value, kind, "", strict):
        problems.add(*problem)
    problems.raise_any()
    try:
        return msgspec.convert(value, kind, strict=strict)
    except (msgspec.ValidationError, RecursionError) as error:  # not found field by field
        raise WrongInputError(_told(error, "", kind)) from error


def _wrong(value: Any, kind: Any, path: str, strict: bool) -> Iterator[Problem]:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        yield from _wrong_value(value, kind, path, strict)
        return
    if not isinstance(value, dict):
        yield Problem(path, f"is {_called(value)}, not an object", "send a JSON object")
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in sorted(map(str, set(value) - set(fields)))[:MAX_PROBLEMS]:
        known = ", ".join(fields)
        yield Problem(_join(path, _shown(name)), "there is no such field", f"leave it out; there are: {known}")
    for name, field in fields.items():
        here = _join(path, name)
        if name not in value:
            if field.required:
                yield Problem(here, "is missing", f"give {_wanted(field.type)}")
            continue
        inner = _struct_in(field.type)
        if inner is not None and isinstance(value[name], dict):
            yield from _wrong(value[name], inner, here, strict)
        else:
            yield from _wrong_value(value[name], field.type, here, strict)


def _wrong_value(value: Any, kind: Any, path: str, strict: bool) -> Iterator[Problem]:
    unstorable = _unstorable(value)
    if unstorable is not None:
        yield Problem(path, unstorable, "leave it out")
        return
    single = _single(kind)
    if isinstance(value, list):
        if len(value) > MAX_LIST:
            yield Problem(path, f"has {len(value)} entries", f"give at most {MAX_LIST}")
            return
        for n, entry in enumerate(value):  # each entry alone: the first wrong one does not hide the next
            try:
                msgspec.convert({"value": [entry]}, single, strict=strict)
            except (msgspec.ValidationError, RecursionError) as error:
                problem = _told(error, path, kind)
                yield problem._replace(field=problem.field.replace("[0]", f"[{n}]", 1))
                if "[" not in problem.field:  # no list is wanted at all
                    return
    try:
        found = msgspec.convert({"value": value}, single, strict=strict)
    except (msgspec.ValidationError, RecursionError) as error:
        problem = _told(error, path, kind)
        if not isinstance(value, list) or "[" not in problem.field.removeprefix(path):
            yield problem
        return
    beyond = _beyond(found.value)  # type: ignore[attr-defined]
    if beyond is not None:
        yield Problem(path, *beyond)


@cache
def _single(kind: Any) -> type[msgspec.Struct]:
    return msgspec.defstruct("Single", [("value", kind)])


@cache
def _struct_in(kind: Any) -> Any:
    """The struct that a field of this type holds, if there is one."""
    for part in (kind, *getattr(kind, "__args__", ())):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None


def _told(error: Exception, path: str, kind: Any) -> Problem:
    found = _AT.match(str(error))
    problem, inner = (found["problem"], found["path"] or "") if found else (str(error), "")
    inner = inner.removeprefix(".value").replace("[...]", "[0]")
    return Problem((path + inner).removeprefix("."), problem.replace("`", ""), f"give {_wanted(kind)}")


@cache
def _wanted(kind: Any) -> str:
    schema = msgspec.json.schema(_single(kind))
    properties = next(iter(schema["$defs"].values()))["properties"]
    return _spelled(properties["value"], schema["$defs"])


def _spelled(schema: dict[str, Any], known: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_spelled(each, known) for each in schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = schema.get("type")
    if kind == "string":
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if schema.get("format") in ("date", "date-time"):
            example = {"date": "2026-11-30", "date-time": "2026-11-30T09:00:00Z"}[schema["format"]]
            return f"a {schema['format']} such as {example}"
        return "a text" + (f" of {least} to {most} characters" if most else "")
    if kind in ("integer", "number"):
        least, most = schema.get("minimum"), schema.get("maximum")
        return "a number" + (f" from {least} to {most}" if least is not None and most is not None else "")
    if kind == "array":
        return f"a list, each entry {_spelled(schema.get('items', {}), known)}"
    return {"boolean": "true or false", "null": "null"}.get(str(kind), "an object")


def _called(value: Any) -> str:
    words = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return words.get(type(value), "a number")


def _unstorable(value: Any) -> str | None:
    """Why PostgreSQL cannot hold it, None if it can; objects within are looked through too."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str) and any(c == "\x00" or "\ud800" <= c <= "\udfff" for c in each):
            return "holds a character that cannot be stored: NUL, or half of a pair"
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += [*each, *each.values()]
    return None


def _beyond(value: Any) -> tuple[str, str] | None:
    """Why a number or a day is out of what columns and calendars hold, and what to do; None if it is not."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, bool):
            continue
        if isinstance(each, int) and not -(2**63) <= each < 2**63:
            return "is a number too large to be kept", f"give one from {-(2**63)} to {2**63 - 1}"
        if isinstance(each, date) and not YEARS[0] <= each.year <= YEARS[1]:
            return f"lies in the year {each.year}", f"give one of the years {YEARS[0]} to {YEARS[1]}"
        if isinstance(each, list | tuple):
            waiting += each
        elif isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, msgspec.Struct):
            waiting += msgspec.structs.astuple(each)
    return None


def _nested(fields: FormData, kind: Any, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        name = _join(path, field.encode_name)
        inner = _struct_in(field.type)
        if inner is not None:
            nested = _nested(fields, inner, name)
            if nested:
                found[field.encode_name] = nested
            continue
        if name not in fields:
            continue
        values = [str(value).replace("\r\n", "\n") for value in fields.getlist(name)]
        if _wanted(field.type).startswith("a list"):
            found[field.encode_name] = [line.strip() for value in values for line in value.split("\n") if line.strip()]
        elif values[-1] != "":
            found[field.encode_name] = values[-1]
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(name: str) -> str:
    return name[:40] if name.isprintable() else repr(name[:40])
