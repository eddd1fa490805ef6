"""`dozor notify test`: one letter, call or message to each configured channel, now and without the outbox."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys

from gateway.commands.common import load_settings
from gateway.service.channels import configured_channels
from ticketing.core.errors import DeliveryError
from ticketing.core.outbox import SEND_TIMEOUT, Channel, trial


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("what", choices=["test"], help="test: one message to each configured channel")


def run(args: argparse.Namespace) -> int:
    """0 when every channel took its message; 1 when one did not, or none is configured."""
    settings = load_settings(args)
    # A test letter answers nobody and is answered by nobody: any key will do, and no store is needed.
    channels = configured_channels(settings, secrets.token_bytes(32), settings.desk.url)
    if not channels:
        print(
            "no channel is configured: set mail.host and mail.to, or add a [[webhook]] or a [[notify]]", file=sys.stderr
        )
        return 1
    return 0 if asyncio.run(_try_all(channels)) else 1


async def _try_all(channels: list[Channel]) -> bool:
    results = await asyncio.gather(*(_try(channel) for channel in channels))
    for channel, failure in zip(channels, results, strict=True):
        print(f"{channel.name} {channel.shown}: {failure or 'delivered'}")
    return not any(results)


async def _try(channel: Channel) -> str | None:
    """What went wrong, or None."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await channel.send(trial())
    except TimeoutError:
        return f"failed: no answer within {SEND_TIMEOUT:g} s"
    except DeliveryError as error:
        return f"failed: {error}"
    finally:
        await channel.close()
    return None
