"""The desk as a role of the service: its application, and the reader that shows it terminals and telemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette

from gateway import VERSION
from gateway.reader import Live, LiveCounts, PostgresReader
from gateway.receive.receiver import Receiver
from gateway.settings import Settings
from gateway.watch.role import KINDS, WatchRole
from ticketing.desk.app import create_app
from ticketing.desk.settings import DeskSettings
from ticketing.users import Users


class DeskRole:
    """What the desk is made of."""

    def __init__(
        self, settings: Settings, pool: AsyncConnectionPool, receiver: Receiver, watch: WatchRole, url: str
    ) -> None:
        self._receiver = receiver
        self._watch = watch
        self.users = Users(pool)
        reader = PostgresReader(pool, live=self._live, counts=self._counts)
        self.app: Starlette = create_app(
            tickets=watch.tickets,
            reader=reader,
            users=self.users,
            settings=DeskSettings(url=url, tiles=settings.desk.tiles, version=VERSION),
        )

    def _live(self, identities: Sequence[str]) -> Mapping[str, Live]:
        found = {}
        fleet, patrol = self._watch.fleet, self._watch.patrol
        fleet.flush()
        for identity in identities:
            row = self._receiver.terminals.rows.get(identity)
            if row is None:
                continue
            seen = int(fleet.received[row]) if row < fleet.rows else 0
            contact = self._receiver.last_contact(identity)
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
        return LiveCounts(connected=self._receiver.connected_count(), verdicts=self._watch.patrol.counts())
