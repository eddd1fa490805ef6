"""The desk as a role of the service: its application, and the reader that shows it terminals and telemetry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette

from gateway import VERSION
from gateway.reader import Live, LiveCounts, PostgresReader
from gateway.receiving import Reception
from gateway.settings import Settings
from gateway.watch.role import KINDS, WatchRole
from ticketing.desk.app import create_app
from ticketing.desk.settings import DeskSettings
from ticketing.users import Users


class DeskRole:
    """What the desk is made of."""

    def __init__(
        self, settings: Settings, pool: AsyncConnectionPool, reception: Reception, watch: WatchRole, url: str
    ) -> None:
        self._reception = reception
        self._watch = watch
        self.users = Users(pool)
        reader = PostgresReader(pool, live=self._live, counts=self._counts)
        self.app: Starlette = create_app(
            tickets=watch.tickets,
            reader=reader,
            users=self.users,
            settings=DeskSettings(url=url, tiles=settings.desk.tiles, version=VERSION),
        )

    async def _live(self, terminals: Mapping[str, int]) -> Mapping[str, Live]:
        contacts = await self._reception.last_contacts(terminals)
        found = {}
        fleet, patrol = self._watch.fleet, self._watch.patrol
        fleet.flush()
        for identity, row in terminals.items():
            seen = int(fleet.received[row]) if row < fleet.rows else 0
            contact = contacts.get(identity)
            last_seen = datetime.fromtimestamp(seen / 1e6, UTC) if seen else None
            found[identity] = Live(
                connected=contact is not None,
                last_seen=last_seen,
                last_contact=datetime.fromtimestamp(contact, UTC) if contact is not None else last_seen,
                verdicts=patrol.verdicts_of(row),
                reasons={kind: patrol.explain(kind, row).reason for kind in KINDS},
            )
        return found

    def _counts(self) -> LiveCounts:
        return LiveCounts(connected=self._reception.connected_count(), verdicts=self._watch.patrol.counts())
