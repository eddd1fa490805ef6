"""Mails come in, verdicts come out; over the real tables."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest
from psycopg.types.json import Jsonb

from tests.ticketing.mail.hands import TestHands
from tests.ticketing.mail.world import DESK, NOW, SETTINGS, mail, world
from ticketing import policies
from ticketing.core.errors import ConflictError, NotFoundError
from ticketing.core.numbers import ticket_number
from ticketing.mail import inbox
from ticketing.threads.messages import thread

MINUTE = timedelta(minutes=1)


@pytest.fixture
def play(postgres_dsn):
    """Run a scenario in a world with two clients."""

    def run(scenario, **kwargs):
        async def inside():
            async with world(postgres_dsn, **kwargs) as made:
                await made.add_organisation("Acme", ("Ann", "ann@acme.example"), ("Bob", "bob@acme.example"))
                await made.add_organisation("Orient", ("Chen", "chen@orient.example"), language="zh")
                await scenario(made)

        asyncio.run(inside())

    return run


def test_a_mail_becomes_a_ticket_and_its_answers_join_it(play):
    async def scenario(w):
        first = await w.receive(mail(message_id="<first@client.example>"))
        opened = await w.verdict(first)
        assert (opened["verdict"], opened["reason"], opened["step"]) == ("opened", "new", "new")
        number = opened["ticket"]
        for by, raw in {
            "tag": mail("By tag", subject=f"Re: [#{number}] No data"),
            "reference": mail("By reference", In_Reply_To="<first@client.example>"),
            "marker": mail(f"By marker\n\n> Your ticket [#{number}]", subject="Another"),
        }.items():
            found = await w.verdict(await w.receive(raw))
            assert found == {"verdict": "appended", "reason": "reply", "step": "reply", "by": by, "ticket": number}
        assert await w.count("ticket") == 1
        async with w.pool.connection() as connection:
            ((ticket,),) = await w.execute("SELECT id FROM ticket")
            said = [message.said for message in await thread(connection, ticket, public_only=True)]
        assert said == ["No data since noon.", "By tag", "By reference", "By marker"]

    play(scenario)


def test_our_own_message_id_wins_over_a_tag_that_says_otherwise(play):
    async def scenario(w):
        await w.add_ticket("one")
        await w.add_ticket("two")
        letter = await w.add_letter("reply", "one", "reply", 2)
        assert letter
        raw = mail(subject=f"Re: [#{w.tickets['two'].number}]", In_Reply_To=w.letters["reply"])
        found = await w.verdict(await w.receive(raw))
        assert (found["by"], found["ticket"]) == ("message-id", w.tickets["one"].number)
        forged = w.letters["reply"].replace(".2.", ".3.")
        found = await w.verdict(await w.receive(mail(subject=f"[#{w.tickets['two'].number}]", In_Reply_To=forged)))
        assert (found["by"], found["ticket"]) == ("tag", w.tickets["two"].number)

    play(scenario)


def test_a_merged_number_leads_to_the_survivor(play):
    async def scenario(w):
        survivor = await w.add_ticket("survivor")
        middle = await w.add_ticket("middle", state="closed", merged_into=survivor.id)
        old = await w.add_ticket("old", state="closed", merged_into=middle.id, reporter="Chen", organisation="Orient")
        for sender in ("ann@acme.example", "chen@orient.example"):
            found = await w.verdict(await w.receive(mail(sender=sender, subject=f"[#{old.number}]")))
            assert (found["verdict"], found["ticket"]) == ("appended", survivor.number)

    play(scenario)


def test_a_number_with_a_wrong_check_digit_is_no_number(play):
    async def scenario(w):
        right = (await w.add_ticket("one")).number
        wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
        found = await w.verdict(await w.receive(mail(subject=f"[#{wrong}] x")))
        assert found["verdict"] == "opened"
        assert ticket_number(int(right[3:-1])) == right

    play(scenario)


def test_the_same_mail_twice_is_one_ticket(play):
    async def scenario(w):
        raw = mail(to=f"{DESK}, help@desk.example", message_id="<same@client.example>")
        assert await w.receive(raw, source="imap support") is not None
        assert await w.receive(raw, source="imap help") is None
        assert await w.receive(raw.replace(b"\r\n", b"\n") + b"\n\n", source="lmtp") is None
        # A list's footer makes another body of it.
        other = await w.receive(raw + b"--\r\nsent to all\r\n")
        assert (await w.verdict(other))["reason"] == "duplicate"
        # Somebody else's mail with the same Message-ID is another mail.
        forged = await w.receive(mail("Hello", sender="eve@evil.example", message_id="<same@client.example>"))
        assert (await w.verdict(forged))["verdict"] == "opened"
        assert await w.count("ticket") == 2

    play(scenario)


def test_mails_without_message_id_are_told_apart_by_who_wrote_what(play):
    async def scenario(w):
        one = mail("help", message_id="", sender="ann@acme.example")
        assert await w.receive(one) is not None
        assert await w.receive(one) is None
        assert await w.receive(mail("help", message_id="", sender="bob@acme.example")) is not None
        assert await w.count("ticket") == 2

    play(scenario)


@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        ({"X-Dozor-Instance": "a1b2c3d4e5f60718"}, "ann@acme.example"),
        ({"X-Dozor-Instance": "ffeeddccbbaa9988"}, "other@dealer.example"),
        ({}, DESK),
        ({}, '"Ann" <HELP@Desk.Example>'),
        ({"List-Id": "<fleet-news.desk.example>"}, "ann@acme.example"),
        ({"X-Loop": DESK}, "ann@acme.example"),
    ],
)
def test_our_own_mail_is_dropped(play, headers, sender):
    async def scenario(w):
        found = await w.verdict(await w.receive(mail(sender=sender, headers=headers)))
        assert (found["verdict"], found["reason"], found["step"]) == ("dropped", "own", "own")
        assert await w.count("ticket") == 0

    play(scenario)


def test_machines_are_filed_quietly_and_change_nothing(play):
    async def scenario(w):
        ticket = await w.add_ticket("t", state="waiting_client")
        closed = await w.add_ticket("c", state="closed")
        for ref in (ticket, closed):
            raw = mail("I am away", subject=f"Re: [#{ref.number}]", headers={"Auto-Submitted": "auto-replied"})
            found = await w.verdict(await w.receive(raw))
            assert (found["verdict"], found["reason"], found["ticket"]) == ("noted", "machine", ref.number)
        assert (await w.state("t"), await w.state("c")) == ("waiting_client", "closed")
        async with w.pool.connection() as connection:
            assert await thread(connection, ticket.id, public_only=True) == []
            (note,) = await thread(connection, ticket.id, public_only=False)
        assert note.machine
        assert note.direction == "note"
        new = await w.receive(mail("I am away", headers={"Auto-Submitted": "auto-replied"}))
        assert (await w.verdict(new))["verdict"] == "dropped"
        assert await w.count("ticket") == 2

    play(scenario)


def test_the_notes_of_machines_are_bounded(play):
    async def scenario(w):
        number = (await w.add_ticket("t")).number
        for _ in range(22):
            await w.receive(mail("away", subject=f"[#{number}]", headers={"Precedence": "bulk"}))
        rows = await w.execute("SELECT verdict, count(*) FROM inbox GROUP BY 1 ORDER BY 1")
        assert rows == [("dropped", 2), ("noted", 20)]

    play(scenario)


def test_a_stranger_who_quotes_is_held_and_can_be_let_in(play):
    async def scenario(w):
        ticket = await w.add_ticket("t")
        await w.add_letter("letter", "t", "reply", 2)
        for by, raw in {
            "tag": mail(sender="eve@evil.example", subject=f"[#{ticket.number}]"),
            "message-id": mail(sender="chen@orient.example", In_Reply_To=w.letters["letter"]),
        }.items():
            row = await w.receive(raw)
            found = await w.verdict(row)
            assert (found["verdict"], found["reason"], found["by"]) == ("held", "stranger", by)
            async with w.pool.connection() as connection:
                assert await thread(connection, ticket.id, public_only=False) == []
        assert await w.count("task") == 2
        judged = await w.judge.accept(row, "olga", w.now)
        assert judged.verdict.kind == "appended"
        with pytest.raises(ConflictError, match="appended"):
            await w.judge.accept(row, "olga", w.now)
        # From now on they take part.
        found = await w.verdict(await w.receive(mail(sender="chen@orient.example", subject=f"[#{ticket.number}] 2")))
        assert found["verdict"] == "appended"
        with pytest.raises(NotFoundError):
            await w.judge.accept(999, "olga", w.now)

    play(scenario)


def test_a_held_one_can_be_dismissed_or_judged_again(play):
    async def scenario(w):
        ticket = await w.add_ticket("t")
        row = await w.receive(mail(sender="new@acme.example", subject=f"[#{ticket.number}]"))
        assert (await w.judge.again(row, "olga", w.now)).verdict.kind == "held"
        await w.execute("UPDATE contact SET emails = emails || '{new@acme.example}' WHERE name = 'Bob'")
        assert (await w.judge.again(row, "olga", w.now)).verdict.kind == "appended"
        with pytest.raises(ConflictError):
            await w.judge.again(row, "olga", w.now)
        other = await w.receive(mail(sender="eve@evil.example", subject=f"[#{ticket.number}]"))
        await w.judge.dismiss(other, "olga", w.now)
        (listed,) = await inbox.listed(w.pool, verdict="dropped")
        assert (listed.reason, listed.judged_by, listed.sender) == ("dismissed", "olga", "eve@evil.example")

    play(scenario)


def test_colleagues_and_those_in_copy_take_part(play):
    async def scenario(w):
        first = await w.receive(mail(Cc="Driver <driver@home.example>"))
        number = (await w.verdict(first))["ticket"]
        for sender in ("bob@acme.example", "driver@home.example"):
            found = await w.verdict(await w.receive(mail(sender=sender, subject=f"Re: [#{number}] {sender}")))
            assert found["verdict"] == "appended"
        found = await w.verdict(await w.receive(mail(sender="chen@orient.example", subject=f"Re: [#{number}]")))
        assert found["verdict"] == "held"

    play(scenario)


def test_an_unregistered_sender_gets_a_ticket_that_is_not_verified(play):
    async def scenario(w):
        found = await w.verdict(await w.receive(mail(sender="new@nowhere.example")))
        assert (found["verdict"], found["reason"]) == ("opened", "unregistered")
        assert await w.execute("SELECT verified, sender, reporter FROM ticket") == [
            (False, "new@nowhere.example", None)
        ]
        held = await w.receive(mail(sender="spam@nowhere.example", headers={"X-Spam-Flag": "YES"}))
        assert (await w.verdict(held))["reason"] == "spam"

    play(scenario)


@pytest.mark.parametrize(
    ("text", "kind", "latest", "verdict", "state", "consent"),
    [
        ("Yes", "recovered", True, "consented", "awaiting_consent", True),
        ("Да, всё работает", "recovered", True, "consented", "awaiting_consent", True),
        ("好了，谢谢", "recovered", True, "consented", "awaiting_consent", True),
        ("No, still no data", "recovered", True, "disputed", "in_work", False),
        ("Нет", "recovered", True, "disputed", "in_work", False),
        ("还是不行", "recovered", True, "disputed", "in_work", False),
        ("Thank you!", "recovered", True, "appended", "awaiting_consent", False),
        ("Yes", "recovered", False, "appended", "awaiting_consent", False),  # an old letter's question
        ("Yes", "reply", True, "appended", "awaiting_consent", False),  # to something else
        ("It does not work", "reply", True, "disputed", "in_work", False),
        ("Yes, but the lamp is off", "recovered", True, "appended", "awaiting_consent", False),
    ],
)
def test_consent_by_mail(play, text, kind, latest, verdict, state, consent):
    async def scenario(w):
        await w.add_ticket("t", state="awaiting_consent")
        await w.add_letter("asked", "t", kind, 2, n=1)
        if not latest:
            await w.add_letter("again", "t", kind, 3, n=2)
        found = await w.verdict(await w.receive(mail(text, In_Reply_To=w.letters["asked"])))
        assert found["verdict"] == verdict
        assert await w.state("t") == state
        ((given,),) = await w.execute("SELECT consent_at IS NOT NULL FROM ticket")
        assert given is consent

    play(scenario)


def test_an_answer_goes_on_with_the_work_and_thanks_do_not(play):
    async def scenario(w):
        ticket = await w.add_ticket("t", state="waiting_client")
        await w.add_letter("question", "t", "question", 2)
        thanks = await w.receive(mail("Thanks, understood", In_Reply_To=w.letters["question"]))
        assert (await w.verdict(thanks))["verdict"] == "appended"
        assert await w.state("t") == "waiting_client"
        answer = await w.receive(mail("Since noon, plate A001AA", In_Reply_To=w.letters["question"]))
        assert (await w.verdict(answer))["verdict"] == "answered"
        assert await w.state("t") == "in_work"
        assert ticket

    play(scenario)


@pytest.mark.parametrize(
    ("text", "days", "verdict", "reason"),
    [
        ("Thanks a lot!", 1, "appended", "thanks"),
        ("Спасибо большое", 1, "appended", "thanks"),
        ("谢谢", 1, "appended", "thanks"),
        ("All works fine", 1, "appended", "fixed"),
        ("It does not work again", 1, "reopened", "not_fixed"),
        ("Опять нет данных с машины", 1, "reopened", "not_fixed"),
        ("And what about the second truck?", 1, "reopened", "unclear"),
        ("It does not work again", 8, "followed_up", "late"),
        ("Thanks a lot!", 30, "appended", "thanks"),
    ],
)
def test_replies_to_a_closed_ticket(play, text, days, verdict, reason):
    async def scenario(w):
        ticket = await w.add_ticket(
            "t", state="closed", closed_at=NOW - timedelta(days=days), opened_at=NOW - timedelta(60)
        )
        found = await w.verdict(await w.receive(mail(text, subject=f"Re: [#{ticket.number}] x")))
        assert (found["verdict"], found["reason"]) == (verdict, reason)
        assert await w.state("t") == ("in_work" if verdict == "reopened" else "closed")
        links = await w.execute("SELECT parent, kind FROM ticket_link")
        assert links == ([(ticket.id, "follow-up")] if verdict == "followed_up" else [])

    play(scenario)


@pytest.mark.parametrize(("days", "verdict"), [(1, "reopened"), (2, "reopened"), (3, "followed_up")])
def test_a_closed_ticket_comes_back_as_long_as_its_policy_says(play, days, verdict):
    async def scenario(w):
        content = msgspec.to_builtins(policies.get("dealer-desk").file)
        content["consent"]["reopen_within"] = "48h"
        await w.execute("INSERT INTO policy_version (version, content) VALUES ('short', %s)", Jsonb(content))
        ticket = await w.add_ticket(
            "t", state="closed", closed_at=NOW - timedelta(days=days), opened_at=NOW - timedelta(60),
            policy_version="short",
        )  # fmt: skip
        found = await w.verdict(await w.receive(mail("It does not work again", subject=f"Re: [#{ticket.number}] x")))
        assert found["verdict"] == verdict

    play(scenario)


def test_a_tickets_state_flips_three_times_an_hour_by_mail(play):
    async def scenario(w):
        ticket = await w.add_ticket("t", state="closed")
        for count in range(4):
            raw = mail(f"Does not work, {count}", subject=f"Re: [#{ticket.number}]")
            row = await w.receive(raw, at=NOW + count * MINUTE)
            assert (await w.verdict(row))["verdict"] == ("reopened" if count < 3 else "appended")
            await w.execute("UPDATE ticket SET state = 'closed', closed_at = %s", w.now)
        assert (await w.verdict(row))["reason"] == "flips"
        row = await w.receive(mail("Does not work", subject=f"[#{ticket.number}]"), at=NOW + 63 * MINUTE)
        assert (await w.verdict(row))["verdict"] == "reopened"

    play(scenario)


def test_a_loop_is_muted_at_the_third_and_a_conversation_is_not(play):
    async def scenario(w):
        verdicts = []
        for minute in (0, 2, 4, 30, 95):
            raw = mail("Away", sender="robot@nowhere.example", subject="Out of reach")
            verdicts.append((await w.verdict(await w.receive(raw, at=NOW + minute * MINUTE)))["reason"])
        # An hour after the last of them it may speak again.
        assert verdicts == ["unregistered", "unregistered", "muted", "muted", "unregistered"]
        assert await w.execute("SELECT kind, count(*) FROM task GROUP BY 1") == [("mail-loop", 1)]
        ticket = await w.add_ticket("t")
        for count in range(4):
            raw = mail(f"And {count}", subject=f"Re: [#{ticket.number}] x")
            assert (await w.verdict(await w.receive(raw, at=NOW + count * MINUTE)))["verdict"] == "appended"
        # The same again and again is no conversation, whatever number it quotes.
        seen = []
        for count in range(4):
            raw = mail("Bin im Urlaub", subject=f"Antwort: [#{ticket.number}] y")
            seen.append((await w.verdict(await w.receive(raw, at=NOW + count * MINUTE)))["reason"])
        assert seen == ["reply", "reply", "muted", "muted"]

    play(scenario)


BOUNCE = """From: MAILER-DAEMON@mx.example
To: {to}
Subject: Undelivered Mail Returned to Sender
Message-ID: <bounce{n}@mx.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I could not deliver it.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; {address}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {why}

--b
Content-Type: message/rfc822

Message-ID: {letter}
From: support@desk.example
To: ann@acme.example
Subject: x

Hello
--b--
"""


@pytest.mark.parametrize(
    ("status", "action", "why", "hard"),
    [
        ("5.1.1", "failed", "550 5.1.1 No such user", True),
        ("4.2.2", "delayed", "452 4.2.2 Mailbox full", False),
        ("5.2.2", "failed", "552 5.2.2 Mailbox full", False),
        ("5.7.1", "failed", "554 5.7.1 Rejected by policy", False),
    ],
)
def test_a_bounce_marks_the_address_and_asks_for_a_call(play, status, action, why, hard):
    async def scenario(w):
        ticket = await w.add_ticket("t")
        await w.add_letter("ack", "t", "ack", 2)
        raw = BOUNCE.format(
            to=DESK, n=1, address="ann@acme.example", action=action, status=status, why=why, letter=w.letters["ack"]
        ).encode()
        found = await w.verdict(await w.receive(raw, envelope_from=""))
        assert (found["verdict"], found["reason"]) == ("bounced", "hard" if hard else "soft")
        assert found["ticket"] == ticket.number
        ((marked,),) = await w.execute("SELECT bounced <> '{}' FROM contact WHERE name = 'Ann'")
        assert marked is hard
        assert await w.execute("SELECT kind FROM task") == ([("call",)] if hard else [])
        assert await w.state("t") == "in_work"

    play(scenario)


def test_a_forged_bounce_silences_nobody_else(play):
    async def scenario(w):
        await w.add_ticket("t")
        await w.add_letter("ack", "t", "ack", 2)
        raw = BOUNCE.format(
            to=DESK, n=1, address="bob@acme.example", action="failed", status="5.1.1", why="x", letter=w.letters["ack"]
        ).encode()
        await w.receive(raw, envelope_from="")
        # It is about the letter to Ann: the address behind hers, at worst.
        assert await w.execute("SELECT name FROM contact WHERE bounced <> '{}'") == [("Ann",)]
        raw = BOUNCE.format(
            to=DESK, n=2, address="bob@acme.example", action="failed", status="5.1.1", why="x", letter="<no@of.ours>"
        ).encode()
        assert (await w.verdict(await w.receive(raw, envelope_from="")))["verdict"] == "dropped"
        assert await w.execute("SELECT name FROM contact WHERE bounced <> '{}' AND name = 'Bob'") == []

    play(scenario)


def test_what_cannot_be_judged_is_pushed_ahead_and_stops_nobody(play):
    class Broken(TestHands):
        async def open(self, connection, mail, now):
            if "poison" in mail.mail.subject:
                await connection.execute("INSERT INTO task (key, kind, created_at) VALUES ('x', 'x', %s)", (now,))
                raise ValueError("cannot")
            return await super().open(connection, mail, now)

    async def scenario(w):
        async with w.pool.connection() as connection:
            for subject in ("poison", "one", "two"):
                await inbox.keep(connection, inbox.Arrival(mail(subject=subject), "test"), NOW)
        assert await w.judge.next_due() == NOW
        assert await w.judge.cycle(NOW) == 3
        assert w.judge.failed == 1
        assert w.judge.judged == {"opened": 2}
        assert await w.count("ticket") == 2
        assert await w.count("task") == 0  # nothing is half done
        assert await w.judge.next_due() == NOW + timedelta(seconds=5)
        assert await w.judge.cycle(NOW) == 0
        assert await w.judge.cycle(NOW + timedelta(seconds=5)) == 1
        (row,) = await inbox.listed(w.pool, failing=True)
        assert (row.attempts, row.last_error) == (2, "ValueError: cannot")
        assert await w.judge.next_due() == NOW + timedelta(seconds=35)

    play(scenario, hands=Broken())


def test_a_ticket_that_moved_on_gets_the_words_at_least(play):
    class Late(TestHands):
        async def answer(self, connection, thread, mail, now):
            await connection.execute("INSERT INTO task (key, kind, created_at) VALUES ('x', 'x', %s)", (now,))
            raise ConflictError("no longer waiting")

    async def scenario(w):
        ticket = await w.add_ticket("t", state="waiting_client")
        found = await w.verdict(await w.receive(mail("Since noon", subject=f"[#{ticket.number}]")))
        assert found["verdict"] == "appended"
        assert await w.count("task") == 0
        async with w.pool.connection() as connection:
            (message,) = await thread(connection, ticket.id, public_only=True)
        assert message.data["instead_of"] == "answered"

    play(scenario, hands=Late())


def test_hints_for_people(play):
    async def scenario(w):
        vehicle = await w.add_vehicle("Acme", "A001AA 77", "A001AA77", "356938035643809")
        await w.add_vehicle("Acme", "B002BB 77", "B002BB77", "352093089163546")
        ((terminal,),) = await w.execute("SELECT id FROM terminal WHERE identity = '356938035643809'")
        ticket = await w.add_ticket("t", terminal=terminal, vehicle=vehicle)
        text = "A001AA again. And В002ВВ 77 too, IMEI 352093089163546.\nServer password: Gx7!kvm2"
        await w.receive(mail(text, subject=f"[#{ticket.number}]"))
        async with w.pool.connection() as connection:
            (message,) = await thread(connection, ticket.id, public_only=True)
        assert message.data["split"] == ["352093089163546"]
        assert message.data["secrets"] == [{"kind": "password", "line": 2}]
        # A new request that names one vehicle of its sender's is about that.
        await w.receive(mail("Nothing from A001AA since noon"))
        assert await w.execute("SELECT vehicle FROM ticket WHERE kind = 'request' ORDER BY id DESC LIMIT 1") == [
            (vehicle,)
        ]
        await w.receive(mail("Nothing from A001AA since noon", sender="chen@orient.example"))
        assert await w.execute("SELECT vehicle FROM ticket ORDER BY id DESC LIMIT 1") == [(None,)]

    play(scenario)


def test_the_largest_keep_their_head_and_wait_for_a_person(play):
    async def scenario(w):
        row = await w.receive(mail("")[:200], size=99_000_000)
        found = await w.verdict(row)
        assert (found["verdict"], found["reason"]) == ("held", "too_large")

    play(scenario)


def test_settings_without_anything_judge_too(play):
    from ticketing.mail.facts import Settings

    async def scenario(w):
        assert (await w.verdict(await w.receive(mail())))["verdict"] == "opened"
        assert SETTINGS.window == Settings().window

    play(scenario, settings=Settings())
