"""Makes a batch durable: in the store, or in the spool while the store is away; and drains the spool.

    store well, quick      → store
    down, slow, unknown    → spool (fsync), acknowledged after that; drained in order when the store is back
    both refuse            → nothing is acknowledged, nothing more is read until one of them has room

An unknown answer goes to the spool too: the store's unique keys make the drain of what was stored after all harmless.

A batch may take long for what it holds. So a store that was only slow is asked, over another connection, whether it
would write: if it says so it is not away. A drain that takes too long, or fails for what it holds, is cut down until
the culprit is alone; that one goes to quarantine. What is behind it goes on with few, since dear ones come together,
and then with twice as many each time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import structlog

from gateway.receive.batch import Batcher, Item, Pending, Raw, Work
from gateway.receive.journal import AWAY, DRAIN_TIMEOUT, AwayError, FullError, Journal, StoreJournal, nothing, words
from gateway.receive.spool import RAW, Entry, Spool
from gateway.store.writer import Job, Kept, Outcome, no_rows
from protocols.records import Frame, Message, Quarantined, cost_of
from protocols.registry import WireProtocol

_log = structlog.get_logger()

PROBE = 0.5  # s between looks at a store that is away
DRAIN_FRAMES = 1000  # per transaction: short ones, so that live batches wait little
DRAIN_COST = 4000  # and no dearer than a live batch
PARTS = 8  # of a drain that stumbled: one more stumble takes seconds, seven drains that do not take milliseconds
REST = 2.0  # s after a drain, at most
LOOK = 2.0  # s between looks at a store that nothing is written to


class Keeper:
    """Decides between store and spool, and drains.

    Attributes
    ----------
    store_up : the last transaction succeeded.
    refusing : neither takes anything; `reason` says why the spool does not.
    """

    def __init__(
        self,
        store: StoreJournal,
        kept_aside: Journal,
        spool: Spool,
        batcher: Batcher,
        protocols: list[WireProtocol],
        resolve: Callable[[str, str], Awaitable[int]],
    ) -> None:
        """`kept_aside` takes what the store does not, into `spool`."""
        self._store = store
        self._aside = kept_aside
        self._batcher = batcher
        self._protocols = protocols
        self._numbers = {p.name: n for n, p in enumerate(protocols)}
        self._resolve = resolve
        self._loop = asyncio.get_running_loop()
        self.spool = spool
        self.store_up = True
        self.refusing = False
        self.reason = ""
        self._told = ""
        self._suspects = 0  # so many of the oldest entries hold one that stumbled
        self._some = DRAIN_FRAMES  # are drained at once: less where one stumbled lately
        self._asked: asyncio.Task[bool] | None = None  # the disk, for room
        self.on_drained: Callable[[Work, Outcome], None] | None = None

    async def open(self) -> None:
        """Open what live batches need, so that the first does not wait; a store that is away is met later."""
        with contextlib.suppress(AwayError):
            await self._store.greet()

    async def keep(self, work: Work, let_go: Callable[[], None]) -> Outcome | None:
        """Make a batch durable; None: neither store nor spool took it, and nothing of it may be acknowledged.

        `let_go` is called when the batch has taken too long, and the store has been asked why: from then on the batch
        needs it no more, and the next one need not wait for the disk.
        """
        job = work.job
        if not len(job.rows) and not (job.quarantined or job.messages):
            return nothing(len(self._protocols))
        asking: asyncio.Task[None] | None = None
        if self.store_up:
            try:
                return await self._store.append(work)
            except AwayError as error:
                if error.slow:
                    asking = self._loop.create_task(self._suspect(error, let_go))
                else:
                    self._away(error)
        try:
            return await self._keep_aside(work)
        finally:
            if asking is not None:
                await asyncio.wait({asking})

    async def _keep_aside(self, work: Work) -> Outcome | None:
        if self.refusing:
            return None
        try:
            return await self._aside.append(work)
        except FullError as error:
            if not self.store_up:  # else it came back meanwhile, and takes what these terminals send again
                self.reason, self.refusing = error.reason, True
            _log.error("spool refuses: nothing is acknowledged", reason=error.reason, error=words(error))
            return None

    async def _suspect(self, error: AwayError, let_go: Callable[[], None]) -> None:
        """A batch took too long: for what it holds, or is the store away?"""
        if await self._store.answers():
            _log.warning("a batch took too long and is spooled: the store answers")
        else:
            self._away(error)
        let_go()

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
                    await asyncio.sleep(min(REST, max(0.001, self._loop.time() - begun)))
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
            await (self._store.look() if self.store_up else self._store.greet())
        except AwayError as error:
            self._away(error)
            return False
        self._back()
        return True

    async def _drain_some(self) -> bool:
        """Store the oldest spooled entries; whether that goes on."""
        try:
            await self.spool.read_again()
            entries = _affordable(await self.spool.oldest(self._some))
        except OSError as error:
            self._interrupted("spool cannot be read", error)
            return False
        if not entries:
            return False
        try:
            try:
                async with asyncio.timeout(DRAIN_TIMEOUT):
                    work = await self._rebuild(entries)
            except AWAY as error:  # the registry did not answer
                raise AwayError(error) from error
            begun = self._loop.time()
            outcome = await self._store.again(work.job)
        except AwayError as error:
            answers = await self._store.answers()
            if answers and error.slow:
                return await self._stumbled(entries, error)
            if not answers:  # nobody else may be asking: new logins must hear of it
                self._away(error)
            self._interrupted("drain interrupted", error)
            return False
        except Exception as error:
            return await self._stumbled(entries, error)
        self._told = ""
        if self.on_drained is not None:
            self.on_drained(work, outcome)
        quick = self._loop.time() - begun < DRAIN_TIMEOUT / 2
        await self._drained(len(entries))
        if quick and not self._suspects:
            self._some = min(DRAIN_FRAMES, max(self._some, 2 * len(entries)))
        return True

    async def _drained(self, count: int) -> None:
        self._suspects = max(0, self._suspects - count)
        await self.spool.drained(count)
        if not self.spool.frames:
            _log.info("spool drained")

    async def _stumbled(self, entries: list[Entry], error: Exception) -> bool:
        """It is what they hold: a part of them next time, and the culprit, once it is alone, to quarantine."""
        self._interrupted("drain stumbled", error)
        self._some = max(1, len(entries) // PARTS)
        if len(entries) > 1:
            self._suspects = len(entries)
            return True
        entry = entries[0]
        culprit = Kept(entry.terminal, entry.protocol, entry.received, entry.data, "store", entry.variant)
        try:
            await self._store.again(Job(no_rows(), quarantined=[culprit]))
        except Exception as refusal:  # it stays on disk, and live batches go to the store
            self._interrupted("drain interrupted", refusal)
            return False
        _log.error(
            "a spooled frame cannot be stored: quarantined",
            terminal=entry.terminal, protocol=entry.protocol, bytes=len(entry.data), error=words(error),
        )  # fmt: skip
        if entry.protocol in self._numbers:
            self._batcher.metrics.count_quarantined(self._numbers[entry.protocol], "store")
        await self._drained(1)
        return True

    def _away(self, error: AwayError) -> None:
        if self.store_up:
            _log.warning("store does not answer: spooling", error=words(error))
            self.store_up = False

    def _back(self) -> None:
        if not self.store_up:
            _log.info("store is back", spooled=self.spool.frames)
            self.store_up = True

    def _interrupted(self, event: str, error: Exception) -> None:
        """Told once, not at each attempt."""
        told = f"{event}: {words(error)}"
        if told != self._told:
            self._told = told
            known = isinstance(error, (AwayError, *AWAY))
            _log.warning(event, error=words(error), exc_info=None if known else error)

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
            elif entry.kind.startswith(RAW):
                item = Raw(entry.data, entry.kind.removeprefix(RAW))
            else:
                item = Message(entry.data, entry.text, entry.kind)
            items.append((Drained(self._numbers[entry.protocol], entry.terminal, registered=row >= 0), item, 0.0))
        work = await self._batcher.prepare_in_turns(items, np.array([entry.received for entry in entries], np.int64))
        work.job.quarantined += [
            Kept(entry.terminal, entry.protocol, entry.received, entry.data, "decoder", entry.variant)
            for entry in strange
        ]
        return work

    async def close(self) -> None:
        """Let go of the store and the spool."""
        await self._store.close()
        await self._aside.close()


def _affordable(entries: list[Entry]) -> list[Entry]:
    """As many of the first as cost no more than a live batch, but one."""
    cost = 0
    for count, entry in enumerate(entries):
        cost += cost_of(entry.records, len(entry.data))
        if count and cost > DRAIN_COST:
            return entries[:count]
    return entries


class Drained:
    """Where a spooled item came from; it was acknowledged long ago."""

    waits = False
    link = 0

    def __init__(self, protocol: int, terminal: str, *, registered: bool) -> None:
        self.protocol, self.terminal, self.registered = protocol, terminal, registered

    def committed(self, items: Sequence[Item], refused: Sequence[Sequence[Quarantined]] = ()) -> None:
        """Nobody waits."""

    def abandoned(self) -> None:
        """It stays in the spool."""
