"""Groups with a cause in common in SQL: opened with their members, joined, left, over.

What is to be done is decided before (`detectors.mass`); here it is written, each step as one transaction, behind the
gate that all pass who open or end something. A group has the ticket; members have incidents of their own and no ticket.
Thousands join by one statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from detectors.verdicts import spell
from ticketing.core.db import Connection, Pool
from ticketing.core.errors import NotFoundError
from ticketing.incidents.carrying import Incidents
from ticketing.incidents.evidence import keep_members
from ticketing.incidents.looking import lock_ticket, pass_gate, utc
from ticketing.incidents.storms import back_to_work
from ticketing.model.kinds import COMMON, MASS, PLATFORM
from ticketing.model.states import Action, State, next_state
from ticketing.tickets import outages
from ticketing.tickets.opening import Draft, next_row, open_ticket
from ticketing.tickets.watching import step

log = structlog.get_logger()

PRIORITY = 1  # many terminals
ASKED = 200  # members of whom it is asked whether others heard them: one short index scan each
MEMBER = "silence"  # the kind of a member's incident
# Where the cause probably lies, by what those have in common that are silent.
ZONES = {
    "operator": "sim-operator",
    "address": "network-path",
    "region": "network-path",
    "site": "client-side",
    "customer": "client-side",
    "model": "terminal",
    "firmware": "terminal",
    "listener": "gateway",
    "protocol": "gateway",
    "gateway": "gateway",
}
Numbers = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shared:
    """A group: what its terminals share, since when it is silent (Unix seconds), and the numbers of the decision."""

    kind: str
    by: str
    value: str
    since: float
    numbers: Numbers

    @property
    def words(self) -> str:
        """What it is called in a sentence."""
        if self.kind == PLATFORM:
            return {"fleet": "the gateway hears nobody", "gateway": "the gateway did not listen"}.get(
                self.by, f"nobody is heard by {self.by} {self.value}"
            )
        return "terminals without anything known in common" if self.by == "fleet" else f"{self.by} {self.value}"

    @property
    def reason(self) -> str:
        """Why it is a group, with its numbers."""
        told = self.numbers
        if "share" not in told:
            return f"for {spell(told.get('away_s', 0))}; silence in that time is nobody else's"
        usual = f"usually {100 * told['usual_share']:.0f} %"
        return f"{told['silent']} of {told['expected']} terminals that should report fell silent together, {usual}"

    @property
    def zone(self) -> tuple[str, float]:
        """Where the cause probably lies, and how sure that is: how much of the group is silent."""
        zone = "gateway" if self.kind == PLATFORM else ZONES.get(self.by, "unknown")
        return zone, 0.0 if zone == "unknown" else round(float(self.numbers.get("share", 1.0)), 2)


@dataclass(frozen=True, slots=True)
class Standing:
    """A group that has open members or is open itself, as the watch needs it after a restart; Unix seconds.

    `members` maps terminals to when each was last heard before it joined.
    """

    incident: int
    shared: Shared
    open: bool
    members: Mapping[int, float]


class GroupIncidents:
    """Writes groups for `incidents`, under its terms and to its channels."""

    def __init__(self, pool: Pool, incidents: Incidents) -> None:
        self._pool = pool
        self._incidents = incidents

    async def standing(self) -> list[Standing]:
        """All that are open, and those over that have members left."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT g.id, g.kind, g.group_by, g.group_value, extract(epoch FROM g.detected_at)::float8,"
                " coalesce(t.evidence -> 'decision', '{}'), g.state = 'open', m.terminal,"
                " extract(epoch FROM m.detected_at)::float8 FROM incident g JOIN ticket t ON t.id = g.ticket"
                " LEFT JOIN incident m ON m.parent = g.id AND m.state = 'open'"
                " WHERE g.terminal IS NULL AND g.kind = ANY(%s) AND (g.state = 'open' OR m.id IS NOT NULL)"
                " ORDER BY g.id",
                (list(COMMON),),
            )
            found: dict[int, Standing] = {}
            members: dict[int, dict[int, float]] = {}
            for incident, kind, by, value, since, numbers, is_open, terminal, heard in await rows.fetchall():
                mine = members.setdefault(incident, {})
                found[incident] = Standing(incident, Shared(kind, by, value, since, numbers), is_open, mine)
                if terminal is not None:
                    mine[terminal] = heard
        return list(found.values())

    async def open(self, shared: Shared, members: Mapping[int, float], now: float) -> tuple[int, str, bool] | None:
        """Open the group with its members (terminal: when it was last heard), or bring it back.

        Returns
        -------
        incident, ticket number, and whether the channels are owed something new; None where most of its members have
        reported to other services meanwhile: it is no group, what they told us got lost
        """
        at, asked = utc(now), list(members)[:ASKED]
        if 2 * await self._incidents.heard_elsewhere(asked) >= len(asked) > 0:
            return None
        async with self._pool.connection() as connection, connection.transaction():
            await pass_gate(connection)
            rows = await connection.execute(
                "SELECT i.id, i.state = 'open', i.ticket, t.number, t.state FROM incident i JOIN ticket t"
                " ON t.id = i.ticket WHERE i.terminal IS NULL AND i.kind = %s AND i.group_by = %s"
                " AND i.group_value = %s ORDER BY i.id DESC LIMIT 1",
                (shared.kind, shared.by, shared.value),
            )
            latest = await rows.fetchone()
            opened = latest is None or (not latest[1] and State(latest[4]) == State.CLOSED)
            if opened or latest is None:
                incident, number = await self._open(connection, shared, now)
            else:
                incident, is_open, ticket, number, _ = latest
                if not is_open:
                    await connection.execute(
                        "UPDATE incident SET state = 'open', closed_at = NULL, last_good_at = NULL, flaps = flaps + 1,"
                        " raised_at = %s, last_bad_at = %s, detected_at = %s WHERE id = %s",
                        (at, at, utc(shared.since), incident),
                    )
                    await back_to_work(connection, self._incidents.office, ticket, shared.reason, at)
                    await connection.execute(
                        "UPDATE ticket SET evidence = evidence || %s WHERE id = %s",
                        (Jsonb({"decision": dict(shared.numbers)}, dumps=msgspec.json.encode), ticket),
                    )
            await _attach(connection, incident, members, shared, now)
            await keep_members(connection, incident)
            await self._out(connection, shared, members)
        log.warning("many silent together", number=number, kind=shared.kind, group=shared.words, members=len(members))
        return incident, number, opened

    async def _out(self, connection: Connection, shared: Shared, members: Mapping[int, float]) -> None:
        """We ourselves are out: clients hear of it after an hour."""
        if shared.kind == PLATFORM:
            await outages.begin(
                connection, self._incidents.office, _outage(shared), utc(shared.since), terminals=_hit(shared, members)
            )

    async def join(self, incident: int, shared: Shared, members: Mapping[int, float], now: float) -> None:
        """More members, each with when it was last heard."""
        async with self._pool.connection() as connection, connection.transaction():
            await pass_gate(connection)
            await _attach(connection, incident, members, shared, now)
            await keep_members(connection, incident)
            await self._out(connection, shared, members)

    async def over(self, incident: int, shared: Shared, back: int, out: int, now: float) -> None:
        """The group is heard again; so many of its members are, or are not yet."""
        at = utc(now)
        async with self._pool.connection() as connection, connection.transaction():
            await pass_gate(connection)
            rows = await connection.execute(
                "UPDATE incident SET state = 'closed', closed_at = %s, last_good_at = %s WHERE id = %s"
                " AND state = 'open' RETURNING ticket, (SELECT number FROM ticket t WHERE t.id = ticket)",
                (at, at, incident),
            )
            found = await rows.fetchone()
            if found is None:
                return
            ticket, number = found
            before = State((await lock_ticket(connection, ticket))[0])
            text = f"heard again: {back} of {back + out} members"
            if out:
                text += f"; {out} are still out, each within its own rhythm from now on"
            if not back + out:
                text = "we listen again, and terminals had their time to come back"
            if before in (State.AWAITING_CONSENT, State.CLOSED):  # somebody was quicker
                raise NotFoundError(f"an open group's ticket {number} is {before}")
            after = next_state(before, Action.RECOVERED, consented=False)
            await step(connection, self._incidents.office, ticket, Action.RECOVERED, after, at, {"reason": text})
            await keep_members(connection, incident)
            if shared.kind == PLATFORM:
                await outages.end(connection, self._incidents.office, _outage(shared), at)
        log.info("many silent together: over", number=number, group=shared.words, back=back, out=out)

    async def recovered(self, members: Mapping[int, float], now: float) -> list[int]:
        """Members that are good again (terminal: since when), all at once; returns those that had an open incident."""
        if not members:
            return []
        async with self._pool.connection() as connection, connection.transaction():
            rows = await connection.execute(
                "UPDATE incident i SET state = 'closed', closed_at = %s, last_good_at = m.at"
                " FROM unnest(%s::int[], %s::timestamptz[]) AS m(terminal, at)"
                " WHERE i.terminal = m.terminal AND i.kind = %s AND i.state = 'open' AND i.parent IS NOT NULL"
                " RETURNING i.terminal, i.parent",
                (utc(now), list(members), [utc(at) for at in members.values()], MEMBER),
            )
            found = await rows.fetchall()
            for parent in sorted({parent for _, parent in found}):
                await keep_members(connection, parent)
        return [terminal for terminal, _ in found]

    async def _open(self, connection: AsyncConnection[TupleRow], shared: Shared, now: float) -> tuple[int, str]:
        at, ticket, (zone, confidence) = utc(now), await next_row(connection), shared.zone
        rows = await connection.execute(
            "INSERT INTO incident (kind, group_by, group_value, state, ticket, opened_at, raised_at, detected_at,"
            " last_bad_at, zone, zone_confidence) VALUES (%s, %s, %s, 'open', %s, %s, %s, %s, %s, %s, %s) RETURNING id",
            (shared.kind, shared.by, shared.value, ticket, at, at, utc(shared.since), at, zone, confidence),
        )
        incident = await rows.fetchone()
        if incident is None:
            raise NotFoundError("the group vanished while it was written")
        evidence = {
            "group": {"by": shared.by, "value": shared.value},
            "decision": dict(shared.numbers),
            "zone": {"zone": zone, "confidence": confidence, "reason": f"by what they share: {shared.by}"},
        }
        title = f"{'Mass silence' if shared.kind == MASS else 'Platform'}: {shared.words}: {shared.reason}"
        draft = Draft(
            kind=shared.kind, title=title, reason=shared.reason, evidence=evidence, priority=PRIORITY, zone=zone
        )
        return incident[0], (await open_ticket(connection, self._incidents.office, draft, at, ticket)).number


def _outage(shared: Shared) -> str:
    """One outage for one cause."""
    return f"{PLATFORM}/{shared.by}/{shared.value}"


def _hit(shared: Shared, members: Mapping[int, float]) -> list[int] | None:
    """Whom it hit; None where nobody at all is heard."""
    return None if shared.by in ("fleet", "gateway") else list(members)


async def _attach(
    connection: AsyncConnection[TupleRow], incident: int, members: Mapping[int, float], shared: Shared, now: float
) -> None:
    """Incidents of members; one that has an open incident keeps it."""
    if not members:
        return
    at, (zone, confidence) = utc(now), shared.zone
    heard: Sequence[Any] = [utc(seconds) for seconds in members.values()]
    await connection.execute(
        "INSERT INTO incident (terminal, kind, state, parent, grouped, opened_at, raised_at, detected_at, last_bad_at,"
        " zone, zone_confidence) SELECT t, %s, 'open', %s, true, %s, %s, h, %s, %s, %s"
        " FROM unnest(%s::int[], %s::timestamptz[]) AS m(t, h) WHERE EXISTS (SELECT FROM terminal e WHERE e.id = t)"
        " ON CONFLICT (terminal, kind) WHERE state = 'open' DO NOTHING",
        (MEMBER, incident, at, at, at, zone, confidence, list(members), heard),
    )
