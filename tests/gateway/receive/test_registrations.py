"""Following the registry: what goes wrong is told once, and tried again at growing distances."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import psycopg
import pytest
import structlog

from gateway.receive import registrations as module
from gateway.receive import replay
from gateway.receive.conversations import Conversations
from gateway.receive.registrations import Registrations
from gateway.receive.replay import Replays


def test_a_registry_that_cannot_be_followed_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN", (0.01, 0.04))
    tried: list[float] = []

    async def refused(*_: Any, **__: Any) -> Any:
        tried.append(asyncio.get_running_loop().time())
        if len(tried) == 6:
            raise KeyError("enough")
        raise psycopg.OperationalError("no server")

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", refused)

    async def go() -> None:
        following = Registrations("", cast(Conversations, None), cast(Replays, None))
        with pytest.raises(KeyError):
            await following.follow(release=True)

    with structlog.testing.capture_logs() as lines:
        asyncio.run(go())
    assert [line["event"] for line in lines] == ["the registry is not followed: registrations are seen later"]
    assert tried[-1] - tried[0] > 0.01 + 0.02 + 3 * 0.04


def test_a_late_look_into_quarantine_that_fails_is_told_once_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    slept = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await slept(0)

    async def go() -> int:
        monkeypatch.setattr(replay.asyncio, "sleep", sleep)
        replays = Replays(cast(Any, None), cast(Any, None), [], lambda: 0.0, shared=True)
        looked = 0
        done = asyncio.Event()

        async def look(terminal: str | None) -> None:
            nonlocal looked
            looked += 1
            if looked < 8:
                raise psycopg.OperationalError("no server")
            done.set()

        monkeypatch.setattr(replays, "release", look)
        replays.release_late()
        async with asyncio.timeout(5):
            await done.wait()
        return looked

    with structlog.testing.capture_logs() as lines:
        assert asyncio.run(go()) == 8
    assert pauses == [3.0, 6.0, 12.0, 24.0, 48.0, 60.0, 60.0, 60.0]
    assert [line["event"] for line in lines] == ["quarantine not looked through: later again"]
