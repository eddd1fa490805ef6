"""Letters on their way: real SMTP, an outcome for each recipient, order, crashes, budgets on a virtual clock."""

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email import message_from_bytes
from email.policy import default

import pytest

from tests.ticketing.channels.test_channels import Sink, smtp
from tests.ticketing.desk_parts import pool_of
from tests.ticketing.letters.parts import NOW, contact, execute, fetch, later, organisation, ticket
from ticketing.channels.email import MailSettings
from ticketing.channels.smtp import Smtp
from ticketing.core.errors import DeliveryError, UndeliverableError
from ticketing.core.message_ids import bounce_address, bounced_letter, verify
from ticketing.letters.bounces import bounced
from ticketing.letters.budget import Budget
from ticketing.letters.compose import Desk
from ticketing.letters.courier import Courier, Outcome
from ticketing.letters.owe import owe
from ticketing.letters.recipients import Recipient
from ticketing.letters.texts import Texts

SECRET = b"k" * 32
DESK = Desk(SECRET, "Support <support@desk.example>", Texts(), "https://desk.example")


class Caught:
    """A mail server in memory: keeps what it takes, and answers as it is told."""

    def __init__(self):
        self.letters = []
        self.answers = {}
        self.tries = Counter()

    async def send(self, sender, to, raw):
        self.tries[to] += 1
        answer = self.answers.get(to)
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else None
        if answer is not None:
            raise answer
        self.letters.append((sender, to, raw))
        return "taken"

    def to(self, address):
        return [message_from_bytes(raw, policy=default) for _, to, raw in self.letters if to == address]


def run(dsn, scenario):
    async def whole():
        async with pool_of(dsn) as pool:
            await execute(pool, "UPDATE letter SET state = 'refused' WHERE state IN ('owed', 'deferred')")
            return await scenario(pool)

    return asyncio.run(whole())


async def write(pool, kind, row, *addresses, key, at=NOW, auto=True, outage=None, quiet="", zone="UTC", **data):
    to = [Recipient(None, one, one.partition("@")[0], "en", zone, quiet) for one in addresses]
    async with pool.connection() as connection:
        return await owe(
            connection, kind, key=key, ticket=row, outage=outage, recipients=to, data=data, at=at, auto=auto
        )


async def states(pool, row):
    return [state for (state,) in await fetch(pool, "SELECT state FROM letter WHERE ticket = %s ORDER BY id", row)]


async def until_idle(courier, now, limit=500):
    """Jump from due to due, as a rehearsal does; what was taken, and when it was over."""
    taken = []
    for _ in range(limit):
        taken += await courier.cycle(now)
        due = await courier.next_due()
        if due is None:
            return taken, now
        assert due > now
        now = due
    raise AssertionError("the courier never rests")


@asynccontextmanager
async def server(sink):
    async with smtp(sink) as port:
        transport = Smtp(MailSettings("127.0.0.1", port))
        try:
            yield transport
        finally:
            await transport.close()


class Moody(Sink):
    """Answers RCPT by what the mailbox is called."""

    async def handle_RCPT(self, server, session, envelope, address, options):
        code = {"later": "450 not now", "gone": "550 no such user"}.get(address.partition("@")[0])
        return code or await super().handle_RCPT(server, session, envelope, address, options)


def test_each_recipient_has_an_outcome_over_real_smtp(shared_dsn):
    async def scenario(pool):
        sink = Moody()
        row, number = await ticket(pool, title="Нет данных\r\nBcc: evil@example.org")
        async with server(sink) as transport:
            courier = Courier(pool, transport, DESK)
            to = ("ann@acme.example", "later@acme.example", "gone@acme.example", "bob@acme.example")
            await write(pool, "eta", row, *to, key=f"{number}/eta/1", eta="2026-11-17T10:00:00Z")
            first = await courier.cycle(NOW)
            second = await courier.cycle(NOW)
            rest, _ = await until_idle(courier, NOW)
        return number, sink, first, second, rest, await states(pool, row), courier

    number, sink, first, second, rest, after, courier = run(shared_dsn, scenario)
    assert [(one.address.partition("@")[0], str(one.outcome)) for one in first] == [
        ("ann", "sent"),
        ("later", "deferred"),
        ("gone", "refused"),
        ("bob", "sent"),
    ]
    assert "450 not now" in first[1].reason
    assert "550 no such user" in first[2].reason
    assert second == []
    assert after == ["sent", "refused", "refused", "sent"]  # `later` was given up after a day
    assert {str(one.outcome) for one in rest[:-1]} == {"deferred"}
    assert rest[-1].outcome == Outcome.REFUSED
    assert rest[-1].at - NOW >= timedelta(hours=24)
    assert courier.counts["eta", "sent"] == 2
    assert len(sink.letters) == 2
    for sender, recipients, raw in sink.letters:
        assert bounced_letter(SECRET, sender) is not None
        assert len(recipients) == 1
        letter = message_from_bytes(raw, policy=default)
        assert letter["Subject"] == f"[#{number}] Нет данных Bcc: evil@example.org"
        assert letter["Bcc"] is None
        assert verify(SECRET, letter["Message-ID"])[0] == number
        assert "17 November 2026, 10:00 (UTC)" in letter.get_body(("plain",)).get_content()


def test_retries_come_after_1_5_30_seconds_and_then_slower(shared_dsn):
    async def scenario(pool):
        caught = Caught()
        caught.answers["a@a.example"] = DeliveryError("451 greylisted")
        row, number = await ticket(pool)
        await write(pool, "ack", row, "a@a.example", key=f"{number}/ack")
        taken, _ = await until_idle(Courier(pool, caught, DESK), NOW)
        return [(one.at - NOW).total_seconds() for one in taken], taken[-1], await states(pool, row)

    at, last, after = run(shared_dsn, scenario)
    assert at[:8] == [0, 1, 6, 36, 156, 756, 2556, 6156]
    assert 86400 <= at[-1] <= 90000
    assert (last.outcome, after) == (Outcome.REFUSED, ["refused"])
    assert "451 greylisted" in last.reason


def test_after_an_unknown_outcome_the_same_bytes_go_again(shared_dsn):
    async def scenario(pool):
        caught = Caught()
        row, number = await ticket(pool)
        await write(pool, "recovered", row, "a@a.example", key=f"{number}/recovered/1")

        class Dies(Caught):
            async def send(self, sender, to, raw):
                await super().send(sender, to, raw)
                raise asyncio.CancelledError  # the process ends before it can write down what came of it

        dying = Dies()
        with pytest.raises(asyncio.CancelledError):
            await Courier(pool, dying, DESK).cycle(NOW)
        await execute(pool, "UPDATE ticket SET title = 'Something else' WHERE id = %s", row)
        courier = Courier(pool, caught, DESK)
        early = await courier.cycle(later(seconds=59))  # the lease holds
        due = await courier.next_due()
        await courier.cycle(due)
        return early, due, dying.letters, caught.letters, await states(pool, row)

    early, due, before, after, state = run(shared_dsn, scenario)
    assert early == []
    assert due == later(seconds=60)
    assert before == after
    assert len(after) == 1
    assert state == ["sent"]


def test_what_is_rolled_back_with_its_claim_is_sent_once(shared_dsn):
    async def scenario(pool):
        caught = Caught()
        row, number = await ticket(pool)
        await write(pool, "ack", row, "a@a.example", key=f"{number}/ack")
        broken = Courier(pool, caught, DESK)

        async def dies(connection, one, now):
            await connection.execute("SELECT 1/0")

        broken._frozen = dies
        with pytest.raises(Exception, match="division by zero"):
            await broken.cycle(NOW)
        raw = await fetch(pool, "SELECT raw, lease_until, attempts FROM letter WHERE ticket = %s", row)
        await until_idle(Courier(pool, caught, DESK), NOW)
        return raw, caught.letters

    raw, letters = run(shared_dsn, scenario)
    assert raw == [(None, None, 0)]
    assert len(letters) == 1


def test_letters_of_a_ticket_reach_an_address_in_order_and_hold_up_nobody_else(shared_dsn):
    async def scenario(pool):
        caught = Caught()
        row, number = await ticket(pool)
        other, other_number = await ticket(pool)
        await write(pool, "ack", row, "a@a.example", "b@a.example", key=f"{number}/ack")
        await write(pool, "reply", row, "a@a.example", "b@a.example", key=f"{number}/reply/1", auto=False, text="one")
        await write(pool, "reply", row, "a@a.example", key=f"{number}/reply/2", auto=False, text="two")
        await write(pool, "ack", other, "a@a.example", key=f"{other_number}/ack")
        caught.answers["a@a.example"] = [DeliveryError("450")]
        courier = Courier(pool, caught, DESK)
        taken = await courier.cycle(NOW)
        held = [(one.kind, one.address, str(one.outcome)) for one in taken]
        due = await courier.next_due()
        await courier.cycle(due)
        got = [re.search(rb"Message-ID: <(.*?)\.[0-9a-f]{8}@", raw)[1].decode() for _, to, raw in caught.letters]
        return number, other_number, held, due, got, caught.to("a@a.example"), await states(pool, row)

    number, other, held, due, got, mine, after = run(shared_dsn, scenario)
    assert held == [
        ("ack", "a@a.example", "deferred"),
        ("ack", "b@a.example", "sent"),
        ("ack", "a@a.example", "sent"),
        ("reply", "b@a.example", "sent"),
    ]
    assert due == later(seconds=1)
    assert after == ["sent"] * 5
    assert got == [
        f"t.{one}" for one in (f"{number}.3", f"{other}.2", f"{number}.5", f"{number}.2", f"{number}.4", f"{number}.6")
    ]
    first, second, third = (one for one in mine if number in one["Subject"])
    assert "In-Reply-To" not in first
    assert second["In-Reply-To"] == first["Message-ID"]
    assert third["References"].split() == [first["Message-ID"], second["Message-ID"]]


def test_what_a_client_wrote_begins_the_thread(shared_dsn):
    async def scenario(pool):
        row, number = await ticket(pool)
        long = f"<{'x' * 100}@outlook.example>"
        for at, identity, machine in ((NOW, long, False), (later(minutes=1), "<vacation@x>", True), (NOW, None, False)):
            await execute(
                pool,
                "INSERT INTO ticket_message (ticket, at, direction, public, author, text, channel, message_id, machine)"
                " VALUES (%s, %s, 'in', true, 'ann', '', 'mail', %s, %s)",
                *(row, at, identity, machine),
            )
        await write(pool, "ack", row, "a@a.example", key=f"{number}/ack", at=later(seconds=1))
        caught = Caught()
        await until_idle(Courier(pool, caught, DESK), later(minutes=2))
        return long, caught.letters[0][2]

    long, raw = run(shared_dsn, scenario)
    assert f"\r\nIn-Reply-To: {long}\r\nReferences: {long}\r\n".encode() in raw


def test_quiet_hours_let_a_persons_word_pass_by(shared_dsn):
    night = datetime.fromisoformat("2026-11-16T20:00:00+00:00")

    async def scenario(pool):
        caught = Caught()
        row, number = await ticket(pool)
        quiet = {"quiet": "22:00-07:00", "zone": "Europe/Moscow", "at": night}
        await write(pool, "progress", row, "a@a.example", key=f"{number}/progress/1", **quiet)
        await write(pool, "reply", row, "a@a.example", key=f"{number}/reply/1", auto=False, text="now", **quiet)
        taken, _ = await until_idle(Courier(pool, caught, DESK), night)
        return [(one.kind, one.at) for one in taken]

    assert run(shared_dsn, scenario) == [
        ("reply", night),
        ("progress", datetime.fromisoformat("2026-11-17T04:00:00+00:00")),
    ]


def test_above_the_budget_one_digest_lists_the_rest_at_the_full_hour(shared_dsn):
    async def scenario(pool):
        caught = Caught()
        courier = Courier(pool, caught, DESK)
        taken, numbers = [], []
        for n in range(25):
            at = later(minutes=5, seconds=n)
            row, number = await ticket(pool, title=f"Problem {n}")
            numbers.append(number)
            await write(pool, "ack", row, "storm@a.example", key=f"{number}/ack", at=at)
            taken += await courier.cycle(at)
        await write(pool, "recovered", row, "storm@a.example", key=f"{number}/recovered/1", at=at)
        await write(pool, "reply", row, "storm@a.example", key=f"{number}/reply/1", at=at, auto=False, text="Hello")
        await write(pool, "ack", row, "calm@a.example", key=f"{number}/ack", at=at)
        taken += await courier.cycle(at)
        rest, _ = await until_idle(courier, at)
        return caught, numbers, taken, rest, courier

    caught, numbers, taken, rest, courier = run(shared_dsn, scenario)
    assert [str(one.outcome) for one in taken[:25]] == ["sent"] * 10 + ["digested"] * 15
    assert {(one.kind, str(one.outcome)) for one in taken[25:]} == {(k, "sent") for k in ("recovered", "reply", "ack")}
    ((digest),) = rest
    assert (digest.kind, digest.at, digest.ticket, digest.auto) == ("digest", later(hours=1), None, True)
    letters = caught.to("storm@a.example")
    assert len(letters) == 13
    text = letters[-1].get_body(("plain",)).get_content()
    assert [number for number in numbers if number in text] == numbers[10:]
    assert f"{numbers[10]} Problem 10: registered" in text
    assert letters[-1]["Auto-Submitted"] == "auto-generated"
    assert len(caught.to("calm@a.example")) == 1
    assert courier.counts["ack", "digested"] == 15


def test_the_hour_rolls_and_the_day_has_its_own_bound(shared_dsn):
    async def scenario(pool):
        caught = Caught()
        courier = Courier(pool, caught, DESK, budget=Budget(2, 5))
        outcomes = []
        for minutes in (0, 1, 2, 60, 61, 62, 121, 122, 181, 24 * 60 + 1):
            row, number = await ticket(pool)
            at = later(minutes=minutes)
            await write(pool, "ack", row, "roll@a.example", key=f"{number}/ack", at=at)
            outcomes += [str(one.outcome)[0] for one in await courier.cycle(at) if one.kind == "ack"]
        return "".join(outcomes)

    assert run(shared_dsn, scenario) == "ssdssdsdds"


def test_two_couriers_side_by_side_send_each_letter_once_and_share_the_budget(shared_dsn):
    async def scenario(pool):
        caught = Caught()
        couriers = [Courier(pool, caught, DESK) for _ in range(2)]
        for n in range(30):
            row, number = await ticket(pool)
            await write(pool, "ack", row, "pair@a.example", f"own{n}@a.example", key=f"{number}/ack")
        for _ in range(3):
            await asyncio.gather(*(courier.cycle(NOW) for courier in couriers))
        listed = await fetch(pool, "SELECT count(DISTINCT digest) FROM letter WHERE address = 'pair@a.example'")
        return caught.tries, listed

    tries, listed = run(shared_dsn, scenario)
    assert tries["pair@a.example"] == 10
    assert {count for address, count in tries.items() if address.startswith("own")} == {1}
    assert len(tries) == 31
    assert listed == [(1,)]


def test_what_cannot_be_composed_is_put_off_and_stops_nobody(shared_dsn):
    async def scenario(pool):
        row, number = await ticket(pool)
        await write(pool, "ack", row, "bad@a.example", key=f"{number}/ack")
        await execute(pool, "UPDATE letter SET kind = 'nonsense' WHERE address = 'bad@a.example'")
        await write(pool, "eta", row, "good@a.example", "support@desk.example", "имя@a.example", key=f"{number}/eta")
        caught = Caught()
        courier = Courier(pool, caught, DESK)
        taken = await courier.cycle(NOW)
        return [(one.address, str(one.outcome)) for one in taken], courier.unforeseen, caught.tries

    outcomes, unforeseen, tries = run(shared_dsn, scenario)
    assert outcomes == [
        ("bad@a.example", "deferred"),
        ("support@desk.example", "refused"),
        ("имя@a.example", "refused"),
        ("good@a.example", "sent"),
    ]
    assert unforeseen == 1
    assert list(tries) == ["good@a.example"]


def test_the_hook_is_told_in_the_same_transaction_and_may_fail(shared_dsn):
    async def scenario(pool):
        row, number = await ticket(pool)
        await write(pool, "ack", row, "fine@a.example", "no@a.example", "odd@a.example", key=f"{number}/ack")
        caught = Caught()
        caught.answers["no@a.example"] = UndeliverableError("550 no")

        async def hook(connection, told):
            if told.address.startswith("odd"):
                await connection.execute("SELECT 1/0")
            if told.outcome == Outcome.REFUSED:
                await connection.execute(
                    "INSERT INTO task (ticket, key, kind, created_at) VALUES (%s, %s, 'call', %s)",
                    (told.ticket, f"call/{told.letter}", told.at),
                )

        courier = Courier(pool, caught, DESK, hook=hook)
        await courier.cycle(NOW)
        tasks = await fetch(pool, "SELECT count(*) FROM task WHERE ticket = %s", row)
        return await states(pool, row), tasks, courier.unforeseen

    assert run(shared_dsn, scenario) == (["sent", "refused", "sent"], [(1,)], 1)


def test_without_a_mail_server_nobody_gets_old_letters_later(shared_dsn):
    async def scenario(pool):
        row, number = await ticket(pool)
        await write(pool, "ack", row, "a@a.example", key=f"{number}/ack")
        courier = Courier(pool, None, DESK)
        nothing = await courier.cycle(NOW)
        due = await courier.next_due()
        taken = await courier.cycle(due)
        return nothing, due, [str(one.outcome) for one in taken], await states(pool, row)

    assert run(shared_dsn, scenario) == ([], later(hours=24), ["untold"], ["untold"])


def test_a_bounce_marks_the_address_and_names_the_tickets_to_phone_about(shared_dsn):
    async def scenario(pool):
        acme = await organisation(pool)
        ann = await contact(pool, acme, emails=["ann@bounce.example", "ann@home.example"])
        one, number = await ticket(pool, organisation=acme)
        two, second = await ticket(pool, organisation=acme)
        await write(pool, "ack", one, "ann@bounce.example", key=f"{number}/ack")
        caught = Caught()
        await Courier(pool, caught, DESK).cycle(NOW)
        await write(pool, "eta", two, "ann@bounce.example", key=f"{second}/eta/1")
        sender, _, raw = caught.letters[0]
        identity = message_from_bytes(raw)["Message-ID"]
        results = []
        for returned, address in (
            ("<t.DZ-1.2.00000000@desk.example>", "ann@bounce.example"),  # forged
            (bounce_address(b"other", "support@desk.example", 1), "ann@bounce.example"),
            (identity, "somebody@else.example"),
            (sender.upper(), "Ann@bounce.example"),
            (identity, "ann@bounce.example"),
        ):
            async with pool.connection() as connection:
                results.append(await bounced(connection, SECRET, returned, address, "550 5.1.1 unknown\x00", NOW))
        marks = await fetch(pool, "SELECT bounced FROM contact WHERE id = %s", ann)
        return one, two, results, marks, await states(pool, one), await states(pool, two)

    one, two, results, marks, first, second = run(shared_dsn, scenario)
    assert results == [[], [], [one], sorted([one, two]), [one]]
    assert list(marks[0][0]) == ["ann@bounce.example"]
    assert (first, second) == (["bounced"], ["untold"])


def test_connections_are_kept_and_a_dead_one_is_replaced(shared_dsn):
    class Counting(Sink):
        seen = 0

        async def handle_EHLO(self, server, session, envelope, hostname, responses):
            session.host_name = hostname
            Counting.seen += 1
            return responses

    async def scenario():
        now = [0.0]
        async with smtp(Counting()) as port:
            transport = Smtp(MailSettings("127.0.0.1", port), monotonic=lambda: now[0])
            for wait in (0.0, 1.0, 10.0, 40.0):
                now[0] += wait
                await transport.send("s@desk.example", "a@a.example", b"Subject: x\r\n\r\nx\r\n")
            await transport.close()
        with pytest.raises(DeliveryError):
            await transport.send("s@desk.example", "a@a.example", b"Subject: x\r\n\r\nx\r\n")
        with pytest.raises(UndeliverableError, match="no mail address"):
            await transport.send("s@desk.example", "имя@a.example", b"")
        return Counting.seen

    assert asyncio.run(scenario()) == 2


def test_a_persons_letter_brings_the_files_of_its_message_as_far_as_they_fit(shared_dsn, monkeypatch):
    monkeypatch.setattr("ticketing.letters.enclosed.FILES_LIMIT", 10)

    async def message(pool, row, direction, public, *files):
        ((identity,),) = await fetch(
            pool,
            "INSERT INTO ticket_message (ticket, at, direction, public, author, text, channel)"
            " VALUES (%s, %s, %s, %s, 'igor', '', 'api') RETURNING id",
            *(row, NOW, direction, public),
        )
        for name, content in files:
            digest = name.encode().ljust(32, b".")
            await execute(
                pool,
                "INSERT INTO blob (sha256, size, type, content, created_at) VALUES (%s, %s, 'text/plain', %s, %s)",
                *(digest, len(content), content, NOW),
            )
            await execute(
                pool, "INSERT INTO attachment (message, sha256, name) VALUES (%s, %s, %s)", identity, digest, name
            )
        return identity

    async def scenario(pool):
        row, number = await ticket(pool)
        other, _ = await ticket(pool)
        ours = await message(pool, row, "out", True, ("one.txt", b"12345678"), ("two.txt", b"123"))
        note = await message(pool, row, "note", False, ("secret.txt", b"1"))
        theirs = await message(pool, other, "out", True, ("other.txt", b"1"))
        caught = Caught()
        for n, (found, auto) in enumerate(((ours, False), (note, False), (theirs, False), (ours, True))):
            given = {"key": f"{number}/{n}", "auto": auto, "message": found, "text": "See below."}
            await write(pool, "reply", row, "a@a.example", **given)
        await until_idle(Courier(pool, caught, DESK), NOW)
        return caught.to("a@a.example")

    first, *rest = run(shared_dsn, scenario)
    assert [(one.get_filename(), one.get_content().strip()) for one in first.iter_attachments()] == [
        ("one.txt", "12345678")
    ]
    assert "two.txt" in first.get_body(("plain",)).get_content()
    assert [list(one.iter_attachments()) for one in rest] == [[], [], []]
