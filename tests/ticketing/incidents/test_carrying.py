import asyncio
import itertools

import pytest

from tests.ticketing.desk_parts import MONDAY, Clock, add_terminal, done, fetch, pool_of, raise_one, recover_one
from ticketing.core.errors import ConflictError
from ticketing.core.outbox import Target
from ticketing.incidents import Incidents
from ticketing.incidents.decisions import Reason, Step
from ticketing.model.states import MOVES, Action, State
from ticketing.tickets.store import TicketStore
from ticketing.working_time.errors import ClockInputError

DAY = 86_400


def test_many_tasks_open_one_incident_each(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn, size=16) as pool:
            terminals = [await add_terminal(pool, f"t{i}") for i in range(5)]
            raised = await asyncio.gather(*(raise_one(pool, terminals[i % 5]) for i in range(100)))
            return (
                raised,
                await fetch(pool, "SELECT terminal, count(*) FROM incident GROUP BY terminal"),
                await fetch(pool, "SELECT count(*), count(DISTINCT number) FROM ticket"),
            )

    raised, incidents, tickets = asyncio.run(scenario())
    assert sorted(outcome.decision.step for outcome in raised) == [Step.OPEN] * 5 + [Step.STANDING] * 95
    assert sorted(count for _, count in incidents) == [1] * 5
    assert tickets == [(5, 5)]


def test_a_record_that_arrives_while_the_alarm_is_written_clears_it(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            terminal = await add_terminal(pool, "t")
            raised = await raise_one(pool, terminal, current=lambda: False, targets=[Target("webhook", "u")])
            assert await fetch(pool, "SELECT 1 FROM ticket UNION ALL SELECT 1 FROM incident") == []
            assert await fetch(pool, "SELECT 1 FROM outbox UNION ALL SELECT 1 FROM journal") == []
            opened = await raise_one(pool, terminal)
            assert await recover_one(pool, terminal, MONDAY + 600, current=lambda: False) is None
            return raised, opened, await TicketStore(pool).get(opened.number)

    raised, opened, ticket = asyncio.run(scenario())
    assert (raised.decision.step, raised.decision.reason) == (Step.STALE, Reason.OVERTAKEN)
    assert not raised.is_open
    assert opened.decision.step == Step.OPEN
    assert ticket.state == State.NEW


def test_a_finding_older_than_the_recovery_is_stale(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            terminal = await add_terminal(pool, "t")
            await raise_one(pool, terminal)
            await recover_one(pool, terminal, MONDAY + 600)
            return await raise_one(pool, terminal, MONDAY + 599)

    decision = asyncio.run(scenario()).decision
    assert (decision.step, decision.reason) == (Step.STALE, Reason.SEEN_GOOD)


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "untaken"])
@pytest.mark.parametrize(
    ("closed_for", "same"), [(None, True), (7 * DAY, True), (7 * DAY + 1, False)], ids=["awaiting", "7 days", "later"]
)
def test_relapse_returns_the_same_number_within_seven_days(postgres_dsn, closed_for, same, taken):
    async def scenario():
        clock = Clock(MONDAY + 700)
        async with pool_of(postgres_dsn) as pool:
            store = TicketStore(pool, clock=clock)
            terminal = await add_terminal(pool, "t")
            targets = [Target("webhook", "https://a.example/hook"), Target("email", "mail")]
            first = await raise_one(pool, terminal, targets=targets)
            if taken:
                await done(store, "take", first.number, "anna")
            await recover_one(pool, terminal, MONDAY + 600)
            await done(store, "consent", first.number, "anna", "by phone")
            if closed_for is not None:
                await done(store, "close", first.number, "anna")
            again = await raise_one(pool, terminal, MONDAY + 700 + (closed_for or 60), targets=targets)
            ticket = await store.get(again.number)
            told = await fetch(pool, "SELECT count(*) FROM outbox")
            incidents = await fetch(pool, "SELECT state, flaps FROM incident ORDER BY id")
            # The consent is void, whichever way it went.
            await recover_one(pool, terminal, MONDAY + 30 * DAY)
            after = await store.get(again.number)
            return first, again, ticket, told, incidents, after

    first, again, ticket, told, incidents, after = asyncio.run(scenario())
    assert (again.number == first.number) == same
    if same:
        assert again.decision.step == Step.RELAPSE
        assert again.flaps == 1
        assert ticket.state == (State.IN_WORK if taken else State.NEW)  # back to whom it was, or to the queue
        assert not ticket.consented
        assert ticket.journal[-1].action == "relapsed"
        assert len(ticket.evidence["relapses"]) == 1
        assert told == [(2,)]  # once per number, never on reopening
        assert incidents == [("open", 1)]
    else:
        assert again.decision.step == Step.OPEN
        assert ticket.state == State.NEW
        assert told == [(4,)]
        assert incidents == [("closed", 0), ("open", 0)]
    assert after.state == State.AWAITING_CONSENT
    assert not after.consented


def test_an_unknown_policy_is_refused_at_the_start():
    with pytest.raises(ClockInputError, match="unknown policy 'gold'"):
        Incidents(None, policy="gold")
    with pytest.raises(ClockInputError, match="no version"):
        Incidents(None, policy="after-sales@9")


MOST = (Action.TAKE, Action.NOTE, Action.ASK, Action.CONSENT, Action.CLOSE)


def test_raising_recovering_and_people_at_once_leave_one_consistent_ticket(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn, size=16) as pool:
            store = TicketStore(pool)
            terminal = await add_terminal(pool, "t")
            number = (await raise_one(pool, terminal)).number

            async def person(i):
                try:
                    await done(store, MOST[i % len(MOST)], number, f"user{i}", "text")
                except ConflictError:
                    return

            for step in range(1, 9):
                at = MONDAY + 1000 * step
                await asyncio.gather(
                    *(raise_one(pool, terminal, at + i) for i in range(4)),
                    *(recover_one(pool, terminal, at + i) for i in range(4)),
                    *(person(step + i) for i in range(8)),
                )
            ticket = await store.get(number)
            chain = await fetch(
                pool,
                "SELECT count(*) FILTER (WHERE prev_hash IS DISTINCT FROM before AND seq > 1), count(*), max(seq)"
                " FROM (SELECT *, lag(hash) OVER (ORDER BY seq) AS before FROM journal) j",
            )
            states = await fetch(pool, "SELECT action, state FROM journal ORDER BY seq")
            incidents = await fetch(pool, "SELECT state FROM incident")
            return ticket, chain, states, incidents

    ticket, chain, states, incidents = asyncio.run(scenario())
    assert chain == [(0, len(states), len(states))]
    assert len(incidents) == 1
    # Every entry is a step of the table from the state before, and the last one is the ticket's.
    for place, ((_, before), (action, after)) in enumerate(itertools.pairwise(states)):
        if (action, after) == (Action.RELAPSED, State.NEW):
            assert not any(earlier == Action.TAKE for earlier, _ in states[:place])
        else:
            assert MOVES[Action(action)].leads[State(before)] == after
    assert states[-1][1] == ticket.state
    assert (ticket.state in (State.AWAITING_CONSENT, State.CLOSED)) == (incidents[0][0] == "closed")
