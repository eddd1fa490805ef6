"""What the desk needs to know of terminals and their telemetry: the composition root hands a `Reader` in.

Times are aware datetimes; NULL or "not told" is None. Every call is bounded: lists by `limit`, telemetry by
`since` and `until` besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class BadCursorError(ValueError):
    """A cursor that this list never gave out."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list: `total` over all pages, `next` the cursor of the page after, None on the last."""

    items: Sequence[T]
    total: int
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal as it stands now.

    `last_seen` is the last accepted frame, `last_contact` any sign of life (a login, a ping). `verdicts` maps
    detector to "good", "suspect", "fail" or "unknown", `reasons` detector to a sentence. `records` counts stored ones.
    """

    terminal: str
    protocol: str | None = None
    model: str | None = None
    firmware: str | None = None
    name: str | None = None
    connected: bool = False
    last_seen: datetime | None = None
    last_contact: datetime | None = None
    verdicts: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    records: int = 0
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One stored record: degrees, metres, km/h, degrees from north."""

    time: datetime
    received: datetime
    lat: float | None
    lon: float | None
    altitude: float | None
    speed: float | None
    course: float | None
    satellites: int | None
    valid: bool
    archive: bool
    measures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a terminal was, with a valid fix."""

    time: datetime
    lat: float
    lon: float
    speed: float | None
    course: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a series; `low` and `high` where several were drawn together, else equal to `value`."""

    time: datetime
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection of a terminal; still open while `closed_at` is None."""

    protocol: str
    address: str
    opened_at: datetime
    closed_at: datetime | None
    frames: int
    malformed: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """An answer to a command, a driver's message: evidence. `text` where the bytes are text."""

    received: datetime
    protocol: str
    kind: str
    text: str | None
    hex: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Bytes that passed their checksum and could not become records. `hex` holds the first ones, `size` counts all."""

    id: int
    received: datetime
    terminal: str
    protocol: str
    reason: str
    size: int
    hex: str


@dataclass(frozen=True, slots=True)
class Group:
    """How many terminals share something: a protocol, a model, a firmware."""

    name: str
    terminals: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """The whole fleet in numbers. `verdicts` maps detector to {verdict: terminals}."""

    terminals: int
    connected: int
    quarantined: int
    verdicts: Mapping[str, Mapping[str, int]]
    protocols: Sequence[Group]
    models: Sequence[Group]
    firmware: Sequence[Group]


class Reader(Protocol):
    """Terminals and telemetry, read-only. `cursor` is one that `Page.next` gave, else `BadCursorError`."""

    async def terminals(self, *, search: str = "", cursor: str | None = None, limit: int = 50) -> Page[Terminal]:
        """Terminals by identity; `search` is part of an identity or a name, any case."""

    async def terminal(self, identity: str) -> Terminal | None:
        """One terminal."""

    async def last_record(self, identity: str) -> Record | None:
        """The record with the latest time."""

    async def first_time(self, identity: str, *, since: datetime, until: datetime) -> datetime | None:
        """The earliest record's time within the span."""

    async def positions(self, identity: str, *, since: datetime, until: datetime, limit: int = 500) -> list[Position]:
        """The last `limit` valid positions of the span, oldest first."""

    async def measures(self, identity: str, *, since: datetime, until: datetime) -> list[str]:
        """Names of numeric measures its records of the span carry, "speed" among them."""

    async def series(
        self, identity: str, measure: str, *, since: datetime, until: datetime, points: int = 300
    ) -> list[Point]:
        """A measure over the span, oldest first, joined to at most `points` values."""

    async def connections(self, identity: str, *, cursor: str | None = None, limit: int = 50) -> Page[Connection]:
        """Its connections, newest first."""

    async def messages(self, identity: str, *, cursor: str | None = None, limit: int = 50) -> Page[Message]:
        """Its messages, newest first."""

    async def quarantine(
        self, *, terminal: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Quarantined]:
        """What is in quarantine, newest first."""

    async def fleet(self) -> Fleet:
        """The fleet overview."""
