"""The channels that the settings name."""

from __future__ import annotations

from email.utils import parseaddr

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


def configured_courier(settings: Settings, pool: AsyncConnectionPool, key: bytes, desk_url: str) -> Courier | None:
    """Who carries letters to clients; None without a mail server: then none are owed."""
    mail = mail_settings(settings, desk_url)
    if not mail.host:
        return None
    desk = settings.desk
    texts = Texts() if desk.letters is None else Texts.of(desk.letters)
    sender = desk.addresses[0] if desk.addresses else mail.writer
    return Courier(
        pool,
        Smtp(mail),
        Desk(key, sender, texts, desk_url.rstrip("/")),
        budget=Budget(desk.budget.address_hour, desk.budget.address_day),
        own=frozenset(parseaddr(address)[1].lower() for address in desk.addresses),
        hook=undelivered,
    )


def configured_judge(settings: Settings, pool: AsyncConnectionPool, key: bytes, office: Office) -> Judge | None:
    """Who judges the mail that comes in; None where there is no way in."""
    if not settings.mailbox and settings.lmtp.address is None:
        return None
    named = [*settings.desk.addresses, *([settings.mail.from_] if settings.mail.from_ else [])]
    ours = tuple(dict.fromkeys(parseaddr(address)[1].lower() for address in named))
    return Judge(pool, TicketHands(office, key), MailRules(ours=ours, marker=instance_mark(key), secret=key))


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
