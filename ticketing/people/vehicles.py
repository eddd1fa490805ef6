"""Vehicles: whose they are, which terminal is in them, and in which stage they are.

The stage is the terminal's (`terminal.stage`): one value, which the watch reads. A vehicle without a terminal has none.
A terminal that is in a vehicle carries the name of its organisation as its customer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal, LiteralString, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType
from psycopg import sql

from ticketing.core.db import Connection, Pool, escaped
from ticketing.core.moments import utc_now
from ticketing.core.paging import Page
from ticketing.people import normal
from ticketing.people.fields import Checks, Id, Name, Short, Version
from ticketing.people.records import Records, Table, Values
from ticketing.people.scope import Kind, condition
from ticketing.people.users import User

Stage: TypeAlias = Literal["in_use", "workshop", "season", "sold"]
Called: TypeAlias = Annotated[str, Meta(max_length=200)]  # empty where the plate is all there is, and the reverse
Plate: TypeAlias = Annotated[str, Meta(max_length=32)]
# Of a client's own vehicle the desk alone says whose it is, what is in it, and since when it is under warranty.
NOT_A_CLIENTS = ("organisation", "terminal", "accepted_at")


class Vehicle(msgspec.Struct, kw_only=True):
    """A vehicle; `terminal` is the identity of what is in it, `stage` that one's; `accepted_at` begins the warranty."""

    id: int
    organisation: int
    name: str
    plate: str
    terminal: str | None
    site: str | None
    stage: str | None
    stage_until: datetime | None
    accepted_at: date | None
    components: list[str]
    active: bool
    created_at: datetime
    row_version: int


class NewVehicle(msgspec.Struct, kw_only=True):
    """What is needed of a new one: a name or a plate besides the organisation."""

    organisation: Id
    name: Called = ""
    plate: Plate = ""
    terminal: Short | None = None
    site: Name | None = None
    stage: Stage | UnsetType = UNSET
    stage_until: datetime | UnsetType | None = UNSET
    accepted_at: date | None = None
    components: list[Short] = []
    active: bool = True


class ChangedVehicle(msgspec.Struct, kw_only=True):
    """What may be changed; what is left out stays. `row_version` is the version that was read."""

    organisation: Id | UnsetType = UNSET
    name: Called | UnsetType = UNSET
    plate: Plate | UnsetType = UNSET
    terminal: Short | UnsetType | None = UNSET
    site: Name | UnsetType | None = UNSET
    stage: Stage | UnsetType = UNSET
    stage_until: datetime | UnsetType | None = UNSET
    accepted_at: date | UnsetType | None = UNSET
    components: list[Short] | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    row_version: Version | UnsetType = UNSET


_SOURCE: LiteralString = "vehicle x LEFT JOIN terminal e ON e.id = x.terminal"
_COLUMNS: LiteralString = (
    "x.id, x.organisation, x.name, x.plate, e.identity AS terminal, x.site, e.stage, e.stage_until, x.accepted_at,"
    " x.components, x.active, x.created_at, x.row_version"
)


class Vehicles(Records[Vehicle]):
    """Vehicles in the store. A stage that has run out reads as in use."""

    def __init__(self, pool: Pool, *, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__(pool, Table("vehicle", Kind.VEHICLE, _SOURCE, _COLUMNS, self._read, "vehicle"), now=now)

    def _read(self, row: Mapping[str, Any]) -> Vehicle:
        until = row["stage_until"]
        over = {"stage": "in_use", "stage_until": None} if until is not None and until <= self.now() else {}
        return Vehicle(**{name: row[name] for name in Vehicle.__struct_fields__} | over)

    async def list(
        self,
        user: User,
        organisation: int | None = None,
        terminal: str | None = None,
        plate: str | None = None,
        search: str | None = None,
        active: bool | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Vehicle]:
        """Those that `user` sees; `plate` as anybody writes it, `search` in names, plates and terminals."""
        where: list[Any] = []
        if organisation is not None:
            where.append(("x.organisation = %(v)s", organisation))
        if terminal is not None:
            where.append(("e.identity = %(v)s", terminal))
        if plate is not None:
            where.append(("x.plate_key = %(v)s AND x.plate_key <> ''", normal.plate_key(plate)))
        if search:
            patterns = [f"%{escaped(search)}%", f"%{escaped(normal.plate_key(search) or search)}%"]
            where.append(("concat_ws(' ', x.name, x.plate, x.plate_key, e.identity) ILIKE ANY(%(v)s)", patterns))
        if active is not None:
            where.append(("x.active = %(v)s", active))
        return await self.page(user, where, cursor, limit)

    async def checked(self, connection: Connection, user: User, given: Values, before: Vehicle | None) -> Values:
        """Plates and terminals not another vehicle's; a stage where there is a terminal to carry it."""
        checks = Checks({name: value for name, value in given.items() if value is not UNSET})
        values = checks.values
        checks.line("name")
        checks.line("plate")
        checks.line("site")
        if user.role == "client":
            for field in NOT_A_CLIENTS:
                asked = values.get(field)
                if field in values and asked != (getattr(before, field) if before else None):
                    if field == "organisation" and before is None and asked in user.organisations:
                        continue
                    checks.wrong(field, "is for the desk to say", "leave it out, and write a ticket")
            checks.raise_any()  # nothing of other organisations is looked up for them
        if "components" in values:
            values["components"] = list(dict.fromkeys(filter(None, map(normal.line, values["components"]))))
        await self._organisation(connection, checks, before)
        if not values.get("name", before.name if before else "") and not values.get(
            "plate", before.plate if before else ""
        ):
            checks.wrong("name", "the vehicle has neither a name nor a plate", "give one of them")
        if "plate" in values:
            values["plate_key"] = normal.plate_key(values["plate"])
            if values["plate"] and not values["plate_key"]:
                checks.wrong("plate", f"{values['plate']!r} is no plate", "give its letters and digits")
        if values.get("active", before.active if before else True):
            await self._plate(connection, user, checks, before)
        terminal = await self._terminal(connection, user, checks, before)
        stage: Values = {name: values.pop(name) for name in ("stage", "stage_until") if name in values}
        if stage and terminal is None and (stage.get("stage"), stage.get("stage_until")) != (None, None):
            checks.wrong("stage", "there is no terminal in this vehicle whose stage it could be", "name its terminal")
        until = stage.get("stage_until")
        if until is not None and until.tzinfo is None:
            checks.wrong("stage_until", "has no offset from UTC", "write it as in 2026-11-30T09:00:00Z")
        checks.raise_any()
        if stage and terminal is not None:
            await _set_stage(connection, terminal, stage)
        return values

    async def written(self, connection: Connection, number: int, before: Vehicle | None) -> None:
        """Its terminal carries the organisation's name, and one that was taken out carries it no longer."""
        if before is not None and before.terminal is not None:
            await connection.execute(
                """UPDATE terminal e SET customer = NULL FROM organisation o
                   WHERE e.identity = %s AND o.id = %s AND e.customer = o.name
                     AND NOT EXISTS (SELECT FROM vehicle v WHERE v.terminal = e.id)""",
                (before.terminal, before.organisation),
            )
        await connection.execute(
            """UPDATE terminal e SET customer = o.name FROM vehicle v JOIN organisation o ON o.id = v.organisation
               WHERE v.id = %s AND v.terminal = e.id AND e.customer IS DISTINCT FROM o.name""",
            (number,),
        )

    async def _organisation(self, connection: Connection, checks: Checks, before: Vehicle | None) -> None:
        organisation = checks.values.get("organisation")
        if organisation is None or (before is not None and organisation == before.organisation):
            return
        rows = await connection.execute("SELECT active FROM organisation WHERE id = %s", (organisation,))
        row = await rows.fetchone()
        if row is None:
            checks.wrong("organisation", f"there is no organisation {organisation}", "give the id of one")
        elif not row[0]:
            checks.wrong("organisation", f"organisation {organisation} is not active", "make it active first")

    async def _plate(self, connection: Connection, user: User, checks: Checks, before: Vehicle | None) -> None:
        key = checks.values.get("plate_key") or (normal.plate_key(before.plate) if before else "")
        if not key:
            return
        rows = await connection.execute(
            # Whose it is, is told to who may see it.
            _same("x.plate_key = %(value)s AND x.active", user),
            {"value": key, "id": before.id if before else 0},
        )
        for number, seen in await rows.fetchall():
            told = f"vehicle {number} has this plate" if seen else "another vehicle has this plate"
            checks.wrong("plate", told, "change that vehicle, or make it inactive" if seen else "write to the desk")

    async def _terminal(self, connection: Connection, user: User, checks: Checks, before: Vehicle | None) -> int | None:
        """The id of the terminal that will be in it; `values["terminal"]` becomes it."""
        values = checks.values
        identity = values.get("terminal", before.terminal if before else None)
        if identity is None:
            return None
        rows = await connection.execute("SELECT id FROM terminal WHERE identity = %s", (identity,))
        row = await rows.fetchone()
        if row is None:
            checks.wrong(
                "terminal", f"there is no terminal {identity!r}", "register it first: dozor terminal add, or its login"
            )
            return None
        if "terminal" in values:
            values["terminal"] = row[0]
            rows = await connection.execute(
                _same("x.terminal = %(value)s", user), {"value": row[0], "id": before.id if before else 0}
            )
            for number, _ in await rows.fetchall():
                checks.wrong("terminal", f"{identity} is in vehicle {number}", "take it out there first")
        return int(row[0])


async def _set_stage(connection: Connection, terminal: int, stage: Values) -> None:
    """A new stage without an end has none; in use there is none either."""
    if "stage" not in stage:
        await connection.execute("UPDATE terminal SET stage_until = %s WHERE id = %s", (stage["stage_until"], terminal))
        return
    until = None if stage["stage"] == "in_use" else stage.get("stage_until")
    await connection.execute(
        "UPDATE terminal SET stage = %s, stage_until = %s WHERE id = %s", (stage["stage"], until, terminal)
    )


def _same(of: LiteralString, user: User) -> sql.Composed:
    """Other vehicles that have it, and whether `user` sees each."""
    return sql.SQL("SELECT x.id, {} FROM vehicle x WHERE {} AND x.id <> %(id)s").format(
        condition(user, Kind.VEHICLE, "x"), sql.SQL(of)
    )
