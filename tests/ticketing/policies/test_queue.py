"""The order in which tickets are worked on: rank, ageing, answers, and that the stored key sorts alike in SQL."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketing import policies
from ticketing.policies.queue import LISTED, Standing, place

NINE = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
PROCEDURE, SALES, DEALER = map(policies.get, ("support-procedure", "after-sales", "dealer-desk"))
H = timedelta(hours=1)


def standing(arrived=0.0, **more):
    """Hours after nine; `target`: hours to the due time of a clock that counts each of them."""
    target = more.pop("target", None)
    begin = NINE + arrived * H
    if target is not None:
        more |= {"due": begin + target * H, "thirds": [begin + target * H * share / 3 for share in (1, 2, 3)]}
    return Standing(**{"state": "new", "priority": 3, "channel": "mail", "arrived": begin, **more})


def order(policy, now, **tickets):
    """Names in the order of the queue, `now` hours after nine."""
    found = {name: place(policy, ticket, NINE + now * H) for name, ticket in tickets.items()}
    return [name for name, _ in sorted(found.items(), key=lambda item: item[1].key)]


def test_in_order_of_arrival_inside_a_rank():
    assert order(PROCEDURE, 1, b=standing(0.5), a=standing(0.4), c=standing(0.6)) == ["a", "b", "c"]
    assert order(PROCEDURE, 1, a=standing(0.5, target=16), b=standing(0.6, target=2)) == ["a", "b"]


def test_the_nearest_deadline_first_where_the_policy_says_so():
    assert order(SALES, 1, a=standing(0.5, target=16), b=standing(0.6, target=4), c=standing()) == ["b", "a", "c"]


def test_priority_then_channel_and_a_jump_before_all():
    tickets = {
        "low": standing(priority=4), "mail": standing(0.1), "portal": standing(0.2, channel="portal"),
        "high": standing(0.3, priority=2), "jump": standing(0.4, priority=4, jump=True),
    }  # fmt: skip
    assert order(PROCEDURE, 0.5, **tickets) == ["jump", "high", "portal", "mail", "low"]
    assert order(SALES, 0.5, mail=standing(), phone=standing(0.1, channel="phone")) == ["phone", "mail"]


def test_a_channels_bonus_ends_with_the_reaction_or_lasts_until_the_client_is_satisfied():
    acted = {"mail": standing(state="in_work", acted=True)}
    portal = standing(0.1, state="in_work", channel="portal", acted=True)
    assert order(PROCEDURE, 0.5, portal=portal, **acted) == ["mail", "portal"]
    phone = standing(0.1, state="in_work", channel="phone", acted=True)
    assert order(SALES, 0.5, phone=phone, **acted) == ["phone", "mail"]


def test_an_unknown_channel_has_no_bonus():
    assert order(PROCEDURE, 0.5, paper=standing(0.1, channel="api"), mail=standing()) == ["mail", "paper"]


def test_each_third_of_the_target_lifts_a_level_and_overdue_goes_before_all_in_time():
    old = standing(target=12)
    fresh = {now: standing(now - 0.01, channel="portal", target=12) for now in (3.9, 4.1)}
    assert order(PROCEDURE, 3.9, old=old, fresh=fresh[3.9]) == ["fresh", "old"]
    assert order(PROCEDURE, 4.1, old=old, fresh=fresh[4.1]) == ["old", "fresh"]
    urgent = standing(7.9, priority=1, channel="portal", target=12)
    assert order(PROCEDURE, 8.1, old=old, urgent=urgent) == ["urgent", "old"]
    assert order(PROCEDURE, 12.1, old=old, urgent=urgent) == ["old", "urgent"]
    assert order(PROCEDURE, 30, a=standing(priority=1, target=14), b=standing(1, priority=4, target=12)) == ["b", "a"]
    jump = standing(29, jump=True, priority=4)
    assert order(PROCEDURE, 30, old=old, jump=jump) == ["jump", "old"]


def test_what_no_clock_presses_ages_by_the_day():
    old = standing(state="in_work")
    assert order(DEALER, 7.9, old=old, new=standing(7.8, priority=2)) == ["new", "old"]
    assert order(DEALER, 8.1, old=old, new=standing(8.0, priority=2)) == ["old", "new"]
    assert order(DEALER, 24.1, old=old, new=standing(24, priority=1)) == ["old", "new"]


def test_without_ageing_a_rank_is_for_ever():
    file = PROCEDURE.file
    rule = msgspec.structs.replace(file.queue, ageing=False)
    policy = policies.Policy(msgspec.structs.replace(file, queue=rule))
    old, new = standing(target=2), standing(99, priority=2)
    assert order(policy, 100, old=old, new=new) == ["new", "old"]
    assert place(policy, old, NINE).changes_at is None


def test_the_answer_goes_to_the_head_of_its_rank_and_no_further():
    tickets = {
        "first": standing(), "answered": standing(0.5, state="in_work", resumed=True), "high": standing(0.6, priority=2)
    }  # fmt: skip
    assert order(PROCEDURE, 1, **tickets) == ["high", "answered", "first"]


@pytest.mark.parametrize(
    "state", ["waiting_client", "waiting_vendor", "deferred", "visit", "recovering", "awaiting_consent", "closed"]
)
def test_who_waits_for_somebody_else_is_not_listed(state):
    assert place(PROCEDURE, standing(state=state), NINE) is None
    assert {"new", "in_work"} == LISTED


def test_time_changes_the_key_at_the_told_instants_alone():
    ticket = standing(target=12)
    moments, now = [], NINE
    while (found := place(PROCEDURE, ticket, now)).changes_at is not None:
        just_before = place(PROCEDURE, ticket, found.changes_at - timedelta(microseconds=1))
        assert just_before.key == found.key != place(PROCEDURE, ticket, found.changes_at).key
        moments.append((found.changes_at - NINE) / H)
        now = found.changes_at
    assert moments == [4, 8, 12]


@given(
    st.lists(
        st.builds(
            standing, st.floats(0, 40), priority=st.integers(1, 4), channel=st.sampled_from(["mail", "portal"]),
            target=st.sampled_from([None, 2, 16]),
        ),
        min_size=1, max_size=8,
    ),
    st.floats(40, 60),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_nothing_starves(tickets, now):
    """Whoever came two days before is not behind anybody who comes now, unless that one jumps."""
    key = place(PROCEDURE, standing(now, priority=1, channel="portal", target=2), NINE + now * H).key
    for ticket in tickets:
        late = place(PROCEDURE, ticket, ticket.arrived + 48 * H)
        assert late.key < key or ticket.arrived + 48 * H > NINE + now * H + 48 * H


def test_the_column_sorts_as_the_rules_do_and_by_an_index(shared_dsn):
    rng = random.Random(7)
    tickets = [
        standing(
            rng.uniform(0, 400), priority=rng.randint(1, 4), channel=rng.choice(["mail", "portal"]),
            target=rng.choice([None, 2, 16]), jump=rng.random() < 0.05, resumed=rng.random() < 0.1,
        )
        for _ in range(5000)
    ]  # fmt: skip
    keys = [place(PROCEDURE, ticket, NINE + 200 * H).key for ticket in tickets]
    assert len({len(key) for key in keys}) == 1

    async def main():
        async with await psycopg.AsyncConnection.connect(shared_dsn) as connection:
            await connection.execute('CREATE TEMP TABLE queued (id int, queue_key text COLLATE "C")')
            async with connection.cursor() as cursor, cursor.copy("COPY queued FROM STDIN") as copy:
                for number, key in enumerate(keys):
                    await copy.write_row((number, key))
            await connection.execute("CREATE INDEX ON queued (queue_key) WHERE queue_key IS NOT NULL")
            await connection.execute("ANALYZE queued")
            query = "SELECT id FROM queued WHERE queue_key IS NOT NULL AND queue_key > %s ORDER BY queue_key LIMIT 50"
            rows = await connection.execute(f"EXPLAIN {query}", ("",))
            plan = "\n".join(row[0] for row in await rows.fetchall())
            found = [row[0] for row in await (await connection.execute(query, ("",))).fetchall()]
            return plan, found

    plan, found = asyncio.run(main())
    assert "Index" in plan
    assert [keys[number] for number in found] == sorted(keys)[:50]
