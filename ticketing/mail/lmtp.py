"""LMTP (RFC 2033): the mail server on this machine hands mail over, and may forget it only when the store has it.

    C: LHLO, MAIL FROM, RCPT TO …, DATA, the mail      S: 250 for each recipient, after the commit; 4xx: try again

Memory is bounded by what one mail may weigh, not by its number of lines; only CR LF dot CR LF ends a mail, so that none
can be smuggled in another. Whoever may connect may send as anybody: bind it to loopback or a private network.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from psycopg import Error
from psycopg_pool import PoolTimeout

from ticketing.core.db import Pool
from ticketing.core.moments import utc_now
from ticketing.mail.inbox import LARGEST, Arrival, keep

log = structlog.get_logger()

MOST_CONNECTIONS = 20  # of one or two mail servers; each may hold one mail in memory
MOST_RECIPIENTS = 100
LONGEST_LINE = 4096  # of a command
IDLE = 300.0  # s for the next command or piece of a mail (RFC 5321, 4.5.3.2)
COMMITTED_WITHIN = 60.0  # s; then 4xx, and the server sends it again
MOST_ERRORS = 20  # of one connection
_CHUNK = 64 << 10
_END = b"\r\n.\r\n"
_PATH = re.compile(r"(?:FROM|TO):\s{0,5}<(?:@[^:>]{0,500}:)?([^<>\s]{0,320})>(?:\s+(.{0,1000}))?", re.IGNORECASE)
_SIZE = re.compile(r"\bSIZE=([0-9]{1,15})\b", re.IGNORECASE)


class _Over(Exception):  # noqa: N818  # the end of a connection, no error
    """The other side is gone, or has to go."""


@dataclass(slots=True)
class _Envelope:
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)


class Lmtp:
    """The listener.

    Attributes
    ----------
    kept : mails taken, since the start. Those that were there already count too: the server is told 250 alike.
    put_off : mails that got a 4xx.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        clock: Callable[[], datetime] = utc_now,
        largest: int = LARGEST,
        on_kept: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._largest = largest
        self._on_kept = on_kept
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.kept = 0
        self.put_off = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises
        ------
        OSError
            If the address cannot be had.
        """
        self._server = await asyncio.start_server(self._serve, host, port, limit=_CHUNK)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening, and end what is open: a mail without its 250 is sent again."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # the server made one
        self._connections.add(task)
        try:
            if len(self._connections) > MOST_CONNECTIONS:
                await _say(writer, "421 4.3.2 too many connections: try again later")
                return
            await self._talk(reader, writer)
        except (_Over, OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _say(writer, "220 dozor LMTP")
        greeted = False
        errors = 0
        envelope = _Envelope()
        while errors < MOST_ERRORS:
            line = await _line(reader)
            if line is None:
                answer = "500 5.5.2 line too long"
            else:
                verb, _, rest = line.partition(" ")
                match verb.upper():
                    case "LHLO":
                        greeted, envelope = True, _Envelope()
                        answer = (
                            f"250-dozor\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-PIPELINING\r\n250 SIZE {self._largest}"
                        )
                    case "MAIL" if greeted:
                        answer = self._mail(envelope, rest)
                    case "RCPT" if greeted:
                        answer = _recipient(envelope, rest)
                    case "DATA" if greeted and envelope.recipients:
                        await self._data(reader, writer, envelope)
                        envelope = _Envelope()
                        continue
                    case "RSET":
                        envelope = _Envelope()
                        answer = "250 2.0.0 forgotten"
                    case "NOOP":
                        answer = "250 2.0.0 still here"
                    case "VRFY":
                        answer = "252 2.5.0 send it and see"
                    case "QUIT":
                        await _say(writer, "221 2.0.0 bye")
                        return
                    case "MAIL" | "RCPT" | "DATA":
                        answer = "503 5.5.1 out of order: LHLO, MAIL, RCPT, DATA"
                    case _:
                        answer = "500 5.5.2 unknown command: this is LMTP"
            errors += answer.startswith("5")
            await _say(writer, answer)
        await _say(writer, "421 4.7.0 too many errors")

    def _mail(self, envelope: _Envelope, rest: str) -> str:
        found = _PATH.fullmatch(rest)
        if found is None or rest[:4].upper() != "FROM":
            return "501 5.5.4 MAIL FROM:<address>"
        if envelope.sender is not None:
            return "503 5.5.1 there is a sender already: RSET first"
        size = _SIZE.search(found[2] or "")
        if size and int(size[1]) > self._largest:
            return f"552 5.3.4 too large: at most {self._largest} bytes"
        envelope.sender = found[1]
        return "250 2.1.0 sender ok"

    async def _data(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, envelope: _Envelope) -> None:
        """Take a mail, commit it, and only then say 250, once for each recipient."""
        await _say(writer, "354 end with a lone dot")
        raw = await _content(reader, self._largest)
        answer = (
            f"552 5.3.4 too large: at most {self._largest} bytes" if raw is None else await self._keep(raw, envelope)
        )
        await _say(writer, "\r\n".join([answer] * len(envelope.recipients)))

    async def _keep(self, raw: bytes, envelope: _Envelope) -> str:
        arrival = Arrival(raw, "lmtp", envelope.sender, envelope.recipients)
        try:
            async with asyncio.timeout(COMMITTED_WITHIN), self._pool.connection() as connection:
                await keep(connection, arrival, self._clock())
        except (Error, PoolTimeout, OSError, TimeoutError) as error:
            self.put_off += 1
            log.warning("mail put off: the store is away", error=type(error).__name__)
            return "451 4.3.0 the store is away: try again later"
        self.kept += 1
        self._on_kept()
        return "250 2.6.0 kept"


def _recipient(envelope: _Envelope, rest: str) -> str:
    found = _PATH.fullmatch(rest)
    if found is None or rest[:2].upper() != "TO" or not found[1]:
        return "501 5.5.4 RCPT TO:<address>"
    if envelope.sender is None:
        return "503 5.5.1 MAIL first"
    if len(envelope.recipients) >= MOST_RECIPIENTS:
        return f"452 4.5.3 at most {MOST_RECIPIENTS} recipients"
    envelope.recipients.append(found[1])
    return "250 2.1.5 recipient ok"


async def _say(writer: asyncio.StreamWriter, answer: str) -> None:
    writer.write(answer.encode("ascii", "replace") + b"\r\n")
    async with asyncio.timeout(IDLE):
        await writer.drain()


async def _line(reader: asyncio.StreamReader) -> str | None:
    """A command; None of one that is too long, which is read over."""
    try:
        async with asyncio.timeout(IDLE):
            line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        await reader.readexactly(error.consumed)
        raise _Over from None
    if len(line) > LONGEST_LINE:
        return None
    return line.rstrip(b"\r\n").decode("utf-8", "replace")


async def _content(reader: asyncio.StreamReader, largest: int) -> bytes | None:
    """A mail up to the lone dot, stuffed dots taken out; None of one that is too large, which is read over."""
    taken = bytearray(b"\r\n")  # the dot may be the first line
    size = 0
    while True:
        async with asyncio.timeout(IDLE):
            try:
                piece = await reader.readuntil(_END[2:])
            except asyncio.LimitOverrunError as error:
                piece = await reader.readexactly(max(1, error.consumed))
        size += len(piece)
        kept = size <= largest + len(_END)
        if kept:
            taken += piece
        else:  # read over
            taken = bytearray((taken[-len(_END) :] + piece)[-len(_END) :])
        if taken.endswith(_END):
            break
    return bytes(taken[:-3]).replace(b"\r\n.", b"\r\n")[2:] if kept else None
