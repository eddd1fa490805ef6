"""Known errors in the store: what a fault looks like, what it was, a way around it, and where more is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ticketing.core.db import Connection, Pool, utc
from ticketing.core.moments import utc_now
from ticketing.core.paging import Page
from ticketing.people.fields import Checks, Note, Short, Version
from ticketing.people.records import Records, Table, Values
from ticketing.people.scope import Kind
from ticketing.people.users import User
from ticketing.tickets import known
from ticketing.tickets.learning import linked

Symptom = Annotated[str, Meta(min_length=1, max_length=4000)]
Link = Annotated[str, Meta(max_length=500)]


class KnownError(msgspec.Struct, kw_only=True):
    """One of them. `kind` of incident, `protocol`, `model` that it is about, None: any; `ticket` it was learned from.

    Clients and crews see those that are `public` and `active`; only what is active is suggested.
    """

    id: int
    symptom: str
    cause: str
    workaround: str
    link: str | None
    kind: str | None
    protocol: str | None
    model: str | None
    public: bool
    active: bool
    ticket: str | None
    created_by: str
    created_at: datetime
    row_version: int


class NewKnownError(msgspec.Struct, kw_only=True):
    """What is needed of a new one."""

    symptom: Symptom
    cause: Note = ""
    workaround: Note = ""
    link: Link | None = None
    kind: Short | None = None
    protocol: Short | None = None
    model: Short | None = None
    public: bool = False
    active: bool = True


class ChangedKnownError(msgspec.Struct, kw_only=True):
    """What may be changed; what is left out stays. `row_version` is the version that was read."""

    symptom: Symptom | UnsetType = UNSET
    cause: Note | UnsetType = UNSET
    workaround: Note | UnsetType = UNSET
    link: Link | UnsetType | None = UNSET
    kind: Short | UnsetType | None = UNSET
    protocol: Short | UnsetType | None = UNSET
    model: Short | UnsetType | None = UNSET
    public: bool | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    row_version: Version | UnsetType = UNSET


def _read(row: Mapping[str, Any]) -> KnownError:
    fields = {name: row[name] for name in KnownError.__struct_fields__}
    return KnownError(**(fields | {"created_at": utc(row["created_at"])}))


TABLE = Table(
    "known_error",
    Kind.KNOWN_ERROR,
    "known_error x LEFT JOIN ticket t ON t.id = x.ticket",
    "x.id, x.symptom, x.cause, x.workaround, x.link, x.kind, x.protocol, x.model, x.public, x.active,"
    " t.number AS ticket, x.created_by, x.created_at, x.row_version",
    _read,
    "known error",
)


class KnownErrors(Records[KnownError]):
    """Known errors in the store."""

    def __init__(self, pool: Pool, *, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__(pool, TABLE, now=now)

    async def list(
        self,
        user: User,
        search: str | None = None,
        kind: str | None = None,
        active: bool | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[KnownError]:
        """Those that `user` sees; `search` are words that all are in one, in any of its texts."""
        where: list[Any] = []
        if search:
            where.append(("x.words @@ to_tsquery('russian', %(v)s)", known.query_of(search)))
        if kind is not None:
            where.append(("x.kind = %(v)s", kind))
        if active is not None:
            where.append(("x.active = %(v)s", active))
        return await self.page(user, where, cursor, limit)

    async def checked(self, connection: Connection, user: User, given: Values, before: KnownError | None) -> Values:
        """Texts without blanks around them, one of them a symptom; kind, protocol, model in one line; an address."""
        checks = Checks(given)
        values = checks.values
        for name in ("symptom", "cause", "workaround"):
            if name in values:
                values[name] = values[name].strip()
        if values.get("symptom") == "":
            checks.wrong("symptom", "is empty", "say what it looks like")
        for name in ("kind", "protocol", "model"):
            checks.line(name)
        if values.get("link") is not None:
            values["link"] = linked(values["link"])
            if values["link"] is None:
                checks.wrong("link", "is no address", "write https://…")
        checks.raise_any()
        return values if before is not None else {**values, "created_by": user.name}

    async def written(self, connection: Connection, number: int, before: KnownError | None) -> None:
        """Its words are found from now on."""
        rows = await connection.execute("SELECT symptom, cause, workaround FROM known_error WHERE id = %s", (number,))
        symptom, cause, workaround = await rows.fetchone() or ("", "", "")
        await known.index(connection, number, symptom, cause, workaround)
