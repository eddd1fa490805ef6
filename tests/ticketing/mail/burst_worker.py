"""A process that judges mail until none is due; it is killed in the middle.

python -m tests.ticketing.mail.burst_worker DSN
"""

from __future__ import annotations

import asyncio
import sys

from tests.ticketing.desk_parts import pool_of
from tests.ticketing.mail.hands import TestHands
from tests.ticketing.mail.world import NOW, SETTINGS
from ticketing.mail.judge import Judge


async def main(dsn: str) -> None:
    async with pool_of(dsn, size=2) as pool:
        judge = Judge(pool, TestHands(), SETTINGS)
        while await judge.cycle(NOW):
            pass
        if judge.failed:
            raise SystemExit(f"{judge.failed} could not be judged")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
