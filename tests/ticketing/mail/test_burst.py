"""A burst of mail, and the judge killed in the middle of it: nothing lost, exactly the right tickets."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import psycopg
import pytest

from tests.harness import ROOT
from tests.ticketing.mail.world import NOW, mail, world
from ticketing.mail.inbox import Arrival, keep

LONG = bool(os.environ.get("DOZOR_SOAK"))
MAILS = 10_000 if LONG else 1_000
PEOPLE = 20


def burst():
    """Raw mails: of ten, four new requests, three replies, a copy, a vacation answer and a stranger's request."""
    for count in range(MAILS):
        kind, nth = count % 10, count // 10
        who = f"p{nth % PEOPLE}@acme.example"
        if kind < 4:
            yield mail(
                f"Request {count}", sender=who, subject=f"Request {count}", message_id=f"<new{nth}.{kind}@x.example>"
            )
        elif kind < 7:
            answered = f"<new{nth}.{kind - 4}@x.example>"
            yield mail(f"More on {count}", sender=who, subject="Re: it", In_Reply_To=answered)
        elif kind == 7:
            yield mail(
                f"Request {count - 7}", sender=who, subject=f"Request {count - 7}", message_id=f"<new{nth}.0@x.example>"
            )
        elif kind == 8:
            answered = f"<new{nth}.1@x.example>"
            yield mail(f"Away {count}", sender=who, In_Reply_To=answered, Auto_Submitted="auto-replied")
        else:
            yield mail(f"Hello {count}", sender=f"s{nth}@nowhere.example", subject=f"Hello {count}")


@pytest.mark.slow
def test_a_burst_is_judged_once_whatever_happens(postgres_dsn) -> None:
    async def prepare():
        async with world(postgres_dsn) as w:
            await w.add_organisation("Acme", *((f"P{n}", f"p{n}@acme.example") for n in range(PEOPLE)))
            kept = 0
            async with w.pool.connection() as connection:
                for raw in burst():
                    kept += await keep(connection, Arrival(raw, "test"), NOW) is not None
            return kept

    def judged():
        with psycopg.connect(postgres_dsn) as link:
            return link.execute("SELECT count(*) FROM inbox WHERE verdict IS NOT NULL").fetchone()[0]

    kept = asyncio.run(prepare())
    assert kept == MAILS * 9 // 10  # the copies are known
    command = [sys.executable, "-m", "tests.ticketing.mail.burst_worker", postgres_dsn]
    victim = subprocess.Popen(command, cwd=ROOT)
    until = time.monotonic() + 120
    while judged() < MAILS // 4:
        assert time.monotonic() < until
        assert victim.poll() is None
        time.sleep(0.1)
    victim.kill()
    victim.wait(10)
    done = judged()
    assert MAILS // 4 <= done < kept
    # Two at once finish it.
    for worker in [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]:
        assert worker.wait(600) == 0

    async def look():
        async with world(postgres_dsn) as w:
            verdicts = dict(await w.execute("SELECT verdict, count(*) FROM inbox GROUP BY 1"))
            # Replies judged beside what they answer may come first: they are tickets of their own then, never lost.
            assert verdicts["opened"] + verdicts["appended"] == MAILS * 8 // 10
            assert verdicts.get("noted", 0) + verdicts.get("dropped", 0) == MAILS // 10
            assert set(verdicts) <= {"opened", "appended", "noted", "dropped"}
            assert (await w.execute("SELECT count(*) FROM ticket"))[0][0] == verdicts["opened"]
            ((messages, distinct),) = await w.execute("SELECT count(*), count(DISTINCT inbox) FROM ticket_message")
            assert messages == distinct == MAILS * 8 // 10 + verdicts.get("noted", 0)
            wrong = await w.execute(
                "SELECT count(*) FROM ticket_message reply JOIN ticket_message first ON first.ticket = reply.ticket"
                " WHERE reply.text LIKE 'More on %%' AND first.text LIKE 'Request %%'"
                " AND substring(reply.text FROM 9)::int - substring(first.text FROM 9)::int <> 4"
            )
            assert wrong == [(0,)]
            lost = MAILS * 5 // 10 - verdicts["opened"]
            assert abs(lost) <= 4  # at most what two workers held at one moment

    asyncio.run(look())
