"""A small world for mail: two clients, a stranger, tickets in every state, letters that were sent; "
"and mails as text."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from tests.ticketing.desk_parts import pool_of
from tests.ticketing.mail.hands import TestHands, open_ticket
from ticketing.core.message_ids import make
from ticketing.mail.facts import Settings
from ticketing.mail.inbox import Arrival, keep
from ticketing.mail.judge import Judge

SECRET = b"k" * 32
NOW = datetime(2026, 11, 30, 10, 0, tzinfo=UTC)
DESK = "support@desk.example"
SETTINGS = Settings(
    ours=(DESK, "help@desk.example"),
    marker="a1b2c3d4e5f60718",
    sisters=("ffeeddccbbaa9988",),
    lists=("fleet-news.desk.example",),
    secret=SECRET,
)


class World:
    """Rows by name: contacts, tickets (`ref`), letters; and what judging made of them."""

    def __init__(self, pool, judge):
        self.pool = pool
        self.judge = judge
        self.now = NOW
        self.tickets = {}
        self.letters = {}
        self.organisations = {}
        self.contacts = {}

    async def execute(self, statement, *values):
        async with self.pool.connection() as connection:
            rows = await connection.execute(statement, values)
            return await rows.fetchall() if rows.description else None

    async def add_organisation(self, name, *people, language="en"):
        """`people`: name and address."""
        ((made,),) = await self.execute(
            "INSERT INTO organisation (name, language, created_at) VALUES (%s, %s, %s) RETURNING id",
            name,
            language,
            NOW,
        )
        self.organisations[name] = made
        for person, address in people:
            ((contact,),) = await self.execute(
                "INSERT INTO contact (organisation, name, emails, created_at) VALUES (%s, %s, %s, %s) RETURNING id",
                made,
                person,
                [address],
                NOW,
            )
            self.contacts[person] = contact
        return made

    async def add_vehicle(self, organisation, plate, key, identity):
        ((terminal,),) = await self.execute("INSERT INTO terminal (identity) VALUES (%s) RETURNING id", identity)
        ((vehicle,),) = await self.execute(
            "INSERT INTO vehicle (organisation, plate, plate_key, terminal, created_at) VALUES (%s, %s, %s, %s, %s)"
            " RETURNING id",
            self.organisations[organisation],
            plate,
            key,
            terminal,
            NOW,
        )
        return vehicle

    async def add_ticket(self, ref, *, reporter="Ann", organisation="Acme", state="in_work", **columns):
        async with self.pool.connection() as connection:
            made = await open_ticket(
                connection,
                columns.pop("opened_at", NOW - timedelta(days=1)),
                state=state,
                reporter=self.contacts.get(reporter),
                organisation=self.organisations.get(organisation),
                **columns,
            )
        self.tickets[ref] = made
        return made

    async def add_letter(self, ref, ticket, kind, seq, address="ann@acme.example", n=1):
        made = self.tickets[ticket]
        identity = make(SECRET, made.number, seq, "desk.example")
        ((row,),) = await self.execute(
            "INSERT INTO letter (key, ticket, kind, n, address, language, subject, message_id, "
            "auto, state, created_at,"
            " not_before) VALUES (%s, %s, %s, %s, %s, 'en', 'x', %s, true, 'sent', %s, %s) RETURNING id",
            ref,
            made.id,
            kind,
            n,
            address,
            identity,
            NOW,
            NOW,
        )
        self.letters[ref] = identity
        return row

    async def receive(self, raw, *, at=None, source="test", envelope_from=None, envelope_to=(), size=None):
        """Keep it and judge it; returns its row, None if it was seen already."""
        self.now = at or self.now
        async with self.pool.connection() as connection:
            arrival = Arrival(raw, source, envelope_from, envelope_to, size)
            row = await keep(connection, arrival, self.now)
        await self.judge.cycle(self.now)
        return row

    async def verdict(self, row):
        """kind, reason, step, by, ticket's number of an inbox row."""
        ((kind, reason, step, by, number, error),) = await self.execute(
            "SELECT i.verdict, i.reason, i.step, i.matched, t.number, i.last_error FROM inbox i"
            " LEFT JOIN ticket t ON t.id = i.ticket WHERE i.id = %s",
            row,
        )
        assert error is None, error
        return {"verdict": kind, "reason": reason, "step": step, "by": by, "ticket": number}

    async def state(self, ref):
        ((state,),) = await self.execute("SELECT state FROM ticket WHERE id = %s", self.tickets[ref].id)
        return state

    async def count(self, table):
        ((count,),) = await self.execute(f"SELECT count(*) FROM {table}")
        return count


@asynccontextmanager
async def world(dsn, *, settings=SETTINGS, hands=None):
    """The world, in a fresh database."""
    async with pool_of(dsn, size=4) as pool:
        made = World(pool, Judge(pool, hands or TestHands(), settings))
        yield made


def mail(
    text="No data since noon.",
    *,
    sender="Ann <ann@acme.example>",
    to=DESK,
    subject="No data",
    message_id="auto",
    headers=None,
    body=None,
    **more,
):
    """A plain mail as bytes; `more` are headers with _ for -."""
    mail.count += 1
    lines = [f"From: {sender}", f"To: {to}", "Subject: " + _word(subject)]
    if message_id == "auto":
        message_id = f"<m{mail.count}@client.example>"
    if message_id:
        lines.append(f"Message-ID: {message_id}")
    lines.append("Date: Mon, 30 Nov 2026 10:00:00 +0000")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in {**(headers or {}), **more}.items()]
    lines += ["MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (text.encode() if body is None else body) + b"\r\n"


mail.count = 0


def _word(text):
    if text.isascii():
        return text
    return f"=?utf-8?B?{base64.b64encode(text.encode()).decode()}?="
