"""A ticket's page takes no longer because there are many: nothing that grows is read from end to end."""

import asyncio

import psycopg
from psycopg import sql

from tests.ticketing.desk.parts import site, small_fleet
from tests.ticketing.desk_parts import done, execute

FEW = {"session"}  # swept when somebody signs in


def scanned(dsn):
    """How often each table was read from end to end."""
    with psycopg.connect(dsn) as link:
        return dict(link.execute("SELECT relname, seq_scan FROM pg_stat_user_tables").fetchall())


def test_a_tickets_page_is_read_by_indices(postgres_dsn):
    with psycopg.connect(postgres_dsn, autocommit=True) as link:
        name = sql.Identifier(link.info.dbname)  # the planner takes an index wherever one fits, however few the rows
        link.execute(sql.SQL("ALTER DATABASE {} SET enable_seqscan = off").format(name))

    async def filled():
        async with site(postgres_dsn) as desk:
            numbers = await small_fleet(desk.pool)
            await execute(desk.pool, "INSERT INTO organisation (name, policy, created_at) VALUES ('A', '', now())")
            await execute(desk.pool, "UPDATE ticket SET organisation = 1")
            await done(desk.tickets, "note", numbers["new"], "engineer", "looked at")
            return numbers["new"]

    async def shown(number):
        async with site(postgres_dsn, roles=()) as desk:
            for role in ("admin", "engineer"):
                async with desk.signed_in(role) as client:
                    for path in (f"/tickets/{number}", f"/api/tickets/{number}"):
                        assert (await client.get(path)).status_code == 200

    number = asyncio.run(filled())
    before = scanned(postgres_dsn)
    asyncio.run(shown(number))
    after = scanned(postgres_dsn)
    read = {table: after[table] - before[table] for table in after if after[table] > before[table]}
    assert set(read) <= FEW, read
