"""What a ticket says when it is opened: gathered once, frozen with it.

The last records and connections as they are in the store, the terminal's rhythm, its firmware beside the
catalogue, and the numbers behind the verdict. All queries read a bounded number of rows by index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from detectors import firmware, silence
from detectors.verdicts import Explanation, Finding
from detectors.zones import silence_zone
from gateway.watch.releases import Releases
from ticketing.incidents import Case

RECORDS = 10
CONNECTIONS = 10
SENSORS = ("power.external", "gsm.signal")  # what the zone is judged by

_RECORDS = """
SELECT r.time, r.received, nullif(r.lat, 'NaN') AS lat, nullif(r.lon, 'NaN') AS lon, nullif(r.speed, 'NaN') AS speed,
       nullif(r.satellites, -1::int2) AS satellites, r.flags & 1 <> 0 AS valid, r.flags & 16 <> 0 AS archive,
       record_measures(l.names, r.measures, r.extra) AS measures
FROM record r JOIN layout l ON l.id = r.layout WHERE r.terminal = %s ORDER BY r.time DESC LIMIT %s
"""
_CONNECTIONS = """
SELECT opened_at, closed_at, protocol, address, frames, malformed, reason
FROM connection WHERE terminal = %s ORDER BY id DESC LIMIT %s
"""


async def build_case(
    connection: AsyncConnection[TupleRow], finding: Finding, rhythm: Mapping[str, Any], releases: Releases
) -> Case:
    """Gather the evidence for `finding` and name subject, priority and zone.

    Parameters
    ----------
    rhythm : interval statistics, as the ticket shows them.
    releases : compares the firmware with the catalogue, whatever the finding is about.
    """
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
    zone, confidence, why = _zone(finding, records, connections)
    evidence = {
        "verdict": _explained(finding.explanation),
        "terminal": terminal,
        "rhythm": dict(rhythm),
        "firmware": _explained(releases.compare(terminal["model"], terminal["firmware"], finding.observed_until)),
        "zone": {"zone": zone, "confidence": confidence, "reason": why},
        "records": records,
        "connections": connections,
    }
    subject = str(terminal["name"] or terminal["identity"])
    return Case(finding, subject, evidence, _priority(finding), zone, confidence)


def _zone(finding: Finding, records: list[dict[str, Any]], connections: list[dict[str, Any]]) -> tuple[str, float, str]:
    if finding.kind == firmware.KIND:
        return "firmware", 1.0, finding.explanation.reason
    voltage, signal = (
        np.array([_number(record["measures"].get(name)) for record in reversed(records)], np.float64)
        for name in SENSORS
    )
    return silence_zone(voltage, signal, np.array([row["malformed"] for row in connections], np.int64))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan


def _priority(finding: Finding) -> int:
    """A silent terminal, or firmware known to be bad, before firmware that is merely old."""
    if finding.kind == silence.KIND or finding.explanation.numbers.get("mark") is not None:
        return 2
    return 3


def _explained(explanation: Explanation) -> dict[str, Any]:
    return {"verdict": explanation.verdict.label, "reason": explanation.reason, **explanation.numbers}
