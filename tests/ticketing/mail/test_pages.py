"""`/mail`: what came in with its verdict, what a person does with held mail, who may; and mailboxes that fail."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.ticketing.desk.parts import hidden, site
from tests.ticketing.desk_parts import execute, fetch
from tests.ticketing.mail.world import SECRET, SETTINGS, mail
from ticketing.mail.called import LOOKS, REASONS, STEPS, VERDICTS
from ticketing.mail.hands import TicketHands
from ticketing.mail.inbox import Arrival, keep
from ticketing.mail.judge import Judge
from ticketing.mail.steps import STEPS as QUESTIONS
from ticketing.mail.verdicts import Kind, Reason
from ticketing.tickets.office import Office

ROLES = ("admin", "manager", "engineer", "auditor", "client", "crew")


def judge_of(pool):
    return Judge(pool, TicketHands(Office(), SECRET), SETTINGS)


def run(dsn, scenario):
    async def main():
        async with site(dsn, roles=ROLES, judge=judge_of) as desk:
            for statement in (
                "INSERT INTO organisation (name, created_at) VALUES ('Acme', now())",
                "INSERT INTO contact (organisation, name, emails, created_at)"
                " VALUES (1, 'Ann', '{ann@acme.example}', now())",
            ):
                await execute(desk.pool, statement)
            await scenario(desk)

    asyncio.run(main())


async def receive(desk, raw):
    """A mail comes in and is judged; its number."""
    now = datetime.now(UTC)
    async with desk.pool.connection() as connection:
        row = await keep(connection, Arrival(raw, "lmtp"), now)
    assert await judge_of(desk.pool).cycle(now) == 1
    return row


async def ticket_of_ann(desk):
    row = await receive(desk, mail(subject="No data"))
    ((number,),) = await fetch(desk.pool, "SELECT t.number FROM inbox i JOIN ticket t ON t.id = i.ticket")
    return row, number


def verdict(page):
    """What the page of a mail says became of it."""
    return re.search(r'<p class="big"><span class="pill [\w-]*">([^<]+)<', page.text)[1]


def test_every_code_has_words():
    assert set(VERDICTS) == set(Kind)
    assert set(LOOKS) <= set(Kind)
    assert set(REASONS) == set(Reason)
    assert set(STEPS) == {step.__name__ for step in QUESTIONS} | {"person"}


def test_held_mail_is_seen_and_decided(postgres_dsn):
    async def scenario(desk):
        opened, number = await ticket_of_ann(desk)
        texts = [f"Let me <b>in</b> {n}" for n in range(3)]
        held = [
            await receive(desk, mail(sender=f"eve{n}@evil.example", subject=f"[#{number}] <i>x</i> {n}", text=text))
            for n, text in enumerate(texts)
        ]
        async with desk.signed_in("engineer") as browser:
            page = (await browser.get("/mail")).text
            assert re.findall(r'<tr id="mail-(\d+)"', page) == [str(row) for row in (*held[::-1], opened)]
            assert "&lt;i&gt;x&lt;/i&gt;" in page
            assert f'href="/tickets/{number}"' in page
            assert "it quotes a ticket in which its sender takes no part" in page
            assert "Held for a person <b>3</b>" in page
            narrowed = (await browser.get("/mail?verdict=held&limit=2")).text
            assert re.findall(r'<tr id="mail-(\d+)"', narrowed) == [str(row) for row in held[:0:-1]]
            (more,) = re.findall(r'href="(/mail\?[^"]*before=[^"]*)"', narrowed)
            assert re.findall(r'<tr id="mail-(\d+)"', (await browser.get(more.replace("&amp;", "&"))).text) == [
                str(held[0])
            ]
            assert "No mail of this kind." in (await browser.get("/mail?verdict=failing")).text
            assert (await browser.get("/mail?verdict=x")).status_code == 400
            one = await browser.get(f"/mail/{held[0]}")
            assert verdict(one) == "waits for a person"
            assert "does its sender take part?" in one.text
            assert "Let me &lt;b&gt;in&lt;/b&gt; 0" in one.text
            said = hidden(one.text)
            for row, action, after in ((held[0], "accept", "joined its ticket"), (held[1], "dismiss", "left out"),
                                       (held[2], "again", "waits for a person")):  # fmt: skip
                answer = await browser.post(f"/mail/{row}/{action}", data=said)
                assert (answer.status_code, answer.headers["location"]) == (303, f"/mail/{row}")
                assert verdict(await browser.get(f"/mail/{row}")) == after
            assert "Let me &lt;b&gt;in&lt;/b&gt; 0" in (await browser.get(f"/tickets/{number}")).text
            # What was done cannot be done twice: the mail says why; what was left out may be judged again.
            twice = await browser.post(f"/mail/{held[0]}/accept", data=said)
            assert (twice.status_code, "was appended already" in twice.text or "not held" in twice.text) == (409, True)
            assert 'id="decide"' not in (await browser.get(f"/mail/{held[0]}")).text
            left = (await browser.get(f"/mail/{held[1]}")).text
            assert re.findall(r'action="/mail/\d+/(\w+)"', left) == ["again"]
            for action in ("accept", "dismiss", "again"):
                assert (await browser.post(f"/mail/{held[2]}/{action}", data={"csrf": "x"})).status_code == 403
                assert (await browser.post(f"/mail/99/{action}", data=said)).status_code == 404
            for place in ("0", "99", "x", "9" * 30, "-1"):
                assert (await browser.get(f"/mail/{place}")).status_code == 404

    run(postgres_dsn, scenario)


def test_who_sees_which_mail(postgres_dsn):
    async def scenario(desk):
        _, number = await ticket_of_ann(desk)
        row = await receive(desk, mail(sender="eve@evil.example", subject=f"[#{number}] x"))
        await execute(desk.pool, "UPDATE ticket SET team = 'east'")
        for role, expected in (("auditor", 200), ("manager", 200), ("engineer", 404), ("client", 403), ("crew", 403)):
            async with desk.signed_in(role) as browser:
                page = await browser.get(f"/mail/{row}")
                assert page.status_code == expected, role
                assert ('href="/mail"' in (await browser.get("/tickets")).text) == (expected != 403)
                assert (f'id="mail-{row}"' in (await browser.get("/mail")).text) == (expected == 200)
                assert ('id="decide"' in page.text) == (role == "manager")
                if role != "manager":
                    csrf = hidden((await browser.get("/account")).text)
                    refused = await browser.post(f"/mail/{row}/accept", data=csrf)
                    assert refused.status_code == (404 if role == "engineer" else 403), role
        assert await fetch(desk.pool, "SELECT verdict FROM inbox WHERE id = %s", row) == [("held",)]

    run(postgres_dsn, scenario)


@pytest.mark.parametrize("language", ["en", "ru"])
def test_what_keeps_mail_from_coming_in_is_told(postgres_dsn, language):
    async def scenario(desk):
        await execute(desk.pool, "UPDATE app_user SET language = %s", language)
        since = datetime.now(UTC) - timedelta(hours=2)
        statement = (
            "INSERT INTO mailbox_position (mailbox, uidvalidity, uid, looked_at, failing_since, error)"
            " VALUES (%s, 0, 0, now(), %s, %s)"
        )
        await execute(desk.pool, statement, "imap a@well/INBOX", None, None)
        await execute(desk.pool, statement, "imap <b>@sick/INBOX", since, "refused <i>")
        raw = mail(subject="stuck")
        async with desk.pool.connection() as connection:
            row = await keep(connection, Arrival(raw, "lmtp"), datetime.now(UTC))
            await connection.execute("UPDATE inbox SET attempts = 3, last_error = 'KeyError: x' WHERE id = %s", (row,))
        told = {"en": "cannot be read", "ru": "не читается"}[language]
        for role in ROLES:
            async with desk.signed_in(role) as browser:
                queue = (await browser.get("/tickets")).text
                assert (told in queue) == (role in ("admin", "manager")), role
                assert "a@well" not in queue
                if role in ("admin", "manager"):
                    assert "imap &lt;b&gt;@sick/INBOX" in queue
                    assert "refused &lt;i&gt;" in queue
                if role in ("engineer", "auditor"):
                    page = (await browser.get("/mail?verdict=failing")).text
                    assert told in page
                    assert "KeyError: x" in page
                if role == "admin":
                    settings = (await browser.get("/settings")).text
                    notices = settings.partition('id="notices"')[2].partition("</section>")[0]
                    assert told in notices
                    assert 'href="/mail?verdict=failing"' in notices
                    assert {"en": "2 h", "ru": "2 ч"}[language] in notices

    run(postgres_dsn, scenario)
