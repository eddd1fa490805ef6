"""Who gets a letter by the policy that its ticket was opened under, of today's format and of before."""

import asyncio

import msgspec
from psycopg.types.json import Jsonb

from tests.ticketing.desk_parts import execute, fetch, pool_of
from tests.ticketing.letters.parts import NOW, contact, organisation, ticket
from ticketing import policies
from ticketing.letters.post import Post

TODAY = {
    "format": 2,
    "letter": [{"kind": "ack", "to": ["contact"]}, {"kind": "recovered", "to": ["contact"]}],
    "working_time": {"time_zone": "Asia/Shanghai"},
}
BEFORE = {
    "letter": [{"name": "receipt", "trigger": "ticket-opened", "to": ["contact"]}],
    "working_time": {"time_zone": "Europe/Minsk"},
}


def test_the_stored_policy_says_who_gets_a_letter(shared_dsn):
    shipped = msgspec.to_builtins(policies.get("dealer-desk").file)

    async def scenario():
        async with pool_of(shared_dsn) as pool:
            acme = await organisation(pool)
            ann = await contact(pool, acme, emails=["ann@p.example"])
            await contact(pool, acme, "Duty", emails=["duty@p.example"], roles=["duty"])
            await contact(pool, acme, "Law", emails=["law@p.example"], roles=["contract"])
            post, found = Post("Europe/Berlin"), []
            for version, content in (("v1", TODAY), ("v2", BEFORE), ("v3", shipped), (None, None)):
                if version is not None:
                    await execute(
                        pool, "INSERT INTO policy_version (version, content) VALUES (%s, %s)", version, Jsonb(content)
                    )
                row, number = await ticket(pool, organisation=acme, reporter=ann, policy_version=version)
                async with pool.connection() as connection:
                    for kind in ("ack", "recovered", "official"):
                        given = {"key": f"{number}/{kind}", "ticket": row, "data": {}, "at": NOW, "auto": True}
                        assert await post.owe(connection, kind, **given) == []
                letters = await fetch(
                    pool, "SELECT kind, address, data #>> '{to,zone}' FROM letter WHERE ticket = %s ORDER BY id", row
                )
                told = {}
                for kind, address, _ in letters:
                    told.setdefault(kind, []).append(address.partition("@")[0])
                found.append((told, {zone for *_, zone in letters}))
            alone, number = await ticket(pool)
            async with pool.connection() as connection:
                given = {"key": f"{number}/ack", "ticket": alone, "data": {}, "at": NOW, "auto": True}
                nobody = await post.owe(connection, "ack", **given), await post.owe(connection, "ack", **given)
            return found, nobody

    found, nobody = asyncio.run(scenario())
    usual = {"ack": ["ann"], "recovered": ["ann", "duty"], "official": ["ann", "law"]}
    assert found == [
        ({"ack": ["duty"], "recovered": ["ann", "duty"], "official": ["ann", "law"]}, {"Asia/Shanghai"}),
        ({**usual, "ack": ["duty"]}, {"Europe/Minsk"}),
        (usual, {"Europe/Moscow"}),
        (usual, {"Europe/Berlin"}),
    ]
    assert nobody == (["no_recipient"], [])
