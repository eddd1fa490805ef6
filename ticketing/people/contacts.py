"""Contacts: the people of an organisation, how they are reached, and the word that proves on the phone who calls.

The code word is hashed like a password and never given back. Wrong ones are counted with the contact: after
`FREE_FAILURES` in a row it is not even tried for `LOCKED`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ticketing.core.db import Connection, Pool, escaped
from ticketing.core.moments import utc_now
from ticketing.core.paging import Page
from ticketing.people import normal
from ticketing.people.fields import Address, Checks, Id, Language, Name, Short, Version
from ticketing.people.passwords import Passwords
from ticketing.people.records import Records, Table, Values
from ticketing.people.scope import Kind
from ticketing.people.users import User

FREE_FAILURES = 5
LOCKED = timedelta(minutes=15)
MIN_CODE_WORD = 4  # characters: it is spoken, and tried five times a quarter of an hour

CodeWord: TypeAlias = Annotated[str, Meta(min_length=MIN_CODE_WORD, max_length=64)]
Role: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class Contact(msgspec.Struct, kw_only=True):
    """Somebody of an organisation. `language` None: the organisation's; `has_code_word`: whether one is set."""

    id: int
    organisation: int
    name: str
    emails: list[str]
    phones: list[str]
    language: str | None
    quiet_hours: str | None
    roles: list[str]
    has_code_word: bool
    active: bool
    created_at: datetime
    row_version: int


class NewContact(msgspec.Struct, kw_only=True):
    """What is needed of a new one. `roles`: reporter, duty, outage, finance …"""

    organisation: Id
    name: Name
    emails: list[Address] = []
    phones: list[Short] = []
    language: Language | None = None
    quiet_hours: Short | None = None
    roles: list[Role] = []
    code_word: CodeWord | None = None
    active: bool = True


class ChangedContact(msgspec.Struct, kw_only=True):
    """What may be changed; what is left out stays. `row_version` is the version that was read."""

    name: Name | UnsetType = UNSET
    emails: list[Address] | UnsetType = UNSET
    phones: list[Short] | UnsetType = UNSET
    language: Language | UnsetType | None = UNSET
    quiet_hours: Short | UnsetType | None = UNSET
    roles: list[Role] | UnsetType = UNSET
    code_word: CodeWord | UnsetType | None = UNSET
    active: bool | UnsetType = UNSET
    row_version: Version | UnsetType = UNSET


def _read(row: Mapping[str, Any]) -> Contact:
    fields = {name: row[name] for name in Contact.__struct_fields__ if name != "has_code_word"}
    return Contact(**fields, has_code_word=row["code_word"] is not None)


TABLE = Table("contact", Kind.CONTACT, "contact x", "x.*", _read, "contact")


class Contacts(Records[Contact]):
    """Contacts in the store."""

    def __init__(self, pool: Pool, passwords: Passwords, *, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__(pool, TABLE, now=now)
        self._passwords = passwords

    async def list(
        self,
        user: User,
        organisation: int | None = None,
        search: str | None = None,
        active: bool | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Contact]:
        """Those that `user` sees; `search` is found in names, addresses and phone numbers."""
        where: list[Any] = []
        if organisation is not None:
            where.append(("x.organisation = %(v)s", organisation))
        if search:
            pattern = escaped(normal.phone(search) or search)
            where.append(
                ("(x.name || ' ' || array_to_string(x.emails || x.phones, ' ')) ILIKE %(v)s", f"%{pattern}%"),
            )
        if active is not None:
            where.append(("x.active = %(v)s", active))
        return await self.page(user, where, cursor, limit)

    async def check_code_word(self, number: int, word: str) -> bool:
        """Whether that is the contact's code word; what is wrong, unknown, not set or locked is False all the same."""
        now = self.now()
        async with self.pool.connection() as connection:
            rows = await connection.execute(
                # Counted before it is tried, so that a hundred at once gain nothing.
                """UPDATE contact SET code_failed_at = %(now)s,
                          code_failures = CASE WHEN code_failed_at > %(since)s THEN code_failures ELSE 0 END + 1
                   WHERE id = %(id)s AND active AND code_word IS NOT NULL
                     AND (code_failures < %(free)s OR code_failed_at <= %(since)s) RETURNING code_word""",
                {"now": now, "since": now - LOCKED, "id": number, "free": FREE_FAILURES},
            )
            row = await rows.fetchone()
        right = await self._passwords.verify(row[0] if row else None, _spoken(word))
        if right:
            async with self.pool.connection() as connection:
                await connection.execute(
                    "UPDATE contact SET code_failures = 0, code_failed_at = NULL WHERE id = %s", (number,)
                )
        return right

    async def checked(self, connection: Connection, user: User, given: Values, before: Contact | None) -> Values:
        """Addresses and numbers in their normal forms, not another contact's; at least one way to write or call."""
        checks = Checks(given)
        values = checks.values
        checks.line("name")
        checks.each("emails", normal.email, "e-mail address", "anna@example.com")
        checks.each("phones", normal.phone, "phone number", "+7 495 123-45-67, with its country")
        if values.get("quiet_hours"):
            found = normal.quiet_hours(values["quiet_hours"])
            if found is None:
                checks.wrong("quiet_hours", f"{values['quiet_hours']!r} are no hours", "write them as in 22:00-07:00")
            values["quiet_hours"] = found
        if "roles" in values:
            values["roles"] = list(dict.fromkeys(values["roles"]))
        organisation = values.get("organisation", before.organisation if before else None)
        rows = await connection.execute("SELECT active FROM organisation WHERE id = %s", (organisation,))
        if (row := await rows.fetchone()) is None:
            checks.wrong("organisation", f"there is no organisation {organisation}", "give the id of one")
        elif before is None and not row[0]:
            checks.wrong("organisation", f"organisation {organisation} is not active", "make it active first")
        if values.get("active", before.active if before else True):
            await self._unique(connection, checks, organisation, before)
        checks.raise_any()
        if "code_word" in values and values["code_word"] is not None:
            values["code_word"] = await self._passwords.hash(_spoken(values["code_word"]))
            if before is not None:
                values |= {"code_failures": 0, "code_failed_at": None}
        return values

    async def _unique(
        self, connection: Connection, checks: Checks, organisation: int | None, before: Contact | None
    ) -> None:
        """One organisation's address is one contact's: a letter must find whose it is."""
        emails = checks.values.get("emails", before.emails if before else [])
        rows = await connection.execute(
            "SELECT id, name, emails FROM contact WHERE organisation = %s AND id <> %s AND active AND emails && %s",
            (organisation, before.id if before else 0, emails),
        )
        for number, name, taken in await rows.fetchall():
            for n, address in enumerate(emails):
                if address in taken:
                    checks.wrong(
                        f"emails[{n}]",
                        f"{address} is the address of contact {number}, {name}",
                        "change that contact, or leave the address out",
                    )


def _spoken(word: str) -> str:
    """A word as it is heard: case, width and blanks make no difference."""
    return "".join(unicodedata.normalize("NFKC", word).casefold().split())
