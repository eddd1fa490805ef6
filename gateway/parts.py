"""What a process is made of: parts are stopped in reverse order of their start, and one that fails ends the whole."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import structlog

from gateway.errors import GatewayError

_log = structlog.get_logger()


class Parts(contextlib.AsyncExitStack):
    """A stack of what is to be stopped; `failed` holds the error of the first background part that failed."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False

    def background(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the rest; cancelled at the end, in reverse order. A failure ends the process."""
        task = asyncio.create_task(work, name=name)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None and not self._stopping:
                _log.error("part failed", part=name, error=repr(task.exception()))
                if not self.failed.done():
                    self.failed.set_exception(GatewayError(f"{name} failed: {task.exception()!r}"))

        task.add_done_callback(ended)

        async def cancel() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

        self.push_async_callback(cancel)

    async def stop(self) -> None:
        """Stop everything, the newest part first."""
        self._stopping = True
        await self.aclose()
