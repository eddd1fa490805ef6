"""The storm over a real store: exact at the limit, the same as the rules say, the same after a restart."""

import asyncio
import random

import msgspec
import pytest

from tests.ticketing.desk_parts import MONDAY, Clock, add_terminal, done, fetch, finding, pool_of
from tests.ticketing.incidents.book import Book
from ticketing.channels.email import Mail, MailSettings
from ticketing.core.errors import ConflictError
from ticketing.core.outbox import Outgoing, Target
from ticketing.incidents import Case, Incidents
from ticketing.incidents.decisions import Reason, Step
from ticketing.model.kinds import STORM
from ticketing.model.states import Action, State
from ticketing.tickets.clock_watch import watch_clocks
from ticketing.tickets.store import TicketStore


async def raise_at(incidents, terminal, at, kind="silence", *, current=lambda: True):
    found = finding(terminal, at, kind)

    async def prepare(_connection):
        return Case(found, f"terminal {terminal}", {})

    return await incidents.raise_finding(found, at, prepare, current)


async def recover_at(incidents, terminal, at, kind="silence"):
    return await incidents.recover(kind, terminal, at, at - 300, "good for 5 min", lambda: True)


async def terminals_of(pool, count):
    async with pool.connection() as connection:
        rows = await connection.execute(
            "INSERT INTO terminal (identity, name) SELECT 't' || n, 'Truck ' || n FROM generate_series(1, %s) n"
            " RETURNING id",
            (count,),
        )
        return [row for (row,) in await rows.fetchall()]


@pytest.mark.slow
def test_a_thousand_at_once_are_sixty_tickets_and_a_storm(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn, size=8) as pool:
            # Two services on one store, each with a few of them at a time.
            services = [Incidents(pool, targets=[Target("email", "mail"), Target("webhook", "u")]) for _ in range(2)]
            rows = await terminals_of(pool, 1000)
            gate = asyncio.Semaphore(6)

            async def one(n, terminal):
                async with gate:
                    return await raise_at(services[n % 2], terminal, MONDAY)

            raised = await asyncio.gather(*(one(n, terminal) for n, terminal in enumerate(rows)))
            for service in services:
                assert await service.review(MONDAY + 1) == []
            store = TicketStore(pool, clock=Clock(MONDAY + 2))
            (storm,) = (await store.list(kind=STORM)).items
            (incident,) = (await store.incidents(kind=STORM)).items
            return (
                raised,
                await fetch(pool, "SELECT kind, terminal IS NULL, count(*) FROM ticket GROUP BY 1, 2 ORDER BY 1"),
                await fetch(pool, "SELECT event, count(*), count(DISTINCT ticket) FROM outbox GROUP BY 1"),
                await store.get(storm.number),
                await store.incident(incident.id),
                await store.counts(),
                (await store.list(terminal="t1000")).items,
            )

    raised, tickets, owed, storm, incident, counts, seen_from_member = asyncio.run(scenario())
    steps = [r.decision.step for r in raised]
    assert (steps.count(Step.OPEN), steps.count(Step.ATTACH)) == (60, 940)
    assert sum(r.opened for r in raised) == 61  # the couriers are woken for the storm as well
    assert {r.number for r in raised if r.decision.step == Step.ATTACH} == {storm.number}
    assert tickets == [("silence", False, 60), ("storm", True, 1)]
    assert owed == [("ticket.opened", 122, 61)]
    assert (storm.terminal, storm.priority, storm.state) == (None, 1, State.NEW)
    assert storm.title.startswith("storm: more than 60 findings within a minute")
    counted = {"kind": "silence", "joined": 940, "failing": 940, "back": 0, "given_back": 0}
    assert storm.evidence["members"] == [counted]
    assert len(storm.evidence["failing"]) == 200
    assert storm.evidence["failing"][0].keys() == {"terminal", "name", "kind", "at"}
    assert (incident.members_count, len(incident.members), incident.group, incident.ticket) == (
        940,
        940,
        None,
        storm.number,
    )
    assert counts.incidents_open == {"silence": 1000, "storm": 1}
    assert (counts.tickets_open, counts.tickets_opened) == ({"silence": 60, "storm": 1},) * 2
    assert [ticket.number for ticket in seen_from_member] == [storm.number]


def test_members_come_back_stay_behind_and_end_the_storm(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            store, now = TicketStore(pool, clock=Clock()), MONDAY
            incidents = Incidents(pool, tickets_per_minute=2, targets=[Target("webhook", "u")])
            rows = await terminals_of(pool, 10)
            for terminal in rows:
                await raise_at(incidents, terminal, now)
            assert await incidents.review(now + 1) == []  # growing
            for terminal in rows[2:6]:
                recovered = await recover_at(incidents, terminal, now + 400)
                assert (recovered.decision.reason, recovered.number) == (Reason.LEFT, None)
            assert await incidents.review(now + 401) == []  # four fail, a minute may have two
            # One that left rejoins, with its relapses counted; the service dies and another goes on.
            again = await raise_at(incidents, rows[5], now + 500)
            assert (again.decision.reason, again.flaps) == (Reason.REJOINED, 1)
            incidents = Incidents(pool, tickets_per_minute=2, targets=[Target("webhook", "u")])
            assert {(one.terminal, one.flaps) for one in await incidents.open_incidents()} == {
                (row, int(row == rows[5])) for row in [*rows[:2], *rows[5:]]
            }
            for terminal in rows[5:8]:
                await recover_at(incidents, terminal, now + 900)
            left = await incidents.review(now + 901)
            assert left == [("silence", rows[8]), ("silence", rows[9])]
            # One of them is good just then; the other gets a ticket of its own.
            overtaken = await raise_at(incidents, rows[8], now + 901, current=lambda: False)
            assert overtaken.decision.reason == Reason.OVERTAKEN
            own = await raise_at(incidents, rows[9], now + 901)
            assert (own.decision.step, own.decision.reason) == (Step.DETACH, Reason.CALM)
            assert own.number is not None
            await recover_at(incidents, rows[8], now + 950)
            assert await incidents.review(now + 951) == []
            (storm,) = (await store.list(kind=STORM)).items
            whole = await store.get(storm.number)
            (parent,) = (await store.incidents(kind=STORM)).items
            detail = await store.incident(parent.id)
            listed = (await store.incidents(terminal="t10")).items
            told = await fetch(pool, "SELECT count(*) FROM outbox")
            # Consent is awaited: the next storm is this one again; closed, it is another.
            await raise_at(incidents, rows[2], now + 1000)
            await raise_at(incidents, rows[3], now + 1000)
            back = await raise_at(incidents, rows[4], now + 1000)
            return (
                own,
                whole,
                detail,
                listed,
                told,
                back,
                await store.get(storm.number),
                await incidents.review(now + 1001),
            )

    own, storm, detail, listed, told, back, again, left = asyncio.run(scenario())
    assert storm.state == State.AWAITING_CONSENT
    assert [entry.action for entry in storm.journal] == ["opened", "detached", "recovered"]
    assert storm.journal[1].text == f"t10 still fails (silence): {own.number}"
    assert storm.evidence["members"] == [{"kind": "silence", "joined": 8, "failing": 0, "back": 7, "given_back": 1}]
    assert storm.evidence["failing"] == []
    assert (detail.state, detail.members_count, detail.recovered_at is None) == ("closed", 8, False)
    assert {m.terminal: (m.state, m.back_at is None) for m in detail.members} == {
        **{f"t{n}": ("closed", False) for n in range(3, 10)},
        "t10": ("closed", True),  # not back: it has a ticket of its own
    }
    assert [(i.state, i.parent, i.ticket, i.recovered_at) for i in listed] == [
        ("open", None, own.number, None),
        ("closed", detail.id, None, None),
    ]
    assert told == [(4,)]  # two, the storm, and the one left
    assert (back.decision.storm, back.number) == (Step.RELAPSE, storm.number)
    assert (again.state, again.journal[-1].action) == (State.NEW, "relapsed")  # nobody had taken it
    assert left == []


@pytest.mark.parametrize("seed", range(3))
def test_the_store_does_what_the_rules_say(postgres_dsn, seed):
    """The same walk through SQL and through the ledger in memory; both agree at each step."""
    dice = random.Random(seed)

    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            clock = Clock()
            store, incidents, book = TicketStore(pool, clock=clock), Incidents(pool, tickets_per_minute=2), Book(2)
            rows = await terminals_of(pool, 6)
            seen = set()
            for step in range(120):
                clock.now += dice.choice([0.5, 1, 1, 1, 20, 61, 61, 400, 86_400 * 4])
                now, terminal = clock.now, dice.choice(rows)
                kind = dice.choice(["silence", "silence", "power"])
                match dice.randrange(10):
                    case 0 | 1 | 2 | 3 | 4:
                        for failing in dice.sample(rows, dice.randrange(1, 5)):
                            raised = await raise_at(incidents, failing, now, kind)
                            expected = book.raise_finding(finding(failing, now, kind), now).decision
                            assert same(raised.decision, expected), (step, raised.decision, expected)
                            seen.add(expected.reason)
                    case 5 | 6:
                        recovered = await recover_at(incidents, terminal, now, kind)
                        assert (recovered is None) == (book.recover(kind, terminal, now) is None), step
                    case 7 | 8:
                        assert await incidents.review(now) == book.review(now), step
                        if dice.random() < 0.2:
                            incidents = Incidents(pool, tickets_per_minute=2)  # restarted
                    case 9 if book.tickets:
                        ticket = dice.choice(book.tickets)
                        place = book.tickets.index(ticket)
                        found = await fetch(pool, "SELECT number FROM ticket ORDER BY id OFFSET %s LIMIT 1", place)
                        ((number,),) = found
                        for action in (Action.TAKE, Action.CONSENT, Action.CLOSE)[: dice.randrange(1, 4)]:
                            try:
                                await done(store, action, number, "anna", "text")
                                did = True
                            except ConflictError:
                                did = False
                            assert did == book.act(ticket, action, "anna", now), step
                stored = await fetch(
                    pool,
                    "SELECT i.terminal, i.kind, i.state = 'open', i.flaps, t.state, p.kind FROM incident i"
                    " LEFT JOIN ticket t ON t.id = i.ticket LEFT JOIN incident p ON p.id = i.parent ORDER BY i.id",
                )
                assert stored == [
                    (i.terminal, i.kind, i.open, i.flaps, i.ticket and i.ticket.state.value, i.parent and STORM)
                    for i in book.incidents
                ], step
            journals = await fetch(
                pool, "SELECT array_agg(action ORDER BY seq) FROM journal GROUP BY ticket ORDER BY ticket"
            )
            assert [actions for (actions,) in journals] == [t.journal for t in book.tickets]
            return seen

    seen = asyncio.run(scenario())
    assert seen >= {Reason.FIRST, Reason.RATE, Reason.AGAIN, Reason.OPEN_ALREADY, Reason.MANY_BAD}


def same(one, other):
    """Alike but for the group's number, which is the store's own."""
    return (one.step, one.reason, one.storm) == (other.step, other.reason, other.storm)


def test_the_store_refuses_a_second_open_storm(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            incidents = Incidents(pool, tickets_per_minute=1)
            rows = await terminals_of(pool, 2)
            for terminal in rows:
                await raise_at(incidents, terminal, MONDAY)
            async with pool.connection() as connection:
                columns = "kind, state, ticket, opened_at, raised_at, detected_at, last_bad_at, zone, zone_confidence"
                rows = await connection.execute(
                    f"INSERT INTO incident ({columns}) SELECT {columns} FROM incident WHERE kind = 'storm'"
                    " ON CONFLICT DO NOTHING"
                )
                return rows.rowcount

    assert asyncio.run(scenario()) == 0


def test_no_limit_means_no_storm(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            incidents = Incidents(pool, tickets_per_minute=1)
            rows = await terminals_of(pool, 5)
            for terminal in rows[:3]:
                await raise_at(incidents, terminal, MONDAY)
            incidents.limit(0)
            assert (await raise_at(incidents, rows[3], MONDAY)).decision.step == Step.OPEN
            left = await incidents.review(MONDAY)
            assert [(await raise_at(incidents, row, MONDAY)).decision.step for _, row in left] == [Step.DETACH] * 2
            assert await incidents.review(MONDAY) == []
            return await fetch(pool, "SELECT kind, state FROM ticket ORDER BY id")

    tickets = asyncio.run(scenario())
    assert tickets == [
        ("silence", "new"),
        ("storm", "awaiting_consent"),
        ("silence", "new"),
        ("silence", "new"),
        ("silence", "new"),
    ]


def test_a_storm_is_told_worked_and_clocked_as_any_ticket(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            clock = Clock(MONDAY + 60)
            store = TicketStore(pool, clock=clock)
            incidents = Incidents(pool, tickets_per_minute=1, targets=[Target("webhook", "u")])
            rows = [await add_terminal(pool, identity) for identity in ("a", "b")]
            for terminal in rows:
                await raise_at(incidents, terminal, MONDAY)
            (storm,) = (await store.list(kind=STORM)).items
            await done(store, "take", storm.number, "anna")
            clock.now += 100_000
            assert await watch_clocks(pool, clock()) >= 1  # the other one's breach; the storm's was met
            ticket = await store.get(storm.number)
            await recover_at(incidents, rows[1], MONDAY + 200_000)
            await incidents.review(MONDAY + 200_001)
            await done(store, "consent", storm.number, "anna", "the operator says so")
            closed = await done(store, "close", storm.number, "anna")
            ((body,),) = await fetch(
                pool, "SELECT body FROM outbox o JOIN ticket t ON t.id = o.ticket WHERE t.kind = 'storm'"
            )
            return ticket, closed, body

    ticket, closed, body = asyncio.run(scenario())
    assert ticket.clocks[0]["verdict"] == "met"
    assert closed.state == State.CLOSED
    told = msgspec.json.decode(body)["ticket"]
    assert (told["kind"], told["terminal"], told["evidence"]) == ("storm", None, {"storm": {"tickets_per_minute": 1}})
    mail = Mail(MailSettings("mail.example", sender="desk@example.org", to=("a@example.org",)), b"key")
    letter = mail.letter(Outgoing("1", "ticket.opened", ticket.number, body)).decode()
    assert "Terminal:     many, see the ticket" in letter
