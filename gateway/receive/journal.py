"""Where a batch becomes durable: the store, or the spool in its place.

    append → outcome     it is kept; what became of it
           → AwayError   it is not known to be kept: another journal may take it, and an ack would be a lie
           → FullError   it is not kept, and will not be before there is room

Only the store answers with what became of each record; what a spool keeps is answered for when it is drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import numpy as np
import psycopg

from gateway.receive.batch import Raw, Work
from gateway.receive.spool import RAW, Entry, Spool, SpoolFullError
from gateway.store.writer import Job, Outcome, UnknownTerminalError, Writer, is_away
from protocols.records import Frame, Message
from protocols.registry import WireProtocol

SLOW = 2.0  # s for one transaction; a terminal may wait 5 s (EGTS) before it gives up, and the spool needs its part
SPOOL = 2.0  # s for one write to the spool: with `SLOW`, a terminal hears within 4 s, or its connection closes
ANSWER = 1.0  # s for a store that is well to say so
GREETING = 5.0  # s to connect and have an answer from a store that was away
DRAIN_TIMEOUT = 5.0  # s; nobody waits for a drain, and what costs as much as a batch takes less than one
AWAY = (psycopg.Error, OSError, TimeoutError)
LIVE = (0, 1)  # slots of live batches
DRAIN, LOOKING = -1, -2  # connections of their own
_FULL = (errno.ENOSPC, errno.EDQUOT)


class AwayError(Exception):
    """This journal does not answer; `slow`: it was asked and only took too long."""

    def __init__(self, cause: BaseException, *, slow: bool = False) -> None:
        super().__init__(words(cause))
        self.slow = slow


class FullError(Exception):
    """This journal takes nothing; `reason` is a word of the metrics."""

    def __init__(self, reason: str, cause: Exception) -> None:
        super().__init__(words(cause))
        self.reason = reason


class Journal(Protocol):
    """What makes batches durable."""

    async def append(self, work: Work) -> Outcome:
        """Keep a batch; it survives everything once this returns.

        Raises
        ------
        AwayError, FullError
            See the module. Anything else is a bug, or says that these contents are refused.
        """

    async def close(self) -> None:
        """Let go of what it holds."""


class StoreJournal:
    """The store, over connections of its own: each use has one, made when it is needed."""

    def __init__(self, open_store: Callable[[], Awaitable[Any]], writer: Writer, now: Callable[[], int]) -> None:
        self._open = open_store
        self._writer = writer
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._free = list(LIVE)
        self._links: dict[int, Any] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def append(self, work: Work) -> Outcome:
        """Keep a live batch."""
        slot = self._free.pop(0)
        try:
            outcome: Outcome = await self._within(
                SLOW, slot, lambda link: self._writer.write(link, work.job, self._now())
            )
        except UnknownTerminalError as error:  # the policy has changed: its frames are kept raw when they are drained
            raise AwayError(error, slow=True) from error
        except AWAY as error:
            await self._lose(slot)
            if isinstance(error, psycopg.Error) and not is_away(error):
                raise
            raise AwayError(error, slow=isinstance(error, TimeoutError)) from error
        finally:
            self._free.append(slot)
        return outcome

    async def again(self, job: Job) -> Outcome:
        """Keep what may be there already, in no hurry.

        Raises
        ------
        AwayError
            As `append`. Anything else says that it is the contents.
        """
        try:
            outcome: Outcome = await self._within(
                DRAIN_TIMEOUT, DRAIN, lambda link: self._writer.rewrite(link, job, self._now())
            )
        except BaseException as error:
            await self._lose(DRAIN)
            if isinstance(error, AWAY) and not (isinstance(error, psycopg.Error) and not is_away(error)):
                raise AwayError(error, slow=isinstance(error, TimeoutError)) from error
            raise
        return outcome

    async def answers(self) -> bool:
        """Whether it would write now: asked over another connection than the one that waits."""
        try:
            await self._within(ANSWER, LOOKING, self._writer.answers)
        except AWAY:
            await self._lose(LOOKING)
            return False
        return True

    async def look(self) -> None:
        """Whether a store that is well still is.

        Raises
        ------
        AwayError
            If it is not.
        """
        await self._ask(SLOW, LOOKING)

    async def greet(self) -> None:
        """Ask whether a store that was away is there, and open what live batches need: they have no time for it.

        Raises
        ------
        AwayError
            If it is not there.
        """
        for slot in (LOOKING, *LIVE):
            await self._ask(GREETING, slot)

    async def _ask(self, seconds: float, slot: int) -> None:
        try:
            await self._within(seconds, slot, self._writer.answers)
        except AWAY as error:
            await self._lose(slot)  # it may only be a connection that did not outlive the server
            raise AwayError(error) from error

    async def _within(self, seconds: float, slot: int, act: Callable[[Any], Awaitable[Any]]) -> Any:
        """Do something over a slot's connection; TimeoutError after `seconds`, at once.

        Asking the server to stop the query takes as long as the server hangs: that is left behind.
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
        if link is not None:  # else it would go on, and hold what it has written so far against the next attempt
            with contextlib.suppress(Exception):
                await link.cancel_safe(timeout=ANSWER)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # its answer came too late to matter
        if link is not None:
            await link.close()

    async def _link(self, slot: int) -> Any:
        link = self._links.get(slot)
        if link is None:
            link = await self._open()
            other = self._links.setdefault(slot, link)
            if other is not link:  # somebody was quicker
                await link.close()
                return other
        return link

    async def _lose(self, slot: int) -> None:
        link = self._links.pop(slot, None)
        if link is not None:
            await link.close()

    async def close(self) -> None:
        """Close the connections."""
        for slot in list(self._links):
            await self._lose(slot)
        if self._ending:
            await asyncio.wait(self._ending, timeout=1.0)


class SpoolJournal:
    """The spool: what it keeps is drained into the store later."""

    def __init__(self, spool: Spool, protocols: Sequence[WireProtocol]) -> None:
        self.spool = spool
        self._names = [protocol.name for protocol in protocols]

    async def append(self, work: Work) -> Outcome:
        """Keep a batch as it came."""
        try:
            async with asyncio.timeout(SPOOL):  # what is written later all the same is stored once all the same
                await self.spool.append(self._entries(work))
        except (SpoolFullError, OSError) as error:  # a TimeoutError is an OSError
            full = isinstance(error, SpoolFullError) or error.errno in _FULL
            raise FullError("spool_full" if full else "spool_error", error) from error
        return nothing(len(self._names))

    def _entries(self, work: Work) -> list[Entry]:
        found = []
        for (source, item, _), received in zip(work.items.each(), work.received_all.tolist(), strict=True):
            name = self._names[source.protocol]
            if isinstance(item, Frame):
                found.append(Entry(name, source.terminal, received, item.data, item.variant, item.records))
            elif isinstance(item, Message):
                found.append(Entry(name, source.terminal, received, item.data, kind=item.kind, text=item.text))
            elif isinstance(item, Raw):
                found.append(Entry(name, source.terminal, received, item.data, kind=RAW + item.reason))
        return found

    async def close(self) -> None:
        """It holds nothing open."""


def nothing(protocols: int) -> Outcome:
    """What became of a batch that is not in the store, or of which nothing had to be kept."""
    return Outcome(np.zeros(protocols, np.int64), np.zeros(protocols, np.int64), kept=False)


def words(error: BaseException) -> str:
    """What to tell of it."""
    return str(error).strip() or type(error).__name__


__all__ = ["AwayError", "FullError", "Journal", "SpoolJournal", "StoreJournal", "nothing", "words"]
