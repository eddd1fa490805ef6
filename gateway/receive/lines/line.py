"""A line as a source of records: its poller's rounds wait here until they are durable.

    poller (thread) → waiting → conversation, once it is let in → pipeline → committed: forgotten
                                                                           → abandoned: waits again, and comes again

A terminal keeps what was not acknowledged; a sensor keeps nothing. So the line does, for as long as store and spool
both refuse, up to a bound.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import structlog

from gateway.configuration.carriers import Serial
from gateway.metrics import add_counts
from gateway.receive.conversation import Conversation
from gateway.receive.conversations import Conversations
from gateway.receive.limits import Pace
from gateway.receive.lines.poller import Poller
from protocols.records import Frame, Login, Message, Quarantined, Reply

_log = structlog.get_logger()

KEPT = 10_000  # rounds of one line: more than a day of them every 10 s, some MB
WINDOW = 100  # rounds on their way at once: the rest comes behind them
AGAIN = (1.0, 30.0)  # s before a line that was not let in, or not stored, tries again: at first, at most


class _Wire:
    """What carries a line's conversation: nothing is written, and nobody is read."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def write(self, data: bytes) -> None:
        """A sensor is told nothing."""

    def pause_reading(self) -> None:
        """Rounds wait in the line."""

    def resume_reading(self) -> None:
        """There is room again."""
        self._line.pump()

    def close(self) -> None:
        """The conversation has ended."""
        asyncio.get_running_loop().call_soon(self._line.over, self)

    abort = close


class _Conversation(Conversation):
    """One line that speaks for its terminal. It replaces nobody: the terminal may be connected besides."""

    __slots__ = ("_line",)

    def __init__(self, shared: Conversations, protocol: int, line: Line) -> None:
        super().__init__(shared, protocol, "line")
        self._line = line

    @property
    def host(self) -> str:
        """The port."""
        return self.address

    def _may_log_in(self) -> bool:
        return True  # nobody from outside made it

    def _new_link(self) -> int:
        return 0

    def _came(self, login: Login, protocol: str) -> None:
        shared = self._shared
        opened = self.opened + shared.offset
        self._history = shared.history.opened(self.terminal, protocol, self.address, opened, self.listener)
        if shared.speaker(self.terminal) is None:
            shared.logged_in(self)

    def supersede(self, reason: str) -> None:
        """The terminal itself has connected: both go on."""

    def committed(
        self, items: Sequence[Frame | Message | Reply], refused: Sequence[Sequence[Quarantined]] = ()
    ) -> None:
        """These rounds are durable."""
        self._line.durable(items)
        super().committed(items, refused)

    def _paced(self, pace: Pace, items: Sequence[Frame | Message | Reply]) -> None:
        """It sends no faster than it is configured to."""


class Line:
    """One `[[serial]]`: its poller, and its rounds that are not durable yet."""

    def __init__(self, shared: Conversations, settings: Serial, *, kept: int = KEPT) -> None:
        self.settings = settings
        self.dropped = 0
        self._kept = kept
        self._shared = shared
        self._number = next(n for n, p in enumerate(shared.protocols) if p.name == settings.protocol)
        self._waiting: deque[bytes] = deque()  # oldest first
        self._sent: dict[bytes, None] = {}  # on their way, older than those
        self._conversation: _Conversation | None = None
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._pause = AGAIN[0]
        self._ending = False
        self.poller = Poller(settings, self._told)

    def start(self) -> None:
        """Poll."""
        self._open()
        self.poller.start()

    def _told(self, round_: bytes) -> None:
        """From the poller's thread."""
        try:
            self._loop.call_soon_threadsafe(self._take, round_)
        except RuntimeError:  # the loop has ended
            return

    def _take(self, round_: bytes) -> None:
        if len(self._waiting) >= self._kept:
            if not self.dropped:
                _log.error("rounds of a line are lost: neither store nor spool takes them", port=self.settings.port)
            self.dropped += 1
            self._waiting.popleft()
        self._waiting.append(round_)
        self.pump()

    # -- the conversation ---------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._again = None
        if self._ending:
            return
        conversation = self._conversation = _Conversation(self._shared, self._number, self)
        conversation.address = self.settings.port
        conversation.listener = f"{self.settings.protocol} {self.settings.port}"
        conversation.opened = self._shared.now()
        conversation.begin(_Wire(self))
        conversation.log_in(Login(self.settings.terminal))
        self.pump()

    def pump(self) -> None:
        """Send what waits, while it is taken."""
        conversation = self._conversation
        while (
            conversation is not None
            and conversation.logged_in
            and not (conversation.pauses or conversation.closing)
            and len(self._sent) < WINDOW
            and self._waiting
        ):
            round_ = self._waiting.popleft()
            self._sent[round_] = None
            conversation.receive(round_)

    def durable(self, items: Sequence[Frame | Message | Reply]) -> None:
        """These need not be kept any more."""
        for item in items:
            self._sent.pop(item.data, None)
        self._pause = AGAIN[0]
        if self._waiting:
            self._loop.call_soon(self.pump)

    def over(self, wire: _Wire | None = None) -> None:
        """The conversation, that of `wire`, has ended: another follows, and begins with what it did not keep."""
        conversation = self._conversation
        if conversation is None or (wire is not None and conversation.wire is not wire):
            return
        self._conversation = None
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        conversation.lost(None)
        if not self._ending and self._again is None:
            self._again = self._loop.call_later(self._pause, self._open)
            self._pause = min(2 * self._pause, AGAIN[1])

    # -- the end ------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask no more."""
        self.poller.stop()

    @property
    def busy(self) -> bool:
        """Whether it still asks, or what it took is not durable."""
        let_in = self._conversation is not None and self._conversation.logged_in
        return self.poller.is_alive() or (let_in and bool(self._sent or self._waiting))

    def close(self) -> None:
        """It is over; rounds that were not taken are lost."""
        self._ending = True
        if self._again is not None:
            self._again.cancel()
        if self._conversation is not None:
            self._conversation.stop()
            self.over()
        if self._waiting:
            _log.warning("rounds of a line were not stored", port=self.settings.port, rounds=len(self._waiting))


class Lines:
    """All lines of the process that polls them."""

    def __init__(self, shared: Conversations) -> None:
        self._shared = shared
        self._lines: list[Line] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._freed: dict[str, asyncio.Task[None]] = {}  # by port: done when nobody before has it any more
        self._before: dict[str, dict[str, int]] = {}  # what lines that are gone counted, by port

    def apply(self, wanted: Sequence[Serial]) -> None:
        """Poll these lines; one whose settings are as they were goes on undisturbed."""
        stay = [line for line in self._lines if line.settings in wanted]
        leave = {line.settings.port: line for line in self._lines if line not in stay}
        kept = [line.settings for line in stay]
        self._lines = stay
        for settings in wanted:
            if settings not in kept:
                line = Line(self._shared, settings)
                self._lines.append(line)
                before = leave.pop(settings.port, None)
                if before is None and settings.port not in self._freed:
                    line.start()
                else:
                    self._follow(settings.port, before, line)
        for line in leave.values():
            self._follow(line.settings.port, line, None)

    def _follow(self, port: str, before: Line | None, line: Line | None) -> None:
        """`line` has the port once `before` has ended, and whoever was there before that: reloads may come quickly."""
        task = asyncio.get_running_loop().create_task(self._replace(self._freed.get(port), before, line))
        self._leaving.add(task)
        self._freed[port] = task

        def done(task: asyncio.Task[None]) -> None:
            self._leaving.discard(task)
            if self._freed.get(port) is task:
                del self._freed[port]

        task.add_done_callback(done)

    async def _replace(self, freed: asyncio.Task[None] | None, before: Line | None, line: Line | None) -> None:
        if before is not None:
            await self._end([before])
        if freed is not None:
            await asyncio.wait({freed})
        if line is not None and line in self._lines:
            line.start()

    async def stop(self, timeout: float = 4.0) -> None:
        """Ask no more, and wait until what was taken is durable, as long as `timeout` s."""
        lines, self._lines = self._lines, []
        await asyncio.gather(self._end(lines, timeout), *self._leaving, return_exceptions=True)

    async def _end(self, lines: list[Line], timeout: float = 4.0) -> None:
        for line in lines:
            line.stop()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while any(line.busy for line in lines) and loop.time() < deadline:  # noqa: ASYNC110  # threads set no event
            await asyncio.sleep(0.02)
        for line in lines:
            line.close()
            add_counts(self._before, {line.settings.port: line.poller.results})

    def results(self) -> dict[str, dict[str, int]]:
        """Requests by port and result."""
        total: dict[str, dict[str, int]] = {}
        add_counts(total, self._before)
        for line in self._lines:
            add_counts(total, {line.settings.port: line.poller.results.copy()})
        return total
