"""Which release each terminal runs: read from the store, kept as one number a terminal.

Only what the catalogue lists has a number, so that invented versions cost nothing. Terminals whose firmware or model
changed, by a login or by people, are found by the time of their change.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from detectors.firmware import Catalogue, judge_firmware
from detectors.verdicts import Explanation, Verdict, Verdicts
from gateway.watch.fleet import Fleet
from ticketing.store import Pool

READ_AT_ONCE = 10_000
JUDGED_FOR = 60.0  # s: only the passing of days changes a release's verdict
OVERLAP = timedelta(seconds=60)  # a change is dated by the start of its transaction, and seen at its end


class Releases:
    """Firmware of the fleet against a catalogue; without one every verdict is unknown."""

    def __init__(self, catalogue: Catalogue | None) -> None:
        self._catalogue = catalogue
        self._since: datetime | None = None
        self._pairs: list[tuple[str, str]] = []
        self._numbers: dict[tuple[str | None, str | None], int] = {}
        self._verdicts: Verdicts = np.zeros(1, np.int8)
        self._judged_at = -np.inf
        self.replace(catalogue)

    def replace(self, catalogue: Catalogue | None) -> None:
        """Judge by another catalogue from the next `refresh` on."""
        models = {} if catalogue is None else catalogue.models
        self._catalogue = catalogue
        self._pairs = [(model, release.version) for model, releases in models.items() for release in releases]
        self._numbers = {pair: number for number, pair in enumerate(self._pairs, 1)}
        self._verdicts = np.zeros(len(self._pairs) + 1, np.int8)
        self._judged_at = -np.inf
        self._since = None

    async def refresh(self, pool: Pool, fleet: Fleet) -> int:
        """Read terminals that changed since the last look; returns how many."""
        read = 0
        async with pool.connection() as connection, connection.transaction():
            rows = await connection.execute("SELECT now()")
            now = await rows.fetchone()
            async with connection.cursor(name="changed") as cursor:
                await cursor.execute(
                    "SELECT id, coalesce(model_told, model, 'protocol:' || protocol), firmware FROM terminal"
                    " WHERE changed_at >= coalesce(%s::timestamptz, '-infinity')",
                    (None if self._since is None else self._since - OVERLAP,),
                )
                while found := await cursor.fetchmany(READ_AT_ONCE):
                    read += len(found)
                    fleet.identify(
                        [row for row, _, _ in found],
                        [self._numbers.get((model, version), 0) for _, model, version in found],
                    )
        self._since = None if now is None else now[0]
        return read

    def judge(self, release: NDArray[np.int32], now: float) -> Verdicts:
        """Verdicts by release number, shape (n,); each release is judged once in `JUDGED_FOR`."""
        if self._since is None:  # the fleet's numbers are those of another catalogue
            return np.zeros(len(release), np.int8)
        if self._catalogue is not None and not 0 <= now - self._judged_at < JUDGED_FOR:
            for number, (model, version) in enumerate(self._pairs, 1):
                self._verdicts[number] = judge_firmware(model, version, self._catalogue, now).verdict
            self._judged_at = now
        verdicts: Verdicts = self._verdicts[release]
        return verdicts

    def explain(self, release: int, now: float) -> Explanation:
        """A release number's verdict, with its reason."""
        if 0 < release <= len(self._pairs):
            return self.compare(*self._pairs[release - 1], now)
        if self._catalogue is None:
            return self.compare(None, None, now)
        return Explanation(Verdict.UNKNOWN, "version not told, or it or its model is not in the catalogue")

    def compare(self, model: str | None, version: str | None, now: float) -> Explanation:
        """A version compared with the catalogue."""
        if self._catalogue is None:
            return Explanation(Verdict.UNKNOWN, "there is no catalogue", {"model": model, "version": version})
        return judge_firmware(model, version, self._catalogue, now)
