"""Other platforms that take all terminals on one connection: Wialon Retranslator and EGTS.

    a record → a packet that names its terminal → its answer → told

Wialon Retranslator has one word, that a packet is taken, in the order of the packets; EGTS confirms each record by its
number, with a code. Whatever else happens, a lost connection, silence, nonsense, is the consumer being away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Self

from gateway.egress.awaited import Awaited
from gateway.egress.payloads import Payload
from gateway.egress.platforms import NOT_ALLOWED, REFUSED
from gateway.egress.publishing import CONNECT, QUOTA, STALL, WINDOW, ConsumerError
from gateway.mqtt import Broker
from protocols.egts import passing as egts
from protocols.egts import wire as egts_wire
from protocols.errors import UnspeakableError
from protocols.wialon_retranslator import passing as retranslator
from protocols.wialon_retranslator import wire as retranslator_wire

Told = Callable[[int], None]
_READ = 1 << 16  # bytes at once
_CODES = {
    egts_wire.OBJECT_UNKNOWN: NOT_ALLOWED, egts_wire.ID_UNKNOWN: NOT_ALLOWED, egts_wire.AUTH_DENIED: NOT_ALLOWED,
    egts_wire.NO_RESOURCES: QUOTA,
}  # fmt: skip


class _NonsenseError(Exception):
    """Bytes that are no answer; says which."""


class _Spoken(Protocol):
    """One connection of a protocol, sans-IO."""

    ready: bool  # records may be sent

    def hello(self) -> bytes: ...

    def packet(self, terminal: str, record: Mapping[str, Any], told: Told) -> bytes | None:
        """A record, whose answer is told; None: its terminal cannot be named. Raises UnspeakableError."""

    def hear(self, data: bytes) -> Iterator[tuple[Told, int]]:
        """What is told of which record; raises _NonsenseError."""

    def words(self) -> bytes:
        """What is to be said in answer."""


class _Retranslator:
    """Answers come in the order of what was sent."""

    def __init__(self, _target: Broker) -> None:
        self.ready = True
        self._told: deque[Told] = deque()

    def hello(self) -> bytes:
        return b""

    def packet(self, terminal: str, record: Mapping[str, Any], told: Told) -> bytes | None:
        uid = retranslator.object_id(terminal)
        if uid is None:
            return None
        data = retranslator.packet(uid, record)
        self._told.append(told)
        return data

    def hear(self, data: bytes) -> Iterator[tuple[Told, int]]:
        for byte in data:
            if byte != retranslator_wire.ACCEPTED[0] or not self._told:
                raise _NonsenseError(f"{byte:02x} answers nothing")
            yield self._told.popleft(), 0

    def words(self) -> bytes:
        return b""


class _Egts:
    """A dispatcher's connection: records are confirmed by their numbers, in any order."""

    def __init__(self, target: Broker) -> None:
        self.ready = False
        self._dispatcher = int(target.user or 0)
        self._number = 0
        self._told: dict[int, Told] = {}
        self._buffer = bytearray()
        self._words = bytearray()

    def _next(self) -> int:
        self._number = self._number % 0xFFFF + 1
        while self._number in self._told:
            self._number = self._number % 0xFFFF + 1
        return self._number

    def hello(self) -> bytes:
        return egts.dispatcher_login(self._dispatcher, self._next())

    def packet(self, terminal: str, record: Mapping[str, Any], told: Told) -> bytes | None:
        oid = egts.object_id(terminal)
        if oid is None:
            return None
        number = self._next()
        data = egts.packet(oid, record, number)
        self._told[number] = told
        return data

    def words(self) -> bytes:
        words = bytes(self._words)
        self._words.clear()
        return words

    def hear(self, data: bytes) -> Iterator[tuple[Told, int]]:
        self._buffer += data
        while len(self._buffer) >= egts_wire.HEAD:
            head = self._buffer[3]
            if self._buffer[0] != 1 or head not in (egts_wire.HEAD, egts_wire.ROUTED_HEAD):
                raise _NonsenseError(f"{bytes(self._buffer[:4]).hex()} begins no packet")
            if len(self._buffer) < head:
                return
            if egts_wire.crc8(bytes(self._buffer[: head - 1])) != self._buffer[head - 1]:
                raise _NonsenseError("a header's checksum is wrong")
            size = self._buffer[5] | self._buffer[6] << 8
            whole = head + size + (2 if size else 0)
            if len(self._buffer) < whole:
                return
            packet = bytes(self._buffer[:whole])
            del self._buffer[:whole]
            body = packet[head : head + size]
            if size and egts_wire.crc16(body) != int.from_bytes(packet[-2:], "little"):
                raise _NonsenseError("a packet's checksum is wrong")
            yield from self._packet(packet[9], packet[7] | packet[8] << 8, body)

    def _packet(self, kind: int, number: int, body: bytes) -> Iterator[tuple[Told, int]]:
        at = 3 if kind == egts_wire.RESPONSE else 0
        records, bad = egts_wire.records(body, at, len(body))
        if bad >= 0 or len(body) < at:
            raise _NonsenseError("a packet's records do not end in it")
        for one in records:
            for told, content in egts_wire.subrecords(body[one.at : one.end]):
                if told == egts_wire.RECORD_RESPONSE and len(content) >= 3:
                    yield from self._confirmed(content[0] | content[1] << 8, content[2])
                elif told == egts_wire.RESULT_CODE and content and one.service == egts_wire.AUTH:
                    if content[0]:
                        raise _NonsenseError(f"the login is answered with result code {content[0]}")
                    self.ready = True
        if kind == egts_wire.RESPONSE and body[2] > egts_wire.IN_PROGRESS:  # packets and records are numbered alike
            yield from self._confirmed(body[0] | body[1] << 8, body[2])
        if kind != egts_wire.RESPONSE and records:
            heard = [(one.number, one.service, egts_wire.OK) for one in records]
            self._words += egts_wire.response(self._next(), self._next(), number, egts_wire.OK, heard)

    def _confirmed(self, number: int, result: int) -> Iterator[tuple[Told, int]]:
        if result == egts_wire.IN_PROGRESS:  # the outcome follows
            return
        told = self._told.pop(number, None)
        if told is not None:
            yield told, 0 if result == egts_wire.OK else _CODES.get(result, REFUSED)
        elif result != egts_wire.OK and not self.ready:
            raise _NonsenseError(f"the login is answered with result code {result}")


SPOKEN: dict[str, Callable[[Broker], _Spoken]] = {"wialon-retranslator": _Retranslator, "egts": _Egts}


class Relay(Awaited):
    """What the sender knows of a consumer that takes all terminals on one connection."""

    def __init__(self, target: Broker) -> None:
        super().__init__(target)
        self._spoken = SPOKEN[target.scheme](target)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect, and log in where the protocol has a login."""
        try:
            async with asyncio.timeout(CONNECT):
                self._reader, self._writer = await asyncio.open_connection(self._target.host, self._target.port)
                self._writer.write(self._spoken.hello())
                while not self._spoken.ready:
                    data = await self._reader.read(_READ)
                    if not data:
                        raise ConsumerError(f"{self._target}: a login is answered by hanging up")
                    self._hear(data)
        except (OSError, TimeoutError, _NonsenseError) as error:
            await self.__aexit__()
            raise ConsumerError(f"{self._target}: {error or 'no answer'}") from error
        except BaseException:
            await self.__aexit__()
            raise
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()

    async def pass_on(self, payload: Payload, told: Told) -> None:
        """Send when there is room; `told` is called with what became of it.

        Raises
        ------
        ConsumerError
            If the connection is lost, or nothing is answered any more.
        """
        assert self._writer is not None  # noqa: S101  # it is connected
        while self._waiting >= WINDOW:
            await self._some_progress()
        self.check()
        try:
            data = self._spoken.packet(payload.terminal, payload.record, told)
        except UnspeakableError:
            told(REFUSED)
            return
        if data is None:  # nothing that the platform could change
            told(REFUSED)
            return
        self._waiting += 1
        self._writer.write(data)
        try:
            async with asyncio.timeout(STALL):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise ConsumerError(f"{self._target}: {error or 'it reads nothing'}") from error

    def _hear(self, data: bytes) -> None:
        assert self._writer is not None  # noqa: S101  # it is connected
        for told, code in self._spoken.hear(data):
            told(code)
            self.answered(taken=code == 0)
        words = self._spoken.words()
        if words:
            self._writer.write(words)

    async def _read(self) -> None:
        assert self._reader is not None  # noqa: S101  # it is connected
        why = "the connection is lost"
        with contextlib.suppress(OSError):
            while data := await self._reader.read(_READ):
                try:
                    self._hear(data)
                except _NonsenseError as error:
                    why = str(error)
                    break
        self.lose(why)
