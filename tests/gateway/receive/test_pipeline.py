"""What a batch's sources hear of it, and what is counted of a commit."""

from __future__ import annotations

import asyncio
import itertools
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from gateway.metrics import ReceiveMetrics
from gateway.receive.batch import MAX_REFUSED, Batcher, Work
from gateway.receive.disk import Directory
from gateway.receive.pipeline import Accepted, Pipeline, share_out
from gateway.receive.spool import Spool
from gateway.store.writer import Writer
from protocols.records import Frame, Message, Reply
from protocols.registry import protocol
from protocols.teltonika.declaration import CODEC_8, avl_payload, avl_record, tcp_frame


class Heard:
    """A source that writes down what it hears; `bad`: its ack fails."""

    def __init__(self, *, bad: bool = False) -> None:
        self.protocol, self.terminal, self.registered = 0, "356938035643809", True
        self.waits = True
        self.link = 0
        self.bad = bad
        self.heard: list[str] = []

    def committed(self, items: Sequence[Any], refused: Sequence[Any] = ()) -> None:
        assert not refused
        if self.bad:
            raise ValueError("a bug")
        self.heard.append(f"{len(items)} kept")

    def abandoned(self) -> None:
        self.heard.append("abandoned")


async def away() -> Any:
    raise psycopg.OperationalError("away")


async def registered(identity: str, name: str) -> int:
    return 1


async def pipeline(folder: Path, clock: Callable[[], float] = time.time) -> tuple[Pipeline, ReceiveMetrics]:
    spool = Spool(Directory(folder), 1 << 20)
    await spool.open()
    metrics = ReceiveMetrics(["teltonika"])
    made = Pipeline(
        away, Writer(1, {}, registered), spool, [protocol("teltonika")], metrics, {}, registered, clock=clock
    )
    return made, metrics


def test_an_ack_that_fails_costs_the_others_nothing(tmp_path: Path) -> None:
    async def run() -> list[list[str]]:
        made, _ = await pipeline(tmp_path)
        sources = [Heard(), Heard(bad=True), Heard()]
        for source in (*sources, sources[0]):
            made.put(source, Reply(b"\x01"), asyncio.get_running_loop().time())
        async with asyncio.timeout(5):
            await made.drain()
        await made.close()
        return [source.heard for source in sources]

    first, second, third = asyncio.run(run())
    assert first == ["1 kept", "1 kept"]
    assert second == ["abandoned"]
    assert third == ["1 kept"]


def test_what_goes_to_the_spool_is_no_commit(tmp_path: Path) -> None:
    record = avl_record(
        timestamp=1_700_000_000_000, latitude=0, longitude=0, altitude=0, angle=0, satellites=5, speed=0, items=()
    )

    async def run() -> tuple[list[str], int, int, int]:
        made, metrics = await pipeline(tmp_path)
        source = Heard()
        made.put(source, Frame(tcp_frame(avl_payload(CODEC_8, [record])), 1, 0, 0), asyncio.get_running_loop().time())
        async with asyncio.timeout(10):
            await made.drain()
        await made.close()
        return (
            source.heard,
            made.keeper.spool.frames,
            int(metrics.commit.counts.sum()),
            int(metrics.ack[0].counts.sum()),
        )

    heard, spooled, commits, acks = asyncio.run(run())
    assert heard == ["1 kept"]
    assert (spooled, commits, acks) == (1, 0, 1)


def frame(number: int = 0) -> Frame:
    record = avl_record(timestamp=1_700_000_000_000 + number, latitude=0, longitude=0, satellites=5)
    return Frame(tcp_frame(avl_payload(CODEC_8, [record])), 1, 0, 0)


def test_what_cannot_be_prepared_costs_nobody_else_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in preparing: its culprit is told to go, the others of its batch and all later ones are served."""
    steps = Batcher._steps

    def faulty(self: Batcher, whole: list[Any], arrived: Any, *, in_turns: bool) -> Any:
        if any(source.terminal == "culprit" for source, _, _ in whole):
            raise ValueError("a bug")
        return steps(self, whole, arrived, in_turns=in_turns)

    monkeypatch.setattr(Batcher, "_steps", faulty)

    async def run() -> tuple[list[list[str]], int, int]:
        made, metrics = await pipeline(tmp_path)
        sources = [Heard() for _ in range(5)]
        sources[2].terminal = "culprit"
        for _ in range(2):
            for source in sources:
                made.put(source, frame(), asyncio.get_running_loop().time())
            async with asyncio.timeout(10):
                await made.drain()
        await made.close()
        return [source.heard for source in sources], int(metrics.queue()), int(metrics.ack[0].counts.sum())

    heard, queued, acks = asyncio.run(run())
    assert heard.pop(2) == ["abandoned"] * 2
    assert heard == [["1 kept"] * 2] * 4
    assert (queued, acks) == (0, 8)


def test_a_clock_that_fails_stops_nothing(tmp_path: Path) -> None:
    told = iter([1_790_000_000.0])

    async def run() -> list[str]:
        spool = Spool(Directory(tmp_path), 1 << 20)
        await spool.open()
        made = Pipeline(
            away, Writer(1, {}, registered), spool, [protocol("teltonika")], ReceiveMetrics(["teltonika"]), {},
            registered, clock=lambda: next(told),
        )  # fmt: skip
        source = Heard()
        for _ in range(3):
            made.put(source, Message(b"bytes", "text", "kind"), asyncio.get_running_loop().time())
            async with asyncio.timeout(10):
                await made.drain()
        await made.close()
        return source.heard

    assert asyncio.run(run()) == ["1 kept"] * 3


def test_what_nobody_waits_for_has_no_time_to_its_ack(tmp_path: Path) -> None:
    """A frame out of quarantine has arrived long ago."""

    async def run() -> tuple[int, float]:
        made, metrics = await pipeline(tmp_path)
        replay, live = Heard(), Heard()
        replay.waits = False
        now = asyncio.get_running_loop().time()
        made.put(replay, frame(1), now - 86_400)
        made.put(live, frame(2), now)
        async with asyncio.timeout(10):
            await made.drain()
        await made.close()
        return int(metrics.ack[0].counts.sum()), metrics.ack[0].sum

    count, total = asyncio.run(run())
    assert count == 1
    assert total < 60


def test_many_refused_members_of_one_frame_are_one_row_of_quarantine() -> None:
    async def run() -> tuple[Work, Work]:
        batcher = Batcher([protocol("omnicomm")], ReceiveMetrics(["omnicomm"]))
        few, many = [
            batcher.prepare([(Heard(), _container([b"\0", GOOD] * count), 0.0)], np.array([10**15]))
            for count in (MAX_REFUSED, MAX_REFUSED + 1)
        ]
        batcher.count_quarantined(many)
        assert batcher.metrics.quarantined["structure"].tolist() == [1]
        return few, many

    few, many = asyncio.run(run())
    assert [kept.data for kept in few.job.quarantined] == [b"\0"] * MAX_REFUSED
    (kept,) = many.job.quarantined
    assert (kept.reason, kept.data) == ("structure", many.items.whole[0][1].data)
    assert len(many.job.rows) == MAX_REFUSED + 1  # its good members are records all the same
    assert len(many.refused[0]) == MAX_REFUSED + 1  # and its session is told of each


GOOD = bytes.fromhex("0801")


def _container(messages: list[bytes]) -> Frame:
    payload = struct.pack("<IIB", 1, 500_000_000, 0) + b"".join(len(m).to_bytes(2, "little") + m for m in messages)
    return Frame(bytes((0x86, *len(payload).to_bytes(2, "little"))) + payload + bytes(2), len(messages))


def test_dear_frames_are_decoded_in_turns_and_come_out_the_same() -> None:
    spent = itertools.count(0.0, 0.004)  # each look at the clock is 4 ms later: a turn holds little

    async def run() -> tuple[Work, Work, int]:
        frames = [_container([GOOD] * 3000), _container([b"\0", GOOD] * 20), _container([GOOD])]
        items = [(Heard(), frame, 0.0) for frame in frames]
        batcher = Batcher([protocol("omnicomm")], ReceiveMetrics(["omnicomm"]), lambda: next(spent))
        turns = 0

        async def watch() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        watching = asyncio.create_task(watch())
        slow = await batcher.prepare_in_turns(items, np.full(3, 10**15))
        watching.cancel()
        return slow, batcher.prepare(items, np.full(3, 10**15)), turns

    slow, fast, turns = asyncio.run(run())
    assert turns > 20
    assert {kept.data for kept in slow.job.quarantined} == {kept.data for kept in fast.job.quarantined} == {b"\0"}
    assert len(slow.job.quarantined) == 20
    one, other = slow.job.rows.batch, fast.job.rows.batch
    order, its = np.lexsort((one.position, one.frame)), np.lexsort((other.position, other.frame))
    for column in ("frame", "position", "fingerprint", "time", "flags"):
        assert getattr(one, column)[order].tolist() == getattr(other, column)[its].tolist(), column


def test_each_terminal_has_its_share_of_a_batch_in_its_own_order() -> None:
    sources = [Heard() for _ in range(4)]
    for number, source in enumerate(sources):
        source.terminal = f"T{number}"
    flood, dear, small, other = sources
    pending: list[Any] = [(flood, Frame(b"x" * 40, 10, n), 0.0) for n in range(100)]
    pending.insert(0, (dear, Frame(bytes(100), 21_000), 0.0))
    pending += [(dear, Frame(b"x", 1), 0.0), (small, Frame(b"x", 1, 1), 0.0), (other, Frame(b"x", 260), 0.0),
                (other, Frame(b"x", 1), 0.0), (small, Frame(b"x", 1, 2), 0.0)]  # fmt: skip
    late = Heard()
    late.terminal = "T4"
    pending += [(late, Frame(b"x", 60), 0.0), (late, Frame(b"x", 1), 0.0)]  # within its share, late as it is
    taken, left, load = share_out(list(pending), 400)
    assert [item.offset for source, item, _ in taken if source is flood] == list(range(8))  # a fifth
    assert [item.offset for source, item, _ in taken if source is small] == [1, 2]
    assert [item.records for source, item, _ in taken if source is dear] == [21_000]  # the first goes, dear as it is
    assert not [item for source, item, _ in taken if source is other]  # beyond its share: no room is left
    assert [item.records for source, item, _ in taken if source is late] == [60, 1]
    assert [entry for entry in pending if entry in taken] == taken
    assert [entry for entry in pending if entry not in taken] == left
    assert (load.frames, load.cost) == (13, 21_000 + 80 + 2 + 61)
    rounds = 0
    while left:
        _, left, _ = share_out(left, 400)
        rounds += 1
    assert rounds < 10


@pytest.mark.parametrize("most", [250, 499, 500, 501, 750, 1000])
def test_dear_frames_that_fill_a_batch_leave_everybody_his_share(most: int) -> None:
    """Three who send frames of 250 records as fast as they are read, six who send one record now and then."""
    floods, others = [Heard() for _ in range(3)], [Heard() for _ in range(6)]
    for number, source in enumerate(floods + others):
        source.terminal = f"T{number}"
    pending: list[Any] = [(source, Frame(b"x", 250, n), 0.0) for n in range(40) for source in floods]
    pending += [(source, Frame(b"x", 1), 0.0) for source in others]
    taken, left, load = share_out(pending, most)
    assert [source for source, _, _ in taken if source in others] == others
    assert load.cost <= max(most, 250 + 6)
    assert load.cost > most - 250, "what room there is gets used"
    order = [entry[1].offset for entry in taken + left if entry[0] is floods[0]]
    assert order == sorted(order)


def test_batches_that_take_long_are_followed_by_smaller_ones(tmp_path: Path) -> None:
    async def run() -> list[int]:
        made, _ = await pipeline(tmp_path)
        found = [made._most]
        for cost, took in ((500, 0.01), (2000, 0.02), (4000, 0.6), (1000, 1.5), (100, 9.0), (64, 0.01), (128, 0.01)):
            made._adapt(cost, took)
            found.append(made._most)
        await made.close()
        return found

    assert asyncio.run(run()) == [500, 2000, 4000, 1000, 100, 64, 128, 256]


def test_after_one_that_neither_takes_a_slow_batch_is_no_reason_for_larger_ones(tmp_path: Path) -> None:
    """Else the dear one that comes again is never alone, and takes others with it each time."""

    async def run() -> list[int]:
        made, _ = await pipeline(tmp_path)
        made._adapt(1, 0.001)  # how quick the store can be
        made._most = 1
        found = []
        for cost, took in ((1, 2.0), (8, 2.0), (1, 0.01), (2, 0.01)):
            made._adapt(cost, took)
            found.append(made._most)
        await made.close()
        return found

    assert asyncio.run(run()) == [1, 1, 2, 4]


def test_a_store_that_is_far_away_has_large_batches_all_the_same(tmp_path: Path) -> None:
    async def run() -> int:
        made, _ = await pipeline(tmp_path)
        for _ in range(20):
            made._adapt(made._most, 0.4 + made._most / 40_000)
        await made.close()
        return made._most

    assert asyncio.run(run()) == 4000


def test_arrivals_of_a_batch_lead_back_to_the_clock_that_nobody_sets(tmp_path: Path) -> None:
    """The wall clock is set at every reading: what the watch is told still says when, on the loop's clock."""
    record = avl_record(
        timestamp=1_700_000_000_000, latitude=0, longitude=0, altitude=0, angle=0, satellites=5, speed=0, items=()
    )

    async def run() -> None:
        jumps = iter([7200.0, -3600.0, 0.0] * 100)
        made, _ = await pipeline(tmp_path, lambda: time.time() + next(jumps))
        told: list[Accepted] = []
        made.on_accepted.append(told.append)
        arrived = []
        for _ in range(3):
            arrived.append(asyncio.get_running_loop().time())
            made.put(Heard(), Frame(tcp_frame(avl_payload(CODEC_8, [record])), 1, 0, 0), arrived[-1])
            async with asyncio.timeout(10):
                await made.drain()
        await made.close()
        assert len({batch.offset for batch in told}) > 1
        for at, batch in zip(arrived, told, strict=True):
            assert abs(int(batch.frame_received[0]) - batch.offset - at * 1e6) < 2

    asyncio.run(run())
