"""Letters to clients as the configuration wants them: the courier, and what it counts."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parseaddr

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from psycopg_pool import AsyncConnectionPool

from gateway.configuration.settings import Settings
from gateway.service.channels import mail_settings
from ticketing.channels.smtp import Smtp
from ticketing.letters.budget import Budget
from ticketing.letters.compose import Desk
from ticketing.letters.courier import Courier, Hook, Transport
from ticketing.letters.texts import Texts


def desk_of(settings: Settings, key: bytes, desk_url: str) -> Desk:
    """Who writes: the first of `desk.addresses`, else `mail.from`; with the texts of `desk.letters`."""
    folder = settings.desk.letters
    sender = next(iter(settings.desk.addresses), settings.mail.from_) or "dozor@localhost"
    return Desk(key, sender, Texts.of(folder) if folder is not None else Texts(), desk_url.rstrip("/"))


def own_addresses(settings: Settings) -> frozenset[str]:
    """The desk's own mail addresses, in lower case: nothing is sent there."""
    return frozenset(parseaddr(address)[1].lower() for address in settings.desk.addresses)


def courier_of(
    settings: Settings,
    pool: AsyncConnectionPool,
    key: bytes,
    desk_url: str,
    *,
    transport: Transport | None = None,
    hook: Hook | None = None,
) -> Courier:
    """The courier of letters.

    Parameters
    ----------
    key : the instance's secret.
    transport : in place of the configured mail server, as a rehearsal has it.
    hook : see `Courier`.
    """
    if transport is None and settings.mail.host:
        transport = Smtp(mail_settings(settings, desk_url))
    budget = Budget(settings.desk.budget.address_hour, settings.desk.budget.address_day)
    desk = desk_of(settings, key, desk_url)
    return Courier(pool, transport, desk, budget=budget, own=own_addresses(settings), hook=hook)


def letter_metrics(courier: Courier) -> Iterator[Metric]:
    """What became of letters since the start."""
    letters = CounterMetricFamily("dozor_letters", "Letters by what became of them", labels=["kind", "result"])
    for (kind, result), count in sorted(courier.counts.items()):
        letters.add_metric([kind, result], count)
    yield letters
