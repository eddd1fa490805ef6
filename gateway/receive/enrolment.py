"""Asks the database of terminals that are not in memory, and registers new ones: those that come together, together.

asked → known: accepted
      → unknown: registered, unless the policy or a limit is against it
      → the database will not have it: refused, alone; its neighbours are asked again without it
      → no answer: all wait, and are asked again after a pause; whoever gives up is forgotten
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from gateway.receive.limits import PerMinute
from gateway.receive.recent import Recent

_log = structlog.get_logger()

# limited: as a new terminal it came too soon; impossible: the database refuses it.
Admission = Literal["accepted", "refused", "quarantined", "limited", "impossible"]

_BATCH = 2000  # identities in one statement
_TIMEOUT = 2.0  # s for that; a connection whose answer was lost on the way must not hold up every login
_AGAIN = (0.5, 2.0)  # s before the next attempt: at first, at most
_FAILING = 5.0  # s without an answer after which nobody can be admitted; less is a hiccup
_TRIED = 60.0  # s after the last attempt for which that is believed: whoever sends terminals elsewhere sends some again
_REMEMBERED = 60.0  # s for which an identity that the database refused is refused without asking
_MOST = 10_000  # of them per generation
_LINES = 20  # log lines a minute about them
_AWAY = (psycopg.Error, OSError, TimeoutError)
# Errors that one identity's own text can cause: an encoding that cannot hold it, a constraint, a trigger.
_CONTENTS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.RaiseException, UnicodeError)


class Registry(Protocol):
    """Table and memory of terminals."""

    pool: AsyncConnectionPool
    policy: str
    rows: dict[str, int]

    async def find(self, link: psycopg.AsyncConnection, identities: Sequence[str], /) -> None:
        """Put those that the table has into `rows`."""

    async def register(self, link: psycopg.AsyncConnection, wanted: Mapping[str, str], /) -> None:
        """Make them, each with its protocol, and put them into `rows`."""


class _Wanted:
    """One identity somebody waits for."""

    __slots__ = ("answer", "granted", "identity", "may_register", "protocol", "waiting")

    def __init__(self, identity: str, protocol: str, may_register: Callable[[], bool] | None) -> None:
        self.identity, self.protocol, self.may_register = identity, protocol, may_register
        self.answer: asyncio.Future[tuple[Admission, int | None]] = asyncio.get_running_loop().create_future()
        self.granted: bool | None = None  # not asked yet
        self.waiting = 0

    def may(self) -> bool:
        """Whether it may be registered; asked once."""
        if self.granted is None:
            self.granted = self.may_register is None or self.may_register()
        return self.granted

    def tell(self, admission: Admission, row: int | None = None) -> None:
        """Answer those who wait."""
        if not self.answer.done():
            self.answer.set_result((admission, row))


class Enrolment:
    """One per process."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._wanted: dict[str, _Wanted] = {}
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""  # as last told
        self._since = self._tried = 0.0  # the loop's time: when it began, when it was last met
        self._impossible: Recent[str, float] = Recent(_REMEMBERED, _MOST)  # until when each is refused unasked
        self._lines = PerMinute(_LINES)

    async def ask(
        self, identity: str, protocol: str, may_register: Callable[[], bool] | None
    ) -> tuple[Admission, int | None]:
        """What becomes of a login, and the terminal's row if it has one; waits while the database does not answer."""
        if (self._impossible.get(identity) or 0.0) > asyncio.get_running_loop().time():
            return "impossible", None
        wanted = self._wanted.get(identity)
        if wanted is None:
            wanted = self._wanted[identity] = _Wanted(identity, protocol, may_register)
        elif may_register is None:
            wanted.may_register = wanted.granted = None
        wanted.waiting += 1
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
        try:
            return await asyncio.shield(wanted.answer)
        finally:
            wanted.waiting -= 1
            if not wanted.waiting and self._wanted.get(identity) is wanted:
                del self._wanted[identity]

    @property
    def failing(self) -> bool:
        """Whether whoever is not in memory cannot be admitted, and has not been for some seconds."""
        now = asyncio.get_running_loop().time()
        return bool(self._trouble) and now - self._since >= _FAILING and now - self._tried < _TRIED

    async def _work(self) -> None:
        pause = _AGAIN[0]
        while self._wanted:
            batch = [wanted for wanted, _ in zip(self._wanted.values(), range(_BATCH), strict=False)]
            begun = asyncio.get_running_loop().time()
            try:
                await self._decide(batch)
            except _AWAY as error:
                self._tell(str(error).strip() or type(error).__name__, begun)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _AGAIN[1])
                continue
            except Exception:  # a bug: these are not let in, the next ones are tried
                _log.exception("logins failed", terminals=len(batch))
                for wanted in batch:
                    wanted.tell("impossible")
            pause = _AGAIN[0]
            self._tell("", begun)
            for wanted in batch:
                if self._wanted.get(wanted.identity) is wanted:
                    del self._wanted[wanted.identity]

    def _tell(self, trouble: str, begun: float) -> None:
        """Once, not at each attempt; this one began then."""
        self._tried = asyncio.get_running_loop().time()
        if trouble and not self._trouble:
            self._since = begun
            _log.warning("the registry does not answer: new logins wait", error=trouble)
        elif self._trouble and not trouble:
            _log.info("the registry answers again")
        self._trouble = trouble

    async def _decide(self, batch: Sequence[_Wanted]) -> None:
        """Answer each; one that the database refuses is found by halves."""
        try:
            async with asyncio.timeout(_TIMEOUT), self._registry.pool.connection() as link:
                await self._look_up(link, batch)
        except _CONTENTS as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._decide(batch[:middle])
                await self._decide(batch[middle:])
            else:
                self._refuse(batch[0], str(error).strip())

    async def _look_up(self, link: psycopg.AsyncConnection, batch: Sequence[_Wanted]) -> None:
        registry, rows = self._registry, self._registry.rows
        strange = [wanted for wanted in batch if wanted.identity not in rows]
        if strange:
            await registry.find(link, [wanted.identity for wanted in strange])
        _let_in(batch, rows)  # who is known waits for nobody who cannot be registered
        if registry.policy == "accept":
            new = {wanted.identity: wanted.protocol for wanted in batch if wanted.identity not in rows and wanted.may()}
            if new:
                await registry.register(link, new)
                _let_in(batch, rows)
        for wanted in batch:
            if wanted.identity in rows:
                continue
            if registry.policy != "accept":
                wanted.tell("refused" if registry.policy == "known" else "quarantined")
            elif wanted.may():
                self._refuse(wanted, "the registry made another terminal of it")
            else:
                wanted.tell("limited")

    def _refuse(self, wanted: _Wanted, error: str) -> None:
        now = asyncio.get_running_loop().time()
        self._impossible.put(wanted.identity, now + _REMEMBERED, now)
        if self._lines.take("", now):
            _log.error("the registry refuses a terminal", terminal=wanted.identity, error=error)
        wanted.tell("impossible")


def _let_in(batch: Sequence[_Wanted], rows: Mapping[str, int]) -> None:
    for wanted in batch:
        row = rows.get(wanted.identity)
        if row is not None:
            wanted.tell("accepted", row)
