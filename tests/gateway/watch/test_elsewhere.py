"""A terminal that reports to another service of the store is not silent, even when nobody told us."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from detectors.silence import Silence, SilenceRule
from gateway.watch.columns import plain
from gateway.watch.elsewhere import CheckedIncidents
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from tests.ticketing.desk_parts import MONDAY, add_terminal, execute, fetch, finding, pool_of
from ticketing.incidents import Case
from ticketing.incidents.decisions import Step
from ticketing.tickets.office import Office


@pytest.mark.parametrize(
    ("shared", "stored_at", "outcome"),
    [(True, MONDAY - 5, Step.STALE), (True, MONDAY - 400, Step.OPEN), (False, MONDAY - 5, Step.OPEN)],
)
def test_the_store_is_asked_before_a_silence_is_raised(
    postgres_dsn: str, shared: bool, stored_at: float, outcome: Step
) -> None:
    async def scenario() -> tuple[Step, int]:
        async with pool_of(postgres_dsn) as pool:
            terminal = await add_terminal(pool, "t")
            heard = round((MONDAY - 360) * 1e6)
            listening = Listening()
            listening.advance(MONDAY - 400, 0.0)
            listening.advance(MONDAY, 400.0)
            fleet = Fleet(listening, [Silence(SilenceRule(after=3.0, floor=60.0, ceiling=300.0, learn=3))])
            row, at = np.array([terminal], np.int32), np.array([heard])
            fleet.apply(plain(row, at, row, at, at, np.zeros(1, np.int16)))
            fleet.flush()
            moment = datetime.fromtimestamp(stored_at, UTC)
            await execute(pool, "INSERT INTO layout (names, terminal) VALUES ('{}', %s)", terminal)
            await execute(
                pool, "CREATE TABLE record_test PARTITION OF record FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')"
            )
            await execute(
                pool,
                "INSERT INTO record VALUES (%s, %s, %s, 'NaN', 'NaN', 'NaN', 'NaN', 'NaN', -1, 6, 1, 1, '{}', NULL)",
                terminal, moment, moment,
            )  # fmt: skip
            incidents = CheckedIncidents(
                pool, office=Office(policy="integrator-standard"), fleet=lambda: fleet, shared=lambda: shared
            )

            async def prepare(_: Any) -> Case:
                return Case(finding(terminal), "Truck 12", {})

            def silent() -> bool:
                fleet.flush()
                return MONDAY - float(fleet.received[terminal]) / 1e6 > 300

            # Of many that look silent, those are counted that others heard; unknown rows are nobody.
            assert await incidents.heard_elsewhere([]) == 0
            elsewhere = await incidents.heard_elsewhere([terminal, 7_000])
            assert elsewhere == int(outcome == Step.STALE)
            raised = await incidents.raise_finding(finding(terminal), MONDAY, prepare, silent)
            return raised.decision.step, (await fetch(pool, "SELECT count(*) FROM ticket"))[0][0]

    assert asyncio.run(scenario()) == (outcome, int(outcome == Step.OPEN))
