"""A letter comes to be owed: to whom, once, in which order, and what is written where nobody can be told."""

import asyncio
from datetime import UTC, datetime

import pytest

from tests.ticketing.desk_parts import pool_of
from tests.ticketing.letters.parts import NOW, contact, execute, fetch, later, letters, organisation, ticket, vehicle
from ticketing.letters.facts import facts_of
from ticketing.letters.kinds import KINDS, words
from ticketing.letters.owe import BOUNCED, NO_ADDRESS, NO_RECIPIENT, owe
from ticketing.letters.quiet import awake
from ticketing.letters.recipients import Recipient, contact_recipients, outage_recipients, recipients


def run(dsn, scenario):
    async def whole():
        async with pool_of(dsn) as pool:
            return await scenario(pool)

    return asyncio.run(whole())


async def owed(pool, kind, key, row, to, *, at=NOW, auto=True, outage=None, **data):
    async with pool.connection() as connection:
        return await owe(
            connection, kind, key=key, ticket=row, outage=outage, recipients=to, data=data, at=at, auto=auto
        )


def test_one_letter_a_recipient_and_none_twice(shared_dsn):
    async def scenario(pool):
        row, number = await ticket(pool)
        people = [Recipient(None, "Ann@Acme.example", "Ann"), Recipient(None, "bob@acme.example", "Bob")]
        first = await owed(pool, "eta", f"{number}/eta/1", row, people)
        again = await owed(pool, "eta", f"{number}/eta/1", row, [*people, Recipient(None, "cid@acme.example", "Cid")])
        await owed(pool, "eta", f"{number}/eta/2", row, people[:1])
        return first, again, await letters(pool, row)

    first, again, written = run(shared_dsn, scenario)
    assert len(first) == 2
    assert first.untold == []
    assert len(again) == 1
    assert written == [
        ("eta", 1, "ann@acme.example", "owed", None),
        ("eta", 2, "bob@acme.example", "owed", None),
        ("eta", 3, "cid@acme.example", "owed", None),
        ("eta", 4, "ann@acme.example", "owed", None),
    ]


def test_two_ways_to_one_address_are_one_letter(shared_dsn):
    async def scenario(pool):
        row, number = await ticket(pool)
        people = [Recipient(None, "a@acme.example", "Ann"), Recipient(None, "A@ACME.example ", "Desk of Acme")]
        await owed(pool, "ack", f"{number}/ack", row, people)
        return await letters(pool, row)

    assert run(shared_dsn, scenario) == [("ack", 1, "a@acme.example", "owed", None)]


def test_whoever_cannot_be_told_is_written_down_with_the_reason(shared_dsn):
    async def scenario(pool):
        acme = await organisation(pool)
        gone = await contact(pool, acme, "Gone", emails=["gone@acme.example"], bounced={"gone@acme.example": "550"})
        mute = await contact(pool, acme, "Mute", emails=[])
        row, number = await ticket(pool, organisation=acme)
        people = await contact(pool, acme), gone, mute
        async with pool.connection() as connection:
            to = await contact_recipients(connection, people)
        one = await owed(pool, "recovered", f"{number}/recovered/1", row, to)
        stale = [Recipient(gone, "gone@acme.example", "Gone")]  # the bounce came in between
        two = await owed(pool, "closed", f"{number}/closed/1", row, stale)
        three = await owed(pool, "ack", f"{number}/ack", row, [])
        again = await owed(pool, "ack", f"{number}/ack", row, [])
        return gone, mute, one, two, three, again, await letters(pool, row)

    gone, mute, one, two, three, again, written = run(shared_dsn, scenario)
    assert [(u.contact, u.name, u.reason) for u in one.untold] == [(gone, "Gone", BOUNCED), (mute, "Mute", NO_ADDRESS)]
    assert [u.reason for u in (*two.untold, *three.untold)] == [BOUNCED, NO_RECIPIENT]
    assert (list(again), again.untold) == ([], [])
    assert [(kind, n, address, state, untold) for kind, n, address, state, untold in written][1:] == [
        ("recovered", 0, "", "untold", BOUNCED),
        ("recovered", 0, "", "untold", NO_ADDRESS),
        ("closed", 0, "", "untold", BOUNCED),
        ("ack", 0, "", "untold", NO_RECIPIENT),
    ]
    assert written[0][:2] == ("recovered", 1)


def test_another_address_is_taken_where_the_first_bounced(shared_dsn):
    async def scenario(pool):
        acme = await organisation(pool)
        one = await contact(pool, acme, emails=["old@a.example", "new@a.example"], bounced={"old@a.example": "550"})
        async with pool.connection() as connection:
            return await contact_recipients(connection, [one])

    (found,) = run(shared_dsn, scenario)
    assert (found.address, found.bounced) == ("new@a.example", False)


def test_numbers_do_not_repeat_under_two_writers(shared_dsn):
    async def scenario(pool):
        row, number = await ticket(pool)

        async def one(n):
            await owed(pool, "reply", f"{number}/reply/{n}", row, [Recipient(None, f"p{n}@a.example", "P")], auto=False)

        await asyncio.gather(*(one(n) for n in range(12)))
        await asyncio.gather(
            *(owed(pool, "advisory", f"adv/{n}", None, [Recipient(None, "x@a.example", "X")]) for n in range(6))
        )
        advisories = await fetch(pool, "SELECT n FROM letter WHERE kind = 'advisory' ORDER BY n")
        return sorted(n for _, n, *_ in await letters(pool, row)), [n for (n,) in advisories]

    assert run(shared_dsn, scenario) == (list(range(1, 13)), list(range(1, 7)))


def test_a_rolled_back_cause_owes_nothing(shared_dsn):
    async def scenario(pool):
        row, number = await ticket(pool)
        to = [Recipient(None, "a@a.example", "A")]

        async def fails():
            async with pool.connection() as connection:
                await owe(connection, "ack", key=f"{number}/ack", ticket=row, recipients=to, data={}, at=NOW, auto=True)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await fails()
        return await letters(pool, row)

    assert run(shared_dsn, scenario) == []


def test_words_are_looked_up(shared_dsn):
    async def scenario(pool):
        acme = await organisation(pool, language="ru", time_zone="Europe/Moscow", project_manager="boss@desk.example")
        await execute(
            pool,
            "INSERT INTO app_user (name, role, password, teams, email) VALUES"
            " ('boss@desk.example', 'manager', '', '{}', 'chief@desk.example'),"
            " ('igor', 'engineer', '', '{field}', 'i@desk.example'),"
            " ('olga@desk.example', 'engineer', '', '{field}', NULL), ('nick', 'engineer', '', '{field}', NULL)",
        )
        ann = await contact(pool, acme, "Ann", emails=["ann@acme.example"], language="zh", quiet_hours="22:00-07:00")
        await contact(pool, acme, "Duty", emails=["duty@acme.example"], roles=["duty"])
        await contact(pool, acme, "Off", emails=["off@acme.example"], roles=["duty"], active=False)
        await contact(pool, acme, "Law", emails=["law@acme.example"], roles=["contract"])
        eve = await contact(pool, await organisation(pool), "Eve", emails=["eve@other.example"], roles=["duty"])
        row, _ = await ticket(
            pool, organisation=acme, reporter=ann, owner="igor", team="field", details={"watchers": [eve, "x"]}
        )
        found = {}
        async with pool.connection() as connection:
            for word in ("reporter", "contact", "contract-address", "owner", "team", "manager", "watchers"):
                found[word] = [one.address for one in await recipients(connection, row, [word])]
            (reporter,) = await recipients(connection, row, ["reporter"])
            both = [one.address for one in await recipients(connection, row, ["contact", "reporter", "contact"])]
        return found, reporter, both

    found, reporter, both = run(shared_dsn, scenario)
    assert found == {
        "reporter": ["ann@acme.example"],
        "contact": ["duty@acme.example"],
        "contract-address": ["law@acme.example"],
        "owner": ["i@desk.example"],
        "team": ["i@desk.example", "olga@desk.example"],
        "manager": ["chief@desk.example"],
        "watchers": ["eve@other.example"],
    }
    assert (reporter.language, reporter.zone, reporter.quiet_hours) == ("zh", "Europe/Moscow", "22:00-07:00")
    assert both == ["duty@acme.example", "ann@acme.example"]


def test_who_reports_for_the_watch_and_who_writes_without_being_known(shared_dsn):
    async def scenario(pool):
        acme = await organisation(pool)
        await contact(pool, acme, "Duty", emails=["d@acme.example"], roles=["duty"])
        watched, _ = await ticket(pool, organisation=acme, channel="monitoring", kind="silence")
        stranger, _ = await ticket(pool, sender="x@unknown.example", verified=False, language="ru")
        posing, _ = await ticket(pool, organisation=acme, sender="+70000000001", verified=False)
        async with pool.connection() as connection:
            to = ["reporter", "contact", "contract-address"]
            return [await recipients(connection, row, to) for row in (watched, stranger, posing)]

    watched, stranger, posing = run(shared_dsn, scenario)
    assert [one.address for one in watched] == ["d@acme.example"]
    assert [(one.address, one.language) for one in stranger] == [("x@unknown.example", "ru")]
    assert [(one.address, one.name) for one in posing] == [("", "+70000000001")]


def test_an_outage_is_told_to_its_contacts_or_those_on_duty(shared_dsn):
    async def scenario(pool):
        one, two, three = [await organisation(pool, name=f"Outage {n}") for n in range(3)]
        await contact(pool, one, emails=["o1@a.example"], roles=["outage"])
        await contact(pool, one, emails=["d1@a.example"], roles=["duty"])
        await contact(pool, two, emails=["d2@a.example"], roles=["duty"])
        async with pool.connection() as connection:
            return await outage_recipients(connection, [one, two, three])

    found = run(shared_dsn, scenario)
    assert [one.address for one in found] == ["o1@a.example", "d2@a.example", ""]
    assert found[2].name == "Outage 2"


def test_facts_of_a_ticket_and_none_for_a_stranger(shared_dsn):
    async def scenario(pool):
        acme = await organisation(pool, name="Facts", engineers=["igor", "olga"], contract={"hotline": "+7 1"})
        ann = await contact(pool, acme)
        truck = await vehicle(pool, acme, plate="A001AA", name="Truck 1")
        full = {"organisation": acme, "reporter": ann, "vehicle": truck, "missing": ["steps"], "eta_at": NOW}
        row, number = await ticket(pool, **full, details={"description": "It is\nsilent"})
        hidden, _ = await ticket(pool, **full, verified=False)
        async with pool.connection() as connection:
            return number, await facts_of(connection, row), await facts_of(connection, hidden)

    number, known, hidden = run(shared_dsn, scenario)
    assert known["number"] == number
    assert (known["plate"], known["vehicle"], known["organisation"]) == ("A001AA", "Truck 1", "Facts")
    assert known["duty"] == {"name": "igor", "phone": "+7 1"}
    assert known["eta"] == "2026-11-16T10:00:00.000Z"
    assert (known["missing"], known["description"], known["saw"]) == (["steps"], "It is\nsilent", None)
    assert not {"plate", "organisation", "duty", "terminal", "reporter", "due_at"} & hidden.keys()
    assert hidden["missing"] == ["steps"]


def test_quiet_hours_move_what_nobody_typed(shared_dsn):
    night = datetime(2026, 11, 16, 20, 0, tzinfo=UTC)  # 23:00 in Moscow
    person = Recipient(None, "q@a.example", "Q", zone="Europe/Moscow", quiet_hours="22:00-07:00")

    async def scenario(pool):
        row, number = await ticket(pool)
        for kind in KINDS:
            if kind != "digest":
                await owed(pool, kind, f"{number}/{kind}/auto", row, [person], at=night)
        await owed(pool, "reply", f"{number}/reply/typed", row, [person], at=night, auto=False)
        rows = await fetch(pool, "SELECT kind, auto, not_before FROM letter WHERE ticket = %s", row)
        return {(kind, auto): at.astimezone(UTC) for kind, auto, at in rows}

    found = run(shared_dsn, scenario)
    morning = datetime(2026, 11, 17, 4, 0, tzinfo=UTC)
    at_once = {key for key, at in found.items() if at == night}
    assert at_once == {(kind, True) for kind in ("outage", "outage_update", "outage_end", "official")} | {
        ("reply", False)
    }
    assert {at for key, at in found.items() if key not in at_once} == {morning}


@pytest.mark.parametrize(
    ("at", "quiet", "zone", "then"),
    [
        ("2026-11-16T04:00:00+00:00", "22:00-07:00", "Europe/Moscow", "2026-11-16T04:00:00+00:00"),  # 07:00: awake
        ("2026-11-16T03:59:59+00:00", "22:00-07:00", "Europe/Moscow", "2026-11-16T04:00:00+00:00"),
        ("2026-11-16T19:00:00+00:00", "22:00-07:00", "Europe/Moscow", "2026-11-17T04:00:00+00:00"),
        ("2026-11-16T12:30:00+00:00", "12:00-13:00", "UTC", "2026-11-16T13:00:00+00:00"),
        ("2026-11-16T13:30:00+00:00", "12:00-13:00", "UTC", "2026-11-16T13:30:00+00:00"),
        ("2026-10-25T00:30:00+00:00", "22:00-03:00", "Europe/Berlin", "2026-10-25T02:00:00+00:00"),  # an hour twice
        ("2026-03-29T00:30:00+00:00", "22:00-02:30", "Europe/Berlin", "2026-03-29T01:30:00+00:00"),  # an hour skipped
        ("2026-11-16T23:00:00+00:00", "nonsense", "UTC", "2026-11-16T23:00:00+00:00"),
        ("2026-11-16T23:00:00+00:00", "22:00-22:00", "UTC", "2026-11-16T23:00:00+00:00"),
        ("2026-11-16T23:00:00+00:00", "22:00-07:00", "No/Where", "2026-11-17T07:00:00+00:00"),
    ],
)
def test_awake(at, quiet, zone, then):
    assert awake(datetime.fromisoformat(at), quiet, zone) == datetime.fromisoformat(then)


def test_the_policy_says_who_gets_a_kind():
    assert words("ack", {}) == ("reporter",)
    assert words("reply", {}) == ("reporter", "contact")
    assert words("ack", {"ack": ["watchers"]}) == ("watchers",)
    assert words("recovered", {"recovered": ["contact"]}) == ("reporter", "contact")
    assert words("closed", {}) == ("reporter", "contact")
    assert later(hours=1) > NOW
