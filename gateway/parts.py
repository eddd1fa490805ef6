"""What a process is made of.

    background   data cannot do without it: its failure ends the process
    kept         everything else: a failure is logged by name and counted, the part is started again after a pause that
                 grows to a bound, and nobody else notices

All are stopped in reverse order of their start.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import structlog

from gateway.errors import GatewayError

_log = structlog.get_logger()

_PR_SET_PDEATHSIG = 1  # prctl(2)
PAUSE = (1.0, 60.0)  # s before a part is started again: at first, at most. Each failure is a traceback in the log


class Supervisor:
    """Starts parts again that failed.

    Attributes
    ----------
    failures : by the parts' names, which are few: a metric's label.
    """

    def __init__(self, pause: tuple[float, float] = PAUSE) -> None:
        self.failures: Counter[str] = Counter()
        self._pause = pause

    async def keep(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work` until it returns; whatever it raises, start it again. Ends otherwise by cancellation only."""
        loop = asyncio.get_running_loop()
        self.failures[name] += 0
        pause, most = self._pause
        while True:
            begun = loop.time()
            try:
                await work()
                return
            except (asyncio.CancelledError, Exception) as error:
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                    raise  # else nobody cancelled the part: something within it did so to itself
                if loop.time() - begun > most:  # it had run well for a while
                    pause = self._pause[0]
                self.failures[name] += 1
                _log.exception("part failed, starting it again", part=name, pause_s=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, most)

    async def together(self, parts: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
        """Keep all of them, by name, until cancelled or all have returned."""
        async with asyncio.TaskGroup() as group:  # none of them raises, so none cancels another
            for name, work in parts.items():
                group.create_task(self.keep(name, work), name=name)


class Parts(contextlib.AsyncExitStack):
    """A stack of what is to be stopped; `failed` holds the error of the first background part that failed."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.supervisor = Supervisor()
        self._stopping = False

    def background(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the rest; cancelled at the end, in reverse order. A failure ends the process."""
        task = asyncio.create_task(work, name=name)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None and not self._stopping:
                _log.error("part failed", part=name, error=repr(task.exception()))
                self.fail(f"{name} failed: {task.exception()!r}")

        task.add_done_callback(ended)

        async def cancel() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

        self.push_async_callback(cancel)

    def kept(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Run beside the rest, as `background`, and start it again whenever it fails."""
        self.background(name, self.supervisor.keep(name, work))

    def fail(self, reason: str) -> None:
        """The process cannot go on."""
        if not self.failed.done():
            self.failed.set_exception(GatewayError(reason))

    async def stop(self) -> None:
        """Stop everything, the newest part first."""
        self._stopping = True
        await self.aclose()


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)
