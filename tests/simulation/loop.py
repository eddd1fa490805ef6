"""An asyncio loop whose time jumps to the next timer: no sleeping, no I/O, no threads, the same order every time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

STEPS = 400_000  # of one incarnation; far more than any schedule needs: something spins


class NothingToDoError(Exception):
    """Nothing is ready and no timer is set: whatever is awaited would wait for ever."""


class TooManyStepsError(Exception):
    """Time stands still or the schedule does not end."""


class VirtualLoop(asyncio.BaseEventLoop):
    """`BaseEventLoop` over a selector that answers at once, having moved the clock to the next timer."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self._now = now
        self._clock_resolution = 1e-9
        self._selector = self
        self.steps = 0
        self.set_exception_handler(self._failed)
        self.failures: list[str] = []
        self.tick: Callable[[float], None] = lambda now: None  # told the time when it moves

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        """The selector's only method: `timeout` is None when no timer is set, 0 when a callback is ready."""
        self.steps += 1
        if self.steps > STEPS:
            raise TooManyStepsError(f"at {self._now:.3f}")
        if timeout is None:
            raise NothingToDoError(f"at {self._now:.3f}")
        if timeout > 0:
            self._now = max(self._now, self._scheduled[0].when())
            self.tick(self._now)
        return ()

    def _process_events(self, event_list: object) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""

    def run_in_executor(self, *_: Any) -> NoReturn:
        raise RuntimeError("a thread in the simulation")

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")
