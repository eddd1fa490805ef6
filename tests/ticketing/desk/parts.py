"""Shared by the desk's tests: the real application over a real store, with a small fleet in it."""

import math
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
from argon2 import PasswordHasher
from psycopg_pool import AsyncConnectionPool

from gateway.service.archives import StoredArchives
from gateway.service.reader import Live, LiveCounts, PostgresReader
from gateway.store.partitions import Partitions
from protocols.registry import command_problem, no_commands
from tests.ticketing.desk_parts import add_terminal, raise_one, recover_one
from ticketing.commands import Commands
from ticketing.core.idempotency import Idempotency
from ticketing.core.moments import utc_now
from ticketing.core.sealed import Seal
from ticketing.desk.app import create_app
from ticketing.directory.parts import directory_parts
from ticketing.kit.ports import Rhythm
from ticketing.kit.settings import DeskSettings
from ticketing.kit.throttle import Throttle
from ticketing.letters.pages import LetterButtons
from ticketing.mail.api import MailDesk
from ticketing.mail.notices import MailNotices
from ticketing.people.passwords import Passwords
from ticketing.people.users import ROLES, Users
from ticketing.quality.parts import quality_parts
from ticketing.tickets.api import Intake
from ticketing.tickets.buttons import Buttons
from ticketing.tickets.store import TicketStore

PASSWORD = "a long enough one"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # the real one is tried in test_users.py
LAYOUT = ("power.external", "gsm.signal", "fuel.level.1", "ignition", "param.odd name")


@dataclass
class Site:
    """The running desk, its store and ways in."""

    app: object
    pool: AsyncConnectionPool
    users: Users
    tickets: TicketStore
    reader: PostgresReader

    def stranger(self, base="http://desk.test"):
        """A client that never signed in."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=base)

    @asynccontextmanager
    async def signed_in(self, role, base="http://desk.test"):
        """A browser with a session of the user named like the role."""
        async with self.stranger(base) as client:
            answer = await sign_in(client, role)
            assert answer.status_code == 303, answer.text
            yield client

    @asynccontextmanager
    async def program(self, role, scope="full"):
        """A client with an API token."""
        async with self.stranger() as client:
            client.headers["Authorization"] = f"Bearer {await self.users.token(role, scope)}"
            yield client


@asynccontextmanager
async def site(
    dsn,
    *,
    settings=None,
    throttle=None,
    roles=ROLES,
    live=None,
    counts=None,
    ranks=None,
    kinds=None,
    needs_permission=False,
    judge=None,
):
    """A desk with one user per role, each with `PASSWORD`; `judge` makes that of mail, of a pool."""
    pool = AsyncConnectionPool(dsn, min_size=1, max_size=6, open=False)
    await pool.open()
    users = Users(pool, passwords=Passwords(hasher=QUICK))
    try:
        for role in roles:
            await users.add(role, role, PASSWORD)
        mail = MailDesk(pool, judge(pool) if judge else None, utc_now)
        tickets, reader = TicketStore(pool), PostgresReader(pool, live=live, counts=counts, ranks=ranks, kinds=kinds)
        commands = Commands(
            pool, none=no_commands, problem=command_problem, needs_permission=lambda _policy: needs_permission
        )
        seal = Seal(b"k" * 32)
        tickets.office.remote, tickets.office.seal, tickets.office.archives = commands, seal, StoredArchives()
        app = create_app(
            tickets=tickets,
            commands=commands,
            reader=reader,
            users=users,
            settings=settings or DeskSettings(version="test"),
            throttle=throttle or Throttle(),
            parts=[
                Idempotency(pool),
                Intake(pool, tickets.office, utc_now),
                LetterButtons(pool, Buttons(tickets.office), "", utc_now),
                mail,
                *directory_parts(
                    pool,
                    users.passwords,
                    policy="integrator-standard",
                    seal=seal,
                    looks=[MailNotices(mail)],
                ),
                *quality_parts(pool, zone=tickets.office.terms.policy.zone),
            ],
        )
        yield Site(app, pool, users, tickets, reader)
    finally:
        users.close()
        await pool.close()


def hidden(page):
    """Hidden fields of the first form that has any."""
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))


async def sign_in(client, name, password=PASSWORD, target=None, **extra):
    """Fill in the login form as a browser does."""
    page = await client.get("/login", params={"next": target} if target else None)
    assert page.status_code == 200
    return await client.post("/login", data=hidden(page.text) | {"username": name, "password": password} | extra)


async def add_records(
    pool, terminal, count=120, *, end=None, step=30.0, lat=55.75, lon=37.62, layout=LAYOUT, extra=None, measures=None
):
    """Plausible records of a drive that ends at `end`; returns their times. `measures`: others, by record."""
    end = end or datetime.now(UTC)
    times = [end - timedelta(seconds=step * (count - 1 - i)) for i in range(count)]
    partitions = Partitions()
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        await partitions.load(connection)
        await partitions.make(connection, partitions.missing(np.array([int(t.timestamp() * 1e6) for t in times])))
        await connection.set_autocommit(False)
        rows = await connection.execute(
            """INSERT INTO layout (names, terminal) VALUES (%s, %s)
               ON CONFLICT (layout_digest(names)) DO UPDATE SET names = layout.names RETURNING id""",
            (list(layout), terminal),
        )
        (layout_id,) = await rows.fetchone()
        async with connection.cursor() as cursor:
            await cursor.executemany(
                """INSERT INTO record (terminal, time, received, lat, lon, altitude, speed, course, satellites, flags,
                                       layout, fingerprint, measures, extra)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb)""",
                [
                    (
                        terminal,
                        t,
                        t + timedelta(seconds=1),
                        lat + 0.03 * math.sin(i / 19) + i * 0.0004,
                        lon + 0.05 * math.sin(i / 31) + i * 0.0003,
                        150.0,
                        abs(60 + 35 * math.sin(i / 7)),
                        (i * 5) % 360,
                        11,
                        1,
                        layout_id,
                        i,
                        measures[i]
                        if measures is not None
                        else [
                            round(13.8 + 0.4 * math.sin(i / 9), 2),
                            60.0 + 20 * (i % 3),
                            2400.0 - 3 * i,
                            1.0,
                            math.nan if i % 2 else 7.0,
                        ][: len(layout)],
                        extra,
                    )
                    for i, t in enumerate(times)
                ],
            )
    return times


async def add_connection(pool, identity, opened_at, closed_at=None, reason=None):
    """One row of connection history."""
    async with pool.connection() as connection:
        await connection.execute(
            """INSERT INTO connection (id, terminal, protocol, address, opened_at, closed_at, frames, malformed, reason)
               VALUES (%s, %s, 'teltonika', '192.0.2.7:40112', %s, %s, 1234, 2, %s)""",
            (int(opened_at.timestamp() * 1e6), identity, opened_at, closed_at, reason),
        )


async def add_quarantine(pool, identity, data, reason="count", at=None):
    """One frame in quarantine."""
    async with pool.connection() as connection:
        await connection.execute(
            """INSERT INTO quarantine (received, terminal, protocol, reason, digest, data)
               VALUES (%s, %s, 'teltonika', %s, sha256(%s || %s::text::bytea), %s)""",
            (at or datetime.now(UTC), identity, reason, data, identity, data),
        )


async def add_message(pool, identity, text, data=b"\x00"):
    """One message."""
    async with pool.connection() as connection:
        await connection.execute(
            """INSERT INTO message (received, terminal, protocol, kind, body, digest, data)
               VALUES (now(), %s, 'wialon-ips', 'driver', %s, sha256(%s || random()::text::bytea), %s)""",
            (identity, text, data, data),
        )


async def small_fleet(pool, now=None):
    """Three terminals and three tickets: new, taken nowhere; returns the ticket numbers by what is special."""
    now = now or datetime.now(UTC)
    at = now.timestamp()
    first = await add_terminal(
        pool, "352093081429150", protocol="teltonika", model="FMB920", firmware="03.27.07", name="Truck 12"
    )
    second = await add_terminal(pool, "77001", protocol="omnicomm", firmware="312", name="Bus 4")
    third = await add_terminal(pool, "wl/odd one", protocol="wialon-ips")
    await add_records(pool, first, end=now - timedelta(minutes=9))
    await add_connection(pool, "352093081429150", now - timedelta(hours=5), now - timedelta(hours=2), "idle timeout")
    await add_connection(pool, "77001", now - timedelta(hours=1))
    await add_quarantine(pool, "352093081429150", b"\x00" * 300)
    await add_message(pool, "wl/odd one", "engine hot")
    silence = await raise_one(pool, first, at - 300)
    firmware = await raise_one(pool, second, at - 3000, kind="firmware", reason="3.1 is out since 90 days")
    recovered = await raise_one(pool, third, at - 7200)
    await recover_one(pool, third, at - 60)
    return {"new": silence.number, "firmware": firmware.number, "recovered": recovered.number}


def live_of(now):
    """Fleet arrays that know one terminal."""

    async def live(identities):
        known = {
            "352093081429150": Live(
                connected=True,
                last_seen=now - timedelta(minutes=9),
                last_contact=now - timedelta(seconds=20),
                verdicts={"silence": "fail", "firmware": "good"},
                reasons={"silence": "silent for 9 min, limit 5 min"},
                records=4711,
                outlook={
                    "expected_next": now - timedelta(minutes=8),
                    "overdue": True,
                    "overdue_s": 480.0,
                    "ticket_at": now - timedelta(minutes=4),
                    "regime": "moving",
                    "rhythm": {"moving": Rhythm(60.0, 1800.0, 812)},
                },
            )
        }
        return {identity: known[identity] for identity in identities if identity in known}

    return live


FLEET_COUNTS = LiveCounts(
    2,
    {
        "silence": {"good": 180, "suspect": 6, "fail": 9, "unknown": 5},
        "firmware": {"good": 150, "suspect": 0, "fail": 30, "unknown": 20},
    },
)


def counted():
    """The fleet arrays' numbers."""
    return FLEET_COUNTS
