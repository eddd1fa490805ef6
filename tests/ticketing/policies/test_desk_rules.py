"""Forms, levels, deferrals and prices by the presets."""

from datetime import UTC, date, datetime

import pytest

from ticketing import policies
from ticketing.policies import deferrals, forms, priorities
from ticketing.policies.deferrals import Evidence
from ticketing.policies.warranty import in_city, last_day, price

STANDARD, PROCEDURE, DEALER, CARRIER, SALES = map(policies.get, policies.PRESETS)
NOW = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)  # a Tuesday
LATER = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)

WHOLE = {
    "class": "software", "description": "d", "steps": "1.", "frequency": "often", "criticality": 2, "reporter": 5,
    "server": "s.example", "version": "2",
}  # fmt: skip


def test_each_missing_item_is_named():
    assert forms.missing(PROCEDURE, WHOLE) == []
    assert forms.missing(PROCEDURE, {**WHOLE, "steps": "  ", "server": None}) == ["steps", "server"]
    assert forms.missing(PROCEDURE, {**WHOLE, "class": "network", "version": None}) == []
    assert forms.missing(PROCEDURE, {**WHOLE, "class": "hardware"}) == ["vehicle"]
    assert forms.missing(PROCEDURE, {**WHOLE, "class": "hardware", "terminal": "350000000000001"}) == []
    assert forms.missing(PROCEDURE, {**WHOLE, "class": None, "server": None}) == []
    assert forms.missing(PROCEDURE, {**WHOLE, "reporter": None}) == ["contacts"]
    assert forms.missing(PROCEDURE, {**WHOLE, "reporter": None, "phone": "+7"}) == []
    assert forms.missing(STANDARD, {"description": "d"}) == []


def test_how_complete_a_request_is():
    assert forms.completeness(PROCEDURE, WHOLE) == 100
    assert forms.completeness(PROCEDURE, {}) == 0
    assert forms.completeness(PROCEDURE, {**WHOLE, "version": None, "server": None}) == 71
    assert forms.completeness(PROCEDURE, {"channel": "monitoring"}) == 100


def test_the_clients_level_counts_first():
    assert [priorities.first(SALES, wanted) for wanted in (1, 2, 3, 4, None)] == [1, 2, 3, 3, 3]
    assert [priorities.first(STANDARD, wanted) for wanted in (1, 4, 9, None)] == [1, 4, 4, 3]
    assert priorities.levels(SALES) == (1, 2, 3)


def test_another_level_than_the_clients_needs_what_the_policy_says():
    assert priorities.regrade(SALES, to=2, client=1, role="engineer", reason=" ").refusal.endswith("client is shown")
    assert priorities.regrade(SALES, to=2, client=1, role="engineer", reason="a spare runs") == (None, True)
    assert priorities.regrade(SALES, to=1, client=1, role="engineer", reason=None) == (None, False)
    assert "no level 4" in priorities.regrade(SALES, to=4, client=1, role="manager", reason="x").refusal
    assert priorities.regrade(PROCEDURE, to=2, client=None, role="engineer", reason=None) == (None, False)
    assert "reason" in priorities.regrade(PROCEDURE, to=2, client=3, role="engineer", reason=None).refusal


def test_a_manager_may_be_needed():
    file = PROCEDURE.as_json()
    file["priority_rule"]["regrade"] = "manager"
    policy = policies.of_stored(file)
    assert "manager" in priorities.regrade(policy, to=1, client=3, role="engineer", reason="x").refusal
    assert priorities.regrade(policy, to=1, client=3, role="manager", reason="x") == (None, False)


@pytest.mark.parametrize("policy", policies.shipped(), ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    ("code", "given", "fields"),
    [
        ("not_reproducible", Evidence(), ["text", "until"]),
        ("not_reproducible", Evidence("tried twice", LATER), []),
        ("not_reproducible", Evidence("tried twice", NOW), ["until"]),
        ("no_data", Evidence(), ["code"]),
        ("no_data", Evidence(asked=True), []),
        ("misuse", Evidence("rule 3"), ["proof"]),
        ("misuse", Evidence(proof=7), ["text"]),
        ("misuse", Evidence("rule 3", proof=7), []),
        ("out_of_scope", Evidence(), ["text"]),
        ("out_of_scope", Evidence("clause 4, offer 12"), []),
        ("holiday", Evidence("x"), ["code"]),
    ],
)
def test_each_reason_to_put_off_has_its_condition(policy, code, given, fields):
    found = deferrals.refusals(policy, code, given, NOW)
    assert [field for field, _, _ in found] == fields
    assert all(problem and remedy for _, problem, remedy in found)


def test_what_is_out_of_scope_may_be_contested():
    assert [code for code in deferrals.CODES if deferrals.may_contest(PROCEDURE, code)] == ["out_of_scope"]
    file = {**PROCEDURE.as_json(), "deferral": []}
    assert deferrals.refusals(policies.of_stored(file), "no_data", Evidence(asked=True), NOW) == []


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        (date(2025, 3, 3), ("free", "free", True, "in-warranty", date(2026, 3, 3))),
        (date(2025, 3, 2), ("visit-cost", "cost", False, "after-warranty", date(2026, 3, 2))),
        (date(2016, 1, 1), ("visit-cost", "cost", False, "after-warranty", date(2017, 1, 1))),
        (None, ("quote", "quote", None, "acceptance-unknown", None)),
    ],
)
def test_the_price_follows_the_warranty(accepted, expected):
    assert price(SALES, NOW, accepted_at=accepted) == expected


def test_visits_inside_the_service_city_are_free_on_its_days():
    old = date(2020, 1, 1)
    city = {"accepted_at": old, "service_city": "Orenburg", "site": "depot 3,  orenburg , Russia"}
    assert price(STANDARD, NOW, **city)[:4] == ("free", "cost", False, "after-warranty+service-city")
    saturday = datetime(2026, 3, 7, 9, tzinfo=UTC)
    assert price(STANDARD, NOW, visit_at=saturday, **city).visit == "quote"
    assert price(STANDARD, NOW, visit_at=datetime(2026, 3, 6, 20, 59, tzinfo=UTC), **city).visit == "free"
    assert price(STANDARD, NOW, visit_at=datetime(2026, 3, 6, 21, 0, tzinfo=UTC), **city).visit == "quote"
    assert price(STANDARD, NOW, **{**city, "site": "Orenburgskaya 5"}).visit == "quote"
    assert price(SALES, NOW, **city).visit == "visit-cost"
    assert price(STANDARD, NOW, **city).as_json()["until"] == "2021-01-01"


def test_cities_and_leap_days():
    assert not in_city(None, "x")
    assert not in_city("x", None)
    assert last_day(date(2024, 2, 29), 1) == date(2025, 2, 28)
    assert last_day(date(2024, 2, 29), 4) == date(2028, 2, 29)
