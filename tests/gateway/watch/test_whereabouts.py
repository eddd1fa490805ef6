"""Where terminals come from, read from connections and records."""

import asyncio
from datetime import UTC, datetime, timedelta

from gateway.watch.whereabouts import Operators, Whereabouts
from tests.ticketing.desk.parts import add_records
from tests.ticketing.desk_parts import add_terminal, execute, pool_of


async def connect(pool, number, identity, address, listener, age):
    await execute(
        pool,
        "INSERT INTO connection (id, terminal, protocol, address, listener, opened_at) VALUES"
        " (%s, %s, 'teltonika', %s, %s, now() - %s)",
        number, identity, address, listener, age,
    )  # fmt: skip


def test_the_last_connection_counts_and_later_ones_are_read_once_more(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            rows = [await add_terminal(pool, identity) for identity in ("a", "b", "never")]
            await connect(pool, 1, "a", "10.1.1.1:9", "teltonika:5027", timedelta(hours=2))
            await connect(pool, 2, "a", "10.2.2.2:9", "teltonika:5028", timedelta(hours=1))
            await connect(pool, 3, "b", "10.3.3.3:9", None, timedelta(hours=1))
            await connect(pool, 4, "stranger", "10.4.4.4:9", None, timedelta(hours=1))
            seen, looks = {}, []
            whereabouts = Whereabouts()

            def tell(ids, addresses, listeners):
                seen.update(zip(ids, zip(addresses, listeners, strict=True), strict=True))

            looks.append((await whereabouts.refresh(pool, tell), dict(seen)))
            await connect(pool, 5, "b", "10.5.5.5:9", "omnicomm:9977", timedelta(seconds=10))
            looks.append((await whereabouts.refresh(pool, tell), dict(seen)))
            again = await whereabouts.refresh(pool, tell)
            await connect(pool, 6, "b", "10.6.6.6:9", None, timedelta(seconds=8))
            await connect(pool, 7, "b", "10.3.3.3:9", None, timedelta(seconds=6))
            await connect(pool, 8, "a", "10.2.2.2:9", "teltonika:5028", timedelta(seconds=4))
            moved = await whereabouts.refresh(pool, tell), dict(seen)
            assert await whereabouts.refresh(pool, tell) == 0
            return rows, looks, again, moved

    (a, b, _), ((first, at_first), (then, later)), again, (moves, at_last) = asyncio.run(scenario())
    assert again == 0, "what is still in the window was told"
    assert (moves, at_last) == (2, {a: ("10.2.2.2:9", "teltonika:5028"), b: ("10.3.3.3:9", None)})
    assert (first, at_first) == (2, {a: ("10.2.2.2:9", "teltonika:5028"), b: ("10.3.3.3:9", None)})
    assert (then, later) == (1, at_first | {b: ("10.5.5.5:9", "omnicomm:9977")})


def test_the_operator_is_that_of_the_last_record_and_all_terminals_have_their_turn(postgres_dsn, monkeypatch):
    monkeypatch.setattr("gateway.watch.whereabouts.OPERATORS_AT_ONCE", 2)
    monkeypatch.setattr("gateway.watch.whereabouts.OPERATORS_EVERY", 0.0)

    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            rows = [await add_terminal(pool, f"t{n}") for n in range(3)]
            seen, counts = {}, []
            operators = Operators()

            async def look():
                counts.append(
                    await operators.refresh(pool, lambda ids, codes: seen.update(zip(ids, codes, strict=True)))
                )
                return counts[-1]

            await look()  # nobody has told any
            now = datetime.now(UTC)
            await add_records(pool, rows[0], 2, end=now, layout=("gsm.operator",))
            await execute(pool, "UPDATE record SET measures = '{25001}' WHERE terminal = %s", rows[0])
            await add_records(pool, rows[1], 2, end=now, layout=("gsm.operator",))
            await execute(pool, "UPDATE record SET measures = '{NaN}' WHERE terminal = %s", rows[1])
            await add_records(pool, rows[2], 2, end=now, layout=("gsm.operator",))
            await execute(pool, "UPDATE record SET measures = '{1e15}' WHERE terminal = %s", rows[2])
            await look()
            await look()
            await execute(pool, "UPDATE record SET measures = '{46000}' WHERE terminal = %s", rows[2])
            for _ in range(3):
                await look()
            monkeypatch.setattr("gateway.watch.whereabouts.OPERATORS_EVERY", 600.0)
            while await look():
                pass
            await execute(pool, "UPDATE record SET measures = '{46001}' WHERE terminal = %s", rows[2])
            await look()  # the round is over, and the next not yet due
            return rows, seen, counts

    rows, seen, counts = asyncio.run(scenario())
    assert counts[0] == 0
    assert seen == {rows[0]: "25001", rows[2]: "46000"}


def test_network_and_card_of_the_last_record_are_in_the_terminal_s_row(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            rows = [await add_terminal(pool, f"t{n}") for n in range(4)]
            now = datetime.now(UTC)
            for row in rows:
                await add_records(pool, row, 2, end=now, layout=("gsm.operator", "sim.imsi"))
            change = "UPDATE record SET measures = %s::float8[], extra = %s::jsonb WHERE terminal = %s"
            halves = '{"sim.iccid.1": "8970101703", "sim.iccid.2": "56219842"}'
            await execute(pool, change, "{25001,250017034562198}", halves, rows[0])
            await execute(pool, change, "{NaN,NaN}", '{"sim.iccid": "8970101703456219842"}', rows[1])
            await execute(pool, change, "{NaN,1e17}", '{"sim.iccid.1": "8970101703"}', rows[2])
            await execute(pool, change, "{25002,1}", None, rows[3])
            # what the session told is newer than the record
            told = "UPDATE terminal SET operator_told = '25099', operator_told_at = %s WHERE id = %s"
            await execute(pool, told, now + timedelta(seconds=-1), rows[3])
            await execute(pool, "UPDATE record SET time = time - interval '1 hour' WHERE terminal = %s", rows[3])
            await Operators().refresh(pool, lambda ids, codes: None)
            async with pool.connection() as link:
                found = await link.execute("SELECT operator_told, iccid, imsi FROM terminal ORDER BY id")
                return await found.fetchall()

    assert asyncio.run(scenario()) == [
        ("25001", "89701017030056219842", "250017034562198"),
        (None, "8970101703456219842", None),
        (None, None, None),
        ("25099", None, None),
    ]
