"""Other platforms as consumers: connections on which records are passed on in a terminal's own protocol.

    a record → its terminal's connection (made and logged in when it is first needed) → its answer → told

What a platform answers is told in the words of `publishing`: 0 it has it, `REFUSED` it does not take this record,
`NOT_ALLOWED` not this terminal. Whatever else happens, a lost connection, silence, nonsense, is the consumer being
away: the cursor stays, and what was not answered is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Self

from gateway.egress.awaited import Awaited
from gateway.egress.payloads import Payload
from gateway.egress.publishing import CONNECT, WINDOW, ConsumerError
from gateway.mqtt import Broker
from protocols.errors import UnspeakableError
from protocols.wialon_ips import packets
from protocols.wialon_ips.passing import line

WIALON_IPS = "wialon-ips"  # the URL's scheme
REFUSED = 0x99  # of itself: a record that the platform, or its protocol, does not take
NOT_ALLOWED = 0x87  # a terminal that may not log in there
CONNECTIONS = 500  # of terminals at once; the one that was idle longest makes room
LONGEST = 4096  # bytes of an answer
_VERSION = "2.0"


class Platform(Awaited):
    """What the sender knows of a consumer, of one that takes each terminal on a connection of its own: Wialon IPS."""

    def __init__(self, target: Broker, password: str) -> None:
        """`password`: what each terminal logs in with, in place of the URL's own; empty: none."""
        super().__init__(target)
        self._password = target.password or password
        self._lines: OrderedDict[str, _Line] = OrderedDict()  # by terminal, the one used last at the end
        self._refused: set[str] = set()  # terminals that may not log in, on these connections

    async def __aenter__(self) -> Self:
        """Nothing is connected before there is something to say; whether anybody is there is asked."""
        try:
            async with asyncio.timeout(CONNECT):
                _, writer = await asyncio.open_connection(self._target.host, self._target.port)
        except (OSError, TimeoutError) as error:
            raise ConsumerError(f"{self._target}: {error or 'no answer'}") from error
        writer.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up everywhere."""
        for one in self._lines.values():
            one.close()
        self._lines.clear()

    async def pass_on(self, payload: Payload, told: Callable[[int], None]) -> None:
        """Send when there is room; `told` is called with what became of it.

        Raises
        ------
        ConsumerError
            If a connection is lost, or nothing is answered any more.
        """
        if payload.terminal in self._refused:
            told(NOT_ALLOWED)
            return
        try:
            data = line(payload.record)
        except UnspeakableError:
            told(REFUSED)
            return
        while self._waiting >= WINDOW:
            await self._some_progress()
        self.check()
        found = await self._line(payload.terminal)
        if found is None:
            told(NOT_ALLOWED)
            return
        self._waiting += 1
        found.send(data, told)

    async def _line(self, terminal: str) -> _Line | None:
        """The terminal's connection; None: it may not log in."""
        found = self._lines.get(terminal)
        if found is not None and not found.over:
            self._lines.move_to_end(terminal)
            return found
        while len(self._lines) >= CONNECTIONS:
            idle = next((name for name, one in self._lines.items() if not one.waiting), None)
            if idle is None:
                await self._some_progress()
            else:
                self._lines.pop(idle).close()
        found = _Line(self)
        if not await found.log_in(self._target, terminal, self._password):
            found.close()
            self._refused.add(terminal)
            return None
        self._lines[terminal] = found
        return found


class _Line:
    """A terminal's connection: answers come in the order of what was sent."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._told: deque[Callable[[int], None]] = deque()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self.over = False

    @property
    def waiting(self) -> bool:
        """Whether answers are."""
        return bool(self._told)

    async def log_in(self, target: Broker, terminal: str, password: str) -> bool:
        """Connect, and say who it is; False: it may not."""
        try:
            async with asyncio.timeout(CONNECT):
                self._reader, self._writer = await asyncio.open_connection(target.host, target.port, limit=LONGEST)
                self._writer.write(packets.login(terminal, password, version=_VERSION))
                answer = await self._answer()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            self.close()
            raise ConsumerError(f"{target}: no answer to a login: {error or 'it took too long'}") from error
        except BaseException:
            self.close()
            raise
        if answer.kind != "L":
            self.close()
            raise ConsumerError(f"{target}: a login is answered with #A{answer.kind}#")
        self._reading = asyncio.create_task(self._read())
        return answer.body == "1"

    def send(self, data: bytes, told: Callable[[int], None]) -> None:
        """A record, whose answer is told."""
        assert self._writer is not None  # noqa: S101  # it is logged in
        self._told.append(told)
        self._writer.write(data)

    async def _answer(self) -> packets.Answer:
        assert self._reader is not None  # noqa: S101  # it is connected
        while True:
            answers, _ = packets.read_answers(await self._reader.readuntil(b"\r\n"))
            if answers:  # else a command: not for us
                return answers[0]

    async def _read(self) -> None:
        why = "the connection is lost"
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                answer = await self._answer()
                if answer.kind not in ("D", "B") or not self._told:
                    why = f"#A{answer.kind}# answers nothing"
                    break
                taken = answer.releases() == 1
                self._told.popleft()(0 if taken else REFUSED)
                self._platform.answered(taken=taken)
        self.over = True
        if self._told:  # else it only hung up on one who had nothing to say
            self._platform.lose(why)

    def close(self) -> None:
        """Hang up."""
        self.over = True
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()
