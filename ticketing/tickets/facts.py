"""A ticket as an action finds it, under its row's lock; and who acts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from ticketing.core.db import Connection, storable, utc_or_none
from ticketing.core.errors import NotFoundError
from ticketing.model.states import WATCH, State


class Actor(NamedTuple):
    """Who acts: a user, or a contact of the client's; `organisations` are whose tickets a client may touch."""

    name: str
    role: str
    contact: int | None = None
    organisations: tuple[int, ...] = ()

    @property
    def is_client(self) -> bool:
        return self.role == "client"


DESK = Actor(WATCH, "admin")  # time, the watch, and a script's own voice


@dataclass(frozen=True, slots=True)
class Facts:
    """The columns that actions ask for."""

    row: int
    number: str
    kind: str
    state: State
    owner: str | None
    given: bool
    team: str | None
    tier: int
    priority: int
    client_priority: int | None
    class_: str | None
    topic: str
    component: str | None
    qualified: bool
    missing: tuple[str, ...]
    details: dict[str, Any]
    opened_at: datetime
    closed_at: datetime | None
    consent_at: datetime | None
    consent_means: str | None
    cycle: int
    eta_at: datetime | None
    eta_version: int
    deferral: dict[str, Any] | None
    organisation: int | None
    vehicle: int | None
    reporter: int | None
    terminal: int | None
    policy_version: str | None
    merged_into: int | None
    row_version: int

    @property
    def consented(self) -> bool:
        """Whether a consent waits to be used."""
        return self.consent_at is not None and self.state != State.CLOSED

    @property
    def working(self) -> State:
        """Where work goes on: with whom it is, or in the queue."""
        return State.IN_WORK if self.owner is not None and not self.given else State.NEW


_COLUMNS = sql.SQL(
    "id, number, kind, state, owner, given, team, tier, priority, client_priority, class, topic, component, qualified,"
    " missing, details, opened_at, closed_at, consent_at, consent_means, cycle, eta_at, eta_version, deferral,"
    " organisation, vehicle, reporter, terminal, policy_version, merged_into, row_version"
)


async def lock(connection: Connection, number: str | int, *, follow: bool = True) -> Facts:
    """A ticket by its number or row, locked; of one that was merged the survivor, unless `follow` is false.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    wanted: str | int = storable(number) if isinstance(number, str) else number
    for _ in range(50):  # a chain of merges longer than that is none of ours
        column = "number" if isinstance(wanted, str) else "id"
        rows = await connection.execute(
            sql.SQL("SELECT {} FROM ticket WHERE {} = %s FOR UPDATE").format(_COLUMNS, sql.Identifier(column)),
            (wanted,),
        )
        row = await rows.fetchone()
        if row is None:
            break
        facts = _facts(row)
        if facts.merged_into is None or not follow:
            return facts
        wanted = facts.merged_into
    raise NotFoundError(f"no ticket {number}")


async def lock_both(connection: Connection, one: str | int, other: str) -> None:
    """Lock two tickets, and those that they were merged into, in one order whoever asks: nobody waits in a circle."""
    column = sql.Identifier("number" if isinstance(one, str) else "id")
    await connection.execute(
        sql.SQL(
            "WITH RECURSIVE chain(id, into_) AS (SELECT id, merged_into FROM ticket WHERE {} = %s OR number = %s"
            " UNION SELECT t.id, t.merged_into FROM ticket t JOIN chain ON t.id = chain.into_)"
            " SELECT FROM ticket WHERE id IN (SELECT id FROM chain) ORDER BY id FOR UPDATE"
        ).format(column),
        (storable(one) if isinstance(one, str) else one, storable(other)),
    )


def _facts(row: tuple[Any, ...]) -> Facts:
    values = list(row)
    values[3] = State(values[3])
    values[14] = tuple(values[14])
    for place in (16, 17, 18, 21):
        values[place] = utc_or_none(values[place])
    return Facts(*values)


async def set_columns(connection: Connection, ticket: int, columns: dict[str, Any]) -> None:
    """Write columns of a ticket; names come from code alone."""
    assignments: list[sql.Composable] = [sql.SQL("row_version = row_version + 1")]
    values: list[Any] = []
    for name, value in columns.items():
        assignments.append(sql.SQL("{} = %s").format(sql.Identifier(name)))
        values.append(Jsonb(value, dumps=msgspec.json.encode) if isinstance(value, dict) else value)
    await connection.execute(
        sql.SQL("UPDATE ticket SET {} WHERE id = %s").format(sql.SQL(", ").join(assignments)), (*values, ticket)
    )
