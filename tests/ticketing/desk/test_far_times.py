"""A terminal whose clock is lost, in the year 1 or 9999, has a page and answers like any other, in every zone."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ticketing.desk.parts import add_records, site
from tests.ticketing.desk_parts import add_terminal, execute
from ticketing.core.moments import iso, local_time
from ticketing.kit import asked, drawing
from ticketing.kit.ports import Point
from ticketing.kit.rendering import deadline, stamp, when
from ticketing.kit.settings import DeskSettings

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
INSTANTS = {
    "0001-01-01T00:00:00Z": FIRST,  # what some programs send for "no time"
    "0001-01-01T23:00:00Z": FIRST + timedelta(hours=23),
    "0001-01-31T00:00:00Z": FIRST + timedelta(days=30),
    "1582-10-10T00:00:00Z": datetime(1582, 10, 10, tzinfo=UTC),
    "1970-01-01T00:00:00Z": datetime(1970, 1, 1, tzinfo=UTC),
    "2107-12-31T23:59:58Z": datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC),
    "9999-12-31T23:59:59Z": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
}
ZONES = (UTC, ZoneInfo("Pacific/Kiritimati"), ZoneInfo("America/Los_Angeles"), timezone(timedelta(hours=-12)))
ASKED = (
    "/terminals/T", "/terminals/T?hours=720", "/terminals/T?hours=1", "/api/terminals/T", "/api/positions?terminal=T",
    "/api/series?terminal=T&measure=speed", "/api/terminals/T/fuel-events", "/terminals", "/api/search?q=T",
)  # fmt: skip


# The ends of the day in the short form; all that may stand between them in the long one.
@pytest.mark.parametrize(
    "zone", [pytest.param(zone, marks=[pytest.mark.soak] * (zone in ZONES[:3:2])) for zone in ZONES], ids=str
)
def test_pages_and_answers_of_a_clock_that_is_lost(postgres_dsn, zone):
    async def main():
        settings = DeskSettings(zone=zone, policy_zone=ZoneInfo("Asia/Shanghai"))
        async with site(postgres_dsn, roles=("admin",), settings=settings) as desk:
            row = await add_terminal(desk.pool, "T", protocol="teltonika")
            await add_records(desk.pool, row, 2)
            await execute(
                desk.pool,
                "WITH gone AS (DELETE FROM record RETURNING *) INSERT INTO record_outside SELECT * FROM gone LIMIT 1",
            )
            async with desk.program("admin") as client:
                for told, instant in INSTANTS.items():
                    await execute(desk.pool, "UPDATE record_outside SET time = %s", instant)
                    for path in ASKED:
                        assert (await client.get(path)).status_code == 200, (told, path)
                    last = (await client.get("/api/terminals/T")).json()["last_record"]
                    assert last["time"] == told
                    if instant < datetime.now(UTC):  # the span without a wish ends with the last record
                        track = (await client.get("/api/positions?terminal=T")).json()
                        assert [place["time"] for place in track["positions"]] == [told]
                        series = (await client.get("/api/series?terminal=T&measure=speed")).json()
                        assert len(series["points"]) == 1, told

    asyncio.run(main())


EVER = st.datetimes(timezones=st.just(UTC)) | st.sampled_from([FIRST, LAST])
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
PLACES = st.sampled_from(ZONES) | OFFSETS


@given(EVER, PLACES)
def test_any_instant_is_the_same_one_at_every_place(moment, zone):
    assert local_time(moment, zone) == moment
    if FIRST + timedelta(days=1) < moment < LAST - timedelta(days=1):
        assert local_time(moment, zone).utcoffset() == moment.astimezone(zone).utcoffset()


@given(EVER, EVER, PLACES, PLACES)
def test_any_instant_is_told_in_words(moment, now, zone, place):
    told = stamp(moment, zone)
    assert deadline(moment, zone, place).startswith(told)
    shown = when(moment, now, zone)
    assert f'datetime="{iso(moment)}"' in shown
    assert told in shown
    assert (" ago" in shown) is (moment <= now)


@given(EVER, st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=31)))
def test_a_span_begins_with_time_at_the_earliest(until, span):
    since = asked.before(until, span)
    assert FIRST <= since <= until
    assert since in (FIRST, until - span) if until - FIRST > span else since == FIRST


@given(EVER, st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=31)), PLACES, st.floats(-1e6, 1e6))
def test_a_chart_of_any_span_can_be_drawn(until, span, zone, value):
    since = asked.before(until, span)
    if since == until:
        return
    drawn = drawing.chart([Point(since, value, value, value)], since=since, until=until, zone=zone)
    assert drawn is not None
    assert all(drawn.left - 1 <= x <= drawn.right + 1 for x, _ in drawn.times)
    assert len(drawn.times) <= 10
