"""The desk as a role of the service: its application, and the reader that shows it terminals and telemetry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette

from gateway import VERSION
from gateway.configuration.settings import Settings
from gateway.receive.reception import Reception
from gateway.service.archives import StoredArchives
from gateway.service.mail_in import one_of
from gateway.service.outlook import outlook_of
from gateway.service.reader import Live, LiveCounts, PostgresReader
from gateway.service.remote_work import commands_of
from gateway.service.sealing import seal_in
from gateway.watch.role import WatchRole
from ticketing import policies
from ticketing.core.idempotency import Idempotency
from ticketing.core.moments import utc_now
from ticketing.desk.app import create_app
from ticketing.directory.parts import directory_parts
from ticketing.kit.settings import DeskSettings
from ticketing.letters.pages import LetterButtons
from ticketing.mail.api import MailDesk
from ticketing.mail.notices import MailNotices
from ticketing.people.users import Users
from ticketing.quality.parts import quality_parts
from ticketing.tickets.api import Intake
from ticketing.tickets.buttons import Buttons
from ticketing.tickets.store import TicketStore
from ticketing.working_time.time_zones import zone


class DeskRole:
    """What the desk is made of."""

    def __init__(
        self, settings: Settings, pool: AsyncConnectionPool, reception: Reception, watch: WatchRole, url: str
    ) -> None:
        self._reception = reception
        self._watch = watch
        self.users = Users(pool)
        reader = PostgresReader(
            pool,
            live=self._live,
            counts=self._counts,
            ranks=self._ranks,
            counted=reception.counted,
            kinds=watch.patrol.kinds,
            fuel_range=settings.watch.fuel.range,
        )
        policy = policies.resolve(settings.desk.policy)
        policy_zone = policy.working_time.zone.info
        seal, commands = seal_in(settings.data_dir), commands_of(pool, policy)
        watch.office.seal, watch.office.remote = seal, commands
        watch.office.archives = StoredArchives()
        mail = MailDesk(pool, watch.desk.judge, utc_now, {one_of(one).name for one in settings.mailbox})
        self.app: Starlette = create_app(
            tickets=TicketStore(pool, office=watch.office),
            commands=commands,
            reader=reader,
            users=self.users,
            settings=DeskSettings(
                url=url,
                tiles=settings.desk.tiles,
                version=VERSION,
                zone=zone(settings.desk.time_zone).info if settings.desk.time_zone else policy_zone,
                policy_zone=policy_zone,
            ),
            parts=[
                Idempotency(pool),
                Intake(pool, watch.office, utc_now),
                mail,
                LetterButtons(pool, Buttons(watch.office), _desk_address(settings), utc_now),
                *directory_parts(
                    pool,
                    self.users.passwords,
                    policy=settings.desk.policy,
                    seal=seal,
                    looks=[MailNotices(mail)],
                ),
                *quality_parts(pool, zone=policy_zone),
            ],
        )

    async def _live(self, terminals: Mapping[str, int]) -> Mapping[str, Live]:
        if not self._watch.active:  # the verdicts are another service's: pages show what the store has
            return {}
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
                reasons={kind: patrol.explain(kind, row).reason for kind in patrol.kinds},
                outlook=outlook_of(fleet, row) if patrol.trusted else {},
            )
        return found

    def _counts(self) -> LiveCounts | None:
        if not self._watch.active:
            return None
        return LiveCounts(connected=self._reception.connected_count(), verdicts=self._watch.patrol.counts())

    def _ranks(self, kind: str | None) -> bytes:
        """One byte per terminal id: its verdict, of one detector or the worst of all."""
        if not self._watch.active:
            return b""
        verdicts = self._watch.patrol.verdicts()
        chosen = [verdicts[kind]] if kind is not None else list(verdicts.values())
        return np.maximum.reduce(chosen).tobytes() if chosen else b""


def _desk_address(settings: Settings) -> str:
    """Where clients write to: the desk's first address, else its sender."""
    return settings.desk.addresses[0] if settings.desk.addresses else settings.mail.from_
