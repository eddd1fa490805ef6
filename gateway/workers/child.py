"""A worker: a process that only receives. The service starts it as `python -m gateway.workers.child FD PARENT`.

It ends with the service, also when that is killed: the kernel kills it then, and where it does not, the end of the
socket pair ends it. Whatever it acknowledged is in the store or in its spool.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import sys
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import structlog
from psycopg import Error
from psycopg_pool import PoolTimeout

from gateway import log
from gateway.collector import tame_collector
from gateway.configuration.settings import Settings
from gateway.errors import GatewayError
from gateway.metrics import ReceiveMetrics, process_numbers
from gateway.parts import Parts, die_with
from gateway.receive.receiver import Change
from gateway.receive.reception import Receiving, raise_descriptor_limit
from gateway.store.pools import WORKER, make_pool
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
    ToWorker,
)
from gateway.workers.summaries import Summaries
from protocols.registry import RECEIVED

_log = structlog.get_logger()

_STATE_PERIOD = 1.0  # s
_LAST_WORDS = 2.0  # s for the service to take what is unsent at the end


class Worker:
    """One receiving process."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._link = Link(ToWorker, self._on_message, self._on_room)
        self._setup: asyncio.Future[Setup] = loop.create_future()
        self._stop = asyncio.Event()
        self._parts = Parts()
        self._metrics = ReceiveMetrics(list(RECEIVED))
        self._receiving: Receiving | None = None
        self._serving = False  # it accepts terminals: only then other settings can be taken over
        self._logins = Logins(self._link)
        self._summaries = Summaries(lambda told: self._link.send(Heard(told)), lambda: self._link.full)
        self._tasks: set[asyncio.Task[None]] = set()
        self._change: tuple[int, Settings, Change] | None = None  # prepared, neither applied nor discarded
        self._generation = 0

    async def run(self, sock: socket.socket) -> int:
        """Receive until told to stop; the exit code."""
        await self._loop.create_unix_connection(lambda: self._link, sock=sock)
        self._loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        self._link.lost.add_done_callback(self._orphaned)
        starting = self._loop.create_task(self._start())
        stopped = self._loop.create_task(self._stop.wait())
        try:
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            ends: list[asyncio.Future[Any]] = [stopped, self._parts.failed]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except (GatewayError, Error, OSError) as error:
            _log.error("worker cannot start", error=str(error).strip())
            self._link.send(Failed(str(error).strip()))
            return await self._end(1)
        finally:
            stopped.cancel()
        return await self._end(0 if self._stop.is_set() else 1)

    async def _start(self) -> None:
        tame_collector()
        setup = await self._setup
        settings: Settings = pickle.loads(setup.settings)  # noqa: S301  # our own parent's, over a private socket pair
        structlog.contextvars.bind_contextvars(worker=setup.worker)
        self._generation = setup.generation
        pool = make_pool(setup.dsn, f"dozor worker {setup.worker}", WORKER)
        try:
            await pool.open(wait=True, timeout=30)
        except PoolTimeout as error:
            raise GatewayError(f"the store does not answer: {error}") from error
        self._parts.push_async_callback(pool.close, 1.0)
        receiving = Receiving(
            settings, setup.dsn, pool, self._parts, self._metrics, worker=setup.worker, workers=setup.workers
        )
        receiving.on_accepted.append(self._summaries.committed)
        await receiving.open()
        self._receiving = receiving
        self._logins.worker = setup.worker
        receiving.receiver.conversations.on_login = self._logins.came
        self._parts.kept("partitions", receiving.keep_prepared)
        self._parts.kept("state", self._tell_state)
        await receiving.listen()
        self._serving = True
        self._tell(0)
        self._link.send(Ready(receiving.addresses, self._generation))
        tame_collector()
        _log.info("worker ready", pid=os.getpid())

    async def _end(self, code: int) -> int:
        await self._parts.stop()
        self._summaries.flush()
        self._tell(0)
        self._link.lost.remove_done_callback(self._orphaned)
        self._link.close()
        await asyncio.wait({self._link.lost}, timeout=_LAST_WORDS)
        return code

    @staticmethod
    def _orphaned(_: object) -> None:
        """The service is gone without a word. Its successor may be waiting for our spool: no farewells."""
        os._exit(1)

    # -- what the service says ----------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        receiving = self._receiving
        match message:
            case Setup():
                self._setup.set_result(message)
            case Stop():
                self._stop.set()
            case AskState(number):
                self._tell(number)
            case Admitted(worker, logins) if receiving is not None:
                for terminal, address in self._logins.settled(worker, logins):
                    receiving.receiver.conversations.logged_in_elsewhere(terminal, address)
                    receiving.writer.forget(receiving.terminals.rows.get(terminal, sys.maxsize))
            case AskContacts(number, terminals) if receiving is not None:
                self._later(self._tell_contacts(receiving, number, terminals))
            case AskCounted(number, terminal) if receiving is not None:
                self._later(self._tell_counted(receiving, number, terminal))
            case Prepare(number, settings, generation) if receiving is not None and self._serving:
                self._later(self._prepare(receiving, number, settings, generation))
            case Apply(generation) if receiving is not None and self._serving:
                self._later(self._apply(receiving, generation))
            case Discard() if receiving is not None:
                self._discard(receiving)
            case _:  # before it is ready there is nobody to tell; its `Ready` says which settings it missed
                pass

    def _on_room(self) -> None:
        self._logins.flush()
        self._summaries.flush()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_contacts(self, receiving: Receiving, number: int, terminals: list[str]) -> None:
        self._link.send(LastContacts(number, await receiving.last_contacts(terminals)))

    async def _tell_counted(self, receiving: Receiving, number: int, terminal: str) -> None:
        self._link.send(Counted(number, await receiving.counted(terminal)))

    async def _prepare(self, receiving: Receiving, number: int, pickled: bytes, generation: int) -> None:
        settings: Settings = pickle.loads(pickled)  # noqa: S301  # as in `_start`
        self._discard(receiving)
        try:
            self._change = generation, settings, await receiving.prepare(settings)
        except (GatewayError, Error, OSError) as error:
            self._link.send(Prepared(number, str(error)))
        else:
            self._link.send(Prepared(number, ""))

    async def _apply(self, receiving: Receiving, generation: int) -> None:
        if self._change is not None and self._change[0] == generation:
            (_, settings, change), self._change = self._change, None
            await receiving.reconfigure(settings, change)
            self._generation = generation
        self._link.send(Ready(receiving.addresses, self._generation))

    def _discard(self, receiving: Receiving) -> None:
        if self._change is not None:
            receiving.discard(self._change[2])
            self._change = None

    # -- what it says -------------------------------------------------------------------------------------------

    async def _tell_state(self) -> None:
        while True:
            await asyncio.sleep(_STATE_PERIOD)
            if not self._link.full:
                self._tell(0)

    def _tell(self, number: int) -> None:
        receiving = self._receiving
        if receiving is None:
            return
        self._link.send(
            State(
                number=number,
                metrics=self._metrics.snapshot().tobytes(),
                queue=self._metrics.queue(),
                connected=receiving.connected_count(),
                store_up=self._metrics.store_up(),
                reasons=sorted(receiving.reasons()),
                spool_bytes=receiving.spool_bytes,
                spool_frames=receiving.spool_frames,
                process=process_numbers(),
                lines=self._metrics.lines(),
                brokers=receiving.brokers() if self._serving else {},
            )
        )


class Logins:
    """Tells the others who has connected here, and hears the one order in which all of that happened.

    A terminal may log in at two workers at the same moment. The service repeats all logins to all workers in one
    order; so a login of another worker that comes before the repetition of our own is the older one.
    """

    def __init__(self, link: Link) -> None:
        self.worker = 0
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._new: list[tuple[str, str]] = []
        self._unsettled: Counter[str] = Counter()
        self._scheduled = False

    def came(self, terminal: str, address: str) -> None:
        """It logged in here."""
        self._new.append((terminal, address))
        self._unsettled[terminal] += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)  # those of one turn of the loop share a message

    def flush(self) -> None:
        """Tell; while the service does not listen they wait: fewer than there are logins within its absence."""
        self._scheduled = False
        if self._new and not self._link.full:
            new, self._new = self._new, []
            self._link.send(LoggedIn(new))

    def settled(self, worker: int, logins: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of `logins`, made at `worker`, that are newer than ours."""
        if worker != self.worker:
            return [login for login in logins if login[0] not in self._unsettled]
        for terminal, _ in logins:
            self._unsettled[terminal] -= 1
            if not self._unsettled[terminal]:
                del self._unsettled[terminal]
        return []


async def _run(descriptor: int) -> int:
    return await Worker().run(socket.socket(fileno=descriptor))


def main() -> int:
    """Run a worker over the descriptor that the service handed down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a group's Ctrl-C is meant for the service, which tells us
    die_with(int(sys.argv[2]))
    log.configure()
    raise_descriptor_limit()
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(int(sys.argv[1])))
    except ImportError:  # stock asyncio works too, more slowly
        return asyncio.run(_run(int(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
