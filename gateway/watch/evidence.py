"""What a ticket says when it is opened: gathered once, frozen with it.

The last records, with litres where calibrations hold, and connections as they are in the store, what each detector has
to say of the terminal (its rhythm, its firmware beside the catalogue), and the numbers behind the verdict. All queries
read a bounded number of rows by index.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from detectors.detector import Connected, Past
from detectors.gaps import Floats
from detectors.verdicts import Finding
from gateway.store.calibrations import tables, volumes
from gateway.watch.fleet import Fleet
from ticketing.incidents import Case

RECORDS = 10
CONNECTIONS = 10
_CORE = frozenset({"ignition", "moving", "valid", "satellites", "speed"})  # of a record, beside its measures

_RECORDS = """
SELECT r.time, r.received, nullif(r.lat, 'NaN') AS lat, nullif(r.lon, 'NaN') AS lon, nullif(r.speed, 'NaN') AS speed,
       nullif(r.satellites, -1::int2) AS satellites, r.flags & 1 <> 0 AS valid, r.flags & 16 <> 0 AS archive,
       CASE WHEN r.flags & 2 <> 0 THEN r.flags & 4 <> 0 END AS ignition, r.flags & 8 <> 0 AS moving,
       record_measures(l.names, r.measures, r.extra) AS measures
FROM record r JOIN layout l ON l.id = r.layout WHERE r.terminal = %s ORDER BY r.time DESC LIMIT %s
"""
_CONNECTIONS = """
SELECT opened_at, closed_at, protocol, address, frames, malformed, reason
FROM connection WHERE terminal = %s ORDER BY id DESC LIMIT %s
"""


async def build_case(connection: AsyncConnection[TupleRow], finding: Finding, fleet: Fleet) -> Case:
    """Gather the evidence for `finding` and name subject, priority and zone; every detector adds what it knows."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT identity, name, protocol, coalesce(model_told, model, 'protocol:' || protocol) AS model, firmware"
            " FROM terminal WHERE id = %s",
            (finding.terminal,),
        )
        terminal = await cursor.fetchone() or {
            "identity": f"row {finding.terminal}",
            "name": None,
            "model": None,
            "firmware": None,
        }
        await cursor.execute(_RECORDS, (finding.terminal, RECORDS))
        records = await cursor.fetchall()
        await cursor.execute(_CONNECTIONS, (terminal["identity"], CONNECTIONS))
        connections = await cursor.fetchall()
    calibrated = await tables(connection, terminal["identity"])
    for record in records:
        record["measures"] |= volumes(record["measures"], calibrated, record["time"])
    detector = fleet.detectors[finding.kind]
    past = Past(
        lambda name: _measure(records, name),
        np.array([connection["malformed"] for connection in connections], np.int64),
        [_connected(connection, records) for connection in connections],
        fleet.verdicts_of(finding.terminal),
    )
    zone = detector.zone(finding.explanation, past)
    evidence: dict[str, Any] = {"verdict": finding.explanation.told(), "terminal": terminal}
    for kind, each in fleet.detectors.items():
        evidence |= each.evidence(fleet.view(kind), finding.terminal, terminal)
    evidence |= {
        "zone": {
            "zone": zone.zone,
            "confidence": zone.confidence,
            "reason": zone.reason,
            "for": zone.spoke_for,
            "against": zone.spoke_against,
        },
        "records": records,
        "connections": connections,
    }
    subject = str(terminal["name"] or terminal["identity"])
    return Case(finding, subject, evidence, detector.priority(finding.explanation), zone.zone, zone.confidence)


def _measure(records: list[dict[str, Any]], name: str) -> Floats:
    """Oldest first; NaN where it was not told, or is no number."""
    if name in _CORE:
        return np.array([_number(record[name]) for record in reversed(records)], np.float64)
    told = [record["measures"].get(name) for record in reversed(records)]
    return np.array([np.nan if isinstance(value, bool) else _number(value) for value in told], np.float64)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _connected(connection: dict[str, Any], records: list[dict[str, Any]]) -> Connected:
    later = bool(records) and connection["opened_at"] > max(record["received"] for record in records)
    return Connected(later, connection["frames"], connection["malformed"], connection["reason"] or "")
