"""Keys of stored records to what consumers are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, NamedTuple

import msgspec
import numpy as np
import psycopg
from numpy.typing import NDArray

from gateway.record_objects import record_objects
from gateway.store.copy import EPOCH
from protocols.errors import UnknownProtocolError
from protocols.records import Batch, Int64s, MeasureGroup
from protocols.registry import protocol

# An instant by whole days and the rest: exact for any that PostgreSQL can hold, which one float of µs is not.
_DAY = 86_400_000_000  # µs
# Texts of more than so many bytes are read one record at a time, so that what a page holds is bounded.
SMALL = 8 << 10
NAMES = 200_000  # identities and layouts that are remembered: some 30 MB

_ROWS: LiteralString = """
SELECT k.n::int4, r.lat, r.lon, r.altitude, r.speed, r.course, r.satellites, r.flags, r.layout, r.measures,
       CASE WHEN octet_length(r.extra::text) <= {small} THEN r.extra END,
       coalesce(octet_length(r.extra::text), 0) > {small}
FROM unnest(%(terminal)s::int4[], %(day)s::int4[], %(rest)s::int8[], %(fingerprint)s::int8[])
     WITH ORDINALITY AS k(terminal, day, rest, fingerprint, n)
JOIN {table} r ON r.terminal = k.terminal AND r.fingerprint = k.fingerprint
     AND r.time = timestamptz '2000-01-01 00:00:00+00' + k.day * interval '1 day' + k.rest * interval '1 microsecond'
"""
_EXTRA: LiteralString = """
SELECT r.extra FROM {table} r WHERE r.terminal = %(terminal)s AND r.fingerprint = %(fingerprint)s
     AND r.time = timestamptz '2000-01-01 00:00:00+00'
                  + %(day)s * interval '1 day' + %(rest)s * interval '1 microsecond'
"""


class Known(NamedTuple):
    """What is known of a terminal."""

    identity: str
    digits: int  # of a second's fraction that its protocol always tells


@dataclass(slots=True)
class Payload:
    """A record to be sent; `large`: its texts are still to be read, see `Payloads.whole`."""

    terminal: str
    record: dict[str, Any]
    large: bool

    def encoded(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self.record)


class Payloads:
    """Reads records over one connection."""

    def __init__(self, link: psycopg.AsyncConnection[Any]) -> None:
        self._link = link
        self._terminals: dict[int, Known] = {}
        self._layouts: dict[int, tuple[str, ...]] = {}

    async def read(self, keys: NDArray[Any]) -> list[Payload | None]:
        """The records of these keys (`gateway.store.feed.KEY`), shape (n,); None: it is not in the store any more."""
        found = await self._rows("record", keys)
        missing = np.setdiff1d(np.arange(len(keys)), [row[0] for row in found])
        if len(missing):  # dated far away: in the other table
            found += [(int(missing[row[0]]), *row[1:]) for row in await self._rows("record_outside", keys[missing])]
        payloads: list[Payload | None] = [None] * len(keys)
        if not found:
            return payloads
        places = [row[0] for row in found]
        await self._learn(keys["terminal"][places], [row[8] for row in found])
        batch = self._batch(keys[places], found)
        for place, _, record in record_objects(batch):
            key = keys[places[place]]
            terminal = self._terminals[int(key["terminal"])].identity
            record["terminal"], record["id"] = terminal, identifier(key)
            payloads[places[place]] = Payload(terminal, record, found[place][11])
        return payloads

    async def whole(self, payload: Payload, key: Any) -> None:
        """Read the texts of a large one."""
        day, rest = divmod(int(key["time"]), _DAY)
        values = {"terminal": int(key["terminal"]), "fingerprint": int(key["fingerprint"]), "day": day, "rest": rest}
        for table in ("record", "record_outside"):
            cursor = await self._link.execute(_EXTRA.format(table=table), values)
            row = await cursor.fetchone()
            if row is not None:
                payload.record["measures"].update(row[0])
                break
        payload.large = False

    async def _rows(self, table: LiteralString, keys: NDArray[Any]) -> list[tuple[Any, ...]]:
        day, rest = np.divmod(keys["time"].astype(np.int64), _DAY)
        cursor = self._link.cursor(binary=True)
        await cursor.execute(
            _ROWS.format(table=table, small=SMALL),
            {
                "terminal": keys["terminal"].tolist(),
                "day": day.tolist(),
                "rest": rest.tolist(),
                "fingerprint": keys["fingerprint"].tolist(),
            },
        )
        return [(row[0] - 1, *row[1:]) for row in await cursor.fetchall()]

    async def _learn(self, terminals: NDArray[Any], layouts: Sequence[int]) -> None:
        """Identities and layouts that are not known yet."""
        if len(self._terminals) > NAMES or len(self._layouts) > NAMES:
            self._terminals.clear()
            self._layouts.clear()
        new = sorted(set(terminals.tolist()) - self._terminals.keys())
        if new:
            cursor = await self._link.execute("SELECT id, identity, protocol FROM terminal WHERE id = ANY(%s)", (new,))
            for row, identity, spoken in await cursor.fetchall():
                self._terminals[row] = Known(identity, _digits(spoken))
        unknown = sorted(set(layouts) - self._layouts.keys())
        if unknown:
            cursor = await self._link.execute("SELECT id, names FROM layout WHERE id = ANY(%s)", (unknown,))
            self._layouts.update({row: tuple(names) for row, names in await cursor.fetchall()})

    def _batch(self, keys: NDArray[Any], found: Sequence[tuple[Any, ...]]) -> Batch:
        """The rows as the columns they were stored from."""
        n = len(found)
        _, lat, lon, altitude, speed, course, satellites, flags, layout, measures, extra, _ = zip(*found, strict=True)
        groups = []
        of_layout: dict[int, list[int]] = {}
        for row, identifier in enumerate(layout):
            of_layout.setdefault(identifier, []).append(row)
        for identifier, rows in of_layout.items():
            names = self._layouts[identifier]
            if names:
                values = np.array([measures[row] for row in rows], np.float64)
                groups.append(MeasureGroup(names, np.array(rows, np.intp), values))
        time = keys["time"].astype(np.int64) + EPOCH
        always = [self._terminals[terminal].digits for terminal in keys["terminal"].tolist()]
        return Batch(
            frame=np.arange(n, dtype=np.int32),
            position=np.zeros(n, np.int32),
            time=time,
            lat=np.array(lat),
            lon=np.array(lon),
            altitude=np.array(altitude, np.float32),
            speed=np.array(speed, np.float32),
            course=np.array(course, np.float32),
            satellites=np.array(satellites, np.int16),
            flags=np.array(flags, np.int16),
            fingerprint=keys["fingerprint"].astype(np.int64),
            groups=groups,
            extra={row: told for row, told in enumerate(extra) if told},
            time_digits=np.maximum(np.array(always, np.int8), digits_of(time)),
        )


def _digits(name: str | None) -> int:
    try:
        return protocol(name or "").time_digits
    except UnknownProtocolError:
        return 0


def digits_of(time: Int64s) -> NDArray[np.int8]:
    """How many digits the fraction of a second has, trailing zeros left out; `time` in µs."""
    rest = time % 1_000_000
    digits = np.zeros(len(time), np.int8)
    for count in range(1, 7):
        digits[rest % 10 ** (7 - count) != 0] = count
    return digits


def identifier(key: Any) -> str:
    """What tells a record from all others of this store, whenever and however often it is sent."""
    fingerprint = int(key["fingerprint"]) & 0xFFFF_FFFF_FFFF_FFFF
    return f"{int(key['terminal'])}-{int(key['time']) + EPOCH}-{fingerprint:016x}"
