"""Fields that several of the people's resources have, and the checks that need more than a type."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from ticketing.core.db import Connection
from ticketing.core.errors import Problem, WrongInputError
from ticketing.people.normal import email, line
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import zone

LANGUAGES = ("en", "ru", "zh")
Language: TypeAlias = Literal["en", "ru", "zh"]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Short: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Address: TypeAlias = Annotated[str, Meta(min_length=3, max_length=254)]
Note: TypeAlias = Annotated[str, Meta(max_length=4000)]
Id: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Version: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class Checks:
    """Looks at given fields one by one and gathers what is wrong with them."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.values = dict(given)
        self.problems: list[Problem] = []

    def wrong(self, field: str, problem: str, remedy: str) -> None:
        """One thing more that is wrong."""
        self.problems.append(Problem(field, problem, remedy))

    def line(self, field: str) -> None:
        """A text of one line, in its normal form; empty stays empty."""
        value = self.values.get(field)
        if value:
            found = line(value)
            if found is None:
                self.wrong(field, f"{value!r} is not a name", "give printable characters in one line")
            else:
                self.values[field] = found

    def each(self, field: str, normal: Callable[[str], str | None], what: str, example: str) -> None:
        """A list whose entries are brought to their normal form; equal ones are one."""
        if field not in self.values:
            return
        found = []
        for n, value in enumerate(self.values[field]):
            one = normal(value)
            if one is None:
                self.wrong(f"{field}[{n}]", f"{value!r} is no {what}", f"write it as in {example}")
            else:
                found.append(one)
        self.values[field] = list(dict.fromkeys(found))

    def time_zone(self, field: str = "time_zone") -> None:
        """An IANA zone, or None."""
        value = self.values.get(field)
        if value is None:
            return
        try:
            zone(value)
        except ClockInputError:
            self.wrong(field, f"there is no time zone {value!r}", "give an IANA name such as Europe/Moscow")

    def email(self, field: str) -> None:
        """One address in its normal form, or None."""
        value = self.values.get(field)
        if value is None:
            return
        found = email(value)
        if found is None:
            self.wrong(field, f"{value!r} is no e-mail address", "write it as in anna@example.com")
        self.values[field] = found

    def instant(self, field: str) -> None:
        """An instant with its offset, or None."""
        value = self.values.get(field)
        if value is not None and value.tzinfo is None:
            self.wrong(field, "has no offset", "write 2026-03-02T08:00:00+03:00")

    async def users(self, connection: Connection, field: str, *, single: bool = False) -> None:
        """Names of active users of the desk, as they are spelled there."""
        value = self.values.get(field)
        if not value:
            return
        names = [value] if single else value
        known = await _users(connection, names)
        for n, name in enumerate(names):
            if name.lower() not in known:
                here = field if single else f"{field}[{n}]"
                self.wrong(here, f"there is no user {name!r}", "name somebody who has an account here")
        spelled = list(dict.fromkeys(known.get(name.lower(), name) for name in names))
        self.values[field] = spelled[0] if single else spelled

    def raise_any(self) -> None:
        """Refuse it all if anything is wrong."""
        if self.problems:
            raise WrongInputError(*self.problems)


async def _users(connection: Connection, names: Iterable[str]) -> dict[str, str]:
    rows = await connection.execute(
        "SELECT lower(name), name FROM app_user WHERE active AND lower(name) = ANY(%s)",
        ([name.lower() for name in names],),
    )
    return dict(await rows.fetchall())
