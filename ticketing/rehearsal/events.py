"""What happened, as a rehearsal tells it: read from the store after each instant, in the order of writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from ticketing.clocks.records import load_clocks
from ticketing.core.db import Connection, Pool, utc
from ticketing.letters.courier import Outcome, Taken
from ticketing.model.states import Action
from ticketing.rehearsal.book import Book
from ticketing.tickets.reading import links_of

Event = dict[str, Any]


class Observer:
    """Tells of journal entries, messages, tasks and verdicts that are new since it last looked, and of letters."""

    def __init__(self, pool: Pool, book: Book) -> None:
        self._pool = pool
        self._book = book
        self._journal = self._message = self._task = 0
        self._states: dict[int, str] = {}
        self._stopped: dict[int, set[tuple[str, int]]] = {}
        self._numbers: dict[int, str] = {}
        self._judged: set[int] = set()

    def ticket(self, row: int | None) -> str | None:
        """A ticket's ref, else its number."""
        if row is None:
            return None
        return self._book.called.get(row) or self._numbers.get(row)

    async def look(self, now: datetime) -> list[Event]:
        """All that is new, in order of writing."""
        found: list[Event] = []
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT j.id, j.ticket, t.number, j.at, j.actor, j.action, j.state, j.data FROM journal j"
                " JOIN ticket t ON t.id = j.ticket WHERE j.id > %s ORDER BY j.id",
                (self._journal,),
            )
            entries = await rows.fetchall()
            messages = await self._messages(connection)
            tasks = await self._tasks(connection)
            touched = dict.fromkeys(entry[1] for entry in entries)
            for identity, ticket, number, at, actor, action, state, data in entries:
                self._journal = identity
                self._numbers[ticket] = number
                found += await self._entry(connection, ticket, utc(at), actor, action, state, data)
                found += [event for owner, event in messages.pop(data.get("message"), ()) if owner is not None]
                if action == Action.OPENED:
                    for key in [key for key, told in messages.items() if told[0][0] == ticket]:
                        found += [event for _, event in messages.pop(key)]
                found += tasks.pop(ticket, [])
            for told in messages.values():
                found += [event for _, event in told]
            for rest in tasks.values():
                found += rest
            for ticket in touched:
                found += await self._stops(connection, ticket, now)
            found += await self._verdicts(connection, now)
        return found

    def letters(self, taken: Sequence[Taken]) -> Iterator[Event]:
        """Letters that the transport took."""
        for one in taken:
            if one.outcome == Outcome.SENT:
                yield {
                    "at": _iso(one.at),
                    "event": "letter",
                    "ticket": self.ticket(one.ticket),
                    "kind": one.kind,
                    "n": one.n,
                    "to": [one.address],
                    "language": one.language,
                    "subject": one.subject,
                    "auto": one.auto,
                }

    async def _entry(
        self,
        connection: Connection,
        ticket: int,
        at: datetime,
        actor: str,
        action: str,
        state: str,
        data: dict[str, Any],
    ) -> list[Event]:
        base: Event = {"at": _iso(at), "ticket": self.ticket(ticket)}
        found: list[Event] = []
        before = self._states.get(ticket)
        self._states[ticket] = state
        if action == Action.OPENED:
            return [{**base, "event": "opened", **await self._opened(connection, ticket)}]
        if before is not None and before != state:
            found.append({**base, "event": "state", "from": before, "to": state, "by": actor})
        if action == Action.WARNED:
            found.append({**base, "event": "warning", "clock": data["clock"], "percent": data["percent"]})
        elif action == Action.BREACHED:
            found.append({**base, "event": "breach", "clock": data["clock"], "due": data["due"]})
        elif action == Action.ESCALATED:
            found.append({**base, "event": "escalated", "step": data.get("step"), "tell": data.get("tell")})
        return found

    async def _opened(self, connection: Connection, ticket: int) -> Event:
        rows = await connection.execute(
            "SELECT channel, kind, number, verified, plan, policy, class, topic, priority, missing, price, owner"
            " FROM ticket WHERE id = %s",
            (ticket,),
        )
        names = (
            "channel",
            "kind",
            "number",
            "verified",
            "plan",
            "policy",
            "class",
            "topic",
            "priority",
            "missing",
            "price",
            "owner",
        )
        row = await rows.fetchone() or (None,) * len(names)
        told: Event = dict(zip(names, row, strict=True))
        links = await links_of(connection, ticket)
        told["links"] = [{"kind": link.kind, "number": link.number} for link in links]
        return told

    async def _messages(self, connection: Connection) -> dict[int, list[tuple[int, Event]]]:
        rows = await connection.execute(
            "SELECT id, ticket, at, direction, public, author, data ->> 'by' FROM ticket_message WHERE id > %s"
            " ORDER BY id",
            (self._message,),
        )
        found: dict[int, list[tuple[int, Event]]] = {}
        for identity, ticket, at, direction, public, author, by in await rows.fetchall():
            self._message = identity
            event = {
                "at": _iso(utc(at)), "event": "message", "ticket": self.ticket(ticket), "direction": direction,
                "public": public, "from": author, "by": by or "api",
            }  # fmt: skip
            found[identity] = [(ticket, event)]
        return found

    async def _tasks(self, connection: Connection) -> dict[int | None, list[Event]]:
        rows = await connection.execute(
            "SELECT id, ticket, created_at, kind FROM task WHERE id > %s ORDER BY id", (self._task,)
        )
        found: dict[int | None, list[Event]] = {}
        for identity, ticket, at, kind in await rows.fetchall():
            self._task = identity
            event = {"at": _iso(utc(at)), "event": "task", "ticket": self.ticket(ticket), "kind": kind}
            found.setdefault(ticket, []).append(event)
        return found

    async def _stops(self, connection: Connection, ticket: int, now: datetime) -> list[Event]:
        clocks = await load_clocks(connection, ticket, now)
        known = self._stopped.setdefault(ticket, set())
        found = []
        for clock, cycle, at, verdict in () if clocks is None else clocks.stopped:
            if (clock, cycle) not in known:
                known.add((clock, cycle))
                found.append(
                    {
                        "at": _iso(utc(at)), "event": "stopped", "ticket": self.ticket(ticket), "clock": clock,
                        "verdict": str(verdict),
                    }
                )  # fmt: skip
        if clocks is not None:  # one that runs on again, as after a relapse, may stop again
            known &= {(clock, cycle) for clock, cycle, _, _ in clocks.stopped}
        return found

    async def _verdicts(self, connection: Connection, now: datetime) -> list[Event]:
        rows = await connection.execute(
            "SELECT id, verdict, reason, ticket, coalesce(sender, envelope_from, '') FROM inbox"
            " WHERE verdict IN ('held', 'dropped', 'noted') ORDER BY id"
        )
        found: list[Event] = []
        for identity, verdict, reason, ticket, sender in await rows.fetchall():
            if identity in self._judged:
                continue
            self._judged.add(identity)
            base: Event = {"at": _iso(now), "ticket": self.ticket(ticket)}
            if verdict == "held":
                found.append({**base, "event": "held", "from": sender, "reason": reason})
            else:
                found.append({**base, "event": "dropped", "reason": reason})
        return found


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
