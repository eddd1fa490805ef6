"""What waits for a commit may be cancelled before it comes: the commit's other frames must not suffer from that."""

from __future__ import annotations

import asyncio

from gateway.receive.receiver import _Replay


def test_a_replay_that_nobody_waits_for_any_more_is_no_error() -> None:
    async def wait(replay: _Replay) -> bool:
        return await replay.stored

    async def inside() -> None:
        replay = _Replay(0, "356938035643809", 1)
        waiting = asyncio.create_task(wait(replay))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        replay.committed([])
        replay.abandoned()
        assert replay.stored.cancelled()
        kept = _Replay(0, "356938035643809", 1)
        kept.committed([])
        assert await kept.stored
        lost = _Replay(0, "356938035643809", 1)
        lost.abandoned()
        assert not await lost.stored

    asyncio.run(inside())
