"""What a subscription says to a broker, and what it makes of answers that no Mosquitto gives on request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.configuration.reading import load
from gateway.receive.broker import subscription as module
from gateway.receive.broker import wire
from gateway.receive.broker.sessions import Noted
from gateway.receive.broker.subscription import Plan, Subscription, filters_of
from tests.gateway.receive.conversing import World, converse

YES = bytes.fromhex("20 03 00 00 00".replace(" ", ""))
AGAIN = bytes.fromhex("20 03 01 00 00".replace(" ", ""))  # with its session
GRANTED = bytes.fromhex("90 05 0001 00 01 01".replace(" ", ""))
Answer = Callable[[bytes], Awaitable[bytes]]


class Sessions:
    """In place of the store."""

    def __init__(self) -> None:
        self.noted: list[Noted] = []
        self.forgotten: list[Noted] = []

    async def note(self, noted: Noted) -> None:
        self.noted.append(noted)

    async def forget(self, noted: Noted) -> None:
        self.forgotten.append(noted)


class Scripted:
    """A broker that answers each packet as it is told, and writes down what it heard."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heard: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.read(1):
                size = (await reader.readexactly(1))[0]
                self.heard.append(head + bytes([size]) + await reader.readexactly(size))
                if self.answers:
                    writer.write(self.answers.pop(0))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def play(
    folder: Path,
    broker: Scripted,
    until: Callable[[Subscription, list[Any]], bool],
    *,
    noted: list[str] | None = None,
    leave: bool = False,
    text: str = "",
) -> tuple[Subscription, list[Any], Sessions]:
    """Run a subscription against it until that is so; the subscription, what was logged, what was noted."""
    told: list[Any] = []

    async def act(world: World) -> None:
        server = await asyncio.start_server(broker, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        (folder / "dozor.toml").write_text(f'[[mqtt]]\nurl = "mqtt://127.0.0.1:{port}"\n{text}')
        (entry,) = load(folder / "dozor.toml", {}).mqtt
        plan = Plan(entry, "dozor", filters_of(entry, 0, 1), None, None)
        sessions = Sessions()
        before = Noted(plan.address, "dozor", noted) if noted is not None else None
        subscription = Subscription(plan, world.shared, sessions, before, leave=leave)  # type: ignore[arg-type]
        with capture_logs() as logged:
            task = asyncio.create_task(subscription.run())
            for _ in range(500):
                if until(subscription, logged):
                    break
                await asyncio.sleep(0.01)
            assert until(subscription, logged), logged
            subscription.hold()
            subscription.close()
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)
        told.extend((subscription, logged, sessions))

    converse(folder, act)
    return told[0], told[1], told[2]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", (0.01, 0.05))


def test_it_subscribes_and_notes_its_session(tmp_path: Path) -> None:
    broker = Scripted(YES, GRANTED)
    subscription, _, sessions = play(tmp_path, broker, lambda one, _: one.connected)
    assert broker.heard[0].startswith(b"\x10")
    assert b"\x00\x05dozor" in broker.heard[0]
    assert broker.heard[1] == wire.subscribe(
        1, [wire.Filter("telemetry/+/+"), wire.Filter("status/+", wire.Retained.ALWAYS)]
    )
    assert [one.filters for one in sessions.noted] == [["telemetry/+/+", "status/+"]]
    assert subscription.lost == 0


def test_a_session_that_is_gone_is_counted_and_one_that_was_never_there_is_not(tmp_path: Path) -> None:
    for noted, lost in ((None, 0), (["telemetry/+/+"], 1)):
        subscription, _, _ = play(tmp_path, Scripted(YES, GRANTED), lambda one, _: one.connected, noted=noted)
        assert subscription.lost == lost


def test_subscriptions_of_other_settings_are_ended(tmp_path: Path) -> None:
    broker = Scripted(AGAIN, bytes.fromhex("b004 0002 00 00".replace(" ", "")), GRANTED)
    play(tmp_path, broker, lambda one, _: one.connected, noted=["old/#", "telemetry/+/+"])
    assert broker.heard[1] == wire.unsubscribe(2, ["old/#"])


def test_a_session_left_behind_is_emptied_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.05)
    message = bytes.fromhex("320c 0001 78 0009 00 6162636465".replace(" ", ""))
    message = b"\x32" + bytes([len(message) - 2]) + message[2:]
    broker = Scripted(AGAIN, bytes.fromhex("b004 0001 00 00".replace(" ", "")) + message)
    _, logged, sessions = play(
        tmp_path, broker, lambda _, logged: any("has ended" in line["event"] for line in logged), leave=True
    )
    assert len(sessions.forgotten) == 1
    assert wire.puback([9]) in broker.heard
    assert broker.heard[-1] == wire.disconnect(forget=True)
    assert broker.connections == 1
    assert logged


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([bytes.fromhex("2003008600")], "refused: bad user name or password"),
        ([bytes.fromhex("20020000")], "is it MQTT 5 that the broker speaks?"),
        ([YES, bytes.fromhex("90050001008787")], "all subscriptions refused: not authorized"),
        ([YES, bytes.fromhex("900400010001")], "an answer to another number of subscriptions"),
        ([GRANTED], "Subscribed in place of Connected"),
        ([YES, GRANTED + bytes.fromhex("e0028e00")], "disconnected by the broker: session taken over"),
    ],
)
def test_why_there_is_no_connection_is_told(tmp_path: Path, answers: list[bytes], reason: str) -> None:
    def told(_: Subscription, logged: list[Any]) -> bool:
        return any(reason in line.get("reason", "") for line in logged)

    broker = Scripted(*answers)
    _, logged, _ = play(tmp_path, broker, told)
    assert [line["event"] for line in logged if reason in line.get("reason", "")][-1] == "mqtt: no connection"
    taken_over = [line for line in logged if "another client has our client_id" in line["event"]]
    assert bool(taken_over) == ("taken over" in reason)


def test_what_the_broker_gives_less_of_is_told(tmp_path: Path) -> None:
    answers = [bytes.fromhex("20080000051100000064"), bytes.fromhex("90050001000001")]
    _, logged, _ = play(tmp_path, Scripted(*answers), lambda one, _: one.connected)
    events = " ".join(line["event"] for line in logged)
    assert "QoS 0 only" in events
    assert "keeps our session for less" in events


def test_a_broker_that_says_nothing_is_left_and_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    broker = Scripted()
    _, logged, _ = play(tmp_path, broker, lambda *_: broker.connections >= 3)
    told = [line["reason"] for line in logged if line["event"] == "mqtt: no connection"]
    assert told == ["the broker does not answer"], "once, not at each attempt"


def test_a_broker_that_stops_answering_pings_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.receive.broker.link.SILENCE", 0.2)
    keep_alive = bytes.fromhex("2006000003130001")  # 1 s
    broker = Scripted(keep_alive, GRANTED)
    _, logged, _ = play(
        tmp_path, broker,
        lambda _, logged: any("says nothing any more" in line.get("reason", "") for line in logged),
    )  # fmt: skip
    assert logged


def test_a_password_shows_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    broker = Scripted(bytes.fromhex("2003008600"))
    subscription, logged, _ = play(
        tmp_path, broker, lambda _, logged: bool(logged), text=f'password_file = "{tmp_path / "secret"}"\n'
    )
    assert b"\x00\x07hunter2" in broker.heard[0]
    assert "hunter2" not in str(logged) + repr(subscription.plan)
