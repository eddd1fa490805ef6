"""Past tickets under other rules: what their journals say under another promise."""

import argparse
import asyncio
import json
from datetime import UTC, datetime

import pytest

from gateway.commands import policy as policy_command
from tests.ticketing.desk_parts import MONDAY, add_terminal, done, execute, pool_of, raise_one
from ticketing import policies
from ticketing.clocks.replay import Changed, replay
from ticketing.incidents import Incidents
from ticketing.tickets.clock_watch import watch_clocks
from ticketing.tickets.store import TicketStore

H = 3600


def after(seconds):
    return datetime.fromtimestamp(MONDAY + seconds, UTC)


async def open_and_take(pool, name, opened, taken, policy="integrator-standard"):
    terminal = await add_terminal(pool, name)
    number = (await raise_one(pool, terminal, MONDAY + opened, incidents=Incidents(pool, policy=policy))).number
    if taken is not None:
        await done(TicketStore(pool, clock=lambda: after(taken)), "take", number, "anna", "")
    return number


@pytest.fixture(scope="module")
def past(shared_dsn):
    """Three tickets of one Monday: answered in time, answered late, of before; and one of another month."""

    async def main():
        async with pool_of(shared_dsn) as pool:
            found = {
                "prompt": await open_and_take(pool, "a", 0, 300),
                "late": await open_and_take(pool, "b", 60, 60 + 5 * H),
                "old": await open_and_take(pool, "c", 120, None),
                "other": await open_and_take(pool, "d", 40 * 24 * H, None),
            }
            await watch_clocks(pool, after(6 * H))
            await execute(pool, "UPDATE ticket SET policy_version = NULL WHERE number = %s", found["old"])
            return found

    return asyncio.run(main())


def replay_of(dsn, policy, **more):
    async def main():
        async with pool_of(dsn) as pool, pool.connection() as connection:
            return await replay(connection, policies.get(policy), after(0), after(24 * H), after(48 * H), **more)

    return asyncio.run(main())


def test_the_same_rules_change_nothing(shared_dsn, past):
    found = replay_of(shared_dsn, "integrator-standard")
    assert (found.tickets, found.before, found.after, found.added, found.removed) == (2, 1, 1, [], [])
    assert found.left_out == [past["old"]]


def test_breaches_added_and_removed(shared_dsn, past):
    found = replay_of(shared_dsn, "after-sales")
    late, prompt = past["late"], past["prompt"]
    assert found.removed == [Changed(late, "reaction-remote", 1, after(60 + 4 * H))]
    # Priority 2: the fault itself was to be mended within two hours, and was not.
    assert sorted(found.added) == sorted([
        Changed(late, "reply", 1, after(60 + 600)),
        Changed(late, "reaction", 1, after(60 + 1800)),
        Changed(late, "severe", 1, after(60 + 2 * H)),
        Changed(prompt, "severe", 1, after(2 * H)),
    ])  # fmt: skip
    assert (found.before, found.after) == (1, 4)


def test_a_plan_for_all(shared_dsn, past):
    assert replay_of(shared_dsn, "support-procedure").after == 0
    found = replay_of(shared_dsn, "support-procedure", plan="priority")
    assert [change.clock for change in found.added] == ["reaction-priority"]


def asked(capsys, dsn, monkeypatch, tmp_path, *options):
    monkeypatch.setenv("DOZOR_STORE__DSN", dsn)
    monkeypatch.setenv("DOZOR_DATA_DIR", str(tmp_path))
    parser = argparse.ArgumentParser(prog="dozor policy")
    policy_command.add_arguments(parser)
    parser.set_defaults(config=None)
    code = policy_command.run(parser.parse_args(["replay", *options]))
    return code, *capsys.readouterr()


def test_the_command_says_both_in_words_and_as_json(shared_dsn, past, capsys, monkeypatch, tmp_path):
    day = f"{after(0):%Y-%m-%d}"
    following = f"{after(24 * H):%Y-%m-%d}"
    span = ("--policy", "after-sales", "--from", day, "--to", following)
    code, out, _ = asked(capsys, shared_dsn, monkeypatch, tmp_path, *span)
    assert code == 0
    assert out.splitlines()[0] == "2 tickets under after-sales@1: 4 breaches, 1 as it was"
    assert f"  {past['late']}  reply, due " in out
    assert f"Left out, without records of their clocks: {past['old']}" in out
    code, out, _ = asked(capsys, shared_dsn, monkeypatch, tmp_path, *span, "--json")
    told = json.loads(out)
    assert (code, told["tickets"], told["after"], len(told["removed"])) == (0, 2, 4, 1)
    assert told["from"] == f"{day}T00:00:00+00:00"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--policy", "gold", "--from", "2026-01-01", "--to", "2026-02-01"), "unknown policy 'gold'"),
        (("--policy", "none.toml", "--from", "2026-01-01", "--to", "2026-02-01"), "cannot read none.toml"),
        (("--policy", "dealer-desk", "--from", "soon", "--to", "2026-02-01"), "neither a day"),
        (("--policy", "dealer-desk", "--from", "2026-02-01", "--to", "2026-02-01"), "not after --from"),
        (("--policy", "dealer-desk", "--plan", "gold", "--from", "2026-01-01", "--to", "2026-02-01"), "no plan"),
    ],
)
def test_a_wrong_question_is_refused_before_the_store_is_asked(capsys, options, said):
    parser = argparse.ArgumentParser(prog="dozor policy")
    policy_command.add_arguments(parser)
    code = policy_command.run(parser.parse_args(["replay", *options]))
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert said in err
