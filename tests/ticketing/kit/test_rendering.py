"""Words for times, durations and evidence of any shape."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketing.kit.rendering import Rendering, clock, duration, label, number, ordered, told, unit, when
from ticketing.kit.settings import DeskSettings

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7260, "2 h 1 min"),
        (86400, "1 d"),
        (97200, "1 d 3 h"),
        (29 * 86400 + 3600, "29 d 1 h"),
        (30 * 86400 + 3600, "30 d"),
        (754, "12 min"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_times_are_relative_and_absolute():
    shown = when(NOW - timedelta(minutes=3), NOW, ZoneInfo("Europe/Moscow"))
    assert "2026-11-21 14:57:00 MSK" in shown
    assert "3 min ago" in shown
    assert 'datetime="2026-11-21T11:57:00.000Z"' in shown
    assert "in 3 min" in when(NOW + timedelta(minutes=3), NOW, UTC, short=True)
    assert "never" in when(None, NOW, UTC)


def test_the_clock_says_how_urgent_it_is():
    assert 'class="clock calm"' in clock(NOW + timedelta(hours=4), NOW)
    assert "59 min left" in clock(NOW + timedelta(minutes=59), NOW)
    assert 'class="clock soon"' in clock(NOW + timedelta(minutes=59), NOW)
    assert "2 h overdue" in clock(NOW - timedelta(hours=2), NOW)
    assert 'class="clock late"' in clock(NOW - timedelta(seconds=1), NOW)
    assert 'class="clock soon"' in clock(NOW, NOW)  # due exactly now is still in time


def test_words_of_evidence():
    assert label("age_s") == "Age, s"
    assert label("last_records") == "Last records"
    assert told("2026-11-21T12:00:00.5+00:00", lambda moment: f"<{moment:%H:%M}>") == "<12:00>"
    for text in ("2026-13-21T12:00:00Z", "2026-11-21", "x", "9999-12-31T23:59:59-12:00"):
        shown = told(text, lambda moment: moment.astimezone(UTC).isoformat())
        assert shown == text
    assert ordered({"speed": 1, "zzz": 2, "time": 3}) == ["time", "speed", "zzz"]
    assert (number(2400.0), number(13.85), number(True), number(10**20)) == ("2 400", "13.85", "True", str(10**20))
    assert (number(float("inf")), number(-float("inf"))) == ("inf", "-inf")
    assert len(number(10**400)) == 100
    assert (unit("fuel.temperature.2"), unit("temperature.1"), unit("fuel.level.1")) == ("°C", "°C", "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=15,
)


@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_evidence_of_any_shape_is_shown(evidence):
    rendering = Rendering(DeskSettings(), lambda: NOW)
    template = '{% import "macros.html" as m with context %}{{ m.evidence(value) }}'
    shown = rendering._environment.from_string(template).render(value=evidence, stamp=str)
    assert "<script" not in shown
    assert (not evidence) or "<dl" in shown


def test_evidence_can_be_nested_without_end():
    deep = {"a": {}}
    inner = deep
    for _ in range(200):
        inner["a"] = {"a": [inner.get("b", 1)]}
        inner = inner["a"]
    rendering = Rendering(DeskSettings(), lambda: NOW)
    template = '{% import "macros.html" as m with context %}{{ m.evidence(value) }}'
    assert rendering._environment.from_string(template).render(value=deep, stamp=str).count("<dl") == 7
