"""Which of the shipped policies want the client's consent before a command."""

from __future__ import annotations

import asyncio

from gateway.service.remote_work import commands_of
from tests.ticketing.desk_parts import add_terminal, pool_of
from ticketing import policies


def test_one_of_the_shipped_policies_asks_for_consent(postgres_dsn: str) -> None:
    async def refusals() -> dict[str, str]:
        async with pool_of(postgres_dsn) as pool:
            await add_terminal(pool, "T1", protocol="teltonika")
            await add_terminal(pool, "T2", protocol="omnicomm")
            found = {}
            for name in policies.PRESETS:
                commands = commands_of(pool, policies.get(name))
                assert "omnicomm has no commands" in await commands.refusal("T2")
                found[name] = await commands.refusal("T1")
            return found

    told = asyncio.run(refusals())
    assert [name for name, refusal in told.items() if refusal] == [
        name for name in policies.PRESETS if (consent := policies.get(name).file.consent) and consent.remote_work
    ]
    assert "permission" in told["after-sales"]
    assert told["integrator-standard"] == ""
