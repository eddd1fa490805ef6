"""A line's rounds between its poller and the pipeline: kept until they are durable, whatever refuses them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

import gateway.receive.lines.line as module
from gateway.configuration.settings import Serial
from gateway.receive.lines.line import Line, Lines
from gateway.simulator.lines import Line as Bus
from gateway.simulator.lines import Sensors
from protocols.lines import Reading, Status, pack_round
from protocols.registry import every, line
from tests.gateway.receive.conversing import World, converse

TANK = "TANK-1"
SENSOR = line("lls").sensor(1)
KEYS: dict[str, Any] = {
    "protocol": "lls", "baudrate": 19_200, "parity": "none", "terminal": TANK, "sensors": [1], "interval": 0.05,
    "profile": "",
}  # fmt: skip


def round_(number: int) -> bytes:
    return pack_round(1_790_000_000_000_000 + number * 1000, [SENSOR], [Reading(Status.GOOD, {"level": float(number)})])


def levels(world: World) -> list[int]:
    """Those in the store, in the order of storing."""
    found: list[int] = []
    for job in world.store.jobs:
        for group in job.rows.batch.groups:
            found += [int(value) for value in group.values[:, group.names.index("fuel.level.1")]]
    return found


async def until(condition: Any, within: float = 8.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def polling(act: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `act` with a world that speaks lines too, and a line whose poller is the test."""
    monkeypatch.setattr(module, "AGAIN", (0.05, 0.2))
    monkeypatch.setattr("tests.gateway.receive.conversing.NAMES", list(every()))

    async def run(world: World) -> None:
        world.terminals.rows[TANK] = 7
        one = Line(world.shared, Serial(port="/dev/none", **KEYS), kept=20)
        one._open()
        try:
            await act(world, one)
        finally:
            one.close()

    converse(folder, run)


def test_rounds_are_stored_in_order_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(world: World, one: Line) -> None:
        for number in range(150):
            one._take(round_(number))
        await until(lambda: len(levels(world)) == 150 - one.dropped)
        assert levels(world) == sorted(levels(world))
        await until(lambda: not one._sent and not one._waiting)
        assert world.shared.count() == 1
        assert world.shared.speaker(TANK) is not None

    polling(act, tmp_path, monkeypatch)


def test_what_neither_store_nor_spool_takes_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(world: World, one: Line) -> None:
        world.store.up = False
        world.spool.resize(1)
        one._take(round_(1))
        await until(lambda: world.pipeline.keeper.refusing)
        for number in range(2, 10):
            one._take(round_(number))
        await asyncio.sleep(0.3)
        assert levels(world) == []
        world.store.up = True
        world.pipeline.keeper.store_up = True  # as its watch would say
        world.pipeline.keeper._resume(world.pipeline._resume_all)
        await until(lambda: len(levels(world)) == 9)
        assert sorted(levels(world)) == list(range(1, 10))

    polling(act, tmp_path, monkeypatch)


def test_the_oldest_go_when_there_are_too_many_and_that_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(world: World, one: Line) -> None:
        one._conversation = None  # not let in
        for number in range(50):
            one._take(round_(number))
        assert one.dropped == 30
        assert list(one._waiting) == [round_(number) for number in range(30, 50)]

    polling(act, tmp_path, monkeypatch)


def test_a_batch_that_is_told_twice_forgets_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two batches on their way the first is given up and the second kept: the first comes again, alone."""

    async def act(world: World, one: Line) -> None:
        world.store.answers.clear()
        for number in (1, 2):
            one._take(round_(number))
        conversation = one._conversation
        assert conversation is not None
        await world.store.asked.wait()
        conversation.abandoned()
        world.store.answers.set()
        await until(lambda: len(levels(world)) >= 2 and not one._sent and not one._waiting)
        assert set(levels(world)) == {1, 2}

    polling(act, tmp_path, monkeypatch)


def test_lines_are_replaced_when_their_port_is_free_and_stopped_with_all_they_took(tmp_path: Path) -> None:
    sensors = Sensors("lls", [1], level=lambda address, now, count: count)
    bus = Bus(sensors)

    async def act(world: World) -> None:
        for number, name in enumerate(("TANK-1", "TANK-2"), 7):
            world.terminals.rows[name] = number
        lines = Lines(world.shared)
        first = Serial(port=bus.port, **KEYS)
        lines.apply([first])
        await until(lambda: len(levels(world)) > 2)
        before = lines._lines[0]
        lines.apply([first])
        assert lines._lines[0] is before
        lines.apply([Serial(port=bus.port, **{**KEYS, "terminal": "TANK-2"})])
        await until(lambda: {name for job in world.store.jobs for name, _ in job.identities} == {"TANK-1", "TANK-2"})
        assert not before.poller.is_alive()
        counted = lines.results()[bus.port]
        assert counted["good"] >= 3
        await lines.stop()
        assert lines.results()[bus.port]["good"] >= counted["good"]
        found = levels(world)
        assert found == sorted(set(found))  # each once, in order, over the change too
        await world.pipeline.drain()

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.gateway.receive.conversing.NAMES", list(every()))
            converse(tmp_path, act)
    finally:
        bus.close()


def test_reloads_that_follow_one_another_leave_one_who_asks_on_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the line was taken out and put back: the port is held until the first poller has let go."""
    bus = Bus(Sensors("lls", [1], level=lambda address, now, count: count))
    lets_go = threading.Event()
    happened: list[str] = []
    start = Line.start

    def started(line: Line) -> None:
        happened.append(f"{line.settings.terminal} starts")
        start(line)

    monkeypatch.setattr(Line, "start", started)

    def serial(name: str) -> Serial:
        return Serial(port=bus.port, **{**KEYS, "terminal": name})

    async def act(world: World) -> None:
        for number, name in enumerate("ABCDE", 7):
            world.terminals.rows[name] = number
        lines = Lines(world.shared)
        lines.apply([serial("A")])
        await until(lambda: levels(world))
        close = lines._lines[0].poller._close

        def slowly() -> None:
            assert lets_go.wait(20)
            close()
            happened.append("A lets go")

        monkeypatch.setattr(lines._lines[0].poller, "_close", slowly)
        for wanted in ([serial("B")], [serial("C")], [], [serial("D")], [serial("E")]):
            lines.apply(wanted)
            for _ in range(20):  # turns, not time: all but A could end and begin in them
                await asyncio.sleep(0)
        lets_go.set()
        await until(lambda: "E" in {name for job in world.store.jobs for name, _ in job.identities})
        assert happened == ["A starts", "A lets go", "E starts"], "those between were never there"
        assert not lines._freed
        await lines.stop()
        await world.pipeline.drain()

    try:
        monkeypatch.setattr("tests.gateway.receive.conversing.NAMES", list(every()))
        converse(tmp_path, act)
    finally:
        lets_go.set()
        bus.close()
