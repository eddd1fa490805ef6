"""Two of everything on one store: engines, findings of one key, people and time; and a store that fails midway."""

import asyncio
import os
from datetime import timedelta

import psycopg
import pytest

from tests.ticketing.desk_parts import MONDAY, add_terminal, fetch, pool_of, raise_one
from tests.ticketing.desk_world import ENGINEER, Desk, body
from ticketing.core.errors import ConflictError
from ticketing.core.journal import verify
from ticketing.engine import Engine, modules_of
from ticketing.incidents import Incidents
from ticketing.model.states import Action
from ticketing.tickets.acts import act

RAISES, KEYS = (5000, 50) if os.environ.get("DOZOR_SOAK") else (300, 10)
TIMED = ("warned", "breached", "reminded", "escalated", "eta-passed", "recheck", "deemed")


def engines(pool, desk):
    return [Engine(modules_of(pool, desk.office)) for _ in range(2)]


async def both(cycled, now):
    """Both at one instant, until neither has anything to do: what one leaves to the other it may find again."""
    while True:
        found = await asyncio.gather(*(one.cycle(now) for one in cycled))
        if not any(sum(done.values()) for done in found):
            return


async def once(pool):
    """Nothing was written twice, and every chain holds."""
    for statement in (
        "SELECT ticket, action, data - 'events' FROM journal WHERE action = ANY(%s) GROUP BY 1, 2, 3"
        " HAVING count(*) > 1",
        "SELECT ticket, kind, n, address, count(*) FROM letter WHERE n > 0 AND cardinality(%s::text[]) > 0"
        " GROUP BY 1, 2, 3, 4 HAVING count(*) > 1",
    ):
        assert await fetch(pool, statement, list(TIMED)) == []
    async with pool.connection() as connection:
        assert (await verify(connection))[1] == []


def test_two_engines_tell_each_thing_once(postgres_dsn):
    async def run():
        async with pool_of(postgres_dsn, size=8) as pool:
            desk = Desk(pool, "after-sales")
            client = await desk.client()
            tickets = [await desk.ticket(client, criticality=1) for _ in range(6)]
            cycled = engines(pool, desk)
            for _ in range(8):  # the ladder of a call: 5, 15 and 30 minutes; clocks of 10, 30 and 60
                desk.now += timedelta(minutes=10)
                await both(cycled, desk.now)
            for ticket in tickets[:3]:
                await desk.do("qualify", ticket, **{"class": "software"})
                await desk.do("eta", ticket, eta=(desk.now + timedelta(minutes=20)).isoformat())
                await desk.do("ask", ticket, text="Which server?")
            for _ in range(8):  # the promise passes, and reminders are due after one and two days
                desk.now += timedelta(hours=9)
                await both(cycled, desk.now)
            counts = dict(
                await fetch(pool, "SELECT action, count(*) FROM journal WHERE action = ANY(%s) GROUP BY 1", list(TIMED))
            )
            assert counts["eta-passed"] == 3
            assert counts["reminded"] == 6
            assert counts["escalated"] == 18
            assert counts["breached"] >= 6
            assert counts["warned"] >= 6
            letters = dict(await fetch(pool, "SELECT kind, count(*) FROM letter WHERE n > 0 GROUP BY 1"))
            assert letters["ack"] == 6
            await once(pool)

    asyncio.run(run())


def test_findings_of_few_keys_at_once_open_one_ticket_each(postgres_dsn):
    async def run():
        async with pool_of(postgres_dsn, size=8) as pool:
            desk = Desk(pool, "support-procedure")
            terminals = []
            for n in range(KEYS):
                client = await desk.client()
                terminals.append(await add_terminal(pool, f"k{n}"))
                await fetch(
                    pool, "INSERT INTO vehicle (organisation, terminal, created_at) VALUES (%s, %s, %s) RETURNING id",
                    client.organisation, terminals[-1], desk.now,
                )  # fmt: skip
            watches = [Incidents(pool, office=desk.office, tickets_per_minute=0) for _ in range(2)]
            await asyncio.gather(
                *(raise_one(pool, terminals[n % KEYS], MONDAY, incidents=watches[n % 2]) for n in range(RAISES))
            )
            assert await fetch(pool, "SELECT count(*), count(DISTINCT terminal) FROM ticket") == [(KEYS, KEYS)]
            assert await fetch(
                pool, "SELECT count(*), count(DISTINCT ticket) FROM letter WHERE kind = 'ack'"
            ) == [(KEYS, KEYS)]  # fmt: skip
            await once(pool)

    asyncio.run(run())


def test_people_and_engines_on_one_ticket_never_wait_in_a_circle(postgres_dsn):
    async def run():
        async with pool_of(postgres_dsn, size=8) as pool:
            desk = Desk(pool, "after-sales")
            client = await desk.client()
            one, other = [await desk.ticket(client, criticality=1) for _ in range(2)]
            cycled = engines(pool, desk)
            for n in range(8):
                desk.now += timedelta(minutes=7)
                now = desk.now
                await asyncio.gather(
                    *(engine.cycle(now) for engine in cycled),
                    *(desk.do("note", ticket, text=f"{n}") for ticket in (one, other)),
                    *(desk.do("take", ticket) for ticket in (one, other)),
                )
            notes = await fetch(pool, "SELECT count(*) FROM journal WHERE action = 'note'")
            assert notes == [(16,)]
            await once(pool)

    asyncio.run(run())


@pytest.mark.parametrize("action", ["merge", "link"])
def test_two_tickets_led_to_each_other_at_once(shared_dsn, action):
    """Either goes first; the other finds what the first did, and no deadlock is anybody's."""

    async def run():
        async with pool_of(shared_dsn, size=4) as pool:
            desk = Desk(pool, "support-procedure")
            client = await desk.client()
            for _ in range(5):
                rows = [await desk.ticket(client) for _ in range(2)]
                numbers = [(await desk.row(row, "number"))[0] for row in rows]
                said = [{"into": n} if action == "merge" else {"to": n, "kind": "parent"} for n in numbers]
                found = await asyncio.gather(
                    desk.do(action, numbers[0], **said[1]),
                    desk.do(action, rows[1], **said[0]),
                    return_exceptions=True,
                )
                assert sorted(type(one) for one in found if isinstance(one, Exception)) == [ConflictError]
                closed = await fetch(pool, "SELECT count(*) FROM ticket WHERE id = ANY(%s) AND state = 'closed'", rows)
                assert closed == [(1 if action == "merge" else 0,)]

    asyncio.run(run())


class Failing:
    """A connection whose statement number `fails` finds no server."""

    def __init__(self, connection, fails):
        self._connection, self._left = connection, fails

    def __getattr__(self, name):
        return getattr(self._connection, name)

    async def execute(self, *arguments, **named):
        self._left -= 1
        if self._left == 0:
            raise psycopg.OperationalError("the server is gone")
        return await self._connection.execute(*arguments, **named)


CRASHES = {
    "reply": {"text": "try it"},
    "fix": {"text": "restarted"},
    "eta": {"eta": "2026-12-20T10:00:00Z"},
}
WRITTEN = ("ticket", "journal", "ticket_message", "letter", "task", "due", "breach", "clock_warning")


@pytest.mark.parametrize("action", CRASHES)
def test_a_crash_at_any_statement_leaves_all_or_nothing(shared_dsn, action):
    async def run():
        async with pool_of(shared_dsn, size=2) as pool:
            desk = Desk(pool, "support-procedure")
            ticket = await desk.ticket(await desk.client())
            await desk.do("qualify", ticket, **{"class": "software"})
            before = await rows_of(pool)
            crashes = 0
            for fails in range(1, 500):
                try:
                    async with pool.connection() as connection, connection.transaction():
                        await act(
                            Failing(connection, fails), desk.office, Action(action), ticket, ENGINEER,
                            body(CRASHES[action]), desk.now,
                        )  # fmt: skip
                except psycopg.OperationalError:
                    crashes += 1
                    assert await rows_of(pool) == before, f"statement {fails}"
                    continue
                break
            assert crashes > 10
            kind = {"reply": "reply", "fix": "recovered", "eta": "eta"}[action]
            assert await fetch(
                pool, "SELECT count(*) FROM letter WHERE ticket = %s AND kind = %s", ticket, kind
            ) == [(1,)]  # fmt: skip
            assert await fetch(
                pool, "SELECT count(*) FROM journal WHERE ticket = %s AND action = %s", ticket, action
            ) == [(1,)]  # fmt: skip

    asyncio.run(run())


async def rows_of(pool):
    """Everything that an action writes, as it stands."""
    return [await fetch(pool, f"SELECT md5(coalesce(string_agg(x::text, ',' ORDER BY x::text), '')) FROM {name} x")
            for name in WRITTEN]  # fmt: skip
