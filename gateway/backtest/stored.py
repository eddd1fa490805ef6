"""The stored telemetry as a trace: records and connections by arrival, read as one stream of binary COPY.

Frames without a record leave nothing in the store: a terminal that only sent heartbeats looks silent here. When the
gateway itself did not listen is known as far as its heartbeat tells.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.sql import SQL, Literal

from detectors.zones import IN_ORDER
from gateway.backtest.trace import CONNECTION, CORE, GATEWAY, SLICE, Kind, Slice
from gateway.store import values
from gateway.store.copy import EPOCH, HEADER, TRAILER
from gateway.store.session import fit
from gateway.watch.listening import Beat, decode
from gateway.watch.snapshots import LISTENING
from protocols.records import ARCHIVE, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID

_MEASURES = {  # column -> measure: what zones are told by, beside the voltage
    "voltage": "power.external",
    "gsm.signal": "gsm.signal",
    "power.battery": "power.battery",
    "power.backup": "power.backup",
    "case.open": "case.open",
    "event": "event",
    "unit.id": "unit.id",
}
COLUMNS = ("moving", "archive", "lat", "lon", "speed", "satellites", *_MEASURES, *CONNECTION)
_AHEAD = 2 * 86_400.0  # s that a record of a partition may be dated ahead of its arrival
_FIELDS = (
    ("terminal", ">i4"), ("received", ">i8"), ("time", ">i8"), ("kind", ">i2"), ("flags", ">i2"),
    ("satellites", ">i2"), ("lat", ">f8"), ("lon", ">f8"), ("speed", ">f4"),
    *((name, ">f8") for name in (*_MEASURES, *CONNECTION)),
)  # fmt: skip
_TUPLE = np.dtype(
    [("count", ">i2")] + [part for name, kind in _FIELDS for part in ((f"{name} length", ">i4"), (name, kind))]
)
# A connection that a newer one replaced is told as over before that one begins, so that each end follows its beginning.
_QUERY = """
COPY (
    SELECT r.terminal, r.received, r.time, 0::int2 AS kind, r.flags, r.satellites, r.lat, r.lon, r.speed,
           {measures}, 'NaN'::float8, 'NaN'::float8, 'NaN'::float8
    FROM (SELECT * FROM record WHERE time < {ahead} UNION ALL SELECT * FROM record_outside) r
    JOIN (SELECT id, {places} FROM layout) l ON l.id = r.layout
    WHERE r.received >= {begins} AND r.received < {ends}
    UNION ALL
    SELECT t.id, at, at, kind, 0::int2, -1::int2, 'NaN'::float8, 'NaN'::float8, 'NaN'::float4,
           {nothing}, way.frames, way.malformed, way.ended
    FROM (SELECT *, lead(opened_at) OVER (PARTITION BY terminal ORDER BY id) AS next FROM connection
          WHERE opened_at < {ends} AND (closed_at IS NULL OR closed_at >= {begins})) c
    JOIN terminal t ON t.identity = c.terminal
    CROSS JOIN LATERAL (
        VALUES (opened_at, {connected}::int2, 'NaN'::float8, 'NaN'::float8, 'NaN'::float8),
               (greatest(least(closed_at, next - interval '1 us'), opened_at), {disconnected}::int2, c.frames::float8,
                c.malformed::float8,
                CASE WHEN reason = {in_order} THEN 0 WHEN reason LIKE 'lost%' THEN 1 WHEN reason LIKE '%timeout' THEN 2
                     WHEN reason LIKE 'replaced%' THEN 3 ELSE 4 END::float8)
    ) way (at, kind, frames, malformed, ended)
    WHERE (kind = {connected} OR closed_at IS NOT NULL) AND at >= {begins} AND at < {ends}
    ORDER BY 2, 1, 4
) TO STDOUT (FORMAT BINARY)
"""


class Stored:
    """A store's records that arrived within a period of Unix seconds.

    Attributes
    ----------
    names, columns : as of a `Trace`.
    attributes : what the registry knows of each terminal, by identity.
    """

    columns = (*CORE, *COLUMNS)

    def __init__(self, dsn: str, begins: float, ends: float) -> None:
        self._dsn, self._begins, self._ends = fit(dsn), begins, ends
        with psycopg.connect(self._dsn, autocommit=True) as link:
            found = link.execute(
                "SELECT id, identity, name, protocol, coalesce(model_told, model, 'protocol:' || protocol), firmware"
                " FROM terminal ORDER BY id"
            ).fetchall()
            row = link.execute(values.READ, (LISTENING,)).fetchone()
        self.names = [identity for _, identity, *_ in found]
        attributes = ("name", "protocol", "model", "firmware")
        self.attributes = {
            identity: {name: value for name, value in zip(attributes, values, strict=True) if value}
            for _, identity, *values in found
        }
        self._row = np.full(found[-1][0] + 1 if found else 0, GATEWAY, np.int32)
        self._row[[number for number, *_ in found]] = np.arange(len(found))
        self._own = _own_rows(decode(bytes(row[0])) if row is not None else None, begins, ends)

    def slices(self, size: int = SLICE) -> Iterator[Slice]:
        """Rows in order, at most some `size` at a time."""
        own = self._own
        for tuples in self._tuples(size):
            rows = self._rows(tuples)
            if not len(rows["received"]):
                continue
            before = own["received"] <= rows["received"][-1]
            yield _merged({name: column[before] for name, column in own.items()}, rows)
            own = {name: column[~before] for name, column in own.items()}
        if len(own["received"]):
            yield own

    def _tuples(self, size: int) -> Iterator[NDArray[np.void]]:
        told = range(len(_MEASURES))
        query = SQL(_QUERY).format(
            begins=_instant(self._begins), ends=_instant(self._ends), ahead=_instant(self._ends + _AHEAD),
            measures=SQL(", ").join(SQL(f"coalesce(r.measures[l.m{n}], 'NaN')") for n in told),
            places=SQL(", ").join(
                SQL(f"array_position(names, {{}}) AS m{n}").format(Literal(measure))
                for n, measure in enumerate(_MEASURES.values())
            ),
            nothing=SQL(", ").join([SQL("'NaN'::float8")] * len(_MEASURES)),
            connected=Literal(int(Kind.CONNECTED)), disconnected=Literal(int(Kind.DISCONNECTED)),
            in_order=Literal(IN_ORDER),
        )  # fmt: skip
        wanted, waiting = size * _TUPLE.itemsize, bytearray()
        skipped = False
        with psycopg.connect(self._dsn) as link, link.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY; SET LOCAL work_mem = '128MB'")  # one sort of all of it
            with cursor.copy(query) as stream:
                for piece in stream:
                    waiting += piece
                    if not skipped and len(waiting) >= len(HEADER):
                        del waiting[: len(HEADER)]
                        skipped = True
                    if len(waiting) >= wanted + len(TRAILER):
                        yield np.frombuffer(bytes(waiting[:wanted]), _TUPLE)
                        del waiting[:wanted]
        whole = (len(waiting) - len(TRAILER)) // _TUPLE.itemsize * _TUPLE.itemsize
        if whole > 0:
            yield np.frombuffer(bytes(waiting[:whole]), _TUPLE)

    def _rows(self, tuples: NDArray[np.void]) -> Slice:
        flags = tuples["flags"].astype(np.int16)
        on, known = flags & IGNITION_ON != 0, flags & IGNITION_KNOWN != 0
        satellites = tuples["satellites"].astype(np.float64)
        valid = flags & VALID != 0
        rows: Slice = {
            "terminal": self._row[tuples["terminal"]],
            "received": tuples["received"].astype(np.int64) + EPOCH,
            "time": np.clip(tuples["time"].astype(np.int64), -(1 << 61), 1 << 61) + EPOCH,
            "kind": tuples["kind"].astype(np.int8),
            "ignition": np.where(known, on, -1).astype(np.int8),
            "moving": (flags & MOVING != 0).astype(np.float64),
            "archive": (flags & ARCHIVE != 0).astype(np.float64),
            "satellites": np.where(satellites < 0, np.nan, satellites),
        }
        for name in ("lat", "lon"):
            rows[name] = np.where(valid, tuples[name].astype(np.float64), np.nan)
        for name in ("speed", *_MEASURES, *CONNECTION):
            rows[name] = tuples[name].astype(np.float64)
        registered = rows["terminal"] != GATEWAY  # since the names were read another may have come
        return rows if registered.all() else {name: column[registered] for name, column in rows.items()}


def _own_rows(beat: Beat | None, begins: float, ends: float) -> Slice:
    spans = [(a, b) for a, b in (beat.outages if beat is not None else ()) if b > begins and a < ends]
    told = [(at, kind) for a, b in spans for at, kind in ((max(a, begins), Kind.DEAF), (b, Kind.LISTENING))]
    received = np.array([round(at * 1e6) for at, _ in told], np.int64)
    rows: Slice = {
        "terminal": np.full(len(told), GATEWAY, np.int32),
        "received": received,
        "time": received,
        "kind": np.array([kind for _, kind in told], np.int8),
        "ignition": np.full(len(told), -1, np.int8),
    }
    return rows | {name: np.full(len(told), np.nan) for name in COLUMNS}


def _merged(own: Slice, rows: Slice) -> Slice:
    if not len(own["received"]):
        return rows
    both = {name: np.concatenate([own[name], rows[name]]) for name in rows}
    order = np.argsort(both["received"], kind="stable")
    return {name: column[order] for name, column in both.items()}


def _instant(seconds: float) -> Literal:
    if not np.isfinite(seconds):
        return Literal("infinity" if seconds > 0 else "-infinity")
    return Literal(str(np.datetime64(round(seconds * 1e6), "us")) + "Z")
