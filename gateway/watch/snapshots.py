"""The fleet's state kept in the store: a restart neither forgets nor invents.

    gateway_state 'listening'     the listening clock, a heartbeat
                  'fleet'         how the pieces are laid out, and up to when they know
                  'fleet.N'       rows N × CHUNK and on; only those that changed are written

What was committed after the snapshot is read back from the records themselves, before the listening clock learns of
the time in which the service was down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import structlog

from gateway.watch.contacts import LIVE_WITHIN
from gateway.watch.fleet import CHUNK, KEPT, Fleet
from ticketing.store import Pool

log = structlog.get_logger()

LISTENING = "listening"
HEADER = "fleet"
VERSION = 1
MARGIN = 5.0  # s before a snapshot that are read again: a commit may be noted a moment after it
CAUGHT_UP_AT_ONCE = 1000  # terminals a query
CATCH_UP_SECONDS = 10.0  # the start must not wait longer; the rest is heard of with its next frame
RECORDS_EACH = 64  # records of one terminal that catching up reads: four rings of gaps


class Header(msgspec.Struct):
    """Layout of the pieces; `as_of` is Unix seconds."""

    version: int
    rows: int
    as_of: float
    columns: list[tuple[str, str, list[int]]]


async def beat(pool: Pool, fleet: Fleet) -> None:
    """Tell the store that the gateway listens."""
    async with pool.connection() as connection:
        await connection.execute(_SAVE, (LISTENING, fleet.listening.dump()))


async def save(pool: Pool, fleet: Fleet, now: float) -> int:
    """Write what changed since the last snapshot, as one transaction; returns how many pieces that were."""
    pieces = [int(chunk) for chunk in np.flatnonzero(fleet.dirty) if chunk * CHUNK < fleet.rows]
    fleet.dirty[:] = False
    header = Header(VERSION, fleet.rows, now - MARGIN, _columns(fleet))
    try:
        async with pool.connection() as connection, connection.transaction():
            await connection.execute(_SAVE, (LISTENING, fleet.listening.dump()))
            await connection.execute(_SAVE, (HEADER, msgspec.json.encode(header)))
            for piece in pieces:
                # Each piece is taken whole, in one step of the loop. A later one may know more than the header says;
                # reading that again changes nothing.
                await connection.execute(_SAVE, (f"{HEADER}.{piece}", _piece(fleet, piece)))
    except BaseException:
        fleet.dirty[pieces] = True
        raise
    return len(pieces)


async def load(pool: Pool, fleet: Fleet) -> float | None:
    """Restore the last snapshot; returns up to when it knows, None if there is none that this version can read."""
    async with pool.connection() as connection:
        rows = await connection.execute("SELECT value FROM gateway_state WHERE key = %s", (LISTENING,))
        listening = await rows.fetchone()
        if listening is not None:
            fleet.listening.load(bytes(listening[0]))
        rows = await connection.execute("SELECT value FROM gateway_state WHERE key = %s", (HEADER,))
        row = await rows.fetchone()
        if row is None or listening is None:
            return None
        header = msgspec.json.decode(bytes(row[0]), type=Header)
        if header.version != VERSION or header.columns != _columns(fleet):
            log.warning("fleet snapshot of another version: rhythms are learned from the records")
            return None
        fleet.reserve(header.rows)
        for piece in range(-(-header.rows // CHUNK)):
            rows = await connection.execute("SELECT value FROM gateway_state WHERE key = %s", (f"{HEADER}.{piece}",))
            row = await rows.fetchone()
            if row is not None:
                _restore(fleet, piece, bytes(row[0]), header.rows)
    fleet.flush()
    fleet.refresh_limits()
    return header.as_of


async def catch_up(pool: Pool, fleet: Fleet, as_of: float | None, now: float) -> int:
    """Take note of what was committed after `as_of` (None: of each terminal's last records); returns how many records.

    One short index scan per terminal: its newest records by their own time, live ones where a snapshot bounds them.
    """
    async with pool.connection() as connection:
        rows = await connection.execute("SELECT coalesce(max(id), 0) FROM terminal")
        row = await rows.fetchone()
    highest = 0 if row is None else int(row[0])
    since = as_of if as_of is not None else 0.0
    oldest = since - LIVE_WITHIN / 1e6 if as_of is not None else 0.0
    read = 0
    started = time.monotonic()
    for first in range(1, highest + 1, CAUGHT_UP_AT_ONCE):
        async with pool.connection() as connection:
            rows = await connection.execute(
                "SELECT r.terminal, (extract(epoch FROM r.time) * 1000000)::bigint,"
                " (extract(epoch FROM r.received) * 1000000)::bigint, r.flags"
                " FROM generate_series(%s::int, %s::int) AS t(id) CROSS JOIN LATERAL ("
                "   SELECT terminal, time, received, flags FROM record"
                "   WHERE terminal = t.id AND time > to_timestamp(%s) AND time < to_timestamp(%s)"
                "   ORDER BY time DESC LIMIT %s) r"
                " WHERE r.received > to_timestamp(%s)",
                (
                    first,
                    min(first + CAUGHT_UP_AT_ONCE - 1, highest),
                    oldest,
                    now + LIVE_WITHIN / 1e6,
                    RECORDS_EACH,
                    since,
                ),
            )
            found = await rows.fetchall()
        if found:
            read += len(found)
            _apply(fleet, found)
        if time.monotonic() - started > CATCH_UP_SECONDS:
            log.warning("fleet not wholly caught up", terminals=first + CAUGHT_UP_AT_ONCE - 1, of=highest)
            break
        await asyncio.sleep(0)
    log.info("fleet caught up", records=read, terminals=highest, seconds=round(time.monotonic() - started, 3))
    return read


_SAVE = (
    "INSERT INTO gateway_state (key, value, saved_at) VALUES (%s, %s, now())"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, saved_at = excluded.saved_at"
)


def _columns(fleet: Fleet) -> list[tuple[str, str, list[int]]]:
    return [(name, getattr(fleet, name).dtype.str, list(getattr(fleet, name).shape[1:])) for name in KEPT]


def _piece(fleet: Fleet, piece: int) -> bytes:
    rows = slice(piece * CHUNK, min((piece + 1) * CHUNK, fleet.rows))
    return b"".join(getattr(fleet, name)[rows].tobytes() for name in KEPT)


def _restore(fleet: Fleet, piece: int, data: bytes, rows: int) -> None:
    width = sum(getattr(fleet, name)[:1].nbytes for name in KEPT)
    count = min(len(data) // width, rows - piece * CHUNK)
    whole = len(data) // width
    at = 0
    for name in KEPT:
        column: np.ndarray[Any, Any] = getattr(fleet, name)
        step = column[:1].nbytes
        taken = np.frombuffer(data, column.dtype, count * step // column.itemsize, at)
        column[piece * CHUNK : piece * CHUNK + count] = taken.reshape(count, *column.shape[1:])
        at += whole * step


def _apply(fleet: Fleet, found: Sequence[tuple[int, int, int, int]]) -> None:
    columns = np.array(found, np.int64).reshape(-1, 4)
    terminal = columns[:, 0].astype(np.int32)
    fleet.apply(terminal, columns[:, 2], terminal, columns[:, 1], columns[:, 2], columns[:, 3].astype(np.int16))
