"""Accounts as a resource: who somebody is to the desk, in which teams, in which language. `users.py` lets them in.

A new password, another role and being made inactive end the sessions and tokens of the account. The last active admin
stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType
from psycopg import sql

from ticketing.core.db import Connection, Pool, escaped
from ticketing.core.errors import ConflictError, NotFoundError, Problem, WrongInputError
from ticketing.core.moments import utc_now
from ticketing.core.paging import Page
from ticketing.people import normal
from ticketing.people.fields import Address, Checks, Id, Language, Short, Version
from ticketing.people.passwords import PasswordError, Passwords
from ticketing.people.records import Records, Table, Values
from ticketing.people.scope import Kind, condition
from ticketing.people.users import BadNameError, User, checked_name, end_all

MIN_PASSWORD = 8  # characters: what programs and pages take; the command only warns, for who has a shell has the store

Role: TypeAlias = Literal["admin", "manager", "engineer", "auditor", "crew", "client"]
Password: TypeAlias = Annotated[str, Meta(min_length=MIN_PASSWORD, max_length=1024)]
Tier: TypeAlias = Annotated[int, Meta(ge=1, le=9)]


class AccountDetail(msgspec.Struct, kw_only=True):
    """A user. `organisations` are a client's; `tier` as the policy numbers it; `totp`: is a code asked for.

    `email` is where letters to staff go (None: to the name, if that is an address); until `absent_until` no ticket of
    a client whose engineer it is goes to them by itself.
    """

    id: int
    name: str
    role: str
    organisations: list[int]
    teams: list[str]
    tier: int | None
    skills: list[str]
    language: str | None
    time_zone: str | None
    email: str | None
    absent_until: datetime | None
    totp: bool
    active: bool
    created_at: datetime
    row_version: int


class NewUser(msgspec.Struct, kw_only=True):
    """What is needed of a new one."""

    name: Short
    role: Role
    password: Password
    organisations: list[Id] = []
    teams: list[Short] = []
    tier: Tier | None = None
    skills: list[Short] = []
    language: Language | None = None
    time_zone: Short | None = None
    email: Address | None = None
    absent_until: datetime | None = None
    active: bool = True


class ChangedUser(msgspec.Struct, kw_only=True):
    """What may be changed; what is left out stays. `row_version` is the version that was read.

    `totp` false: no code is asked for any more, as for who lost phone and recovery codes.
    """

    role: Role | UnsetType = UNSET
    password: Password | UnsetType = UNSET
    organisations: list[Id] | UnsetType = UNSET
    teams: list[Short] | UnsetType = UNSET
    tier: Tier | UnsetType | None = UNSET
    skills: list[Short] | UnsetType = UNSET
    language: Language | UnsetType | None = UNSET
    time_zone: Short | UnsetType | None = UNSET
    email: Address | UnsetType | None = UNSET
    absent_until: datetime | UnsetType | None = UNSET
    totp: bool | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    row_version: Version | UnsetType = UNSET


class OwnSettings(msgspec.Struct, kw_only=True):
    """What everybody sets for themselves."""

    language: Language | UnsetType | None = UNSET
    time_zone: Short | UnsetType | None = UNSET


def _read(row: Mapping[str, Any]) -> AccountDetail:
    fields = {name: row[name] for name in AccountDetail.__struct_fields__}
    return AccountDetail(**{**fields, "totp": row["totp"] is not None})


_BY_NAME = sql.SQL("SELECT x.id FROM app_user x WHERE lower(x.name) = lower(%s) AND {seen}")
TABLE = Table("app_user", Kind.USER, "app_user x", "x.*", _read, "user")


class Accounts(Records[AccountDetail]):
    """Accounts in the store."""

    def __init__(self, pool: Pool, passwords: Passwords, *, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__(pool, TABLE, now=now)
        self._passwords = passwords

    async def list(
        self,
        user: User,
        role: str | None = None,
        search: str | None = None,
        active: bool | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[AccountDetail]:
        """Those that `user` sees; `search` is found in names and teams."""
        where: list[Any] = []
        if role is not None:
            where.append(("x.role = %(v)s", role))
        if search:
            where.append(("(x.name || ' ' || array_to_string(x.teams, ' ')) ILIKE %(v)s", f"%{escaped(search)}%"))
        if active is not None:
            where.append(("x.active = %(v)s", active))
        return await self.page(user, where, cursor, limit)

    async def id_of(self, user: User, name: str) -> int:
        """The id of the account of that name, or `NotFoundError`."""
        seen = condition(user, Kind.USER, "x")
        async with self.pool.connection() as connection:
            rows = await connection.execute(_BY_NAME.format(seen=seen), (name if len(name) <= 64 else "",))
            row = await rows.fetchone()
        if row is None:
            raise NotFoundError("no such user")
        return int(row[0])

    async def set_own(self, user: User, chosen: OwnSettings) -> None:
        """What somebody chose for their own account, or `WrongInputError`."""
        await self.change(user, user.id, chosen)

    async def checked(self, connection: Connection, user: User, given: Values, before: AccountDetail | None) -> Values:
        """A free name, known organisations of a client, teams in one line; at least one admin is left."""
        checks = Checks(given)
        values = checks.values
        checks.time_zone()
        checks.email("email")
        checks.instant("absent_until")
        for field in ("teams", "skills"):
            checks.each(field, normal.line, "name", "north, in one line")
        if before is None:
            await self._named(connection, checks)
        role = values.get("role", before.role if before else None)
        active = values.get("active", before.active if before else True)
        organisations = values.get("organisations", before.organisations if before else [])
        if organisations and role != "client":
            checks.wrong("organisations", f"are of a client, not of the role {role}", "give [], or the role client")
        rows = await connection.execute("SELECT id FROM organisation WHERE id = ANY(%s)", (organisations,))
        known = {row[0] for row in await rows.fetchall()}
        for n, number in enumerate(organisations):
            if number not in known:
                checks.wrong(f"organisations[{n}]", f"there is no organisation {number}", "give the id of one")
        values["organisations"] = list(dict.fromkeys(organisations))
        if "totp" in values:
            off = not values.pop("totp")
            if off:
                values |= {"totp": None, "totp_step": None, "recovery": []}
            elif before is None or not before.totp:
                checks.wrong("totp", "only its owner can turn it on", "leave it out; they find it under /account")
        checks.raise_any()
        if before is not None and before.role == "admin" and before.active and (role != "admin" or not active):
            await self._another_admin(connection, before)
        if "password" in values:
            try:
                values["password"] = await self._passwords.hash(values["password"])
            except PasswordError as error:
                raise WrongInputError(Problem("password", str(error), "choose another one")) from error
        if before is not None and ("password" in values or role != before.role or active < before.active):
            await end_all(connection, before.id)
        return values

    async def _named(self, connection: Connection, checks: Checks) -> None:
        try:
            checks.values["name"] = checked_name(checks.values["name"])
        except BadNameError as error:
            checks.wrong("name", str(error), "choose another one")
            return
        rows = await connection.execute(
            "SELECT name FROM app_user WHERE lower(name) = lower(%s)", (checks.values["name"],)
        )
        if (row := await rows.fetchone()) is not None:
            checks.wrong("name", f"user {row[0]!r} exists", "change that account, or choose another name")

    async def _another_admin(self, connection: Connection, before: AccountDetail) -> None:
        # All are locked, as removing one does: two at once must not each see the other as the one that is left.
        rows = await connection.execute(
            "SELECT id FROM app_user WHERE role = 'admin' AND active ORDER BY id FOR UPDATE"
        )
        if {row[0] for row in await rows.fetchall()} <= {before.id}:
            raise ConflictError(f"{before.name!r} is the last admin: make another one first")
