"""The fleet's state kept in the store: a restart neither forgets nor invents.

    gateway_state 'listening'       the listening clock, a heartbeat
                  'fleet'           which sets of columns there are, how each is laid out, and up to when they know
                  'fleet.SET.N'     a set's rows N × CHUNK and on; only those that changed are written

A set is restored where each of its columns is one that this version has; columns that have been added since start
fresh. Any other set, one that a later release wrote, or that of a detector that is new, costs the others nothing: it
starts fresh. Either is written anew as a whole.

What was committed after the snapshot is read back from the records themselves, before the listening clock learns of
the time in which the service was down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec
import numpy as np
import structlog

from detectors.columns import LIVE_WITHIN
from detectors.detector import Column
from gateway.store import values
from gateway.watch.columns import plain
from gateway.watch.fleet import ALL, CHUNK, Fleet
from ticketing.core.db import Pool

log = structlog.get_logger()

LISTENING = "listening"
HEADER = "fleet"
VERSION = 2
MARGIN = 5.0  # s before a snapshot that are read again: a commit may be noted a moment after it
CAUGHT_UP_AT_ONCE = 1000  # terminals a query
CATCH_UP_SECONDS = 10.0  # the start must not wait longer; the rest is heard of with its next frame
RECORDS_EACH = 64  # records of one terminal that catching up reads: four rings of gaps


class Header(msgspec.Struct):
    """Layout of the pieces by set: name, type and shape of each column; `as_of` is Unix seconds."""

    version: int
    rows: int
    as_of: float
    sets: dict[str, list[tuple[str, str, list[int]]]]


async def beat(pool: Pool, fleet: Fleet) -> None:
    """Tell the store that the gateway listens."""
    async with pool.connection() as connection:
        await values.save(connection, LISTENING, fleet.listening.dump())


async def save(pool: Pool, fleet: Fleet, now: float) -> int:
    """Write what changed since the last snapshot, as one transaction; returns how many pieces that were."""
    pieces = []
    for name, dirty in fleet.dirty.items():
        chunks = np.flatnonzero(dirty[: -(-fleet.rows // CHUNK)])
        dirty[chunks] = False
        if _kept(fleet, name):
            pieces += [(name, int(chunk)) for chunk in chunks]
    header = Header(VERSION, fleet.rows, now - MARGIN, _layouts(fleet))
    try:
        async with pool.connection() as connection, connection.transaction():
            await values.save(connection, LISTENING, fleet.listening.dump())
            await values.save(connection, HEADER, msgspec.json.encode(header))
            for name, piece in pieces:
                # Each piece is taken whole, in one step of the loop. A later one may know more than the header says;
                # reading that again changes nothing.
                await values.save(connection, f"{HEADER}.{name}.{piece}", _piece(fleet, name, piece))
    except BaseException:
        for name, piece in pieces:
            fleet.dirty[name][piece] = True
        raise
    return len(pieces)


async def load(pool: Pool, fleet: Fleet) -> float | None:
    """Restore the last snapshot; returns up to when it knows, None if there is none that this version can read."""
    async with pool.connection() as connection:
        listening = await values.read(connection, LISTENING)
        if listening is not None:
            fleet.listening.load(listening)
        kept = await values.read(connection, HEADER)
        if kept is None or listening is None:
            return None
        layouts = _layouts(fleet)
        header = _header(kept)
        if header is None or header.sets.get(ALL) != layouts[ALL]:
            log.warning("fleet snapshot of another version: it is learned from the records")
            return None
        fleet.reserve(header.rows)
        for name, layout in layouts.items():
            kept_layout = header.sets.get(name, [])
            if kept_layout != layout:
                fleet.dirty[name][:] = True  # whatever lies there is of other rows, of another time or another layout
            if not kept_layout or any(column not in layout for column in kept_layout):
                log.warning("no snapshot of these columns: they start fresh", columns=name)
                continue
            for piece in range(-(-header.rows // CHUNK)):
                key = f"{HEADER}.{name}.{piece}"
                data = await values.read(connection, key)
                if data is not None:
                    _restore(fleet, name, piece, data, header.rows, [column for column, _, _ in kept_layout])
    fleet.look_again()
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


def _header(data: bytes) -> Header | None:
    """None: not of this version."""
    try:
        header = msgspec.json.decode(data, type=Header)
    except msgspec.ValidationError:
        return None
    return header if header.version == VERSION else None


def _kept(fleet: Fleet, name: str) -> list[Column]:
    return [column for column in fleet.sets[name] if column.kept]


def _layouts(fleet: Fleet) -> dict[str, list[tuple[str, str, list[int]]]]:
    return {
        name: [(column.name, np.dtype(column.dtype).str, list(column.shape)) for column in kept]
        for name in fleet.sets
        if (kept := _kept(fleet, name))
    }


def _piece(fleet: Fleet, name: str, piece: int) -> bytes:
    rows = slice(piece * CHUNK, min((piece + 1) * CHUNK, fleet.rows))
    return b"".join(fleet.column(name, column.name)[rows].tobytes() for column in _kept(fleet, name))


def _restore(fleet: Fleet, name: str, piece: int, data: bytes, rows: int, kept: Sequence[str]) -> None:
    columns = [fleet.column(name, column) for column in kept]
    whole = len(data) // sum(column[:1].nbytes for column in columns)
    count = min(whole, rows - piece * CHUNK)
    at = 0
    for column in columns:
        step = column[:1].nbytes
        taken = np.frombuffer(data, column.dtype, count * step // column.itemsize, at)
        column[piece * CHUNK : piece * CHUNK + count] = taken.reshape(count, *column.shape[1:])
        at += whole * step


def _apply(fleet: Fleet, found: Sequence[tuple[int, int, int, int]]) -> None:
    columns = np.array(found, np.int64).reshape(-1, 4)
    terminal = columns[:, 0].astype(np.int32)
    received, time, flags = columns[:, 2], columns[:, 1], columns[:, 3].astype(np.int16)
    fleet.apply(plain(terminal, received, terminal, time, received, flags))
