"""The channels that the settings name."""

from __future__ import annotations

from gateway.settings import Settings
from ticketing.channels.email import Mail, MailSettings
from ticketing.channels.webhook import Webhook
from ticketing.outbox import Channel


def configured_channels(settings: Settings, key: bytes) -> list[Channel]:
    """Mail if it has a host, and every webhook; `key` is the instance's secret (`ticketing.instance`)."""
    channels: list[Channel] = []
    mail = settings.mail
    if mail.host:
        channels.append(
            Mail(
                MailSettings(
                    host=mail.host,
                    port=mail.port,
                    tls=mail.tls,
                    user=mail.user,
                    password_file=mail.password_file,
                    sender=mail.from_,
                    to=tuple(mail.to),
                    desk_url=desk_url(settings),
                ),
                key,
            )
        )
    channels += [Webhook(hook.url, hook.secret_file) for hook in settings.webhook]
    return channels


def desk_url(settings: Settings) -> str:
    """The desk's address as letters give it."""
    return settings.desk.url or f"http://{settings.desk.address}"
