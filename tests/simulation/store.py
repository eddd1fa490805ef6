"""The store: what a commit means, and every way in which its answer can fail to come.

Modes: `down` (connections break, new ones are refused), `hang` (answers come when the phase ends, some commits happen
only then), `lost` (answers never come; the commit happened or not), `slow` (seconds), `flaky` (errors before and after
the commit, broken connections, batches of which only some frames were stored).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from psycopg_pool import PoolTimeout

from gateway.store.writer import Job, Kept, Outcome
from tests.simulation.schedule import PROTOCOLS

if TYPE_CHECKING:
    from tests.simulation.world import Life, World

_SERIAL = {"power.external": (1000, 10), "param.n": (1, 1)}  # measure -> scale (Teltonika, Omnicomm)


class Tables:
    """What is committed, over all lives of process and store."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.records: dict[tuple[int, int, int], tuple[str, int, int]] = {}  # unique key -> identity, time, serial
        self.count: dict[tuple[str, int, int], int] = {}
        self.quarantine: dict[str, set[bytes]] = {}
        self.messages: dict[str, set[bytes]] = {}
        self.rows: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.asked: set[int] = set()  # for their firmware
        self.late: list[tuple[float, Callable[[], Any]]] = []

    def settle(self) -> None:
        """Commit what a server that hung went on with."""
        while self.late and self.late[0][0] <= self._world.elapsed:
            self.late.pop(0)[1]()

    def register(self, identity: str) -> int:
        row = self.rows.get(identity)
        if row is None:
            row = self.rows[identity] = len(self.rows) + 1
            self.names[row] = identity
        return row

    def commit(self, job: Job, partly: float = 1.0) -> Outcome:
        """One transaction; frames with a row that cannot be stored go to quarantine alone. `partly` of the frames only
        (a batch that is being split takes several transactions)."""
        world, rows = self._world, job.rows
        outcome = Outcome(np.zeros(len(PROTOCOLS), np.int64), np.zeros(len(PROTOCOLS), np.int64))
        told = self._read(job)
        bad = {frame for frame, (_, record, poison, _) in zip(rows.batch.frame.tolist(), told, strict=True) if poison}
        frames = rows.batch.frame.tolist()
        stored = set(frames) if partly >= 1.0 else set(sorted(set(frames))[: int(partly * len(set(frames)))])
        for frame, protocol, (key, record, _, problem) in zip(frames, rows.protocol.tolist(), told, strict=True):
            if frame not in stored or frame in bad:
                continue
            if problem:
                world.fail(problem)
            if key in self.records:
                outcome.duplicate[protocol] += 1
            else:
                self.records[key] = record
                self.count[record] = self.count.get(record, 0) + 1
                outcome.stored[protocol] += 1
        for frame in sorted(bad & stored):
            self._keep(job.sources[frame])
            outcome.refused.append(frame)
        for kept in job.quarantined:
            self._keep(kept)
        for kept in job.messages:
            self.messages.setdefault(kept.terminal, set()).add(kept.data)
        return outcome

    def takes(self, job: Job) -> float:
        """Seconds that the server needs for what a job holds."""
        sent = self._world.sent
        return sum(sent[record].dear for _, record, _, _ in self._read(job) if record in sent)

    def _keep(self, kept: Kept) -> None:
        self.quarantine.setdefault(kept.terminal, set()).add(kept.data)

    def _read(self, job: Job) -> list[tuple[tuple[int, int, int], tuple[str, int, int], bool, str]]:
        """Each row: its key, what it says, whether the store refuses it, and what is wrong with it."""
        rows, batch = job.rows, job.rows.batch
        serial = [0] * len(rows)
        for group in batch.groups:
            for name, scales in _SERIAL.items():
                if name in group.names:
                    column = group.values[:, group.names.index(name)].tolist()
                    for row, value in zip(group.rows.tolist(), column, strict=True):
                        serial[row] = round(value * scales[PROTOCOLS[rows.protocol[row]] == "omnicomm"])
        found = []
        columns = (rows.terminal, rows.time, batch.fingerprint, batch.lat, batch.lon)
        for terminal, time, fingerprint, lat, lon, number in zip(*(c.tolist() for c in columns), serial, strict=True):
            identity = job.identities[terminal][0]
            self.register(identity)
            record = (identity, time // 1_000_000, number)
            sent = self._world.sent.get(record)
            if sent is None:
                problem = f"stored and never sent: {record}"
            elif abs(sent.lat - lat * 1e5) > 1e-3 or abs(sent.lon - lon * 1e5) > 1e-3 or time % 1_000_000:
                problem = f"altered: {record} {lat} {lon}"
            else:
                problem = ""
            found.append(((self.rows[identity], time, fingerprint), record, sent is not None and sent.poison, problem))
        return found


class SimulatedLink:
    """A connection to the store."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.broken = False
        self.closed = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def execute(self, query: str | bytes, arguments: Sequence[Any] = (), *, binary: bool = False) -> Cursor:
        """The registry's and history's statements, by their first words."""
        query = query.decode() if isinstance(query, bytes) else query
        return Cursor(await self._server.operate(self, query[:24], lambda _: self._server.answer(query, arguments)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def cursor(self) -> AsyncIterator[SimulatedLink]:
        yield self

    async def executemany(self, query: str, arguments: Sequence[Any]) -> None:
        await self.execute(query)

    async def cancel_safe(self, *, timeout: float) -> None:
        """Whoever gives up closes the connection besides, which says as much here."""

    async def close(self) -> None:
        self.closed = True
        if not self.ended.done():
            self.ended.set_result(None)


class Cursor:
    """Rows of an answer."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = list(rows)

    async def fetchall(self) -> list[Any]:
        return self._rows

    async def fetchone(self) -> Any:
        return self._rows[0] if self._rows else None

    async def fetchmany(self, count: int) -> list[Any]:
        taken, self._rows = self._rows[:count], self._rows[count:]
        return taken


class Server:
    """The store as one life of the process meets it: its writer, its pool, its connections."""

    def __init__(self, world: World, life: Life, tables: Tables, chance: random.Random) -> None:
        self._world, self._life, self._tables, self._chance = world, life, tables, chance
        self._pooled: SimulatedLink | None = None
        self.links: list[SimulatedLink] = []

    # -- the writer ---------------------------------------------------------------------------------------------

    async def open(self) -> SimulatedLink:
        """`Writer.open`: it gives up after five seconds."""
        self._life.check()
        phase = self._world.schedule.store_mode(self._world.elapsed)
        mode = phase.mode if phase else "well"
        self._world.note("store", "open", mode)
        await asyncio.sleep(self._chance.uniform(0.001, 0.01))
        self._life.check()
        if mode == "down" or (mode == "flaky" and self._chance.random() < 0.3):
            raise psycopg.OperationalError("refused")
        if mode in ("hang", "lost") and phase is not None:
            await asyncio.sleep(min(5.0, phase.end - self._world.elapsed))
            self._life.check()
            if self._world.elapsed < phase.end:
                raise psycopg.errors.ConnectionTimeout("no connection in time")
        link = SimulatedLink(self)
        self.links.append(link)
        return link

    async def write(self, link: SimulatedLink, job: Job, now: int) -> Outcome:
        """`Writer.write`."""
        outcome: Outcome = await self.operate(
            link, f"write {len(job.rows)}", lambda part: self._commit(job, part), self._tables.takes(job)
        )
        return outcome

    rewrite = write

    async def answers(self, link: SimulatedLink) -> None:
        """`Writer.answers`."""
        await self.operate(link, "answers", lambda _: None)

    def _commit(self, job: Job, partly: float) -> Outcome:
        return self._tables.commit(job, partly)

    # -- the registry's pool ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SimulatedLink]:
        """The pool's connections: one that broke is replaced; after 30 s without any it says so."""
        self._life.check()
        begun = self._world.now
        while self._pooled is None or self._pooled.broken or self._pooled.closed:
            try:
                self._pooled = await self.open()
            except psycopg.OperationalError as error:
                if self._world.now - begun > 30:
                    raise PoolTimeout("no connection in time") from error
                await asyncio.sleep(1.0)
        link = self._pooled
        try:
            yield link
        except (psycopg.OperationalError, asyncio.CancelledError):
            link.broken = True
            raise

    def answer(self, query: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        tables = self._tables
        words = query.split()
        if "version_ask" in words:
            return self._asked(words, arguments[0])
        if words[:3] == ["INSERT", "INTO", "terminal"]:
            return [(tables.register(name), name, None) for name in arguments[0]]
        if words[0] == "SELECT" and "terminal" in words:
            return [(row, name, None) for name, row in tables.rows.items() if not arguments or name in arguments[0]]
        if query == "SELECT 1" or words[:2] in (["INSERT", "INTO"], ["UPDATE", "connection"], ["UPDATE", "terminal"]):
            return []
        raise AssertionError(f"the store's double does not know: {query}")

    def _asked(self, words: list[str], rows: Sequence[int]) -> list[tuple[Any, ...]]:
        """Each terminal is asked for its firmware once."""
        asked = self._tables.asked
        if words[0] == "SELECT":
            return [(row, None, None, None, None, row if row in asked else None, 1, 0.0) for row in rows]
        if "RETURNING" not in words:  # it answered
            asked.update(rows)
            return []
        claimed = [row for row in rows if row not in asked]
        asked.update(claimed)
        return [(row,) for row in claimed]

    # -- what may happen to any of them -------------------------------------------------------------------------

    async def operate(self, link: SimulatedLink, what: str, effect: Callable[[float], Any], takes: float = 0.0) -> Any:
        """Run `effect` on the server, or not, and answer, or not. Its argument: how much of it happens."""
        life, world, chance, tables = self._life, self._world, self._chance, self._tables
        life.check()
        tables.settle()
        if link.closed:
            raise psycopg.OperationalError("the connection is closed")
        phase = world.schedule.store_mode(world.elapsed)
        mode = phase.mode if phase else "well"
        world.note("store", what, mode)
        if link.broken or mode == "down":
            link.broken = True
            await asyncio.sleep(0.001)
            raise psycopg.OperationalError("the connection broke")
        life.step("before")
        await asyncio.sleep(chance.uniform(0.3, 4.0) if mode == "slow" else chance.choice((0.001, 0.004, 0.03)))
        if takes:
            await asyncio.sleep(takes)
        life.check()
        if link.closed or link.broken:  # the other side is gone; what it had asked for may have happened
            effect(1.0)
            raise psycopg.OperationalError("the connection was closed")
        if mode in ("hang", "lost") and phase is not None:
            return await self._hang(link, phase.end if mode == "hang" else float("inf"), effect)
        if mode == "flaky":
            fate = chance.random()
            if fate < 0.35:
                link.broken = True
                if fate < 0.12:
                    effect(1.0)
                elif fate < 0.2:
                    effect(chance.random())
                world.note("store", "broke", f"{fate:.2f}")
                raise psycopg.OperationalError("the connection broke")
        life.step("half way through")
        answer = effect(1.0)
        life.step("after")
        await asyncio.sleep(0)
        life.check()
        return answer

    async def _hang(self, link: SimulatedLink, until: float, effect: Callable[[float], Any]) -> Any:
        """No answer before `until`. Who gives up asks the server to stop, and waits for that too."""
        world, fate = self._world, self._chance.random()
        answer = None
        if fate < 0.3:
            answer = effect(1.0)
        elif fate < 0.6 and until < float("inf"):
            self._tables.late.append((until, lambda: effect(1.0)))
            self._tables.late.sort(key=lambda one: one[0])
        try:
            await asyncio.wait({link.ended}, timeout=max(0.0, until - world.elapsed) if until < float("inf") else None)
        except asyncio.CancelledError:
            await asyncio.sleep(min(5.0, max(0.0, until - world.elapsed)))
            raise
        self._life.check()
        if link.closed:
            raise psycopg.OperationalError("the connection was closed")
        if answer is None:
            answer = effect(1.0)
        return answer
