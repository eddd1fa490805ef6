"""Tracks and series as SVG figures: plain numbers here, the templates write the elements.

Tracks are drawn in Web Mercator, so that tiles of a configured server lie underneath without distortion.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from ticketing.core.moments import local_time
from ticketing.kit.ports import Point, Position

TILE = 256  # pixels of a map tile
MAX_ZOOM = 17
MERCATOR_LIMIT = 85.05112878  # degrees; the projection's square ends here
GAP = timedelta(minutes=15)  # without a position for longer, the way between is only guessed: dashed
EARTH = 40_075_016.686  # metres around the equator


@dataclass(frozen=True, slots=True)
class Tile:
    """One map tile at its place in the figure."""

    url: str
    x: float
    y: float
    size: float


@dataclass(frozen=True, slots=True)
class Track:
    """A drawn track: polylines as SVG points, dashed ones over gaps, a scale bar of `bar` pixels."""

    width: int
    height: int
    lines: Sequence[str]
    gaps: Sequence[str]
    dots: Sequence[tuple[float, float, datetime]]
    start: tuple[float, float]
    end: tuple[float, float]
    bar: float
    bar_label: str
    tiles: Sequence[Tile]


def track(positions: Sequence[Position], *, width: int = 640, height: int = 400, tiles: str = "") -> Track | None:
    """Draw positions, oldest first; None without any. `tiles` is a URL template with {z}, {x}, {y}."""
    if not positions:
        return None
    world = _world(positions)
    xs, ys = [x for x, _ in world], [y for _, y in world]
    middle = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    margin = 28
    fit = min(
        (width - 2 * margin) / max(max(xs) - min(xs), 1e-12), (height - 2 * margin) / max(max(ys) - min(ys), 1e-12)
    )
    closest = TILE * 2.0**MAX_ZOOM  # a parked terminal does not zoom in on its receiver's noise
    scale = min(fit, closest)
    if tiles:  # tiles exist at whole zooms only
        scale = TILE * 2.0 ** math.floor(math.log2(scale / TILE)) if scale > TILE else float(TILE)
    left, top = middle[0] * scale - width / 2, middle[1] * scale - height / 2
    places = [(round(x * scale - left, 1), round(y * scale - top, 1)) for x, y in world]
    lines: list[list[tuple[float, float]]] = [[places[0]]]
    gaps = []
    for before, after, a, b in zip(positions, positions[1:], places, places[1:], strict=False):
        if after.time - before.time > GAP:
            gaps.append([a, b])
            lines.append([b])
        elif a != b:
            lines[-1].append(b)
    metres = EARTH * math.cos(math.radians(_clamped(positions[-1].lat))) / scale  # a pixel
    length = _nice(metres * width / 4)
    return Track(
        width=width,
        height=height,
        lines=[_points(line) for line in lines if len(line) > 1],
        gaps=[_points(gap) for gap in gaps],
        dots=[(*place, p.time) for place, p in list(zip(places, positions, strict=True))[-60:]],
        start=places[0],
        end=places[-1],
        bar=round(length / metres, 1),
        bar_label=f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m",
        tiles=_tiles(tiles, scale, left, top, width, height) if tiles else [],
    )


def _world(positions: Sequence[Position]) -> list[tuple[float, float]]:
    """Degrees to the unit square of Web Mercator; a way over the date line goes on to its other side."""
    world: list[tuple[float, float]] = []
    turns = 0
    for index, position in enumerate(positions):
        if index:
            step = position.lon - positions[index - 1].lon
            turns -= (step > 180) - (step < -180)
        y = math.asinh(math.tan(math.radians(_clamped(position.lat))))
        world.append(((position.lon + 360 * turns + 180) / 360, (1 - y / math.pi) / 2))
    return world


def _clamped(lat: float) -> float:
    return max(-MERCATOR_LIMIT, min(MERCATOR_LIMIT, lat))


def _tiles(template: str, scale: float, left: float, top: float, width: int, height: int) -> list[Tile]:
    zoom = round(math.log2(scale / TILE))
    across = 1 << zoom
    found = []
    for x in range(math.floor(left / TILE), math.floor((left + width) / TILE) + 1):
        for y in range(max(0, math.floor(top / TILE)), min(across - 1, math.floor((top + height) / TILE)) + 1):
            url = template.replace("{s}", "abc"[(x + y) % 3]).replace("{z}", str(zoom))
            url = url.replace("{x}", str(x % across)).replace("{y}", str(y))
            found.append(Tile(url, round(x * TILE - left, 1), round(y * TILE - top, 1), TILE))
    return found


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn series: lines, the band between lowest and highest, and ticks as (pixel, label)."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    lines: Sequence[str]
    bands: Sequence[str]
    dots: Sequence[tuple[float, float]]
    values: Sequence[tuple[float, str]]
    times: Sequence[tuple[float, str]]
    latest: str
    low: str
    high: str


def chart(
    points: Sequence[Point], *, since: datetime, until: datetime, zone: tzinfo, width: int = 500, height: int = 160
) -> Chart | None:
    """Draw a series over its span; None without a point. Where values are missing the line is broken."""
    if not points:
        return None
    left, right, top, bottom = 52, width - 10, 10, height - 24
    ticks = _ticks(min(p.low for p in points), max(p.high for p in points))
    low, high = ticks[0], ticks[-1]
    span = max((until - since).total_seconds(), 1.0)

    def across(moment: datetime) -> float:
        return round(left + (right - left) * (moment - since).total_seconds() / span, 1)

    def up(value: float) -> float:
        return round(bottom - (bottom - top) * (value - low) / (high - low), 1)

    runs = _runs(points)
    return Chart(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        lines=[_points([(across(p.time), up(p.value)) for p in run]) for run in runs if len(run) > 1],
        bands=[
            _points([(across(p.time), up(p.high)) for p in run] + [(across(p.time), up(p.low)) for p in reversed(run)])
            for run in runs
            if len(run) > 1
        ],
        dots=[(across(run[0].time), up(run[0].value)) for run in runs if len(run) == 1],
        values=[(up(tick), _number(tick)) for tick in ticks],
        times=[(across(moment), label) for moment, label in _moments(since, until, zone)],
        latest=_number(points[-1].value),
        low=_number(min(p.low for p in points)),
        high=_number(max(p.high for p in points)),
    )


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """Cut where nothing came for much longer than usual."""
    steps = sorted((b.time - a.time).total_seconds() for a, b in itertools.pairwise(points))
    usual = steps[len(steps) // 2] if steps else 0.0
    runs = [[points[0]]]
    for before, after in itertools.pairwise(points):
        if (after.time - before.time).total_seconds() > max(5 * usual, 60.0):
            runs.append([])
        runs[-1].append(after)
    return runs


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round values that enclose both."""
    if not high - low > max(abs(high) * 1e-9, 1e-9):
        pad = max(abs(high) * 0.05, 0.5)
        low, high = low - pad, high + pad
    step = _nice((high - low) / 5 * 2.5)  # at least a fifth of the range: seven ticks at most
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _nice(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above `value`."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(m * power for m in (5, 2, 1) if m * power <= value * (1 + 1e-9))


STEPS = (60, 300, 600, 1800, 3600, 2 * 3600, 4 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400)


def _moments(since: datetime, until: datetime, zone: tzinfo) -> list[tuple[datetime, str]]:
    """Four to eight round moments in the desk's zone."""
    step = next((s for s in STEPS if (until - since).total_seconds() / s <= 8), STEPS[-1])
    start = local_time(since, zone)
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    for n in range(math.ceil((start - midnight).total_seconds() / step), 10_000):
        try:
            moment = midnight + timedelta(seconds=n * step)
        except OverflowError:  # the last day of time
            break
        if moment > until:
            break
        found.append((moment, moment.strftime("%d %b" if step >= 86400 else "%H:%M")))
    return found


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def _number(value: float) -> str:
    if abs(value) >= 1e12:
        return f"{value:.6g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".").replace(",", " ")
