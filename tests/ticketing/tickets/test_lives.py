"""Whatever people, the watch and time do, in any order: what must never come of it."""

import asyncio
import contextlib
import itertools
import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.ticketing.desk_parts import add_terminal, execute, fetch, pool_of, raise_one
from tests.ticketing.desk_world import MANAGER, Desk
from ticketing.core.errors import TicketingError
from ticketing.core.journal import verify
from ticketing.engine import Engine, modules_of
from ticketing.incidents import Incidents

EXAMPLES, STEPS = (300, 40) if os.environ.get("DOZOR_SOAK") else (4, 14)
WITHOUT_CONSENT = ("merged", "spam", "duplicate", "scrapped", "withdrawn", "explained")
SAID = {
    "take": {},
    "qualify": {"class": "software"},
    "note": {"text": "looked"},
    "reply": {"text": "try it"},
    "ask": {"items": ["Which server?"]},
    "answer": {"text": "one"},
    "vendor": {"system": "maker"},
    "vendor-done": {},
    "resume": {},
    "visit": {"reason": "asked"},
    "visit-done": {},
    "fix": {"text": "restarted"},
    "consent": {"means": "phone", "by": "Ann"},
    "dispute": {"text": "no"},
    "close": {},
    "reopen": {"text": "again"},
    "withdraw": {"reason": "withdrawn"},
}
names = itertools.count(1)


class Life(RuleBasedStateMachine):
    """One client, a ticket that he brought in, and a terminal that the watch looks at."""

    dsn, policy = "", ""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = pool_of(self.dsn, size=2)
        self.pool = self.run(self.stack.__aenter__())
        self.lines, self.breaches = 0, set()

    def run(self, coroutine):
        return self.runner.run(coroutine)

    @initialize(deemed=st.booleans())
    def begin(self, deemed):
        self.run(self._begin(deemed))

    async def _begin(self, deemed):
        await execute(self.pool, "UPDATE ticket SET clock_check_at = NULL")  # of the lives before
        await execute(self.pool, "DELETE FROM due")
        self.deemed = deemed and self.policy == "dealer-desk"
        self.desk = Desk(self.pool, self.policy)
        self.client = await self.desk.client(**({"consent": "deemed"} if deemed else {}))
        self.terminal = await add_terminal(self.pool, f"{self.policy}{next(names)}")
        await execute(
            self.pool, "INSERT INTO vehicle (organisation, terminal, created_at) VALUES (%s, %s, %s)",
            self.client.organisation, self.terminal, self.desk.now,
        )  # fmt: skip
        await self.desk.ticket(self.client)
        self.watch = Incidents(self.pool, office=self.desk.office, tickets_per_minute=0)
        self.engine = Engine(modules_of(self.pool, self.desk.office))

    async def tickets(self):
        return [row for (row,) in await fetch(self.pool, "SELECT id FROM ticket WHERE organisation = %s ORDER BY id",
                                              self.client.organisation)]  # fmt: skip

    @rule(action=st.sampled_from(list(SAID)), place=st.integers(0, 2), client=st.booleans())
    def act(self, action, place, client):
        async def step():
            rows = await self.tickets()
            actor = self.client.actor if client else MANAGER
            with contextlib.suppress(TicketingError):
                await self.desk.do(action, rows[place % len(rows)], actor, **SAID[action])

        self.run(step())

    @rule(button=st.booleans(), place=st.integers(0, 2))
    def work_and_agree(self, button, place):
        """The way to the end, so that it is walked often."""

        async def step():
            rows = await self.tickets()
            for action in ("take", "fix", *(("consent",) if button else ())):
                try:
                    await self.desk.do(action, rows[place % len(rows)], MANAGER, **SAID[action])
                except TicketingError:
                    return

        self.run(step())

    @rule()
    def merge(self):
        async def step():
            rows = await self.tickets()
            (into,) = await self.desk.row(rows[-1], "number")
            with contextlib.suppress(TicketingError):
                await self.desk.do("merge", rows[0], MANAGER, into=into)

        self.run(step())

    @rule(gone=st.booleans())
    def look(self, gone):
        async def step():
            self.desk.now += timedelta(seconds=1)
            at = self.desk.now.timestamp()
            if gone:
                await raise_one(self.pool, self.terminal, at, incidents=self.watch)
            else:
                await self.watch.recover("silence", self.terminal, at, at - 300, "good for 5 min", lambda: True)

        self.run(step())

    @rule()
    def deliver(self):
        self.run(execute(self.pool, "UPDATE letter SET state = 'sent', sent_at = created_at WHERE state = 'owed'"))

    @rule(hours=st.sampled_from([0, 1, 30, 24 * 8, 24 * 16]))
    def wait(self, hours):
        """Time passes from due to due, as a service lives it."""

        async def step():
            end = self.desk.now + timedelta(hours=hours)
            for _ in range(200):
                due = await self.engine.next_due()
                if due is None or due > end:
                    break
                self.desk.now = max(due, self.desk.now)
                await self.engine.cycle(self.desk.now)
            self.desk.now = max(end, self.desk.now)

        self.run(step())

    @invariant()
    def nothing_forbidden(self):
        if hasattr(self, "engine"):
            self.run(self._check())

    async def _check(self):
        rows = await self.tickets()
        closed = await fetch(
            self.pool, "SELECT ended, consent_at IS NOT NULL FROM ticket WHERE id = ANY(%s) AND state = 'closed'", rows
        )
        for ended, agreed in closed:
            assert agreed or ended in WITHOUT_CONSENT
            assert ended != "deemed" or self.deemed
        assert await fetch(
            self.pool, "SELECT k.key FROM task k JOIN ticket t ON t.id = k.ticket WHERE t.id = ANY(%s)"
            " AND t.state = 'closed' AND k.kind = 'call' AND k.done_at IS NULL", rows,
        ) == []  # fmt: skip
        assert await fetch(
            self.pool, "SELECT ticket, kind, n, address FROM letter WHERE ticket = ANY(%s) AND n > 0"
            " GROUP BY 1, 2, 3, 4 HAVING count(*) > 1", rows,
        ) == []  # fmt: skip
        ((lines,),) = await fetch(self.pool, "SELECT count(*) FROM journal WHERE ticket = ANY(%s)", rows)
        assert lines >= self.lines
        self.lines = lines
        breaches = set(await fetch(self.pool, "SELECT ticket, clock, cycle FROM breach WHERE ticket = ANY(%s)", rows))
        assert breaches >= self.breaches
        self.breaches = breaches
        assert await fetch(self.pool, "SELECT module FROM due WHERE attempts > 0") == []
        async with self.pool.connection() as connection:
            for row in rows:
                (number,) = await self.desk.row(row, "number")
                assert await verify(connection, number) == (1, [])

    def teardown(self):
        self.run(self.stack.__aexit__(None, None, None))
        self.runner.close()


@pytest.mark.parametrize("policy", ["dealer-desk", "after-sales"])
def test_no_path_leads_where_none_may(shared_dsn, policy):
    machine = type("Life", (Life,), {"dsn": shared_dsn, "policy": policy})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
