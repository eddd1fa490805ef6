"""Times of repairs, of a played day."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.ticketing.desk_parts import pool_of
from tests.ticketing.stories.story import CLIENT, TERMINAL, Story, line, phone, play
from ticketing.people.scope import NONE, Kind, condition
from ticketing.people.users import User
from ticketing.tickets.repairs import repairs

HOUR = 3600.0
DAY = Story(
    "",
    "three repairs: after one hour, after three, and by itself after half of one; a fourth is not done",
    "after-sales",
    [
        *CLIENT,
        phone("03-02T10:00", "quick", class_="software"),
        phone("03-02T10:00", "slow", class_="hardware"),
        line("03-02T10:00", "finding", ref="seen", terminal=TERMINAL, kind="power", zone="wiring-power"),
        phone("03-02T10:00", "open", class_="hardware", new=True),
        line("03-02T10:25", "recovered", terminal=TERMINAL, kind="power"),  # proven after five minutes
        line("03-02T11:00", "fix", ticket="quick", as_="igor", text="restarted"),
        line("03-02T13:00", "fix", ticket="slow", as_="igor", text="new fuse"),
        line("03-02T13:10", "dispute", ticket="slow", as_="ann", text="it is not"),
        line("03-02T18:00", "fix", ticket="slow", as_="igor", text="new box"),
    ],
    until="03-02T18:01",
)


def test_repair_times_are_those_of_the_journal(postgres_dsn):
    begin = datetime(2026, 3, 2, 0, tzinfo=UTC)

    async def main():
        async with pool_of(postgres_dsn) as pool:
            await play(pool, DAY)
            async with pool.connection() as connection:
                everybody = condition(User(0, "m", "manager"), Kind.TICKET, "t")
                all_day = await repairs(connection, everybody, begin, begin + timedelta(days=1))
                early = await repairs(connection, everybody, begin, datetime(2026, 3, 2, 8, tzinfo=UTC))
                nobodys = await repairs(connection, NONE, begin, begin + timedelta(days=1))
                others = await repairs(connection, everybody, begin, begin + timedelta(days=1), 999)
            return all_day, early, nobodys, others

    all_day, early, nobodys, others = asyncio.run(main())
    told = {(row.by, row.value): (row.tickets, row.mean_s, row.median_s, row.longest_s) for row in all_day.rows}
    assert told == {
        ("all", ""): (3, 1.5 * HOUR, HOUR, 3 * HOUR),
        ("class", "hardware"): (2, 1.75 * HOUR, 1.75 * HOUR, 3 * HOUR),
        ("class", "software"): (1, HOUR, HOUR, HOUR),
        ("zone", "unknown"): (2, 2 * HOUR, 2 * HOUR, 3 * HOUR),
        ("zone", "wiring-power"): (1, HOUR / 2, HOUR / 2, HOUR / 2),
        ("client", "Acme"): (3, 1.5 * HOUR, HOUR, 3 * HOUR),
    }
    assert [(row.by, row.tickets) for row in early.rows if row.by == "all"] == [("all", 1)], "fixed before 08:00 UTC"
    assert (nobodys.rows, others.rows) == ([], [])
