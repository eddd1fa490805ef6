"""Shared by the tests of tickets: a pool, terminals, a finding."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime

from psycopg_pool import AsyncConnectionPool

from detectors.verdicts import Explanation, Finding, Verdict
from ticketing.incidents import Case, Incidents
from ticketing.model.states import Action
from ticketing.tickets.bodies import Body
from ticketing.tickets.facts import Actor

MONDAY = datetime(2026, 11, 16, 10, 0, tzinfo=UTC).timestamp()  # 13:00 in Moscow


class Clock:
    """Virtual wall time."""

    def __init__(self, now=MONDAY):
        self.now = now

    def __call__(self):
        return datetime.fromtimestamp(self.now, UTC)


@asynccontextmanager
async def pool_of(dsn, size=8):
    pool = AsyncConnectionPool(dsn, min_size=1, max_size=size, open=False)
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


async def add_terminal(pool, identity, **columns):
    names = ["identity", *columns]
    async with pool.connection() as connection:
        rows = await connection.execute(
            f"INSERT INTO terminal ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))}) RETURNING id",
            (identity, *columns.values()),
        )
        return (await rows.fetchone())[0]


def finding(terminal, at=MONDAY, kind="silence", reason="silent for 6 min, limit 5 min"):
    return Finding(kind, terminal, at - 30, at, Explanation(Verdict.FAIL, reason, {"age_s": 360.0}))


async def raise_one(
    pool, terminal, at=MONDAY, *, current=lambda: True, targets=(), incidents=None, zone="unknown", **kwargs
):
    incidents = incidents or Incidents(pool, targets=targets)
    found = finding(terminal, at, **kwargs)

    async def prepare(_connection):
        return Case(found, "Truck 12", {"verdict": {"age_s": 360.0}}, priority=2, zone=zone)

    return await incidents.raise_finding(found, at, prepare, current)


async def recover_one(pool, terminal, at, *, current=lambda: True, kind="silence"):
    recovered = await Incidents(pool).recover(kind, terminal, at, at - 300, "good for 5 min", current)
    return None if recovered is None else recovered.number


async def fetch(pool, statement, *values):
    async with pool.connection() as connection:
        return await (await connection.execute(statement, values)).fetchall()


async def execute(pool, statement, *values):
    async with pool.connection() as connection:
        await connection.execute(statement, values)


async def done(store, action, number, actor, text=None, cause=None, role="admin", **said):
    """Do it as a user of that name."""
    return await store.act(Action(action), number, Actor(actor, role), Body(text=text, cause=cause, **said))


async def opened(users, name, password, address=""):
    """The user and a new session's token, as at a sign-in without a second factor; None where it is refused."""
    who = await users.verify(name, password)
    token = await users.open_session(who, address) if who else None
    return (who.user, token) if token else None
