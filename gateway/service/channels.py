"""The channels that the settings name."""

from __future__ import annotations

from email.utils import parseaddr
from typing import NamedTuple

from psycopg_pool import AsyncConnectionPool

from gateway.configuration.settings import Settings
from ticketing.channels.email import Mail, MailSettings
from ticketing.channels.notifier import Notifier
from ticketing.channels.smtp import Smtp
from ticketing.channels.webhook import Webhook
from ticketing.core.message_ids import instance_mark
from ticketing.core.outbox import Channel
from ticketing.letters.budget import Budget
from ticketing.letters.compose import Desk
from ticketing.letters.courier import Courier
from ticketing.letters.texts import Texts
from ticketing.mail.facts import Settings as MailRules
from ticketing.mail.hands import TicketHands
from ticketing.mail.judge import Judge
from ticketing.tickets.office import Office
from ticketing.tickets.undelivered import undelivered
from ticketing.working_time.time_zones import zone


def configured_channels(settings: Settings, key: bytes, desk_url: str) -> list[Channel]:
    """Mail to the staff if it has a host and somebody to tell, every webhook and every file of notifiers.

    Parameters
    ----------
    key : the instance's secret (`ticketing.core.instance`).
    desk_url : the desk's address as letters give it.
    """
    channels: list[Channel] = []
    mail = settings.mail
    if mail.host and mail.to:
        channels.append(Mail(mail_settings(settings, desk_url), key))
    channels += [Webhook(hook.url, hook.secret_file, events=hook.events) for hook in settings.webhook]
    channels += [Notifier(one.url_file, one.events, desk_url=desk_url) for one in settings.notify]
    return channels


class Carriage(NamedTuple):
    """How letters to clients go out, as `Courier` takes it; `transport` None: not at all."""

    transport: Smtp | None
    desk: Desk
    budget: Budget
    own: frozenset[str]


def carriage(settings: Settings, key: bytes, desk_url: str) -> Carriage:
    """What the configuration says of letters."""
    mail, desk = mail_settings(settings, desk_url), settings.desk
    texts = Texts() if desk.letters is None else Texts.of(desk.letters)
    sender = desk.addresses[0] if desk.addresses else mail.writer
    return Carriage(
        Smtp(mail) if mail.host else None,
        Desk(key, sender, texts, desk_url.rstrip("/")),
        Budget(desk.budget.address_hour, desk.budget.address_day),
        frozenset(parseaddr(address)[1].lower() for address in desk.addresses),
    )


def courier_of(new: Carriage, pool: AsyncConnectionPool, before: Courier | None = None) -> Courier | None:
    """Who carries letters to clients: `before` with what is new, if there is one.

    None without a mail server: then none are owed. One that lost its mail server gives up what is owed in time.
    """
    if before is not None:
        before.replace(new.transport, new.desk, budget=new.budget, own=new.own)
        return before
    if new.transport is None:
        return None
    return Courier(pool, new.transport, new.desk, budget=new.budget, own=new.own, hook=undelivered)


def configured_judge(settings: Settings, pool: AsyncConnectionPool, key: bytes, office: Office) -> Judge | None:
    """Who judges the mail that comes in; None where there is no way in."""
    if not settings.mailbox and settings.lmtp.address is None:
        return None
    return Judge(pool, TicketHands(office, key), mail_rules(settings, key))


def mail_rules(settings: Settings, key: bytes) -> MailRules:
    """What the configuration says of mail that comes in."""
    named = [*settings.desk.addresses, *([settings.mail.from_] if settings.mail.from_ else [])]
    ours = tuple(dict.fromkeys(parseaddr(address)[1].lower() for address in named))
    return MailRules(ours=ours, marker=instance_mark(key), secret=key)


def mail_settings(settings: Settings, desk_url: str) -> MailSettings:
    """How mail leaves."""
    mail = settings.mail
    return MailSettings(
        host=mail.host,
        port=mail.port,
        tls=mail.tls,
        user=mail.user,
        password_file=mail.password_file,
        sender=mail.from_,
        to=tuple(mail.to),
        desk_url=desk_url,
        zone=zone(settings.desk.time_zone).info if settings.desk.time_zone else None,
    )
