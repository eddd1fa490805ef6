"""Terms that end by themselves: consent, reminders, repair times, ladders."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ticketing import policies
from ticketing.clocks import consent, eta
from ticketing.clocks.ladders import next_rung, rungs
from ticketing.clocks.several import read_all
from ticketing.clocks.steps import Step
from ticketing.clocks.terms import ends
from ticketing.working_time.errors import ClockInputError

STANDARD, PROCEDURE, DEALER, CARRIER, SALES = map(policies.get, policies.PRESETS)
OPENED = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)  # Tuesday noon in Moscow; Monday the 9th is a day off in Russia
DEEMED = {"consent": "deemed"}


def moscow(day, hour, minute=0):
    return datetime(2026, 3, day, hour, minute, tzinfo=ZoneInfo("Europe/Moscow"))


def at(minutes):
    return OPENED + timedelta(minutes=minutes)


def test_silence_is_consent_only_where_contract_and_policy_say_so():
    assert consent.deemed_at(DEALER, DEEMED, OPENED) == moscow(18, 18)  # the 10th working day
    assert consent.deemed_at(DEALER, {"consent": "explicit"}, OPENED) is None
    assert consent.deemed_at(CARRIER, DEEMED, OPENED) is None
    assert consent.deemed_at(DEALER, {**DEEMED, "deemed_after": "1d"}, OPENED) == moscow(4, 18)
    assert consent.deemed_at(DEALER, {**DEEMED, "deemed_after": "72h"}, OPENED) == OPENED + timedelta(hours=72)


@pytest.mark.parametrize(
    ("policy", "contract", "word", "said"),
    [
        (STANDARD, {}, None, "on record"),
        (STANDARD, {}, "explicit", None),
        (STANDARD, {}, "phoned", None),
        (STANDARD, DEEMED, "deemed", "does not take"),
        (DEALER, {}, "deemed", "contract"),
        (DEALER, DEEMED, "deemed", None),
    ],
)
def test_whose_word_closes(policy, contract, word, said):
    found = consent.refusal(policy, contract, word)
    assert found is None if said is None else said in found


def test_the_means_of_a_consent_have_their_word():
    assert [consent.word_of(means) for means in ("button", "mail", "phone", "rumour")] == [
        "explicit", "explicit", "phoned", None,
    ]  # fmt: skip


def test_reminders_are_in_working_time_and_few():
    assert consent.reminders(DEALER, OPENED) == [moscow(6, 18), moscow(13, 18)]
    assert len(consent.reminders(CARRIER, OPENED)) == 3
    file = {**DEALER.as_json(), "consent": None}
    assert consent.reminders(policies.of_stored(file), OPENED) == []


def test_reopening_has_a_last_instant():
    last = consent.reopen_until(STANDARD, OPENED)
    assert last == OPENED + timedelta(days=7)
    assert consent.may_reopen(STANDARD, OPENED, last)
    assert not consent.may_reopen(STANDARD, OPENED, last + timedelta(microseconds=1))


def test_a_repair_time_is_owed_within_the_policys_term():
    assert eta.mandatory_by(CARRIER, OPENED) == at(60)
    assert eta.mandatory_by(CARRIER, OPENED, eta=at(200)) == at(260)
    assert eta.mandatory_by(STANDARD, OPENED) is None
    assert eta.refusal(CARRIER, "vendor") is None
    assert "'guess'" in eta.refusal(CARRIER, "guess")
    assert eta.expires(at(5), settled=False) == at(5)
    assert eta.expires(at(5), settled=True) is eta.expires(None, settled=False) is None


def test_terms_of_all_three_kinds():
    assert ends(STANDARD, "8h", "working", OPENED) == moscow(4, 11)
    assert ends(STANDARD, "8h", "real", OPENED) == at(480)
    assert ends(STANDARD, "4d", "working-days", OPENED) == moscow(10, 18)
    with pytest.raises(ClockInputError, match="wrong unit"):
        ends(STANDARD, "8h", "working-days", OPENED)


def climbed(policy, *steps, now=10_000):
    opening = Step(OPENED, "new", frozenset(("request-received", "ticket-opened", "public-message")), {"priority": 1})
    life = [opening, *steps]
    clocks = read_all(policy, None, life, at(now))
    return [((rung.at - OPENED) / timedelta(minutes=1), rung.ladder, rung.tell) for rung in rungs(policy, clocks, life)]


def step(minutes, state="in_work", *events):
    return Step(at(minutes), state, frozenset(events))


def test_a_ladder_of_a_clock_climbs_by_its_shares_and_ends_with_it():
    assert climbed(STANDARD) == [
        (120, "reaction", "owner"), (180, "reaction", "team"), (240, "reaction", "manager"),
    ]  # fmt: skip
    assert climbed(STANDARD, step(180, "in_work", "human-action")) == [(120, "reaction", "owner")]
    waited = climbed(STANDARD, step(60, "waiting_client"), step(90, "in_work"))
    assert [minutes for minutes, _, _ in waited] == [150, 210, 270]


def test_a_ladder_of_an_event_climbs_by_terms_until_somebody_takes_note():
    assert climbed(SALES) == [(5, "call", "owner"), (15, "call", "tier"), (30, "call", "head")]
    assert climbed(SALES, step(15, "new", "acknowledged")) == [(5, "call", "owner")]
    visit = climbed(SALES, step(1, "in_work", "human-action"), step(60, "visit", "visit-needed", "human-action"))
    assert visit == [(75, "site", "tier"), (90, "site", "manager"), (120, "site", "head")]
    agreed = climbed(SALES, step(1, "visit", "visit-needed", "human-action"), step(20, "visit", "visit-agreed"))
    assert agreed == [(16, "site", "tier")]


def test_a_reopened_ticket_climbs_anew():
    life = [step(1, "in_work", "human-action"), step(50, "closed", "ticket-closed"), step(100, "in_work", "reopened")]
    assert [minutes for minutes, _, _ in climbed(SALES, *life)] == [105, 115, 130]
    assert [minutes for minutes, _, _ in climbed(SALES, step(7, "closed", "ticket-closed"))] == [5]


def test_each_rung_has_its_own_key_and_the_next_is_known():
    life = [Step(OPENED, "new", frozenset(("ticket-opened",)))]
    found = rungs(SALES, read_all(SALES, None, life, OPENED), life)
    assert [rung.key for rung in found] == ["call/1/1", "call/1/2", "call/1/3"]
    assert next_rung(found, at(5)) == at(15)
    assert next_rung(found, at(30)) is None
    assert rungs(SALES, read_all(SALES, None, [], OPENED), []) == []
