"""One run: the gateway's receiving side as its composition root builds it, on doubles of store, disk and network.

The process may die between any two operations of store and disk, or at any time; what it held in memory is gone, and
a new one starts over the same store and disk. Checked all along: what a terminal was told to erase is kept for
certain; the store holds nothing that was not sent; answers come in order; memory is bounded; nobody starves. At the
end everything that was acknowledged stands in the store exactly once, and nothing is left running.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import importlib
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import msgspec
import psycopg
import structlog

from gateway.configuration.reading import load
from gateway.configuration.settings import Settings
from gateway.metrics import ReceiveMetrics
from gateway.receive.connection import TerminalConnection
from gateway.receive.history import History
from gateway.receive.journal import GREETING
from gateway.receive.pipeline import Pipeline
from gateway.receive.receiver import Receiver
from gateway.receive.reception import Receiving
from gateway.receive.spool import Spool
from gateway.receive.terminals import Terminals
from gateway.service.health import Readiness
from protocols.registry import protocol
from tests.simulation.disk import Platter, SimulatedDisk
from tests.simulation.frames import BEGIN, Sent, Told
from tests.simulation.loop import NothingToDoError, TooManyStepsError, VirtualLoop
from tests.simulation.network import Link
from tests.simulation.schedule import LIMITS, PROTOCOLS, Schedule, draw
from tests.simulation.store import Server, Tables
from tests.simulation.terminals import Terminal

UPTIME = 5000.0  # what the loop's clock shows at the beginning
ANSWER = 6.0  # s until a frame is answered, or its connection closed, while store or spool is well
LOGIN = 11.0  # s, the same for a login, whose first registration may have to be given up
STARVED = 10.0  # s without progress meanwhile, whatever was tried, beside the terminal's own patience
SETTLE = 120.0  # s after the last fault until everything is acknowledged and drained, and then
DEAR = 5.0  # s for each record that takes the store seconds: alone in a transaction, and a drain's rest after it
STOP = 15.0  # s from SIGTERM to the end
READ = 40  # frames that one read may bring here: what a terminal has in flight, and a little


class Violation(Exception):  # noqa: N818  # what a run ends with when a promise is broken
    """A promise was broken."""


class Dead(OSError):  # noqa: N818
    """The process that asks is not there any more."""


class Life:
    """One process, from start to crash or stop."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.loop = VirtualLoop(world.now)
        self.dead = False
        self.receiver: Receiver | None = None
        self.pipeline: Pipeline | None = None
        self.readiness = Readiness()
        self.tasks: list[asyncio.Task[None]] = []
        self.up = False
        self.since = world.now

    def check(self) -> None:
        """Nothing that a dead process does has an effect."""
        if self.dead:
            raise Dead

    def step(self, stage: str) -> None:
        """An operation of store or disk has come to `stage`; the process may end right here."""
        if self.world.crash_due(stage):
            self.world.note("crash", stage)
            self.end()
            raise Dead

    def end(self) -> None:
        self.dead = True
        self.loop.stop()

    # -- as the composition root does it ------------------------------------------------------------------------

    async def start(self) -> None:
        world = self.world
        settings = _settings(world.schedule)
        server = Server(world, self, world.tables, world.chance("store"))
        protocols = [protocol(name) for name in PROTOCOLS]
        metrics = ReceiveMetrics([p.name for p in protocols])
        self.terminals = Terminals(server, settings.login.policy)  # type: ignore[arg-type]  # as far as it is used
        await self.terminals.load()
        history = History(server, self.terminals, "simulated", clock=world.clock)  # type: ignore[arg-type]
        await history.end_open()
        spool = Spool(SimulatedDisk(world, self, world.platter), settings.spool.max_size)
        await spool.open()
        self.found = spool.bytes  # a crash may bring back what was deleted
        self.pipeline = Pipeline(
            server.open, server, spool, protocols, metrics, self.terminals.rows, self.terminals.resolve,  # type: ignore[arg-type]
            clock=world.clock, cpu=world.processor(f"processor {self.number}"),
        )  # fmt: skip
        self.readiness.reception = self  # type: ignore[assignment]  # as far as it is asked
        self._background(history.run())
        self.receiver = Receiver(
            settings, protocols, self.pipeline, self.terminals, history, metrics, "", clock=world.clock
        )
        self._background(self.pipeline.watch_store())
        self._background(self.receiver.connections.sweep())
        self._background(self.receiver.conversations.asking.run())
        self.readiness.starting = False
        self.up, self.since = True, world.now

    def reasons(self) -> set[str]:
        """As the service's own reception says it."""
        return Receiving.reasons(self)  # type: ignore[arg-type]

    def _background(self, work: Any) -> None:
        task = self.loop.create_task(work)
        task.add_done_callback(self._ended)
        self.tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not self.dead and not task.cancelled():
            self.world.fail(f"a part of the service ended: {task.exception()!r}")

    async def stop(self) -> None:
        """In reverse order."""
        assert self.receiver is not None
        assert self.pipeline is not None
        self.readiness.stopping = True
        for task in (self.tasks[3], self.tasks[2], None, self.tasks[1], self.tasks[0]):
            if task is None:
                await self.receiver.stop()
                continue
            task.cancel()
            await asyncio.wait({task})
        await self.pipeline.close()
        self.up = False


class World:
    """What outlives a process: time, store, disk, terminals, and the record of what was sent."""

    def __init__(self, schedule: Schedule, *, trace: bool = False) -> None:
        self.schedule = schedule
        self.now = UPTIME
        self.trace: list[str] | None = [] if trace else None
        self._hash = hashlib.blake2b(digest_size=16)
        self.sent: dict[tuple[str, int, int], Told] = {}
        self.platter = Platter(self.chance("platter"))
        self.tables = Tables(self)
        self.links: dict[int, Link] = {}
        self._connections = 0
        self.crashing = False
        self._operations = 0
        self._crash_steps = list(schedule.crash_steps)
        self._due: list[tuple[float, str, Any]] = sorted(
            [(UPTIME + at, "crash", None) for at in schedule.crashes]
            + [(UPTIME + at, "restart", None) for at in schedule.restarts]
            + [(UPTIME + fault.at, "fault", fault) for fault in schedule.faults],
            key=lambda due: due[0],
        )
        self.slack_bytes = 64 * READ
        self.well_since = UPTIME
        self.disk_failed = float("-inf")  # when it was last seen to fail
        self.terminals = [Terminal(self, plan, self.chance(f"terminal {plan.number}")) for plan in schedule.terminals]
        for terminal in self.terminals:
            if terminal.plan.registered:
                self.tables.register(terminal.identity)
        self.life: Life | None = None
        self.lives = 0
        self.failure: Violation | None = None
        self.told_logs: list[str] = []

    # -- what the doubles use -----------------------------------------------------------------------------------

    def chance(self, name: str) -> random.Random:
        return random.Random(f"{name} {self.schedule.seed}")

    def processor(self, name: str) -> Callable[[], float]:
        """What decoding takes: mostly nothing, now and then long."""
        chance = self.chance(name)
        spent = itertools.accumulate(chance.choice((0.0, 0.0, 0.0005, 0.02)) for _ in itertools.count())
        return lambda: next(spent)

    @property
    def elapsed(self) -> float:
        return self.now - UPTIME

    def clock(self) -> float:
        """The wall clock."""
        return BEGIN + self.now - UPTIME

    wall = property(clock)

    def note(self, *what: Any) -> None:
        """Something happened; same seed, same notes."""
        line = f"{self.now - UPTIME:.6f} " + " ".join(map(str, what))
        self._hash.update(line.encode())
        if self.trace is not None:
            self.trace.append(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def fail(self, why: str) -> None:
        """A promise is broken: the run ends here."""
        self.note("VIOLATION", why)
        if self.failure is None:
            self.failure = Violation(why)
        if self.life is not None:
            self.life.loop.stop()

    def most(self, what: str, amount: float, limit: float) -> None:
        if amount > limit:
            self.fail(f"{what}: {amount} above {limit}")

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """A terminal's timer."""
        life = self.life
        assert life is not None
        life.loop.call_later(seconds, lambda: None if life.dead else act())

    def connect(self, terminal: Terminal) -> Link | None:
        """A connection to the gateway, if there is one to connect to."""
        life = self.life
        if life is None or not life.up or life.dead or self.crashing or life.receiver is None:
            return None
        self._connections += 1
        link = Link(self, life, terminal, self.chance(f"link {self._connections}"), self._connections)
        number = PROTOCOLS.index(terminal.protocol)
        connection = TerminalConnection(life.receiver.connections, number)
        self.links[link.number] = link
        self.note("connect", link.number, terminal.identity)

        def made() -> None:
            if not link.lost and not life.dead:
                connection.connection_made(link)
                link.protocol = connection
                link.send(b"")

        life.loop.call_soon(made)
        return link

    def crash_due(self, stage: str) -> bool:
        """Count an operation's beginning; whether the process ends at this stage of it."""
        if stage == "before":
            self._operations += 1
        for due in self._crash_steps:
            if self._operations >= due[0] and stage == due[1] and self.elapsed < self.schedule.calm:
                self._crash_steps.remove(due)
                return True
        return False

    # -- what must hold -----------------------------------------------------------------------------------------

    def missing(self, terminal: Terminal, sent: Sent) -> str:
        """What of a frame is not in the store; empty if all of it is, as records or raw."""
        tables = self.tables
        raw = tables.quarantine.get(terminal.identity, ())
        if sent.kind == "message":
            found = tables.messages.get(terminal.identity, ())
            return "" if any(form in found for form in sent.forms) else f"message {sent.wire!r}"
        if any(form in raw for form in sent.forms):
            return ""
        if sent.odd:
            return f"frame {sent.wire.hex()} is not in quarantine"
        for record in sent.records:
            if not tables.count.get((terminal.identity, record.time, record.serial)):
                return f"record {record}"
        return ""

    def on_disk(self, sent: Sent) -> bool:
        return any(self.platter.holds(form) for form in sent.forms)

    def before_read(self, link: Link) -> None:
        """Nobody is read whose window of unanswered frames is full."""
        conversation, limits = link.conversation, self.schedule.limits
        if conversation is None or conversation.closing:
            return
        for name, held in (("WINDOW_FRAMES", conversation._outstanding), ("WINDOW_COST", conversation._dear)):
            if held > limits["conversation", name]:
                self.fail(f"link {link.number}: window of {limits['conversation', name]}, {held} held, and read on")

    def after_read(self, link: Link) -> None:
        """Bounds on what is held in memory, each time that something was taken."""
        life = self.life
        if life is None or life.pipeline is None or life.dead:
            return
        pipeline, limits = life.pipeline, self.schedule.limits
        conversation = link.conversation
        if conversation is None or conversation.closing or not conversation._outstanding:
            return
        frames, size = held(pipeline)
        if link.is_reading() and (
            pipeline.keeper.refusing
            or frames >= limits["pipeline", "QUEUE_FRAMES"]
            or size >= limits["pipeline", "QUEUE_BYTES"]
            or conversation._outstanding > limits["conversation", "WINDOW_FRAMES"]
            or conversation._dear > limits["conversation", "WINDOW_COST"]
        ):
            self.fail(f"link {link.number} is read on, held are {frames} frames of {size} bytes")

    def look(self) -> None:
        """Once a second: bounds, consistency, progress."""
        life = self.life
        if life is None or life.dead:
            return
        self.tables.settle()
        life.loop.call_later(1.0, self.look)
        pipeline, receiver = life.pipeline, life.receiver
        if pipeline is None or receiver is None or not life.up:
            self.well_since = self.now
            return
        keeper = pipeline.keeper
        if keeper.refusing != bool(keeper.reason):
            self.fail(f"refusing {keeper.refusing}, reason {keeper.reason!r}")
        if keeper.refusing != bool({"spool_full", "spool_error"} & set(life.readiness.reasons())):
            self.fail(f"refusing {keeper.refusing}, not ready for {life.readiness.reasons()}")
        self.most("spool", keeper.spool.bytes, max(self.schedule.spool_size, life.found))
        self.most("disk", self.platter.size(), 2 * self.schedule.spool_size + 40_000)
        for link in self.links.values():
            connection = link.protocol
            if connection is None or link.is_closing() or connection.conversation.closing:
                continue
            if link.is_reading() != connection.reading:
                pauses = connection.conversation.pauses
                self.fail(f"link {link.number}: paused {pauses}, reading {link.is_reading()}")
        self._look_for_starvation(life, pipeline)

    def _look_for_starvation(self, life: Life, pipeline: Pipeline) -> None:
        """Since `well_since` the store was well, or the spool was and may take the store's place."""
        schedule, elapsed = self.schedule, self.elapsed
        store = schedule.store_mode(elapsed) is None
        disk = schedule.disk_mode(elapsed) is None and schedule.spool_size > 1 << 20 and schedule.policy == "accept"
        way = "store" if store else "spool" if disk else ""
        if not way or life.since > self.well_since:
            self.well_since = self.now
        unread = GREETING if pipeline.keeper.refusing else 0.0  # nothing is read before the store was greeted
        # What the store takes too long for has no other way while the disk fails: who sends such waits for the disk.
        # The others do not.
        if schedule.disk_mode(elapsed) is not None:
            self.disk_failed = self.now
        spared = self.now <= self.disk_failed + ANSWER
        for terminal in self.terminals:
            barred = spared and bool(terminal.plan.dear or terminal.plan.endless)
            if not terminal.waits or terminal.deaf or barred or not self.admits(terminal):
                terminal.progress = max(terminal.progress, self.now)
            waited = self.now - max(terminal.progress, self.well_since)
            if terminal.asked_at is not None and not terminal.stalled:
                unanswered = self.now - max(terminal.asked_at, self.well_since, terminal.progress)
                if unanswered > (ANSWER if terminal.ready else LOGIN) + unread:
                    self.fail(f"{terminal.identity} has no answer for {unanswered:.1f} s, the {way} is well")
            if waited > STARVED + terminal.plan.patience:
                self.fail(f"{terminal.identity} waits for {waited:.1f} s, the {way} is well")

    def admits(self, terminal: Terminal) -> bool:
        return terminal.plan.registered or self.schedule.policy != "known"

    def settled(self) -> bool:
        """Everything sent is acknowledged and drained."""
        pipeline = self.life.pipeline if self.life is not None else None
        return (
            pipeline is not None
            and not self._due
            and not pipeline.keeper.spool.frames
            and not pipeline.keeper.spool.unread
            and not self.tables.late
            and all(terminal.finished or not self.admits(terminal) for terminal in self.terminals)
        )

    # -- the run ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Live until all is settled; raises `Violation`."""
        with _lowered(self.schedule.limits), _logs_to(self):
            end = UPTIME + self.schedule.calm + SETTLE
            try:
                while self._live(end):
                    pass
            except (NothingToDoError, TooManyStepsError) as error:
                self.fail(f"{type(error).__name__} {error}")
            if self.life is not None:
                self._bury(self.life)
        if self.failure is None:
            self._judge()
        if self.failure is not None:
            raise self.failure

    def _live(self, end: float) -> bool:
        """One process from start to end; whether another one follows."""
        self.lives += 1
        life = self.life = Life(self, self.lives)
        self.note("start", self.lives)
        life.loop.tick = self._tick
        asyncio.set_event_loop(None)
        for terminal in self.terminals:
            terminal.live()
        life.loop.call_later(1.0, self.look)
        ending = life.loop.create_task(self._process(life, end))
        life.loop.run_forever()
        self.now = life.loop.time()
        if self.failure is not None:
            return False
        if life.loop.failures:
            self.fail(f"unhandled: {life.loop.failures[0]}")
            return False
        if ending.done() and not life.dead:
            error = ending.exception()
            if error is not None:
                self.fail(f"start or stop failed: {error!r}")
                return False
            again = ending.result()
            self.links.clear()
            self._bury(life)
            return again
        self.crashing = True
        for link in list(self.links.values()):
            link.cut_by_crash()
        self.links.clear()
        self.crashing = False
        self._bury(life)
        self.platter.crash()
        return True

    async def _process(self, life: Life, end: float) -> bool:
        """The supervisor's part: start, again if that fails, stop when told to."""
        try:
            while True:
                try:
                    async with asyncio.timeout(30):  # the supervisor's
                        await life.start()
                    break
                except (psycopg.Error, OSError, TimeoutError) as error:
                    if life.dead:
                        return False
                    self.note("start failed", error)
                    await asyncio.sleep(1.0)
            while True:
                while self._due and self._due[0][0] <= self.now:
                    _, kind, fault = self._due.pop(0)
                    if kind == "crash":
                        life.end()
                        self.note("crash")
                        return False
                    if kind == "restart":
                        await self._stop(life)
                        return True
                    self.terminals[fault.terminal].suffer(fault)
                if self.settled():
                    await self._stop(life)
                    return False
                if self.now > end + DEAR * sum(record.dear > 0 for record in self.sent.values()):
                    left = [t.identity for t in self.terminals if not t.finished and self.admits(t)]
                    spool = life.pipeline.keeper.spool.frames if life.pipeline else 0
                    waited = self.now - end + SETTLE
                    self.fail(f"not settled {waited:.0f} s after the last fault: {left}, {spool} frames spooled")
                    return False
                wait = self._due[0][0] - self.now if self._due else 0.5
                await asyncio.sleep(min(0.5, max(wait, 0.0)))
        finally:
            if self.life is life:
                life.loop.stop()

    async def _stop(self, life: Life) -> None:
        """SIGTERM."""
        self.note("stop")
        begun = self.now
        await life.stop()
        self.most("seconds to stop", self.now - begun, STOP)
        left = [link.number for link in self.links.values() if link.protocol is not None]
        if left:
            self.fail(f"connections left at the end: {left}")
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:  # as `asyncio.run` does at last
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=STOP)
            if left:
                self.fail(f"tasks left at the end: {sorted(task.get_coro().__qualname__ for task in left)}")
        self.most("seconds to stop", self.now - begun, STOP)
        assert life.pipeline is not None
        frames, size = held(life.pipeline)
        if frames or size:
            self.fail(f"held at the end: {frames} frames, {size} bytes")

    def _tick(self, now: float) -> None:
        self.now = now

    def _bury(self, life: Life) -> None:
        """Forget everything that a process held in memory."""
        life.dead = True
        self.life = None
        loop = life.loop
        loop.tick = lambda now: None
        try:
            for _ in range(10):
                tasks = asyncio.all_tasks(loop)
                if not tasks:
                    break
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(_end_of(tasks))
        except (NothingToDoError, TooManyStepsError, RuntimeError):
            for task in asyncio.all_tasks(loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()

    def _judge(self) -> None:
        """The end: acknowledged means there, once."""
        self.tables.settle()
        for record, count in self.tables.count.items():
            if count != 1:
                self.fail(f"stored {count} times: {record}")
        for terminal in self.terminals:
            for sent in terminal.acked:
                problem = self.missing(terminal, sent)
                if problem:
                    self.fail(f"{terminal.identity}: acknowledged and not in the store: {problem}")
            if self.admits(terminal) and not terminal.finished:
                self.fail(f"{terminal.identity} is not finished")


async def _end_of(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=60)


def held(pipeline: Pipeline) -> tuple[int, int]:
    """Frames and bytes that wait for their commit or their turn."""
    frames = sum(item.count for _, item, _ in pipeline._pending)
    size = sum(len(item.data) for _, item, _ in pipeline._pending)
    return frames + pipeline._flying.frames, size + pipeline._flying.size


@cache
def _defaults() -> Settings:
    return load(None, {"DOZOR_DATA_DIR": "/nonexistent"}, implicit=False)


def _settings(schedule: Schedule) -> Settings:
    settings = _defaults()
    replace = msgspec.structs.replace
    login = replace(
        settings.login,
        policy=schedule.policy,
        timeout=schedule.login_timeout,
        idle_timeout=schedule.idle_timeout,
    )
    return replace(settings, login=login, spool=replace(settings.spool, max_size=schedule.spool_size))


@contextmanager
def _lowered(limits: dict[tuple[str, str], int]) -> Iterator[None]:
    """The product's limits, lowered for one run."""
    modules = {name: importlib.import_module(f"gateway.receive.{name}") for name, _ in LIMITS}
    before = {key: getattr(modules[key[0]], key[1]) for key in limits}
    for (module, name), value in limits.items():
        setattr(modules[module], name, value)
    try:
        yield
    finally:
        for (module, name), value in before.items():
            setattr(modules[module], name, value)


@contextmanager
def _logs_to(world: World) -> Iterator[None]:
    """Log lines become part of the trace; one with a traceback is a bug."""
    before = structlog.get_config()

    def take(_: Any, method: str, event: dict[str, Any]) -> Any:
        life = world.life
        if life is not None and not life.dead and world.failure is None:
            world.note("log", event["event"], event.get("error", ""))
            if method == "exception":
                import traceback

                world.fail(f"{event['event']}: {traceback.format_exc()}")
        raise structlog.DropEvent

    structlog.configure(processors=[take], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


def simulate(seed: int, *, trace: bool = False) -> World:
    """Run one seed; raises `Violation`."""
    world = World(draw(seed), trace=trace)
    gc.disable()
    try:
        world.run()
    finally:
        gc.enable()
    return world
