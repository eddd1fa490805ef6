"""Whatever people, the watch and time do to a terminal's tickets, in any order: what the contract says comes of it.

The model below is written from the contract alone and shares no table with the code.
"""

import asyncio
import hashlib
import itertools
from dataclasses import dataclass, field

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.ticketing.desk_parts import (
    MONDAY,
    Clock,
    add_terminal,
    done,
    execute,
    fetch,
    pool_of,
    raise_one,
    recover_one,
)
from ticketing.core.errors import ConflictError, InvalidTextError, WrongInputError
from ticketing.core.outbox import Target
from ticketing.incidents import Incidents
from ticketing.incidents.decisions import Step
from ticketing.tickets.clock_watch import watch_clocks
from ticketing.tickets.store import TicketStore

WEEK = 7 * 86_400
OPEN_STATES = ("new", "in_work", "waiting_client", "awaiting_consent")
NEEDS_TEXT = ("note", "ask", "consent")
places = itertools.count()


@dataclass
class Told:
    """One ticket as it must be by now."""

    state: str = "new"
    owner: str | None = None
    consent: bool = False
    closed_at: float | None = None
    journal: list = field(default_factory=list)

    def after(self, action):
        """The state that a person's action leads to; None: it is refused."""
        if action == "note":
            return self.state
        if action == "take" and self.state in OPEN_STATES:
            return self.state if self.state == "awaiting_consent" else "in_work"
        if action == "ask" and self.state in ("new", "in_work", "waiting_client"):
            return "waiting_client"
        if action == "consent" and self.state == "awaiting_consent":
            return self.state
        if action == "close" and self.state == "awaiting_consent" and self.consent:
            return "closed"
        return None

    def act(self, action, actor, now):
        self.state = self.after(action)
        self.journal.append((actor, action, self.state))
        if action == "take":
            self.owner = actor
        if action == "consent":
            self.consent = True
        if action == "close":
            self.consent, self.closed_at = False, now

    def recover(self):
        self.state, self.consent = "awaiting_consent", False
        self.journal.append(("watch", "recovered", self.state))

    def relapse(self):
        self.state, self.consent, self.closed_at = "in_work" if self.owner else "new", False, None
        self.journal.append(("watch", "relapsed", self.state))


ACTS = st.tuples(
    st.sampled_from(["take", "note", "ask", "consent", "close"]),
    st.sampled_from(["anna", "bob"]),
    st.sampled_from(["said", "said", "said", "", "длиннее\nи ещё"]),
)
STEPS = st.one_of(
    st.just(("raise",)),
    st.just(("recover",)),
    ACTS,
    ACTS,
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 90, 3600, 5 * 3600, 2 * 86_400, WEEK, WEEK + 1])),
    st.just(("look",)),
)
CLOSED = [("raise",), ("recover",), ("consent", "anna", "by phone"), ("close", "bob", "")]


@settings(max_examples=18, deadline=None, suppress_health_check=list(HealthCheck))
@example([*CLOSED, ("wait", WEEK), ("raise",), ("wait", 1), ("look",), ("recover",), ("close", "anna", "")])
@example([*CLOSED, ("wait", WEEK + 1), ("raise",), ("note", "bob", "to the second")])
@example([("raise",), ("wait", 2 * 86_400), ("look",), ("take", "anna", ""), ("wait", 90), *CLOSED[1:], ("look",)])
@example([("raise",), ("ask", "bob", "said"), ("wait", 2 * 86_400), ("look",), ("take", "bob", ""), *CLOSED])
@example([*CLOSED[:3], ("raise",), ("close", "anna", ""), ("recover",), ("close", "anna", ""), *CLOSED[2:]])
@example([*CLOSED[:3], ("raise",)])
@given(st.lists(STEPS, max_size=22))
def test_any_life_of_a_ticket_is_what_the_contract_says(shared_dsn, steps):
    asyncio.run(life(shared_dsn, steps))


async def life(dsn, steps):
    clock = Clock(MONDAY)
    async with pool_of(dsn, size=2) as pool:
        await execute(pool, "UPDATE ticket SET clock_check_at = NULL")  # of the lives before
        identity = f"t{next(places)}"
        terminal = await add_terminal(pool, identity)
        store, target = TicketStore(pool, clock=clock), Target("webhook", "https://a.example/hook")
        incidents = Incidents(pool, targets=[target], tickets_per_minute=0)
        told, failing, breaches = {}, False, set()
        number = None
        for step in steps:
            clock.now += 1
            if step[0] == "wait":
                clock.now += step[1]
            elif step[0] == "look":
                for entry in await look(pool, clock):
                    told[entry[0]].journal.append(("watch", entry[1], told[entry[0]].state))
            elif step[0] == "raise":
                raised = await raise_one(pool, terminal, clock.now, incidents=incidents)
                last = told.get(number)
                if failing:
                    assert raised.decision.step == Step.STANDING
                elif last is not None and (last.closed_at is None or clock.now - last.closed_at <= WEEK):
                    assert (raised.decision.step, raised.number) == (Step.RELAPSE, number)
                    last.relapse()
                else:
                    assert raised.decision.step == Step.OPEN
                    assert raised.number not in told
                    number = raised.number
                    told[number] = Told(journal=[("watch", "opened", "new")])
                failing = True
            elif step[0] == "recover":
                assert await recover_one(pool, terminal, clock.now) == (number if failing else None)
                if failing:
                    told[number].recover()
                failing = False
            elif number is not None:
                await person(store, told[number], number, clock, *step)
            breaches = await check(store, told, identity, failing, breaches)
        await check_rows(pool, told, terminal)


async def person(store, ticket, number, clock, action, actor, text):
    before, refused = len(ticket.journal), ""
    try:
        found = await done(store, action, number, actor, text)
    except (InvalidTextError, WrongInputError):
        assert action in NEEDS_TEXT
        assert not text
    except ConflictError as error:
        refused = str(error)
    else:
        assert text or action not in NEEDS_TEXT
        ticket.act(action, actor, clock.now)
        assert found.state == ticket.state
        assert (found.journal[-1].actor, found.journal[-1].text) == (actor, text)
    assert len(ticket.journal) == before + (not refused and bool(text or action not in NEEDS_TEXT))
    if refused:
        assert ticket.after(action) is None
        assert refused.startswith(action), "it says what was refused"


async def look(pool, clock):
    """What the watch wrote of clocks, as (number, action), in order."""
    seen = "SELECT t.number, j.action FROM journal j JOIN ticket t ON t.id = j.ticket ORDER BY j.ticket, j.seq"
    before = await fetch(pool, seen)
    wrote = await watch_clocks(pool, clock())
    after = await fetch(pool, seen)
    assert len(after) == len(before) + wrote
    assert await watch_clocks(pool, clock()) == 0, "a second look has nothing to tell"
    old = {number: len(list(rows)) for number, rows in itertools.groupby(before, key=lambda row: row[0])}
    new = []
    for number, rows in itertools.groupby(after, key=lambda row: row[0]):
        new += list(rows)[old.get(number, 0) :]
    assert {action for _, action in new} <= {"warned", "breached"}
    return new


async def check(store, told, identity, failing, breaches):
    """The desk shows what the model says, and no breach that was once told is ever gone."""
    for number, ticket in told.items():
        found = await store.get(number)
        assert found.state == ticket.state
        assert [(entry.actor, entry.action) for entry in found.journal] == [entry[:2] for entry in ticket.journal]
        assert found.consented == ticket.consent
        acts = ("take", "note", "ask", "consent", "close")
        assert set(found.actions) & set(acts) == {action for action in acts if ticket.after(action)}
        (promise,) = found.clocks
        cycles = [promise, *promise["earlier"]]
        broken = {(number, cycle["cycle"], b["due"]) for cycle in cycles for b in cycle["breaches"]}
        assert broken >= {breach for breach in breaches if breach[0] == number}
        breaches = breaches | broken
        assert len(cycles) == 1 + sum(
            before[2] == "closed" and after[2] != "closed" for before, after in itertools.pairwise(ticket.journal)
        ), "each reopening begins a cycle"
        assert (promise["stopped"] is not None) or promise["verdict"] in ("running", "paused", "breached")
        if ticket.state == "closed":
            assert promise["stopped"] is not None
    listed = await store.list(terminal=identity, limit=500)
    assert {(t.number, t.state) for t in listed.items} == {(number, t.state) for number, t in told.items()}
    open_ones = await store.incidents(state="open", terminal=identity)
    assert open_ones.total == failing
    return breaches


async def check_rows(pool, told, terminal):
    """Owed once per number, whatever came back; owners; and a journal that anybody can verify."""
    rows = await fetch(
        pool,
        "SELECT t.number, t.owner, (SELECT count(*) FROM outbox o WHERE o.ticket = t.id), t.closed_at IS NOT NULL,"
        " t.consent_at IS NOT NULL AND t.state <> 'closed'"
        " FROM ticket t WHERE t.terminal = %s",
        terminal,
    )
    assert {row[0]: row[1:] for row in rows} == {
        number: (ticket.owner, 1, ticket.state == "closed", ticket.consent) for number, ticket in told.items()
    }
    for number, ticket in told.items():
        entries = await fetch(
            pool,
            "SELECT j.seq, (extract(epoch FROM j.at) * 1000000)::bigint, j.actor, j.action, j.text, j.state,"
            " j.version, j.data::text, j.prev_hash, j.hash FROM journal j JOIN ticket t ON t.id = j.ticket"
            " WHERE t.number = %s ORDER BY j.seq",
            number,
        )
        assert [(entry[2], entry[3], entry[5]) for entry in entries] == ticket.journal
        assert [entry[0] for entry in entries] == list(range(1, len(entries) + 1))
        before = hashlib.sha256(number.encode()).digest()
        for *fields, previous, own in entries:
            octets = [str(field).encode() for field in fields]
            assert previous == before
            before = hashlib.sha256(before + b"".join(b"%d:%s," % (len(o), o) for o in octets)).digest()
            assert own == before
