"""Commands to the terminals that are connected to this process.

    queued (NOTIFY, and a look now and then) ─┐
    a terminal logged in ─────────────────────┼→ wish → claim, in batches → sent when no frame is unanswered → answer
    the command before is settled ────────────┘

A claim is committed before anything is sent, so a command goes out at most once, whatever ends in between; one that is
not answered on its connection stays `sent` until its time is over. Whoever is connected elsewhere is that process's.
Nothing here is done per frame, and without commands nothing at all but a look at the store every half a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from gateway.receive.dialogue import Dialogue
from gateway.store import dispatch
from gateway.store.dispatch import Claim, Connected
from protocols.records import Message

_log = structlog.get_logger()

LOOK = 30.0  # s between looks at all that waits: notices are lost with their connection
_SOON = 0.5  # s after a notice until it is found out when the new command's time is over
_AT_ONCE = 200  # terminals that one statement is about
_ENDED_AT_ONCE = 500  # commands
_MOST = 100_000  # terminals for which something waits that are kept in mind: some 10 MB. The others are found later
_TIMEOUT = 5.0  # s for the store
_AGAIN = 2.0  # s before the store is tried again
_FAREWELL = 1.0  # s for what is to be written at the end
_BOUND = 10_000  # outcomes that wait for the store; older ones go, and their commands fail for want of an answer

Write = Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]]


class Talk(Protocol):
    """A conversation, as far as commands are concerned."""

    terminal: str
    dialogue: Dialogue | None

    def commandable(self) -> Connected | None:
        """Who it is, if a command may be claimed for it now."""

    def command(self, claim: Claim, until: float) -> None:
        """Send it, as soon as no frame is unanswered, but before `until` (the loop's time)."""


class Commanding:
    """Claims and settles for the conversations of a process."""

    def __init__(
        self, pool: AsyncConnectionPool, now: Callable[[], float], speaker: Callable[[str], Talk | None]
    ) -> None:
        """`speaker` finds who speaks for a terminal here."""
        self._pool = pool
        self._now = now
        self._speaker = speaker
        self._waiting: dict[str, None] = {}  # terminals for which something may have to be sent, connected or not
        self._wishes: dict[Talk, None] = {}
        self._outcomes: deque[Write] = deque(maxlen=_BOUND)
        self._timers: list[tuple[float, int, Talk]] = []
        self._timed: dict[Talk, float] = {}  # which of its timers counts
        self._order = itertools.count()
        self._look_at = self._expire_at = 0.0
        self._something = asyncio.Event()
        self._trouble = False  # told

    # -- what happens -------------------------------------------------------------------------------------------

    def queued(self, terminal: str) -> None:
        """A command was queued for it, by whomever."""
        self._remember(terminal)
        self._expire_at = min(self._expire_at, self._now() + _SOON)
        self._wish(self._speaker(terminal))
        self._something.set()

    def look_again(self) -> None:
        """Notices may have been lost."""
        self._look_at = 0.0
        self._something.set()

    def came(self, talk: Talk) -> None:
        """It logged in."""
        if talk.terminal in self._waiting:
            self._wish(talk)

    def asked(self, talk: Talk, dialogue: Dialogue) -> None:
        """Something is to be, or was, sent to it that has its time."""
        at = min(dialogue.due, self._now() + LOOK)  # whoever is gone is not kept for longer
        if dialogue.due < math.inf and at < self._timed.get(talk, math.inf):
            self._timed[talk] = at
            heapq.heappush(self._timers, (at, next(self._order), talk))
            self._something.set()

    def answered(self, talk: Talk, dialogue: Dialogue, message: Message) -> None:
        """It answered something of ours."""
        claim, answer = dialogue.command, dialogue.answered(message, self._now())
        if answer is not None and claim is not None:
            self._answer(claim, answer)
        elif dialogue.command is not None:
            self.asked(talk, dialogue)  # whose answer that was is seen a little later
        self._go_on(talk, dialogue)

    def left(self, talk: Talk, connection: int) -> None:
        """Its connection ended: what did not go out waits again, what did is not known to have arrived."""
        self._wishes.pop(talk, None)
        self._timed.pop(talk, None)
        dialogue, talk.dialogue = talk.dialogue, None
        claim = dialogue.command if dialogue is not None else None
        if dialogue is None or claim is None:
            return
        if not dialogue.written:
            self.unsent(claim, connection)
        elif (held := dialogue.over(self._now())) is not None:
            self._answer(claim, held)

    def unsent(self, claim: Claim, connection: int) -> None:
        """It was claimed for a connection that is no more."""
        self._write(partial(dispatch.unsent, number=claim.id, connection=connection))

    def failed(self, talk: Talk, dialogue: Dialogue, reason: str, state: str = "failed") -> None:
        """What was claimed for it will not be sent."""
        claim = dialogue.command
        if claim is not None:
            dialogue.over(self._now())
            self._write(partial(dispatch.settle, number=claim.id, state=state, result=None, reason=reason))
        self._go_on(talk, dialogue)

    def _answer(self, claim: Claim, message: Message) -> None:
        text = message.text if message.text is not None else message.data.decode(errors="backslashreplace")
        state, reason = ("failed", "the terminal refused it") if message.answer is False else ("done", None)
        self._write(partial(dispatch.settle, number=claim.id, state=state, result=text, reason=reason))

    def _write(self, write: Write) -> None:
        self._outcomes.append(write)
        self._something.set()

    def _go_on(self, talk: Talk, dialogue: Dialogue) -> None:
        """The next one, if one waits."""
        if dialogue.silent:
            talk.dialogue = None
        if talk.terminal in self._waiting:
            self._wish(talk)

    def _wish(self, talk: Talk | None) -> None:
        if talk is not None:
            self._wishes[talk] = None
            self._something.set()

    def _remember(self, terminal: str) -> None:
        self._waiting.pop(terminal, None)
        self._waiting[terminal] = None
        if len(self._waiting) > _MOST:
            del self._waiting[next(iter(self._waiting))]

    # -- rounds -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Claim and settle until cancelled."""
        try:
            while True:
                pause = 0.0
                try:
                    await self._round()
                    self._tell("")
                except (psycopg.Error, PoolTimeout, OSError, TimeoutError) as error:
                    self._tell(str(error).strip() or type(error).__name__)
                    pause = _AGAIN
                await asyncio.sleep(pause)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, self._next() - self._now())):
                        await self._something.wait()
        finally:
            with contextlib.suppress(psycopg.Error, PoolTimeout, OSError, TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await self._settle()

    def _next(self) -> float:
        if self._wishes or self._outcomes:
            return 0.0
        return min(self._look_at, self._expire_at, self._timers[0][0] if self._timers else math.inf)

    async def _round(self) -> None:
        self._something.clear()
        self._tick()
        await self._settle()
        now = self._now()
        if now >= self._look_at:
            await self._look(now)
        while self._wishes:
            await self._claim()
        if self._now() >= self._expire_at:
            async with self._store() as link:
                ended, left = await dispatch.expire(link, _ENDED_AT_ONCE)
            soon = LOOK if left is None else 0.0 if ended == _ENDED_AT_ONCE else max(0.0, left) + 0.01
            self._expire_at = self._now() + min(LOOK, soon)

    @contextlib.asynccontextmanager
    async def _store(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with asyncio.timeout(_TIMEOUT), self._pool.connection() as link:
            yield link

    def _tick(self) -> None:
        """Whose time is over."""
        now = self._now()
        while self._timers and self._timers[0][0] <= now:
            at, _, talk = heapq.heappop(self._timers)
            dialogue = talk.dialogue
            if self._timed.get(talk) != at:
                continue
            del self._timed[talk]
            if dialogue is None:
                continue
            if dialogue.due > now:
                self.asked(talk, dialogue)
                continue
            claim, written = dialogue.command, dialogue.written
            if claim is None:  # a question of our own was not answered
                self._go_on(talk, dialogue)
            elif not written:
                self.failed(talk, dialogue, "it could not be sent in time", "expired")
            else:
                if (held := dialogue.over(now)) is not None:
                    self._answer(claim, held)
                self._go_on(talk, dialogue)

    async def _settle(self) -> None:
        while self._outcomes:
            write = self._outcomes.popleft()
            try:
                async with self._store() as link:
                    await write(link)
            except (psycopg.DataError, psycopg.IntegrityError) as error:  # it would never be taken
                _log.error("the store refuses what became of a command", error=str(error).strip())
            except BaseException:
                self._outcomes.appendleft(write)
                raise

    async def _look(self, now: float) -> None:
        before, self._waiting = self._waiting, {}
        try:
            async with self._store() as link:
                found = await dispatch.waiting(link, _MOST)
        except BaseException:
            self._waiting = before | self._waiting
            raise
        for terminal in found:
            self._waiting[terminal] = None
            self._wish(self._speaker(terminal))
        self._look_at = now + LOOK

    async def _claim(self) -> None:
        """For the first that wish."""
        talks: dict[str, Talk] = {}
        connections: list[Connected] = []
        for talk in list(itertools.islice(self._wishes, _AT_ONCE)):
            del self._wishes[talk]
            connected = talk.commandable()
            if connected is not None:  # else it wishes again when it is
                talks[talk.terminal] = talk
                connections.append(connected)
        if not connections:
            return
        for terminal in talks:  # what is queued meanwhile is noted meanwhile
            self._waiting.pop(terminal, None)
        begun = self._now()
        try:
            async with self._store() as link:
                claims = await dispatch.claim(link, connections)
        except BaseException:
            for terminal, talk in talks.items():
                self._remember(terminal)
                self._wish(talk)
            raise
        for claim in claims:
            self._remember(claim.terminal)  # more may wait
            talks[claim.terminal].command(claim, begun + claim.left)

    def _tell(self, trouble: str) -> None:
        """Once, not at each attempt."""
        if trouble and not self._trouble:
            _log.warning("commands wait for the store", error=trouble)
        elif self._trouble and not trouble:
            _log.info("commands are sent again")
        self._trouble = bool(trouble)
