"""Where a batch becomes durable: the store, or the spool while the store is away.

    store up, quick      → store
    down, slow, unknown  → spool (fsync), acknowledged after that; drained in order when the store is back
    both refuse          → nothing is acknowledged, nothing more is read until one of them has room

An unknown answer goes to the spool too: the store's unique keys make the drain of what was stored after all harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import psycopg
import structlog

from gateway.receive.batch import Batcher, Item, Pending, Work
from gateway.receive.spool import Entry, Spool, SpoolFullError
from gateway.store.writer import Kept, Outcome, Writer, is_away
from protocols.records import Frame, Message, Quarantined
from protocols.registry import WireProtocol

_log = structlog.get_logger()

SPOOL = 2.0  # s for one write to the spool: with `SLOW`, a terminal hears within 4 s, or its connection closes
SLOW = 2.0  # s for one transaction; a terminal may wait 5 s (EGTS) before it gives up, and the spool needs its part
PROBE = 0.5  # s between looks at a store that is away
DRAIN_FRAMES = 1000  # per transaction: short ones, so that live batches wait little
GREETING = 5.0  # s to connect and have an answer from a store that was away
DRAIN_TIMEOUT = 30.0  # s; nobody waits for a drain
LOOK = 2.0  # s between looks at a store that nothing is written to
_AWAY = (psycopg.Error, OSError, TimeoutError)
LIVE = (0, 1)  # slots of live batches
DRAIN, LOOKING = -1, -2  # connections of their own
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Keeper:
    """Decides between store and spool, and drains.

    Attributes
    ----------
    store_up : the last transaction succeeded.
    refusing : neither takes anything; `reason` says why the spool does not.
    """

    def __init__(
        self,
        open_store: Callable[[], Awaitable[Any]],
        writer: Writer,
        spool: Spool,
        batcher: Batcher,
        protocols: list[WireProtocol],
        resolve: Callable[[str, str], Awaitable[int]],
        clock: Callable[[], float],
    ) -> None:
        self._open_store = open_store
        self._writer = writer
        self._batcher = batcher
        self._protocols = protocols
        self._numbers = {p.name: n for n, p in enumerate(protocols)}
        self._resolve = resolve
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._links: dict[int, Any] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.spool = spool
        self.store_up = True
        self.refusing = False
        self.reason = ""
        self._told = ""
        self._asked: asyncio.Task[bool] | None = None  # the disk, for room
        self.on_drained: Callable[[Work, Outcome], None] | None = None

    async def open(self) -> None:
        """Open what live batches need, so that the first does not wait; a store that is away is met later."""
        with contextlib.suppress(*_AWAY):
            await self._greet()

    async def keep(self, work: Work, slot: int) -> Outcome | None:
        """Make a batch durable; None: neither store nor spool took it, and nothing of it may be acknowledged."""
        job = work.job
        if not len(job.rows) and not (job.quarantined or job.messages):
            return self._nothing()
        if self.store_up and not work.pending:
            try:
                outcome: Outcome = await self._within(
                    SLOW, slot, lambda link: self._writer.write(link, job, self._now())
                )
                return outcome
            except _AWAY as error:
                await self._lose(slot)
                if isinstance(error, psycopg.Error) and not is_away(error):
                    raise
                self._away(error)
        if self.refusing:
            return None
        try:
            async with asyncio.timeout(SPOOL):  # what is written later all the same is stored once all the same
                await self.spool.append(self._entries(work))
        except (SpoolFullError, OSError) as error:  # a TimeoutError is an OSError
            full = isinstance(error, SpoolFullError) or error.errno in _FULL
            reason = "spool_full" if full else "spool_error"
            if not self.store_up:  # else it came back meanwhile, and takes what these terminals send again
                self.reason, self.refusing = reason, True
            _log.error("spool refuses: nothing is acknowledged", reason=reason, error=_words(error))
            return None
        return self._nothing()

    async def watch(self, resumed: Callable[[], None], busy: Callable[[], bool]) -> None:
        """Look for the store while it is away and drain the spool when it is back; ends by cancellation.

        `resumed` is called when something is taken again, `busy` tells whether live batches wait for the store.
        """
        looked = begun = self._loop.time()
        looking: asyncio.Task[bool] | None = None
        draining: asyncio.Task[bool] | None = None
        try:
            while True:
                # A store or a disk that hangs holds up its own task, not the looks at the other.
                if self.refusing and (self.store_up or await self._has_room()):
                    self._resume(resumed)
                if looking is None and (not self.store_up or self._loop.time() - looked >= LOOK):
                    looked = self._loop.time()
                    if not self.store_up or not (busy() or self.spool.frames):
                        looking = self._loop.create_task(self._look())
                if draining is None and self.store_up and (self.spool.frames or self.spool.unread):
                    begun = self._loop.time()
                    draining = self._loop.create_task(self._drain_some())
                tasks = {task for task in (looking, draining) if task is not None}
                if not tasks:
                    await asyncio.sleep(PROBE)
                    continue
                await asyncio.wait(tasks, timeout=PROBE, return_when=asyncio.FIRST_COMPLETED)
                if looking is not None and looking.done():
                    answered, looking = looking.result(), None
                    if not answered:
                        await asyncio.sleep(PROBE)
                if draining is not None and draining.done():
                    stored, draining = draining.result(), None
                    if not stored:
                        await asyncio.sleep(PROBE)
                        continue
                    # As long a rest as the work was, and while live batches wait: live traffic stays live.
                    await asyncio.sleep(max(0.001, self._loop.time() - begun))
                    for _ in range(20):
                        if not busy():
                            break
                        await asyncio.sleep(0.005)
        finally:
            for task in (looking, draining, self._asked):
                if task is not None:
                    task.cancel()

    def _resume(self, resumed: Callable[[], None]) -> None:
        _log.info("taking frames again")
        self.refusing, self.reason = False, ""
        resumed()

    async def _has_room(self) -> bool:
        """Whether the spool takes something; a disk that hangs is asked once, not once more each time."""
        if self._asked is None:
            self._asked = self._loop.create_task(self.spool.has_room())
        await asyncio.wait({self._asked}, timeout=PROBE)
        if not self._asked.done():
            return False
        room, self._asked = self._asked.result(), None
        return room

    async def _look(self) -> bool:
        """Ask the store; whether it answers."""
        try:
            if self.store_up:
                await self._within(SLOW, LOOKING, lambda link: link.execute("SELECT 1"))
            else:
                await self._greet()
        except _AWAY as error:
            await self._lose(LOOKING)
            self._away(error)
            return False
        self._back()
        return True

    async def _drain_some(self) -> bool:
        """Store the oldest spooled entries; whether the store took them."""
        try:
            await self.spool.read_again()
            entries = await self.spool.oldest(DRAIN_FRAMES)
        except OSError as error:
            self._interrupted("spool cannot be read", error)
            return False
        if not entries:
            return False
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT):
                work = await self._rebuild(entries)
            outcome = await self._within(
                DRAIN_TIMEOUT, DRAIN, lambda link: self._writer.rewrite(link, work.job, self._now())
            )
        except Exception as error:  # it stays on disk, and live batches go to the store
            await self._lose(DRAIN)
            self._interrupted("drain interrupted", error)
            return False
        self._told = ""
        if self.on_drained is not None:
            self.on_drained(work, outcome)
        await self.spool.drained(len(entries))
        if not self.spool.frames:
            _log.info("spool drained")
        return True

    async def _greet(self) -> None:
        """Ask whether a store that was away is there, and open what live batches need: they have no time for it."""
        for slot in (LOOKING, *LIVE):
            try:
                await self._within(GREETING, slot, lambda link: link.execute("SELECT 1"))
            except _AWAY:
                await self._lose(slot)  # it may only be a connection that did not outlive the server
                raise

    def _away(self, error: Exception) -> None:
        if self.store_up:
            _log.warning("store does not answer: spooling", error=_words(error))
            self.store_up = False

    def _back(self) -> None:
        if not self.store_up:
            _log.info("store is back", spooled=self.spool.frames)
            self.store_up = True

    def _interrupted(self, event: str, error: Exception) -> None:
        """Told once, not at each attempt."""
        told = f"{event}: {_words(error)}"
        if told != self._told:
            self._told = told
            _log.warning(event, error=_words(error), exc_info=not isinstance(error, _AWAY))

    async def _rebuild(self, entries: list[Entry]) -> Work:
        """Spooled entries as an ordinary batch; terminals without a row get theirs now."""
        items: list[Pending] = []
        strange = [entry for entry in entries if entry.protocol not in self._numbers]  # spooled by a newer version
        entries = [entry for entry in entries if entry.protocol in self._numbers]
        terminals = {entry.terminal: entry.protocol for entry in entries}
        rows = dict(
            zip(terminals, await asyncio.gather(*[self._resolve(*pair) for pair in terminals.items()]), strict=True)
        )  # at once: new terminals that come together share a statement
        for entry in entries:
            row = rows[entry.terminal]
            item: Item
            if entry.kind is None:
                item = Frame(entry.data, entry.records, 0, entry.variant)
            else:
                item = Message(entry.data, entry.text, entry.kind)
            items.append((Drained(self._numbers[entry.protocol], entry.terminal, row), item, 0.0))
        work = self._batcher.prepare(items, np.array([entry.received for entry in entries], np.int64))
        work.job.quarantined += [
            Kept(entry.terminal, entry.protocol, entry.received, entry.data, "decoder", entry.variant)
            for entry in strange
        ]
        return work

    def _entries(self, work: Work) -> list[Entry]:
        found = []
        for (source, item, _), received in zip(work.items.each(), work.received_all.tolist(), strict=True):
            name = self._protocols[source.protocol].name
            if isinstance(item, Frame):
                found.append(Entry(name, source.terminal, received, item.data, item.variant, item.records))
            elif isinstance(item, Message):
                found.append(Entry(name, source.terminal, received, item.data, kind=item.kind, text=item.text))
        return found

    async def _within(self, seconds: float, slot: int, act: Callable[[Any], Awaitable[Any]]) -> Any:
        """Do something over a slot's connection; TimeoutError after `seconds`, at once.

        Cancelling a query asks the server to stop it, which takes as long as the server hangs: that is left behind.
        """

        async def acting() -> Any:
            return await act(await self._link(slot))

        task = self._loop.create_task(acting())
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
        except BaseException:
            task.cancel()
            raise
        if done:
            return task.result()
        ending = self._loop.create_task(self._end(task, self._links.pop(slot, None)))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        raise TimeoutError("no answer in time")

    @staticmethod
    async def _end(task: asyncio.Task[Any], link: Any) -> None:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # its answer came too late to matter
        if link is not None:
            await link.close()

    async def _link(self, slot: int) -> Any:
        link = self._links.get(slot)
        if link is None:
            link = await self._open_store()
            other = self._links.setdefault(slot, link)
            if other is not link:  # somebody was quicker
                await link.close()
                return other
        return link

    async def _lose(self, slot: int) -> None:
        link = self._links.pop(slot, None)
        if link is not None:
            await link.close()

    def _now(self) -> int:
        return int(self._clock() * 1e6)

    def _nothing(self) -> Outcome:
        n = len(self._protocols)
        return Outcome(np.zeros(n, np.int64), np.zeros(n, np.int64), kept=False)

    async def close(self) -> None:
        """Close the store connections."""
        for slot in list(self._links):
            await self._lose(slot)
        if self._ending:
            await asyncio.wait(self._ending, timeout=1.0)


class Drained:
    """Where a spooled item came from; it was acknowledged long ago."""

    def __init__(self, protocol: int, terminal: str, row: int) -> None:
        self.protocol, self.terminal, self.row = protocol, terminal, row

    def committed(self, items: Sequence[Item], refused: Sequence[Sequence[Quarantined]] = ()) -> None:
        """Nobody waits."""

    def abandoned(self) -> None:
        """It stays in the spool."""


def _words(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
