"""Commands as people ask for them: what is refused and why, in which order, and what is shown."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.ticketing.desk_parts import add_terminal, done, execute, fetch, pool_of, raise_one, recover_one
from ticketing.commands import MAX_KEY, MAX_OPEN, Commands, Wanted, count_commands, seconds_of, visible
from ticketing.core.errors import ConflictError, InvalidTextError, NotFoundError
from ticketing.core.moments import utc_now
from ticketing.model.states import Action
from ticketing.tickets.bodies import Body
from ticketing.tickets.facts import Actor
from ticketing.tickets.store import TicketStore


async def act(store: TicketStore, action: str, number: str, body: Body) -> None:
    await store.act(Action(action), number, Actor("anna", "manager"), body)


def commands(pool: Any, *, needs_permission: bool = False, now: Any = utc_now) -> Commands:
    return Commands(
        pool,
        none=lambda protocol: "none at all" if protocol == "mute" else "",
        problem=lambda _protocol, text: "no such word" if text == "wrong" else "",
        needs_permission=lambda _policy: needs_permission,
        now=now,
    )


def run(dsn: str, work: Any) -> Any:
    async def inner() -> Any:
        async with pool_of(dsn) as pool:
            await add_terminal(pool, "T1", protocol="teltonika")
            await add_terminal(pool, "T2", protocol="mute")
            return await work(pool)

    return asyncio.run(inner())


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("30d", 2_592_000), ("1.5m", 90), (2, 2), (0.5, 0.5), (600.0, 600)],
)
def test_durations(given: Any, seconds: float) -> None:
    assert seconds_of(given) == seconds


@pytest.mark.parametrize(
    "given", ["", "soon", "10", "10 m", "-5s", "0s", 0, -1, "31d", 1e12, float("nan"), "1" * 40 + "s"]
)
def test_what_is_no_duration(given: Any) -> None:
    with pytest.raises(InvalidTextError):
        seconds_of(given)


def test_what_is_refused(postgres_dsn: str) -> None:
    async def work(pool: Any) -> None:
        asked = commands(pool)
        for terminal, wanted, error in (
            ("T9", Wanted("x"), NotFoundError),
            ("T2", Wanted("x"), ConflictError),
            ("T2", Wanted("wrong"), ConflictError),  # it has no commands at all: that is told first
            ("T1", Wanted("wrong"), InvalidTextError),
            ("T1", Wanted("x", "soon"), InvalidTextError),
            ("T1", Wanted("x", key=""), InvalidTextError),
            ("T1", Wanted("x", key="k" * (MAX_KEY + 1)), InvalidTextError),
            ("T1", Wanted("x", key="a\0b"), InvalidTextError),
        ):
            with pytest.raises(error):
                await asked.send(terminal, "anna", wanted)
        assert await fetch(pool, "SELECT * FROM command") == []
        assert await asked.refusal("T1") == ""
        assert await asked.refusal("T2") == "none at all"
        # A line spoke for it last, and it is connected besides by something that has commands.
        opened = "INSERT INTO connection (id, terminal, protocol, address, opened_at) VALUES (%s, 'T2', %s, '', now())"
        await execute(pool, opened, 1, "mute")
        assert await asked.refusal("T2") == "none at all"
        await execute(pool, opened, 2, "teltonika")
        assert await asked.refusal("T2") == ""
        assert (await asked.send("T2", "anna", Wanted("x")))[1]
        assert await fetch(pool, "SELECT protocol FROM command") == [("teltonika",)]
        await execute(pool, "UPDATE connection SET closed_at = now() WHERE id = 2")
        assert await asked.refusal("T2") == "none at all"

    run(postgres_dsn, work)


def test_so_many_may_wait_and_no_more_whoever_asks_at_once(postgres_dsn: str) -> None:
    async def work(pool: Any) -> None:
        asked = commands(pool)
        await asked.send("T1", "anna", Wanted("first", key="k"))
        tried = [asked.send("T1", "anna", Wanted(f"do {n}")) for n in range(MAX_OPEN + 5)]
        results = await asyncio.gather(*tried, return_exceptions=True)
        assert sum(isinstance(result, ConflictError) for result in results) == 6
        assert sum(isinstance(result, tuple) for result in results) == MAX_OPEN - 1
        found, new = await asked.send("T1", "boris", Wanted("first", key="k"))  # asked for already
        assert (found.created_by, new) == ("anna", False)
        with pytest.raises(ConflictError, match="another"):
            await asked.send("T1", "anna", Wanted("second", key="k"))
        await execute(pool, "UPDATE command SET state = 'done' WHERE key = 'k'")
        assert (await asked.send("T1", "anna", Wanted("more")))[1]
        await add_terminal(pool, "T3", protocol="teltonika")
        assert (await asked.send("T3", "anna", Wanted("first", key="k")))[1], "a key is a terminal's own"

    run(postgres_dsn, work)


def test_the_clients_permission_where_the_policy_asks_for_it(postgres_dsn: str) -> None:
    """One that is on record and counts now; a consent to close is none, and the ticket's end ends it."""

    async def work(pool: Any) -> None:
        asked, store = commands(pool, needs_permission=True), TicketStore(pool)
        row = (await fetch(pool, "SELECT id FROM terminal WHERE identity = 'T1'"))[0][0]

        async def refused() -> bool:
            why = await asked.refusal("T1")
            if not why:
                assert (await asked.send("T1", "anna", Wanted("x")))[1]
                return False
            with pytest.raises(ConflictError, match="permission") as caught:
                await asked.send("T1", "anna", Wanted("x"))
            return str(caught.value) == why

        assert await refused()
        at = datetime.now(UTC).timestamp()
        number = (await raise_one(pool, row, at - 3600)).number
        assert await refused(), "a ticket is no permission"
        await recover_one(pool, row, at - 60)
        await done(store, "consent", number, "anna", "Mr Ivanov, by phone")
        assert await refused(), "nor is a consent to close"
        soon = datetime.now(UTC) + timedelta(hours=1)
        await act(store, "permit", number, Body(by="Mr Ivanov", means="phone", until=soon, text="restart it"))
        assert not await refused()
        assert (await commands(pool, needs_permission=True).get("T1", 1)).ticket == number
        assert await fetch(
            pool,
            "SELECT c.text, p.given_by, p.scope, j.actor, (j.data -> 'command')::bigint = c.id FROM command c"
            " JOIN remote_permission p ON p.id = c.permission JOIN ticket t ON t.id = c.ticket JOIN journal j"
            " ON j.ticket = t.id AND j.action = 'command'",
        ) == [("x", "Mr Ivanov", "restart it", "anna", True)]
        later = commands(pool, needs_permission=True, now=lambda: soon)
        assert "permission" in await later.refusal("T1"), "its time is over"
        await act(store, "revoke", number, Body())
        assert await refused()
        with pytest.raises(ConflictError):
            await act(store, "revoke", number, Body())
        await act(store, "permit", number, Body(by="Mr Ivanov", means="phone", until=soon))
        assert not await refused()
        other = await add_terminal(pool, "T4", protocol="teltonika")
        assert other
        with pytest.raises(ConflictError):
            await asked.send("T4", "anna", Wanted("x"))
        await done(store, "close", number, "anna")
        assert await refused(), "it ended with the ticket"
        await act(store, "reopen", number, Body(text="silent again"))
        assert await refused(), "and does not come back with it"
        assert (await commands(pool).send("T1", "anna", Wanted("x")))[1], "no policy asks for it"

    run(postgres_dsn, work)


def test_lists_and_counts(postgres_dsn: str) -> None:
    async def work(pool: Any) -> None:
        asked = commands(pool)
        made = [(await asked.send("T1", "anna", Wanted(f"do {n}", 60 + n)))[0] for n in range(5)]
        first = await asked.list("T1", limit=2)
        assert [command.id for command in first.items] == [made[4].id, made[3].id]
        assert first.total == 5
        rest = await asked.list("T1", first.next, 10)
        assert [command.text for command in rest.items] == ["do 2", "do 1", "do 0"]
        assert rest.next is None
        assert made[4].expires_at - made[4].created_at == timedelta(seconds=64)
        assert await asked.get("T1", made[0].id) == made[0]
        assert await asked.get("T2", made[0].id) is None
        await execute(pool, "UPDATE command SET state = 'sent' WHERE id <= %s", made[1].id)
        await execute(pool, "UPDATE command SET state = 'sent', sent_at = now()")  # once more for two of them
        await execute(pool, "UPDATE command SET state = 'failed' WHERE id = %s", made[1].id)
        await execute(pool, "DELETE FROM command")
        assert await count_commands(pool) == {
            ("teltonika", "queued"): 5, ("teltonika", "sent"): 5, ("teltonika", "failed"): 1,
        }  # fmt: skip

    run(postgres_dsn, work)


def test_a_terminals_words_are_shown_and_move_nothing() -> None:
    assert visible("plain é 漢") == "plain é 漢"
    assert visible("a\r\n\x1b[2J\x00\u202e\ud800") == "a\\r\\n\\x1b[2J\\x00\\u202e\\ud800"
