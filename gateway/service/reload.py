"""SIGHUP: take over a changed configuration while everything runs.

    read → prepare (bind, read certificates, catalogue, channels) → apply (`Service.reload`)

All that can fail comes before the first change, so a configuration that cannot be used changes nothing. What needs a
restart is named and kept as it was; everything else counts from here on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import msgspec
import structlog

from gateway.configuration.reading import ConfigError
from gateway.configuration.settings import Settings
from gateway.errors import GatewayError

_log = structlog.get_logger()

FIXED = ("data_dir", "store.dsn", "desk", "metrics", "mailbox", "lmtp")  # bound, opened or built once
OF_LETTERS = ("addresses", "letters", "budget")  # of the desk: they go with the courier, which is given new ones


def flat(settings: object, above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys as the configuration has them, and their values; tables that repeat are one value."""
    for name in getattr(settings, "__struct_fields__", ()):
        value = getattr(settings, name)
        key = f"{above}{name.rstrip('_')}"
        if key in ("file", "configured"):
            continue
        if isinstance(value, msgspec.Struct) and not key.endswith(".address"):
            yield from flat(value, f"{key}.")
        else:
            yield key, value


def changed(before: Settings, after: Settings) -> list[str]:
    """Keys whose values differ."""
    old = dict(flat(before))
    return [key for key, value in flat(after) if old[key] != value]


def kept(before: Settings, after: Settings) -> tuple[Settings, list[str]]:
    """`after` with what cannot change while running as it is in `before`, and the keys that this concerns."""
    names = [
        key
        for key in changed(before, after)
        if _within(key, FIXED) and not _within(key, [f"desk.{name}" for name in OF_LETTERS])
    ]
    store = msgspec.structs.replace(after.store, dsn=before.store.dsn)
    held = msgspec.structs.replace(
        after,
        data_dir=before.data_dir,
        store=store,
        desk=msgspec.structs.replace(before.desk, **{name: getattr(after.desk, name) for name in OF_LETTERS}),
        metrics=before.metrics,
        mailbox=before.mailbox,
        lmtp=before.lmtp,
    )
    return held, names


def _within(key: str, tables: Iterable[str]) -> bool:
    return any(f"{key}.".startswith(f"{table}.") for table in tables)


class Reloader:
    """Reloads on request; requests that come during a reload are one more reload after it."""

    def __init__(self, apply: Callable[[Settings], Awaitable[None]], load: Callable[[], Settings]) -> None:
        """`apply` is `Service.reload`, `load` reads the file again."""
        self._apply = apply
        self._load = load
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Reload as soon as may be: the signal's handler."""
        self._asked.set()

    async def run(self) -> None:
        """Answer requests until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self.reload()
            except Exception:  # a bug: terminals are served on, and the next request is answered
                _log.exception("reload failed")

    async def reload(self) -> bool:
        """Reload once; False where nothing was changed, and the log says why."""
        try:
            settings = await asyncio.to_thread(self._load)
            await self._apply(settings)
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
            _log.error("configuration not reloaded", problems=problems)
        except GatewayError as error:
            _log.error("configuration not reloaded", problems=[str(error)])
        else:
            return True
        return False
