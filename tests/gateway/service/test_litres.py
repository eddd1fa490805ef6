"""Litres as people see them: series, pages, refuellings and drains, evidence; a correction corrects all of it."""

import asyncio
from datetime import UTC, datetime, timedelta

from detectors.fuel import NAMES
from gateway.store.calibrations import Point, save
from protocols.measures import FUEL_LEVELS
from tests.gateway.watch.test_patrol import play
from tests.ticketing.desk.parts import add_records, add_terminal, site
from ticketing.desk.pages import FUEL

NAN = float("nan")
LAYOUT = ("fuel.level.1", "param.rs485_2", "fuel.status.2")


def run(dsn, work):
    async def main():
        async with site(dsn) as desk, desk.program("admin") as client:
            return await work(desk, client)

    asyncio.run(main())


async def calibrate(pool, terminal, sensor, top, since):
    """A table from nothing to `top` litres at code 4000."""
    async with pool.connection() as connection:
        await save(connection, terminal, sensor, [Point(0, 0), Point(4000, top)], since)


async def told(client):
    """What the API says of it all: drains, the first and the last litres of sensor 1, of the last record, names."""
    events = (await client.get("/api/terminals/A/fuel-events")).json()["items"]
    series = (await client.get("/api/series?terminal=A&measure=fuel.volume.1")).json()
    last = (await client.get("/api/terminals/A")).json()["last_record"]["measures"]
    return (
        [(event["sensor"], event["kind"], event["from"], event["to"], event["unit"]) for event in events],
        [series["points"][place]["value"] for place in (0, -1) if series["points"]],
        {name: value for name, value in last.items() if name.startswith("fuel.volume.")},
        [name for name in series["measures"] if name.startswith("fuel.volume.")],
    )


def test_a_corrected_table_corrects_all_that_is_told_of_the_past(postgres_dsn):
    async def work(desk, client):
        terminal = await add_terminal(desk.pool, "A", protocol="omnicomm")
        tank = [3000.0] * 15 + [2000.0] * 25  # a drain, five minutes between records
        measures = [[level, level / 2, NAN] for level in tank]
        times = await add_records(desk.pool, terminal, 40, step=300, layout=LAYOUT, measures=measures)
        shares = [(1, "drain", 0.7326, 0.4884, "share"), (2, "drain", 0.3663, 0.2442, "share")]
        assert await told(client) == (shares, [], {}, [])
        before = times[0] - timedelta(days=1)
        await calibrate(desk.pool, "A", 1, 400, before)
        assert await told(client) == (
            [(1, "drain", 300, 200, "l"), shares[1]], [300, 200], {"fuel.volume.1": 200}, ["fuel.volume.1"],
        )  # fmt: skip
        await calibrate(desk.pool, "A", 1, 800, before)  # the first was wrong
        await calibrate(desk.pool, "A", 2, 100, before)
        await calibrate(desk.pool, "A", 2, 200, times[30])  # the tank was changed
        assert await told(client) == (
            [(1, "drain", 600, 400, "l"), (2, "drain", 37.5, 25, "l")],
            [600, 400],
            {"fuel.volume.1": 400, "fuel.volume.2": 50},
            ["fuel.volume.1", "fuel.volume.2"],
        )
        page = (await client.get("/terminals/A")).text
        assert "600.0 → 400.0 l" in page
        assert 'aria-label="fuel.volume.1: last 400, 400 to 600 l"' in page
        assert "fuel.level.1: last" not in page  # the same once more
        other = (await client.get("/terminals/A?measure=fuel.volume.2")).text
        assert 'aria-label="fuel.volume.2: last 50, 25 to 50 l"' in other

    run(postgres_dsn, work)


def test_a_step_beyond_the_table_is_told_in_shares(postgres_dsn):
    async def work(desk, client):
        terminal = await add_terminal(desk.pool, "A")
        measures = [[level, NAN, NAN] for level in [4050.0] * 15 + [2000.0] * 25]
        times = await add_records(desk.pool, terminal, 40, step=300, layout=LAYOUT, measures=measures)
        await calibrate(desk.pool, "A", 1, 400, times[0])
        assert (await told(client))[:2] == ([(1, "drain", 0.989, 0.4884, "share")], [200, 200])

    run(postgres_dsn, work)


def test_a_volume_that_cannot_be_is_an_empty_series(postgres_dsn):
    async def work(desk, client):
        terminal = await add_terminal(desk.pool, "A")
        await add_records(desk.pool, terminal, 3)
        for wrong in ("0", "99999", "1'", "", "x", "1.2"):
            answer = await client.get("/api/series", params={"terminal": "A", "measure": f"fuel.volume.{wrong}"})
            assert (answer.status_code, answer.json()["points"]) == (200, []), wrong

    run(postgres_dsn, work)


def test_a_ticket_s_evidence_has_litres_beside_the_codes(postgres_dsn):
    async def scenario(world, terminal):
        world.reporting = {terminal: 10}
        await world.pass_time(120)
        now = datetime.fromtimestamp(world.now, UTC)
        await add_records(world.pool, terminal, 12, end=now, layout=LAYOUT, measures=[[2000.0, 1000.0, NAN]] * 12)
        await calibrate(world.pool, "860000000000001", 1, 400, now - timedelta(seconds=100))
        await calibrate(world.pool, "860000000000001", 2, 100, now - timedelta(days=1))
        world.reporting = {}
        await world.pass_time(200)
        page = await world.store.list()
        return await world.store.get(page.items[0].number)

    records = play(postgres_dsn, scenario).evidence["records"]
    assert [record["measures"].get("fuel.volume.1") for record in records] == [200.0] * 4 + [None] * 6
    assert {record["measures"]["fuel.volume.2"] for record in records} == {25.0}


def test_all_go_by_one_list_of_names():
    """The view is held to it in `test_calibrations.py`."""
    assert tuple(tuple(name.replace("N", str(n)) for name in FUEL_LEVELS) for n in range(1, len(NAMES) + 1)) == NAMES
    assert tuple(name.removesuffix("N") for name in FUEL_LEVELS) == FUEL
