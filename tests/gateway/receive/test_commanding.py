"""Claiming and settling in one process: a real store, conversations on wires that write down what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.receive import commanding as module
from gateway.receive import dialogue
from gateway.receive.commanding import Commanding
from gateway.store import dispatch
from gateway.store.dispatch import Connected
from gateway.store.pools import Pool
from protocols.teltonika.declaration import RESPONSE, command, login, tcp_frame
from tests.gateway.receive.conversing import IMEI, Store, World, converse, frame


class Shop:
    """A world of conversations whose commands are in a real store."""

    def __init__(self, dsn: str, world: World, pool: Pool) -> None:
        self.dsn, self.world, self.pool = dsn, world, pool
        self.commanding = self.process()
        world.shared.commanding = self.commanding

    def process(self) -> Commanding:
        return Commanding(self.pool, self.world.shared.now, self.world.shared.speaker)

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as link:
            cursor = link.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def queue(self, text: str = "getinfo", seconds: float = 60, *, repeat: bool = False, terminal: str = IMEI) -> int:
        rows = self.query(
            "INSERT INTO command (terminal, protocol, text, repeat, created_by, expires_at)"
            " SELECT id, 'teltonika', %s, %s, 'anna', clock_timestamp() + %s * interval '1 s' FROM terminal"
            " WHERE identity = %s RETURNING id",
            text, repeat, seconds, terminal,
        )  # fmt: skip
        self.commanding.queued(terminal)
        return int(rows[0][0])

    def states(self) -> list[str]:
        return [row[0] for row in self.query("SELECT state FROM command ORDER BY id")]

    async def settled(self, *states: str) -> None:
        for _ in range(400):
            if self.states() == list(states):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(self.states())

    async def sent(self, wire: Any, data: bytes) -> None:
        for _ in range(200):
            if wire.sent.endswith(data):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(wire.sent)


@pytest.fixture
def shop(postgres_dsn: str, tmp_path: Path) -> Callable[[Callable[[Shop], Coroutine[Any, Any, None]]], None]:
    def go(act: Callable[[Shop], Coroutine[Any, Any, None]]) -> None:
        async def inner(world: World) -> None:
            async with Pool(postgres_dsn, min_size=1, max_size=3, open=False, kwargs={"autocommit": True}) as pool:
                found = Shop(postgres_dsn, world, pool)
                found.query("INSERT INTO terminal (identity, protocol) VALUES (%s, 'teltonika')", IMEI)
                running = asyncio.create_task(world.shared.commanding.run())
                try:
                    await act(found)
                finally:
                    running.cancel()
                    await asyncio.wait({running})

        converse(tmp_path, inner)

    return go


async def quiet() -> None:
    await asyncio.sleep(0.15)


def hold(store: Store) -> None:
    store.asked.clear()
    store.answers.clear()


def test_it_waits_until_no_frame_is_unanswered(shop: Any) -> None:
    async def act(here: Shop) -> None:
        talk, wire = here.world.begin()
        talk.receive(login(IMEI) + frame())
        await here.sent(wire, b"\x01" + (1).to_bytes(4, "big"))
        hold(here.world.store)
        talk.receive(frame(2))
        await here.world.store.asked.wait()
        here.queue()
        await here.settled("sent")
        await quiet()
        assert wire.sent == b"\x01" + (1).to_bytes(4, "big"), "its ack is a bare count: nothing may come before it"
        here.world.store.answers.set()
        await here.sent(wire, (2).to_bytes(4, "big") + command("getinfo"))
        # An answer is a message that is not acknowledged by anything: the next command goes out all the same.
        here.queue("getio")
        talk.receive(command("INI:1", kind=RESPONSE))
        await here.sent(wire, command("getinfo") + command("getio"))
        assert here.query("SELECT state, result FROM command ORDER BY id") == [("done", "INI:1"), ("sent", None)]

    shop(act)


def test_the_users_getver_waits_for_the_first_ack_as_ours_does(shop: Any) -> None:
    async def act(here: Shop) -> None:
        here.queue("getver")
        here.commanding.look_again()
        await quiet()
        talk, wire = here.world.begin()
        talk.receive(login(IMEI))
        await here.settled("sent")
        await quiet()
        assert wire.sent == b"\x01"
        talk.receive(frame())
        await here.sent(wire, b"\x01" + (1).to_bytes(4, "big") + command("getver"))

    shop(act)


def test_what_was_claimed_and_not_sent_waits_again(shop: Any) -> None:
    """Its connection ends while a frame is unanswered: it was never sent, so it is no lost one."""

    async def act(here: Shop) -> None:
        for heard_of_it in (False, True):
            talk, _wire = here.world.begin()
            talk.receive(login(IMEI))
            hold(here.world.store)
            talk.receive(frame())
            await here.world.store.asked.wait()
            if not here.states():
                here.queue()
            await here.settled("sent")
            if heard_of_it:
                await quiet()
                assert talk.dialogue is not None
                assert talk.dialogue.command is not None
            talk.lost(None)
            await here.settled("queued")
            assert here.query("SELECT sent_at, connection FROM command") == [(None, None)]
            here.world.store.answers.set()
            await here.world.pipeline.drain()
        talk, wire = here.world.begin()
        talk.receive(login(IMEI))
        await here.sent(wire, b"\x01" + command("getinfo"))

    shop(act)


def test_what_cannot_be_sent_in_time_expires_unsent(shop: Any) -> None:
    """A peer that reads nothing, and a frame that stays unanswered: nothing leaves after its time."""

    async def act(here: Shop) -> None:
        talk, wire = here.world.begin()
        talk.receive(login(IMEI))
        talk.pause_writing()
        here.queue(seconds=0.4)
        await here.settled("sent")
        await here.settled("expired")
        talk.resume_writing()
        await quiet()
        hold(here.world.store)
        talk.receive(frame())
        await here.world.store.asked.wait()
        here.queue(seconds=0.4)
        await here.settled("expired", "sent")
        await here.settled("expired", "expired")
        here.world.store.answers.set()
        await here.sent(wire, (1).to_bytes(4, "big"))
        await quiet()
        assert wire.sent == b"\x01" + (1).to_bytes(4, "big")
        assert {row[0] for row in here.query("SELECT reason FROM command")} == {"it could not be sent in time"}

    shop(act)


def test_an_answer_of_which_it_is_not_known_whose_it_is(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, or an earlier one's: it is the command's if no other follows it for a while, or its connection ends."""
    monkeypatch.setattr(dialogue, "FOLLOWING", 0.2)
    monkeypatch.setattr(dialogue, "OWN_PATIENCE", 0.3)

    async def act(here: Shop) -> None:
        talk, wire = here.world.begin()
        talk.receive(login(IMEI) + frame())
        await here.sent(wire, (1).to_bytes(4, "big"))
        talk.ask_version()
        await here.sent(wire, command("getver"))
        here.queue("first")
        await quiet()
        assert here.states() == ["queued"], "our own question first"
        await here.sent(wire, command("first"))  # which was not answered in time
        talk.receive(command("1", kind=RESPONSE))
        await asyncio.sleep(0.05)
        assert here.states() == ["sent"]
        await here.settled("done")
        here.queue("second", 0.3)
        await here.sent(wire, command("second"))
        await here.settled("done", "failed")
        here.queue("third")
        await here.sent(wire, command("third"))
        talk.receive(command("2", kind=RESPONSE))
        talk.lost(None)
        await here.settled("done", "failed", "done")
        assert here.query("SELECT result FROM command ORDER BY id") == [("1",), (None,), ("2",)]

    shop(act)


def test_the_store_away_commands_and_answers_wait(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN", 0.05)
    monkeypatch.setattr(module, "_TIMEOUT", 0.3)

    async def act(here: Shop) -> None:
        talk, wire = here.world.begin()
        talk.receive(login(IMEI))
        here.queue()
        await here.sent(wire, command("getinfo"))
        with psycopg.connect(here.dsn) as lock:
            lock.execute("LOCK TABLE command IN ACCESS EXCLUSIVE MODE")
            talk.receive(command("INI:1", kind=RESPONSE))
            here.commanding.queued(IMEI)
            await asyncio.sleep(0.8)
            lock.commit()
        await here.settled("done")
        here.queue("getio")
        await here.sent(wire, command("getio"))

    shop(act)


def test_an_answer_that_the_store_cannot_hold_stops_nobody(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(here: Shop) -> None:
        talk, wire = here.world.begin()
        talk.receive(login(IMEI))
        here.queue()
        await here.sent(wire, command("getinfo"))
        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "kept", lambda text: text + "\0")
            talk.receive(command("INI:1", kind=RESPONSE))
            await quiet()
        here.queue("getio")
        await here.sent(wire, command("getio"))
        body = b"\x00\xff" + b"x" * 5000
        talk.receive(tcp_frame(b"\x0c\x01\x06" + len(body).to_bytes(4, "big") + body + b"\x01"))
        await here.settled("sent", "done")
        ((result,),) = here.query("SELECT result FROM command WHERE state = 'done'")
        assert len(result) == dispatch.MAX_RESULT
        assert result.startswith("\\x00\\xffx")

    shop(act)


def test_of_many_claimants_one_gets_each(shop: Any) -> None:
    async def act(here: Shop) -> None:
        for n in range(30):
            here.queue(f"do {n}")
        here.query("UPDATE command SET expires_at = now() WHERE text = 'do 7'")
        connected = [Connected(IMEI, number, 0.0, "teltonika") for number in range(1, 41)]

        async def claim(one: Connected) -> list[str]:
            async with here.pool.connection() as link:
                return [claim.text for claim in await dispatch.claim(link, [one])]

        claimed = [text for texts in await asyncio.gather(*map(claim, connected)) for text in texts]
        assert sorted(claimed) == sorted(f"do {n}" for n in range(30) if n != 7)

    shop(act)


def test_the_newest_of_its_connections_and_a_line_beside_it_is_none(shop: Any) -> None:
    async def act(here: Shop) -> None:
        here.query(
            "INSERT INTO connection (id, terminal, protocol, address, listener, opened_at) VALUES"
            " (1, %s, 'teltonika', '', '', to_timestamp(1000)), (2, %s, 'lls', '', '', to_timestamp(2000)),"
            " (3, %s, 'teltonika', '', '', now() + interval '1 h'),"  # a clock that was ahead
            " (4, %s, 'teltonika', '', 'mqtt broker:1883', to_timestamp(2000))",
            IMEI, IMEI, IMEI, IMEI,
        )  # fmt: skip
        here.queue()
        async with here.pool.connection() as link:
            assert await dispatch.claim(link, [Connected(IMEI, 9, 999.0, "teltonika")]) == []
            assert len(await dispatch.claim(link, [Connected(IMEI, 1, 1000.0, "teltonika")])) == 1

    shop(act)


def test_one_that_may_be_repeated_is_claimed_on_other_connections_only(shop: Any) -> None:
    async def act(here: Shop) -> None:
        here.queue(repeat=True)
        async with here.pool.connection() as link:
            for number, found in ((1, 1), (1, 0), (2, 1), (2, 0), (1, 1)):
                assert len(await dispatch.claim(link, [Connected(IMEI, number, 0.0, "teltonika")])) == found
            assert await dispatch.waiting(link, 10) == [IMEI]
            assert await dispatch.expire(link, 10) == (0, pytest.approx(60, abs=2))
            here.query("UPDATE command SET expires_at = now()")
            assert await dispatch.claim(link, [Connected(IMEI, 3, 0.0, "teltonika")]) == []
            await dispatch.expire(link, 10)  # or the process beside, which may have it in hand
            await here.settled("failed")
            assert await dispatch.expire(link, 10) == (0, None)
            assert await dispatch.waiting(link, 10) == []

    shop(act)
