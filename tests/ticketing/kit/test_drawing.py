"""Figures: places by the projection's own formula, round ticks, and hostile numbers."""

import math
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.kit.drawing import chart, track
from ticketing.kit.ports import Point, Position

AT = datetime(2026, 11, 21, tzinfo=UTC)


def position(n, lat, lon, minutes=1):
    return Position(AT + timedelta(minutes=n * minutes), lat, lon, None, None)


def test_a_track_fits_and_ends_where_it_should():
    drawn = track([position(n, 55 + n * 0.01, 37 + n * 0.005) for n in range(20)])
    assert drawn.start[1] > drawn.end[1]  # north is up
    assert drawn.start[0] < drawn.end[0]
    places = [tuple(map(float, p.split(","))) for line in drawn.lines for p in line.split()]
    assert all(0 <= x <= drawn.width and 0 <= y <= drawn.height for x, y in places)
    assert (places[0], places[-1]) == (drawn.start, drawn.end)
    assert re.fullmatch(r"[125]0* k?m", drawn.bar_label)
    assert drawn.gaps == []


def test_a_gap_is_dashed():
    drawn = track([position(n, 55 + n, 37, minutes=1 if n < 5 else 10) for n in range(10)])
    assert len(drawn.gaps) == 1
    assert len(drawn.lines) == 2


def test_the_date_line_is_crossed_the_short_way():
    drawn = track([position(0, 60, 179.9), position(1, 60, -179.9), position(2, 60, 179.9)])
    (line,) = drawn.lines
    xs = [float(p.split(",")[0]) for p in line.split()]
    assert xs[0] == xs[2] < xs[1]
    assert drawn.bar_label.endswith("km")


def test_a_parked_terminal_and_none():
    drawn = track([position(n, 55.75, 37.62) for n in range(3)])
    assert drawn.lines == []
    assert drawn.start == drawn.end == (drawn.width / 2, drawn.height / 2)
    assert track([]) is None


def test_tiles_lie_under_the_track():
    drawn = track([position(0, 55.7558, 37.6173), position(1, 55.76, 37.62)], tiles="https://t.example/{z}/{x}/{y}.png")
    zoom = int(drawn.tiles[0].url.split("/")[3])
    covering = [t for t in drawn.tiles if t.x <= drawn.start[0] < t.x + 256 and t.y <= drawn.start[1] < t.y + 256]
    lat = math.radians(55.7558)
    x = int((37.6173 + 180) / 360 * 2**zoom)  # the slippy map's own formulas
    y = int((1 - math.log(math.tan(lat) + 1 / math.cos(lat)) / math.pi) / 2 * 2**zoom)
    assert covering[0].url == f"https://t.example/{zoom}/{x}/{y}.png"


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=20), st.booleans())
def test_any_positions_can_be_drawn(places, tiled):
    drawn = track(
        [position(n, lat, lon) for n, (lat, lon) in enumerate(places)],
        tiles="https://t.example/{z}/{x}/{y}" if tiled else "",
    )
    assert len(drawn.tiles) <= 40
    assert "nan" not in repr(drawn)
    assert not re.search(r"\binf\b", repr(drawn))


def points(values, step=60):
    return [Point(AT + timedelta(seconds=n * step), v, v - 1, v + 1) for n, v in enumerate(values)]


def test_a_chart_has_round_ticks_and_is_broken_where_nothing_came():
    series = points([12.0, 13.0, 14.0]) + [Point(AT + timedelta(hours=3, minutes=n), 20, 20, 20) for n in range(3)]
    drawn = chart(series, since=AT, until=AT + timedelta(hours=4), zone=UTC)
    assert len(drawn.lines) == 2
    assert [label for _, label in drawn.values] == ["10", "12", "14", "16", "18", "20"]
    assert [label for _, label in drawn.times] == [
        "00:00",
        "00:30",
        "01:00",
        "01:30",
        "02:00",
        "02:30",
        "03:00",
        "03:30",
        "04:00",
    ]
    assert (drawn.latest, drawn.low, drawn.high) == ("20", "11", "20")
    assert chart([], since=AT, until=AT, zone=UTC) is None


@pytest.mark.parametrize("values", [[0.0], [5.0] * 3, [1e14, -1e14], [1e-12, 2e-12], [7.0] * 50, [-3.0, -2.0]])
def test_odd_series(values):
    series = [Point(AT + timedelta(seconds=n), v, v, v) for n, v in enumerate(values)]
    drawn = chart(series, since=AT, until=AT + timedelta(seconds=len(values)), zone=UTC)
    assert 2 <= len(drawn.values) <= 8
    assert len(drawn.lines) + len(drawn.dots) == 1


@given(st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=30), st.integers(1, 31 * 86400))
def test_any_series_can_be_drawn(values, span):
    series = [Point(AT + timedelta(seconds=n), v, v, v) for n, v in enumerate(values)]
    drawn = chart(series, since=AT, until=AT + timedelta(seconds=span), zone=UTC)
    assert len(drawn.values) <= 8
    assert len(drawn.times) <= 9
    assert "nan" not in repr(drawn)
