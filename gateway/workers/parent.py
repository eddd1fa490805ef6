"""The service's side of its workers: starts them, starts them again, hears them, speaks for all of them.

start    ports taken, spools of former workers handed on, then N processes that bind the same ports
ended    one that ends by itself is started again; the others go on meanwhile
settings carry a generation: a worker that started by older ones, while others took over, is told the present ones
stop     all are told; they accept no more, commit, acknowledge, end; what they said last is still heard
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray
from prometheus_client.core import Metric
from psycopg_pool import AsyncConnectionPool

from gateway.configuration.settings import Settings
from gateway.errors import GatewayError
from gateway.metrics import ReceiveMetrics, add_counts
from gateway.parts import Parts
from gateway.receive.broker.brokers import BrokerState, BrokerStates, together
from gateway.receive.history import History
from gateway.receive.instance import instance_name
from gateway.receive.spools import adopt
from gateway.receive.terminals import Terminals
from gateway.workers.messages import (
    Admitted,
    Apply,
    AskContacts,
    AskCounted,
    AskState,
    Counted,
    Discard,
    Failed,
    Heard,
    LastContacts,
    Link,
    LoggedIn,
    Message,
    Prepare,
    Prepared,
    Ready,
    Setup,
    State,
    Stop,
    ToService,
)
from gateway.workers.ports import Ports, PortsChange

_log = structlog.get_logger()

ANSWER = 1.0  # s for a worker to answer before its last state is taken
SILENT = 60.0  # s without its state, told each second, after which a worker hangs and is killed
UNSENT = 64 << 20  # bytes a worker may leave unread before it hangs
PREPARING = 10.0  # s for a worker to prepare other settings
STOPPING = 8.0  # s for a worker to end; then it is killed, and its terminals send again
_AGAIN = (0.2, 10.0)  # s before a worker is started again: at first, at most


class Child:
    """One worker process as the service sees it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.link: Link | None = None
        self.answer: asyncio.Future[str] | None = None  # whether it accepts terminals: empty, or why not
        self.ready = False
        self.generation = 0  # of the settings by which it serves
        self.catching_up = False
        self.state: State | None = None
        self.heard_at = 0.0

    def metrics(self) -> NDArray[np.float64] | None:
        """Its counters as last told."""
        return np.frombuffer(self.state.metrics) if self.state is not None else None

    def kill(self) -> None:
        """At once."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()


@dataclass(frozen=True, slots=True)
class Prospect:
    """Other settings, with ports that are known, for which everything is prepared."""

    settings: Settings
    ports: PortsChange
    generation: int


class SummedMetrics(ReceiveMetrics):
    """Counters of all workers, those that have ended included."""

    def __init__(self, protocols: Iterable[str], total: Callable[[], NDArray[np.float64]]) -> None:
        super().__init__(list(protocols))
        self._total = total

    def collect(self) -> Iterator[Metric]:
        """The sum, as metric families."""
        self.load(self._total())
        yield from super().collect()


class Workers:
    """All workers; a `gateway.receive.reception.Reception`."""

    def __init__(
        self,
        settings: Settings,
        dsn: str,
        pool: AsyncConnectionPool,
        parts: Parts,
        protocols: Iterable[str],
        count: int,
        heard: Callable[[Mapping[str, bytes]], None],
    ) -> None:
        """`heard` is called with what each worker packs of its committed batches."""
        self._settings = settings
        self._dsn = dsn
        self._pool = pool
        self._parts = parts
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._children = [Child(number) for number in (range(1, count + 1) if count > 1 else (0,))]
        self._ports = Ports()
        self._stopping = False
        self._generation = 0  # of `_settings`
        self._generations = itertools.count(1)
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.addresses: dict[str, list[str]] = {}
        self.metrics = SummedMetrics(protocols, self._total)
        self.metrics.queue = lambda: sum(state.queue for state in self._states())
        self.metrics.store_up = lambda: self.store_up
        self.metrics.lines = self._lines
        self._ended = self.metrics.snapshot()  # counters of processes that are no more
        self._ended_lines: dict[str, dict[str, int]] = {}
        self._ended_cpu = 0.0
        self._ended_brokers: BrokerStates = {}  # as processes that are no more said

    # -- life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take the ports and hand on what former workers left; accept nothing."""
        self._parts.push_async_callback(self._stop)  # what was started and never asked to listen
        for child in self._children:
            await self._spawn(child)
        self._parts.callback(self._ports.close)
        ports = await self._ports.prepare(self._settings.listen)
        self._ports.apply(ports)
        self._settings = msgspec.structs.replace(self._settings, listen=ports.listen)
        instance = await asyncio.to_thread(instance_name, self._settings.data_dir)
        await History(self._pool, Terminals(self._pool, ""), instance).end_open()
        await asyncio.to_thread(adopt, self._settings.data_dir, len(self._children))

    async def listen(self) -> None:
        """Start all; return when each accepts terminals.

        Raises
        ------
        GatewayError
            If one cannot start.
        """
        self._parts.push_async_callback(self._stop)
        started = [self._set_up(child) for child in self._children]
        for failure in await asyncio.gather(*started):
            if failure:
                raise GatewayError(failure)
        self._ports.bound()
        for child in self._children:
            self._parts.background(f"worker {child.number}", self._keep(child))

    async def _spawn(self, child: Child) -> None:
        """Start a process; it loads its code while it waits for its set-up."""
        ours, theirs = socket.socketpair()
        answer: asyncio.Future[str] = self._loop.create_future()
        link = Link(ToService, lambda message: self._on_message(child, message, answer), lambda: None)
        try:
            ours.setblocking(False)
            await self._loop.create_unix_connection(lambda: link, sock=ours)
            child.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.workers.child", str(theirs.fileno()), str(os.getpid()),
                stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(),),
            )  # fmt: skip
        finally:
            theirs.close()
        child.link, child.answer, child.state = link, answer, None

    async def _set_up(self, child: Child) -> str:
        """Tell a fresh process what to do and wait until it accepts terminals; else why it does not."""
        link, answer = child.link, child.answer
        assert link is not None and answer is not None  # noqa: S101, PT018  # it was started
        child.heard_at = self._loop.time()
        link.send(Setup(pickle.dumps(self._settings), self._generation, self._dsn, child.number, len(self._children)))
        ends: list[asyncio.Future[Any]] = [answer, link.lost]
        await asyncio.wait(ends, timeout=SILENT, return_when=asyncio.FIRST_COMPLETED)
        child.ready = answer.done() and not answer.result()
        if child.ready:
            return ""
        if not link.lost.done():
            child.kill()
        return answer.result() if answer.done() else f"worker {child.number} did not start: its log says why"

    async def _keep(self, child: Child) -> None:
        """Start it again whenever it ends, sooner if it had lived for a while."""
        pause = _AGAIN[0]
        while True:
            begun = self._loop.time()
            await self._end_of(child)
            if self._stopping:
                return
            pause = _AGAIN[0] if self._loop.time() - begun > _AGAIN[1] else min(2 * pause, _AGAIN[1])
            while True:
                await asyncio.sleep(pause)
                try:
                    await self._spawn(child)
                    break
                except OSError as error:  # no memory, no descriptors: the others go on
                    pause = min(2 * pause, _AGAIN[1])
                    _log.error("worker cannot be started", worker=child.number, error=str(error), pause_s=pause)
            failure = await self._set_up(child)
            if failure:
                _log.error("worker does not start", worker=child.number, error=failure)

    async def _end_of(self, child: Child) -> None:
        """Return when its process has ended and all it said is heard; one that hangs is killed."""
        process, link = child.process, child.link
        assert process is not None and link is not None  # noqa: S101, PT018  # it was started
        ending = self._loop.create_task(process.wait())
        while not ending.done():
            await asyncio.wait({ending}, timeout=1.0)
            if not ending.done() and (self._loop.time() - child.heard_at > SILENT or link.unsent > UNSENT):
                _log.error("worker hangs: killed", worker=child.number, unsent=link.unsent)
                child.kill()
        await asyncio.wait({link.lost}, timeout=ANSWER)
        link.close()
        child.ready = False
        if not self._stopping:
            self._parts.supervisor.failures["worker"] += 1
            _log.error("worker ended, starting it again", worker=child.number, code=process.returncode)
        counted = child.metrics()
        if counted is not None and child.state is not None:
            counted = counted.copy()
            counted[: self.metrics.gauges] = 0
            self._ended += counted
            gone = {address: BrokerState(None, state.lost) for address, state in child.state.brokers.items()}
            self._ended_brokers = together([self._ended_brokers, gone])
            self._ended_cpu += child.state.process.get("process_cpu_seconds", 0.0)
            add_counts(self._ended_lines, child.state.lines)
        child.state = None

    async def _stop(self) -> None:
        self._stopping = True
        running = [child for child in self._children if child.process is not None]
        for child in running:
            if child.link is not None:
                child.link.send(Stop())
        ends = [self._loop.create_task(self._stopped(child)) for child in running]
        if ends:
            await asyncio.wait(ends)

    async def _stopped(self, child: Child) -> None:
        process, link = child.process, child.link
        assert process is not None and link is not None  # noqa: S101, PT018  # it was started
        try:
            async with asyncio.timeout(STOPPING):
                await process.wait()
        except TimeoutError:
            _log.warning("worker does not end: killed", worker=child.number)
            child.kill()
            await process.wait()
        await asyncio.wait({link.lost}, timeout=ANSWER)
        link.close()

    # -- what workers say ---------------------------------------------------------------------------------------

    def _on_message(self, child: Child, message: Message, ready: asyncio.Future[str]) -> None:
        match message:
            case Heard(told):
                try:
                    self._heard(told)
                except Exception:  # what is downstream must not stop receiving
                    _log.exception("a listener failed")
            case LoggedIn(logins):
                self._tell_all(Admitted(child.number, logins))
            case State():
                child.state, child.heard_at = message, self._loop.time()
                self._answer(message.number, message)
            case LastContacts() | Counted() | Prepared():
                self._answer(message.number, message)
            case Ready(addresses, generation):
                child.generation = generation
                if generation == self._generation:
                    self.addresses = addresses
                elif not child.catching_up and child.link is not None:
                    child.catching_up = True
                    self._later(self._catch_up(child, child.link))
                if not ready.done():
                    ready.set_result("")
            case Failed(reason):
                if not ready.done():
                    ready.set_result(reason)
            case _:
                raise TypeError(f"not for us: {type(message).__name__}")

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _catch_up(self, child: Child, link: Link) -> None:
        """Bring a worker that started by older settings to the present ones; its next `Ready` says whether it came."""
        generation, number = self._generation, next(self._numbers)
        _log.info("worker serves by older settings: told anew", worker=child.number)
        answer = self._answers[number] = self._loop.create_future()
        try:
            link.send(Prepare(number, pickle.dumps(self._settings), generation))
            ends: list[asyncio.Future[Any]] = [answer, link.lost]
            await asyncio.wait(ends, timeout=PREPARING, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._answers[number]
            child.catching_up = False
        told = answer.result() if answer.done() else None
        if isinstance(told, Prepared) and not told.reason:
            link.send(Apply(generation))
        elif child.link is link and not self._stopping:  # it starts anew by the present settings
            reason = told.reason if isinstance(told, Prepared) else "no answer"
            _log.error("worker does not take the settings over: killed", worker=child.number, error=reason)
            child.kill()

    def _tell_all(self, message: Message) -> None:
        for child in self._children:
            if child.link is not None:
                child.link.send(message)

    def _answer(self, number: int, message: Message) -> None:
        answer = self._answers.get(number)
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def _ask(self, question: Callable[[int], Message], timeout: float = ANSWER) -> list[Message]:
        """The answers of those workers that answer in time."""
        asked: dict[int, asyncio.Future[Message]] = {}
        for child in self._children:
            if child.ready and child.link is not None:
                number = next(self._numbers)
                asked[number] = self._answers[number] = self._loop.create_future()
                child.link.send(question(number))
        try:
            if asked:
                await asyncio.wait(asked.values(), timeout=timeout)
            return [answer.result() for answer in asked.values() if answer.done()]
        finally:
            for number in asked:
                del self._answers[number]

    # -- speaking for all ---------------------------------------------------------------------------------------

    def _states(self) -> list[State]:
        return [child.state for child in self._children if child.state is not None]

    def _total(self) -> NDArray[np.float64]:
        total = self._ended.copy()
        for child in self._children:
            counted = child.metrics()
            if counted is not None:
                total += counted
        return total

    def _lines(self) -> dict[str, dict[str, int]]:
        total: dict[str, dict[str, int]] = {}
        for counts in (self._ended_lines, *(state.lines for state in self._states())):
            add_counts(total, counts)
        return total

    def processes(self) -> list[dict[str, float]]:
        """`process_…` numbers of each worker, and the processor time of those that have ended."""
        return [*(state.process for state in self._states()), {"process_cpu_seconds": self._ended_cpu}]

    @property
    def store_up(self) -> bool:
        """Whether the store answered when it was last asked."""
        return all(state.store_up for state in self._states())

    @property
    def spool_bytes(self) -> int:
        """Bytes that wait on disk."""
        return sum(state.spool_bytes for state in self._states())

    @property
    def spool_frames(self) -> int:
        """Frames that wait on disk."""
        return sum(state.spool_frames for state in self._states())

    def reasons(self) -> set[str]:
        """Words for why frames are not accepted: nobody there, or what holds one of the workers up."""
        if not any(child.ready for child in self._children):
            return {"workers"}
        return {reason for state in self._states() for reason in state.reasons}

    def connected_count(self) -> int:
        """How many terminals are connected and logged in."""
        return sum(state.connected for state in self._states())

    async def last_contacts(self, terminals: Iterable[str]) -> dict[str, float]:
        """When their open connections last brought bytes, Unix seconds; those that have none are left out."""
        wanted = list(terminals)
        found: dict[str, float] = {}
        for answer in await self._ask(lambda number: AskContacts(number, wanted)):
            if isinstance(answer, LastContacts):
                for terminal, last in answer.last.items():
                    found[terminal] = max(last, found.get(terminal, last))
        return found

    async def counted(self, terminal: str) -> dict[int, tuple[int, int]]:
        """Frames and damaged ones of its open connections, by their number in the history."""
        found: dict[int, tuple[int, int]] = {}
        for answer in await self._ask(lambda number: AskCounted(number, terminal)):
            if isinstance(answer, Counted):
                found |= answer.connections
        return found

    def brokers(self) -> BrokerStates:
        """How it stands with each broker: whether all workers are connected to it."""
        return together([self._ended_brokers, *(state.brokers for state in self._states())])

    async def refresh(self) -> None:
        """Have every worker tell how it stands."""
        await self._ask(AskState)

    # -- other settings -----------------------------------------------------------------------------------------

    async def prepare(self, settings: Settings) -> Prospect:
        """Have every worker bind and read what other settings need; nothing changes yet.

        Raises
        ------
        GatewayError
            If one of them cannot; then nothing is bound.
        """
        ports = await self._ports.prepare(settings.listen)
        prospect = Prospect(msgspec.structs.replace(settings, listen=ports.listen), ports, next(self._generations))
        pickled = pickle.dumps(prospect.settings)
        asked = sum(child.ready for child in self._children)
        answers = await self._ask(lambda number: Prepare(number, pickled, prospect.generation), PREPARING)
        reasons = [answer.reason for answer in answers if isinstance(answer, Prepared) and answer.reason]
        if len(answers) < asked:
            reasons.append("a worker did not answer; try again")
        if reasons:
            self.discard(prospect)
            raise GatewayError(reasons[0])
        return prospect

    def discard(self, change: Prospect) -> None:
        """The other settings are not to be."""
        self._tell_all(Discard())
        self._ports.discard(change.ports)

    async def reconfigure(self, settings: Settings, change: Prospect) -> None:
        """Take over other settings; a worker that is started later starts with them."""
        self._settings, self._generation = change.settings, change.generation
        self._tell_all(Apply(change.generation))
        self._ports.apply(change.ports)
        self._ports.bound()
