"""Mail in as a part of the service: mailboxes that are read, and the port where mail servers hand mail over.

What arrives is committed to the inbox; judging it is the engine's, which `on_kept` may wake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from psycopg_pool import AsyncConnectionPool

from gateway.configuration.settings import Mailbox as MailboxTable
from gateway.configuration.settings import Settings
from gateway.errors import GatewayError
from ticketing.mail.imap import Mailbox, MailboxSettings
from ticketing.mail.lmtp import Lmtp

_log = structlog.get_logger()


def one_of(one: MailboxTable) -> MailboxSettings:
    """A `[[mailbox]]` as the reader of mailboxes takes it."""
    return MailboxSettings(one.host, one.port, one.tls, one.user, one.password_file, folder=one.folder, poll=one.poll)


class MailIn:
    """All ways in; `mailboxes` are to be kept running by their `run`."""

    def __init__(
        self, settings: Settings, pool: AsyncConnectionPool, on_kept: Callable[[], None] = lambda: None
    ) -> None:
        self.mailboxes = {
            f"{one.user}@{one.host}/{one.folder}": Mailbox(
                pool,
                one_of(one),
                on_kept=on_kept,
            )
            for one in settings.mailbox
        }
        self._address = settings.lmtp.address
        self._lmtp = None if self._address is None else Lmtp(pool, on_kept=on_kept)

    async def listen(self) -> None:
        """Take mail over LMTP, if it is configured.

        Raises
        ------
        GatewayError
            If the address cannot be had.
        """
        if self._lmtp is None or self._address is None:
            return
        try:
            port = await self._lmtp.start(self._address.host, self._address.port)
        except OSError as error:
            raise GatewayError(f"lmtp.address {self._address}: {error.strerror}: give it another port") from error
        _log.info("lmtp listens", host=self._address.host, port=port)

    async def stop(self) -> None:
        """Take no more over LMTP; what has no 250 is sent again."""
        if self._lmtp is not None:
            await self._lmtp.stop()

    def metrics(self) -> Iterator[Metric]:
        """Mails taken, and which mailboxes answer; nothing where there is no way in."""
        if not self.mailboxes and self._lmtp is None:
            return
        taken = CounterMetricFamily("dozor_mail_kept", "Mails taken into the inbox", labels=["source"])
        taken.add_metric(["imap"], sum(one.kept for one in self.mailboxes.values()))
        put_off = CounterMetricFamily("dozor_mail_put_off", "Mails that a mail server was told to send again")
        if self._lmtp is not None:
            taken.add_metric(["lmtp"], self._lmtp.kept)
            put_off.add_metric([], self._lmtp.put_off)
        up = GaugeMetricFamily("dozor_mailbox_up", "1 while a mailbox can be read", labels=["mailbox"])
        for name, mailbox in self.mailboxes.items():
            up.add_metric([name], float(not mailbox.failing))
        yield from (taken, put_off, up)
