"""What the desk needs to know of terminals and their telemetry: the composition root hands a `Reader` in.

Times are aware datetimes; NULL or "not told" is None. Every call is bounded: lists by `limit`, telemetry by
`since` and `until` besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import msgspec
from psycopg import sql

from ticketing.core.paging import Page
from ticketing.people.scope import ALL


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How a terminal reports in one state, in seconds: the usual gap, the longest silence of four weeks; gaps ever."""

    interval_s: float | None
    quantile_s: float | None
    gaps: int


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal as it stands now.

    `last_seen` is the last accepted frame, `last_contact` any sign of life (a login, a ping). `verdicts` maps
    detector to "good", "suspect", "fail" or "unknown", `reasons` detector to a sentence. `records` counts stored ones.
    `operator` is what people say, `operator_told` the network's MCC and MNC as the terminal tells them.
    `stage` is "in_use", "workshop", "season" or "sold", until `stage_until` if that is known.

    `expected_next` is when it should be heard next, `overdue` whether that has passed by so much that it is marked,
    `overdue_s` by how many seconds, `ticket_at` when silence would become a ticket; `regime` what it did when it was
    last heard, or why its silence is not judged, `rhythm` what is known of each state.
    """

    terminal: str
    protocol: str | None = None
    model: str | None = None
    firmware: str | None = None
    name: str | None = None
    operator: str | None = None
    customer: str | None = None
    site: str | None = None
    region: str | None = None
    stage: str = "in_use"
    stage_until: datetime | None = None
    firmware_target: str | None = None
    imei: str | None = None
    iccid: str | None = None
    imsi: str | None = None
    operator_told: str | None = None
    connected: bool = False
    last_seen: datetime | None = None
    last_contact: datetime | None = None
    verdicts: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    records: int = 0
    created_at: datetime | None = None
    expected_next: datetime | None = None
    overdue: bool = False
    overdue_s: float | None = None
    ticket_at: datetime | None = None
    regime: str | None = None
    rhythm: Mapping[str, Rhythm] = field(default_factory=dict)


GROUPED = ("protocol", "model", "firmware", "operator", "customer", "site", "region", "stage")
SORTS = ("terminal", "name", "protocol", "model", "firmware", "connected", "verdict")


@dataclass(frozen=True, slots=True)
class TerminalQuery:
    """Which terminals, in which order; what is None or empty does not count.

    `search` is part of an identity or a name, any case. What groups share (`GROUPED`) is meant as `Group.filter`
    spells it. `verdict` is that of the detector `kind`, without one the worst of all. `sort` is one of `SORTS`, with
    a minus before it downwards; "connected" begins with who is not, "verdict" with what nobody knows.
    """

    search: str = ""
    protocol: str | None = None
    model: str | None = None
    firmware: str | None = None
    operator: str | None = None
    customer: str | None = None
    site: str | None = None
    region: str | None = None
    stage: str | None = None
    connected: bool | None = None
    overdue: bool | None = None
    kind: str | None = None
    verdict: str | None = None
    sort: str = "terminal"


ALL_TERMINALS = TerminalQuery()


@dataclass(frozen=True, slots=True)
class Named:
    """What a measure that is stored raw means on its terminal's model."""

    name: str
    value: Any
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One stored record: degrees, metres, km/h, degrees from north.

    `named` explains those of `measures` whose meaning depends on the model (`io.<id>`), as far as anybody says.
    """

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
    named: Mapping[str, Named] = field(default_factory=dict)


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


class FuelEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A step of one sensor's level: `kind` is refuelling, drain, or sensor (what a sick one saw); `reason` why.

    `unit` of both levels: "l" where a calibration knows them, else "share" of the sensor's range.
    """

    at: datetime
    sensor: int
    kind: str
    before: float = msgspec.field(name="from")
    after: float = msgspec.field(name="to")
    unit: str
    reason: str


class FuelEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Those of a span, in order of time; `truncated`: its oldest records were too many to be looked at."""

    items: list[FuelEvent]
    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")
    truncated: bool = False


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
class QuarantinedFrame(Quarantined):
    """One of them, read as far as it can be: `decoded` are lines for people, as `dozor decode` prints them."""

    decoded: str = ""


@dataclass(frozen=True, slots=True)
class NamedBytes:
    """Bytes on the wire, what they are called and what they say; null: nothing."""

    offset: int
    hex: str
    field: str
    value: Any


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Bytes by name, every one of them in one field. `protocol` is null where they do not tell; `note` says why.

    `hex` are all of them, as they stood on the wire.
    """

    protocol: str | None
    note: str
    hex: str
    fields: list[NamedBytes]


@dataclass(frozen=True, slots=True)
class Group:
    """How many terminals share something: a protocol, a model, a firmware.

    `filter` are the parameters that list them.
    """

    name: str
    terminals: int
    filter: Mapping[str, str] = field(default_factory=dict)


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

    @property
    def kinds(self) -> Mapping[str, str]:
        """What each detector looks for, as pages call it: "silence" is "Silence"."""

    async def terminals(
        self,
        wanted: TerminalQuery = ALL_TERMINALS,
        *,
        cursor: str | None = None,
        limit: int = 50,
        seen: sql.Composable = ALL,
    ) -> Page[Terminal]:
        """Those that are wanted and `seen`: a condition on the table of terminals, `t` (`people.scope`)."""

    async def terminal(self, identity: str, *, seen: sql.Composable = ALL) -> Terminal | None:
        """One terminal; None also where it is not `seen`."""

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

    async def fuel_events(self, identity: str, *, since: datetime, until: datetime) -> FuelEvents:
        """Refuellings and drains of the span, and what only looks like them."""

    async def connections(self, identity: str, *, cursor: str | None = None, limit: int = 50) -> Page[Connection]:
        """Its connections, newest first."""

    async def messages(self, identity: str, *, cursor: str | None = None, limit: int = 50) -> Page[Message]:
        """Its messages, newest first."""

    async def quarantine(
        self, *, terminal: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Quarantined]:
        """What is in quarantine, newest first."""

    async def quarantined(self, number: int) -> QuarantinedFrame | None:
        """One frame of the quarantine, decoded; bounded, whatever the bytes."""

    @property
    def anatomies(self) -> Sequence[str]:
        """The protocols whose bytes have names."""

    async def anatomy(self, text: str, protocol: str | None, *, udp: bool) -> Anatomy:
        """Bytes that somebody has, as hex or as a text protocol's text; bounded.

        Raises
        ------
        InvalidTextError
            If they are no bytes, or too many.
        """

    async def frame_anatomy(self, number: int) -> Anatomy | None:
        """The same of a frame of the quarantine."""

    async def fleet(self) -> Fleet:
        """The fleet overview."""
