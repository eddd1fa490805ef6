"""What the store tells while terminals are connected: that one was registered, or that a command waits for it."""

from __future__ import annotations

import asyncio

import psycopg
import structlog

from gateway.receive.conversations import Conversations
from gateway.receive.replay import Replays
from gateway.receive.terminals import CHANNEL, NO_ROW
from gateway.store import dispatch

_log = structlog.get_logger()

_AGAIN = (1.0, 30.0)  # s before it is tried again: at first, at most


class Registrations:
    """Listens to the registry."""

    def __init__(self, dsn: str, conversations: Conversations, replays: Replays) -> None:
        self._dsn = dsn
        self._conversations = conversations
        self._replays = replays

    async def follow(self, *, release: bool) -> None:
        """Learn of each; ends by cancellation.

        The one process that is to `release` decodes, in order, what waited for that.
        """
        pause = _AGAIN[0]
        told = ""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, application_name="dozor registry"
                ) as link:
                    await link.execute(f"LISTEN {CHANNEL}")
                    await link.execute(f"LISTEN {dispatch.CHANNEL}")
                    self._conversations.commanding.look_again()
                    for name in list(self._conversations.unregistered()):
                        await self._look_up(name)  # perhaps while nobody listened
                    if release:
                        await self._replays.release(None)
                    if told:
                        _log.info("the registry is followed again")
                    pause, told = _AGAIN[0], ""
                    async for notice in link.notifies():  # which keeps `link` to itself
                        if notice.channel == dispatch.CHANNEL:
                            self._conversations.commanding.queued(notice.payload)
                        elif await self._look_up(notice.payload) and release:
                            await self._replays.release(notice.payload)
                            self._replays.release_late()
            except (psycopg.Error, OSError, TimeoutError) as error:
                words = str(error).strip() or type(error).__name__
                if not told:  # once, not at each attempt
                    _log.warning("the registry is not followed: registrations are seen later", error=words)
                told = words
                await asyncio.sleep(pause)
                pause = min(2 * pause, _AGAIN[1])

    async def _look_up(self, name: str) -> bool:
        """Read a terminal of the registry again; whether it is there."""
        row = await self._conversations.terminals.reload(name)
        speaker = self._conversations.speaker(name)
        if row != NO_ROW and speaker is not None and speaker.row == NO_ROW:
            speaker.enter(row)
        return row != NO_ROW
