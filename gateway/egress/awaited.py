"""What was sent to another platform and is not answered yet: how much, and whether anything is answered at all."""

from __future__ import annotations

import asyncio

from gateway.egress.publishing import STALL, ConsumerError
from gateway.mqtt import Broker


class Awaited:
    """A consumer's answers that are still to come, over all its connections."""

    def __init__(self, target: Broker) -> None:
        self._target = target
        self._progress = asyncio.Event()
        self._lost = ""
        self._waiting = 0
        self.taken = False  # whether anything was

    async def acknowledged(self) -> None:
        """Until everything is answered; raises as `pass_on`."""
        while self._waiting:
            await self._some_progress()

    def answered(self, *, taken: bool) -> None:
        """One record was."""
        self._waiting -= 1
        self.taken = self.taken or taken
        self._progress.set()

    def lose(self, why: str) -> None:
        """A connection is lost, and with it answers."""
        self._lost = self._lost or why
        self._progress.set()

    def lost(self) -> bool:
        """Whether one is."""
        return bool(self._lost)

    def check(self) -> None:
        """Raise if one is."""
        if self._lost:
            raise ConsumerError(f"{self._target}: {self._lost}")

    def on_its_way(self) -> int:
        """How many records were sent and not answered."""
        return self._waiting

    async def _some_progress(self) -> None:
        self.check()
        self._progress.clear()
        try:
            async with asyncio.timeout(STALL):
                await self._progress.wait()
        except TimeoutError:
            raise ConsumerError(f"{self._target}: nothing answered for {STALL:.0f} s") from None
        self.check()
