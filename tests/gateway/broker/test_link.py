"""One connection to a broker without a socket: what is acknowledged when, and when the broker is read no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.receive.batch import Raw
from gateway.receive.broker import link as module
from gateway.receive.broker import payloads as module_of_payloads
from gateway.receive.broker import wire
from gateway.receive.broker.carried import Carried
from gateway.receive.broker.link import Link
from gateway.receive.broker.payloads import Payloads, read_frames
from gateway.receive.broker.presence import Presences
from gateway.receive.broker.topics import JSON, Topics
from gateway.receive.conversation import Conversation
from gateway.receive.terminals import Terminals
from protocols.records import Frame, Malformed
from protocols.registry import protocol
from protocols.teltonika.declaration import login
from tests.gateway.receive.conversing import IMEI, World, converse, frame


class Transport:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.sent = b""
        self.asked: list[str] = []

    def write(self, data: bytes) -> None:
        self.sent += data

    def __getattr__(self, name: str) -> Any:
        return lambda: self.asked.append(name)


class Broker:
    """The other side of a link."""

    def __init__(self, world: World, receive_maximum: int = 1000) -> None:
        topics = Topics(["telemetry/+/+"], None)
        payloads = Payloads(world.shared, "broker:1883", Presences(world.shared, JSON, "broker:1883"))

        def take(packet: wire.Packet) -> None:
            assert isinstance(packet, wire.PublishIn)
            payloads.take(topics.route(packet.topic), packet, self.link.window.take(packet.mid, len(packet.payload)))

        self.link = Link(b"hello", take, world.pipeline, receive_maximum=receive_maximum, max_packet=1 << 20)
        self.transport = Transport()
        self.link.connection_made(self.transport)  # type: ignore[arg-type]

    def publish(self, mid: int, payload: bytes, topic: str = f"telemetry/{IMEI}/teltonika") -> None:
        name = topic.encode()
        body = len(name).to_bytes(2, "big") + name + (mid.to_bytes(2, "big") if mid else b"") + b"\0" + payload
        size = len(body)
        length = bytes([size]) if size < 128 else bytes([size % 128 | 0x80, size // 128])
        self.link.data_received((b"\x32" if mid else b"\x30") + length + body)

    @property
    def acknowledged(self) -> list[int]:
        sent = self.transport.sent.removeprefix(b"hello")
        return [int.from_bytes(sent[at + 2 : at + 4], "big") for at in range(0, len(sent), 4)]


async def came(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def test_nothing_is_acknowledged_before_its_commit_and_all_in_order(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        broker = Broker(world)
        world.store.answers.clear()
        broker.publish(7, frame(1))
        broker.publish(3, b"poison")
        broker.publish(5, b"", "telemetry/x/smoke")
        broker.publish(9, frame(2, 1_700_000_100_000))
        await world.store.asked.wait()
        await asyncio.sleep(0.05)
        assert broker.acknowledged == []
        world.store.answers.set()
        await world.pipeline.drain()
        await asyncio.sleep(0.01)
        assert broker.acknowledged == [7, 3, 5, 9]
        kept = [(one.terminal, one.reason) for job in world.store.jobs for one in job.quarantined]
        assert kept == [(IMEI, "login"), ("x", "protocol")]
        assert sum(len(job.rows) for job in world.store.jobs) == 3

    converse(tmp_path, act)


def test_a_payload_has_all_that_a_conversation_has(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        delivery = Broker(world).link.window.take(1, 0)
        carried = Carried(world.shared, 0, IMEI, (), delivery, "broker:1883")
        assert [name for name in Conversation.__slots__ if not hasattr(carried, name)] == []
        assert carried.commandable() is None

    converse(tmp_path, act)


def test_a_run_of_frames_is_one_message(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        broker = Broker(world)
        for mid in range(1, 4):
            broker.publish(mid, frame(1, 1_700_000_000_000 + 2 * mid) + frame(1, 1_700_000_000_001 + 2 * mid))
        await world.pipeline.drain()
        await asyncio.sleep(0.01)
        assert broker.acknowledged == [1, 2, 3]
        assert sum(len(job.rows) for job in world.store.jobs) == 6

    converse(tmp_path, act)


def test_what_is_kept_nowhere_is_not_acknowledged_and_ends_the_connection(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        world.store.up = False
        world.spool._max_size = 1  # full
        broker = Broker(world)
        broker.publish(7, frame(1))
        await asyncio.wait_for(broker.link.ended, 5)
        assert broker.transport.asked[-1] == "abort"
        await world.pipeline.drain()
        assert broker.acknowledged == []
        world.store.up = True

    converse(tmp_path, act)


def test_the_store_away_the_spool_is_enough(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        world.store.up = False
        broker = Broker(world)
        for mid in range(1, 4):
            broker.publish(mid, frame(1, 1_700_000_000_000 + mid))
        broker.publish(4, b"poison")
        await world.pipeline.drain()
        await asyncio.sleep(0.01)
        assert broker.acknowledged == [1, 2, 3, 4]
        assert world.spool.frames == 4
        world.store.up = world.pipeline.keeper.store_up = True
        watching = asyncio.create_task(world.pipeline.watch_store())
        await came(lambda: not world.spool.frames)
        watching.cancel()
        kept = [(one.terminal, one.reason, one.data) for job in world.store.jobs for one in job.quarantined]
        assert kept == [(IMEI, "login", b"poison")]
        assert sum(len(job.rows) for job in world.store.jobs) == 3

    converse(tmp_path, act)


def test_no_more_is_read_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_QOS_0", 5)
    monkeypatch.setattr(module, "WINDOW_BYTES", 2000)

    async def act(world: World) -> None:
        broker = Broker(world, receive_maximum=10)
        world.store.answers.clear()
        for n in range(15):
            broker.publish(0, frame(1, 1_700_000_000_000 + n))  # nothing bounds these but us
        assert broker.transport.asked == []
        broker.publish(0, frame(1))
        assert broker.transport.asked == ["pause_reading"]
        world.store.answers.set()
        await world.pipeline.drain()
        await asyncio.sleep(0.01)
        assert broker.transport.asked == ["pause_reading", "resume_reading"]
        world.store.answers.clear()
        broker.publish(1, bytes(2001))
        assert broker.transport.asked[2:] == ["pause_reading"]
        world.store.answers.set()
        await world.pipeline.drain()
        await asyncio.sleep(0.01)
        assert broker.transport.asked[3:] == ["resume_reading"]
        assert broker.acknowledged == [1]

    converse(tmp_path, act)


def test_a_large_read_has_its_turns(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        broker = Broker(world)
        one = b"\x30\x0d\x00\x09status/no\x00{"
        broker.link.data_received(one * (3 * module.TURN))
        assert len(broker.link.window) == module.TURN
        assert broker.transport.asked == ["pause_reading"]
        await world.pipeline.drain()
        await came(lambda: broker.transport.asked[-1] == "resume_reading")
        assert not broker.link._reader.waiting

    converse(tmp_path, act)


def test_a_broker_that_is_none_is_left(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        broker = Broker(world)
        broker.link.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 5)
        assert "protocol error" in await broker.link.ended
        assert broker.transport.asked == ["abort"]

    converse(tmp_path, act)


def test_a_registry_that_does_not_answer_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's message goes by the spool, where it is decided later; those behind it are acknowledged."""
    monkeypatch.setattr("gateway.receive.conversations.ADMISSION", 0.05)

    async def admit(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(Terminals, "admit", admit)

    async def act(world: World) -> None:
        world.store.up = False
        world.pipeline.keeper.store_up = False
        world.terminals.policy = "known"
        broker = Broker(world)
        broker.publish(1, frame(1), "telemetry/stranger/teltonika")
        broker.publish(2, frame(1))
        await asyncio.sleep(0.2)
        await world.pipeline.drain()
        await asyncio.sleep(0.01)
        assert broker.acknowledged == [1, 2]
        assert world.spool.frames == 2
        world.store.up = True

    converse(tmp_path, act)


@pytest.mark.parametrize("topic", ["teltonika", "json"])
def test_a_bug_in_a_reader_costs_its_payload_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic: str) -> None:
    def raising(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(module_of_payloads, "read_frames", raising)
    monkeypatch.setattr("protocols.json_records.read", raising)

    async def act(world: World) -> None:
        broker = Broker(world)
        broker.publish(1, b"{}", f"telemetry/{IMEI}/{topic}")
        await world.pipeline.drain()
        await asyncio.sleep(0.01)
        assert broker.acknowledged == [1]
        assert [one.reason for job in world.store.jobs for one in job.quarantined] == ["decoder"]

    converse(tmp_path, act)


TELTONIKA = protocol("teltonika")


@pytest.mark.parametrize(
    ("payload", "frames", "reason"),
    [
        (frame(2), [2], ""),
        (frame(1) + frame(3), [1, 3], ""),
        (login(IMEI) + frame(1), [1], ""),
        (login(IMEI), [], ""),
        (frame(1) + frame(2)[:-1] + b"\xff", [1], "checksum"),
        (frame(1) + frame(2)[:-1], [1], "truncated"),
        (frame(1) + b"\x00\x00", [1], "truncated"),
        (login("352093081429150") + frame(1), [], "identity"),
        (frame(1) + login("352093081429150"), [1], "login"),
        (b"", [], "login"),
    ],
)  # fmt: skip
def test_frames_of_a_payload(payload: bytes, frames: list[int], reason: str) -> None:
    things, session = read_frames(TELTONIKA, lambda t: TELTONIKA.new_session(transport=t), IMEI, payload, 0.0)
    assert [thing.records for thing in things if isinstance(thing, Frame)] == frames
    assert [(thing.data, thing.reason) for thing in things if isinstance(thing, Raw)] == (
        [(payload, reason)] if reason else []
    )
    assert (session is None) == bool(reason)
    if reason not in ("", "identity"):
        assert any(isinstance(thing, Malformed) for thing in things)
