import asyncio
import hashlib
from datetime import UTC, datetime

import msgspec
import psycopg
import pytest

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
from ticketing.core.errors import ConflictError, InvalidTextError, NotFoundError, WrongInputError
from ticketing.model.states import MOVES, Action, State
from ticketing.model.tickets import TEXT_LIMIT
from ticketing.tickets.store import TicketStore


def test_the_ticket_has_the_contracts_keys(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            terminal = await add_terminal(pool, "860000000000001")
            raised = await raise_one(pool, terminal)
            store = TicketStore(pool, clock=Clock(MONDAY + 3600))
            page = await store.list()
            return raised, page, await store.get(raised.number), await store.get("DZ-99"), await store.get("a\x00b")

    raised, page, ticket, missing, odd = asyncio.run(scenario())
    assert (missing, odd) == (None, None)
    listed = msgspec.json.decode(msgspec.json.encode(page))
    (item,) = listed["items"]
    expected = {
        "items": [
            {
                "number": raised.number,
                "kind": "silence",
                "state": "new",
                "title": "Truck 12: silent for 6 min, limit 5 min",
                "zone": "unknown",
                "priority": 2,
                "terminal": "860000000000001",
                "opened_at": "2026-11-16T10:00:00Z",
                "due_at": "2026-11-16T14:00:00Z",
                "verdict": "running",
            }
        ],
        "total": 1,
        "next": None,
    }
    assert listed == expected | {"items": [item]}
    assert item == item | expected["items"][0]
    assert (item["owner"], item["channel"], item["topic"]) == (None, "monitoring", "technical")
    whole = msgspec.json.decode(msgspec.json.encode(ticket))
    (clock,) = whole.pop("clocks")
    assert whole == whole | item | {
        "evidence": {"verdict": {"age_s": 360.0}},
        "journal": [
            {
                "at": "2026-11-16T10:00:00Z",
                "actor": "watch",
                "action": "opened",
                "text": "silent for 6 min, limit 5 min",
                "data": whole["journal"][0]["data"],
            }
        ],
        "class": "network",
        "component": "terminal",
        "qualified": True,
        "messages": [],
        "checks": [
            {"name": name, "result": "unknown", "at": "2026-11-16T10:00:00Z", "waived_by": None, "data": {}}
            for name in ("firmware", "fix", "last-packet", "ports")
        ],
    }
    assert (clock["policy"], clock["clock"], clock["calendar"]) == ("integrator-standard", "reaction-remote", "RU")
    assert (clock["start"], clock["due"]) == ("2026-11-16T13:00:00+03:00", "2026-11-16T17:00:00+03:00")
    assert clock["at"] == {"instant": "2026-11-16T14:00:00+03:00", "counted_minutes": 60, "fired": False}


OLD = (Action.TAKE, Action.NOTE, Action.ASK, Action.CONSENT, Action.CLOSE)


def test_a_ticket_is_worked_to_its_closing(postgres_dsn):
    async def scenario():
        clock = Clock()
        async with pool_of(postgres_dsn) as pool:
            terminal = await add_terminal(pool, "t")
            number = (await raise_one(pool, terminal)).number
            store = TicketStore(pool, clock=clock)
            states = []

            async def act(action, text=None):
                clock.now += 60
                ticket = await done(store, action, number, "anna", text)
                states.append((action, ticket.state, ticket.consented, tuple(a for a in ticket.actions if a in OLD)))

            await act(Action.TAKE)
            await act(Action.TAKE, "from another's hands")
            await act(Action.NOTE, "called the driver")
            await act(Action.ASK, "is the truck in the workshop?")
            await act(Action.TAKE, "answered by phone")
            assert await recover_one(pool, terminal, MONDAY + 900) == number
            with pytest.raises(ConflictError, match="consent"):
                await done(store, "close", number, "anna")
            await act(Action.TAKE)
            await act(Action.CONSENT, "Ivanov by phone")
            await act(Action.CLOSE)
            return states, await store.get(number), await fetch(pool, "SELECT owner FROM ticket")

    states, ticket, owner = asyncio.run(scenario())
    take, note, ask, consent, close = Action.TAKE, Action.NOTE, Action.ASK, Action.CONSENT, Action.CLOSE
    assert states == [
        (take, State.IN_WORK, False, (take, note, ask)),
        (take, State.IN_WORK, False, (take, note, ask)),
        (note, State.IN_WORK, False, (take, note, ask)),
        (ask, State.WAITING_CLIENT, False, (take, note, ask)),
        (take, State.IN_WORK, False, (take, note, ask)),
        (take, State.AWAITING_CONSENT, False, (take, note, consent)),
        (consent, State.AWAITING_CONSENT, True, (take, note, consent, close)),
        (close, State.CLOSED, False, (note,)),
    ]
    assert [(entry.actor, entry.action) for entry in ticket.journal] == [
        ("watch", "opened"),
        ("anna", "take"),
        ("anna", "take"),
        ("anna", "note"),
        ("anna", "ask"),
        ("anna", "take"),
        ("watch", "recovered"),
        ("anna", "take"),
        ("anna", "consent"),
        ("anna", "close"),
    ]
    assert ticket.journal[1].at == datetime.fromtimestamp(MONDAY + 60, UTC)
    assert owner == [("anna",)]


def test_what_the_table_does_not_have_is_a_conflict(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            store = TicketStore(pool)
            number = (await raise_one(pool, await add_terminal(pool, "t"))).number
            refused = []
            for state in State:
                await execute(
                    pool,
                    "UPDATE ticket SET state = %s, closed_at = CASE WHEN %s = 'closed' THEN now() END",
                    state,
                    state,
                )
                for action in (Action.TAKE, Action.NOTE, Action.ASK, Action.CONSENT, Action.CLOSE):
                    if state not in MOVES[action].leads:
                        with pytest.raises(ConflictError, match=f"while the ticket is {state}"):
                            await done(store, action, number, "anna", "text")
                        refused.append((state.value, action.value))
            return refused, await fetch(pool, "SELECT count(*) FROM journal")

    refused, entries = asyncio.run(scenario())
    assert ("closed", "take") in refused
    assert ("new", "close") in refused
    assert ("closed", "ask") in refused
    assert len(refused) == 1 + 6 + 8 + 8  # take, ask, consent, close
    assert entries == [(1,)]  # a refused action leaves no trace


def test_texts_are_checked(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            store = TicketStore(pool)
            number = (await raise_one(pool, await add_terminal(pool, "t"))).number
            for text in (None, "", "  \n", "x" * (TEXT_LIMIT + 1), "a\x00b", "\ud800"):
                with pytest.raises(WrongInputError):
                    await done(store, "note", number, "anna", text)
            with pytest.raises(NotFoundError):
                await done(store, "take", "DZ-0", "anna")
            ticket = await done(store, "note", number, "anna", "  Грузовик 12: 卡车 <b>'; DROP TABLE ticket  ")
            return ticket.journal[-1].text

    assert asyncio.run(scenario()) == "Грузовик 12: 卡车 <b>'; DROP TABLE ticket"


def test_the_journal_is_append_only_and_chained(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            store = TicketStore(pool)
            number = (await raise_one(pool, await add_terminal(pool, "t"))).number
            await asyncio.gather(*(done(store, "note", number, "anna", f"note {i}, длиннее") for i in range(10)))
            for statement in ("UPDATE journal SET text = 'x'", "DELETE FROM journal", "TRUNCATE journal"):
                with pytest.raises(psycopg.errors.RestrictViolation):
                    await execute(pool, statement)
            return number, await fetch(
                pool,
                "SELECT seq, (extract(epoch FROM at) * 1000000)::bigint, actor, action, text, state, version,"
                " data::text, prev_hash, hash FROM journal ORDER BY seq",
            )

    number, entries = asyncio.run(scenario())
    assert [entry[0] for entry in entries] == list(range(1, 12))
    before = hashlib.sha256(number.encode()).digest()
    for *fields, prev_hash, own_hash in entries:
        octets = [str(field).encode() for field in fields]
        chained = before + b"".join(b"%d:%s," % (len(octet), octet) for octet in octets)
        assert prev_hash == before
        assert own_hash == hashlib.sha256(chained).digest()
        before = own_hash


def test_lists_are_filtered_searched_and_paged(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            store = TicketStore(pool)
            numbers = []
            for i in range(7):
                terminal = await add_terminal(pool, f"8600{i}", name=f"Truck 100% {i}" if i < 3 else None)
                numbers.append((await raise_one(pool, terminal, MONDAY + i)).number)
                await raise_one(pool, terminal, MONDAY + i, kind="firmware")
            await done(store, "take", numbers[0], "anna")
            pages, cursor = [], None
            while True:
                page = await store.list(kind="silence", cursor=cursor, limit=3)
                pages.append([ticket.number for ticket in page.items])
                assert page.total == 7
                cursor = page.next
                if cursor is None:
                    break
            with pytest.raises(InvalidTextError):
                await store.list(cursor="никак")
            incidents = await store.incidents(state="open", kind="silence", limit=5)
            rest = await store.incidents(state="open", kind="silence", cursor=incidents.next, limit=5)
            found = {
                "state": (await store.list(state="in_work")).items,
                "terminal": (await store.list(terminal="86005")).items,
                "name": (await store.list(search="100% ")).items,
                "number": (await store.list(search=numbers[3].removeprefix("DZ-"))).items,
                "nothing": (await store.list(search="\x00%_")).items,
            }
            return numbers, pages, incidents, rest, found, await store.counts()

    numbers, pages, incidents, rest, found, counts = asyncio.run(scenario())
    assert pages == [numbers[:3], numbers[3:6], numbers[6:]]
    assert [ticket.number for ticket in found["state"]] == numbers[:1]
    assert {ticket.kind for ticket in found["terminal"]} == {"silence", "firmware"}
    assert len(found["name"]) == 6
    assert [ticket.number for ticket in found["number"]] == [numbers[3]]
    assert found["nothing"] == []
    assert [incident.ticket for incident in (*incidents.items, *rest.items)] == numbers[::-1]
    assert counts.tickets_open == counts.tickets_opened == counts.incidents_open == {"silence": 7, "firmware": 7}
