"""The open TCP connections of a process: counted in and out, ended when they say nothing, closed at the end."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from gateway.configuration.settings import Settings
from gateway.receive.conversation import Conversation
from gateway.receive.conversations import Conversations
from gateway.receive.limits import Gate
from gateway.receive.sockets import Sockets

_log = structlog.get_logger()

_SWEEP = 1.0  # s between looks for timeouts
_SLICE = 5000  # connections looked at before others get the loop


class Connection(Protocol):
    """One of them."""

    conversation: Conversation

    def linger(self, now: float) -> bool:
        """Whether it is closing; if it does so for too long, it is cut off."""


class Connections:
    """All of them.

    Attributes
    ----------
    stopping : none are taken any more.
    gate : who may come in.
    """

    def __init__(self, settings: Settings, conversations: Conversations) -> None:
        self.conversations = conversations
        self.settings = settings
        self.gate = Gate(settings.limits)
        self.stopping = False
        self.now = conversations.now
        self.metrics = conversations.metrics
        self._sockets: Sockets | None = None
        self._open: dict[Connection, None] = {}  # in the order they came
        self._gone = asyncio.Event()
        self._gone.set()

    def configure(self, settings: Settings) -> None:
        """Take other settings; connections that are open stay open."""
        self.settings = settings
        self.gate.configure(settings.limits)

    @property
    def sockets(self) -> Sockets:
        """Connections that are plain TCP."""
        if self._sockets is None:
            self._sockets = Sockets()
        return self._sockets

    def enter(self, connection: Connection) -> str:
        """Count a new connection; the reason if it is refused."""
        reason = self.gate.enter(connection.conversation.host)
        if reason and not self.stopping:
            self._add(connection)
            self.metrics.refused[reason] += 1
            return reason
        return self.join(connection)

    def join(self, connection: Connection) -> str:
        """Take a connection that the gate has let in; the reason if it is refused after all."""
        self._add(connection)
        if self.stopping:
            self.metrics.refused["stopping"] += 1
            return "stopping"
        self.metrics.accepted[connection.conversation.protocol] += 1
        return ""

    def _add(self, connection: Connection) -> None:
        self.metrics.connections[connection.conversation.protocol] += 1
        self._open[connection] = None
        self._gone.clear()

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        self._open.pop(connection, None)
        if not self._open:
            self._gone.set()
        self.metrics.connections[connection.conversation.protocol] -= 1
        self.gate.leave(connection.conversation.host)

    async def sweep(self) -> None:
        """End connections that do not log in or say nothing; ends by cancellation."""
        shared = self.conversations
        while True:
            await asyncio.sleep(_SWEEP)
            shared.set_offset()
            login, idle = self.settings.login.timeout, self.settings.login.idle_timeout
            for place, connection in enumerate(list(self._open)):
                now, conversation = self.now(), connection.conversation
                if conversation.waiting or connection.linger(now) or shared.held(conversation):
                    pass  # it waits for us, or is on its way out
                elif not conversation.logged_in and now - conversation.opened > login:
                    conversation.expire("login timeout")
                elif now - conversation.last > idle:
                    conversation.expire("idle timeout")
                if place % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)

    async def stop(self, timeout: float) -> None:
        """Answer what was taken, within `timeout` seconds; then whoever is left is cut off."""
        self.stopping = True
        for connection in list(self._open):
            connection.conversation.stop()
        try:
            async with asyncio.timeout(timeout):
                await self.conversations.pipeline.drain()
                await self._gone.wait()
        except TimeoutError:
            _log.warning("connections cut at the end", connections=len(self._open))
            for connection in list(self._open):
                connection.conversation.abandoned()

    def close(self) -> None:
        """Serve no more."""
        if self._sockets is not None:
            self._sockets.close()
