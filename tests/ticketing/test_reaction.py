from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from ticketing.reaction import UnknownPolicyError, due_at

MOSCOW = ZoneInfo("Europe/Moscow")


@pytest.mark.parametrize(
    ("opened", "due"),
    [
        ((2026, 11, 16, 9, 0), (2026, 11, 16, 13, 0)),
        ((2026, 11, 16, 14, 0), (2026, 11, 16, 18, 0)),  # used up at closing: due then
        ((2026, 11, 16, 14, 0, 1), (2026, 11, 17, 9, 0, 1)),
        ((2026, 11, 16, 18, 0), (2026, 11, 17, 13, 0)),
        ((2026, 11, 16, 3, 0), (2026, 11, 16, 13, 0)),
        ((2026, 11, 20, 17, 0), (2026, 11, 23, 12, 0)),  # over the weekend
        ((2026, 11, 21, 21, 34), (2026, 11, 23, 13, 0)),  # the support model's vector 8: Saturday
    ],
)
def test_four_working_hours(opened, due):
    assert due_at(datetime(*opened, tzinfo=MOSCOW)) == datetime(*due, tzinfo=MOSCOW)


def test_the_answer_keeps_the_zone_of_the_question():
    due = due_at(datetime(2026, 11, 21, 18, 34, tzinfo=UTC))
    assert due.isoformat() == "2026-11-23T10:00:00+00:00"


def test_another_policy_is_refused():
    with pytest.raises(UnknownPolicyError, match="after-sales"):
        due_at(datetime(2026, 11, 16, tzinfo=UTC), "after-sales")
