"""What every protocol speaks of: events of a connection, and records as columns.

A session turns bytes into events, in wire order::

    Login        who speaks; the session then waits for `accept` or `refuse`
    Frame        bytes that passed their checks; acknowledged only after their commit
    Message      an answer, a driver's message: kept as evidence, committed, then acknowledged
    Reply        bytes for the terminal that promise nothing about storage
    Malformed    a damaged frame or a run of unreadable bytes, with its reason
    Identified   firmware, model, IMEI, SIM card or operator learnt after the login
    Close        nothing more will be read: close once all earlier replies have left

A decoder turns many frames into one `Batch` of columns. Frames that cannot be decoded, whole or
in a member, come back as `Quarantined`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import fastcrc
import msgspec
import numpy as np
from numpy.typing import NDArray

# Bits of the `flags` column.
VALID = 1  # the fix is valid
IGNITION_KNOWN = 2
IGNITION_ON = 4
MOVING = 8
ARCHIVE = 16  # the wire's own mark: sent late, from the black box
EVENT = 32  # caused by an event, not by the timer

TIME_UNKNOWN = np.iinfo(np.int64).min  # `time` of a record whose terminal told none
SATELLITES_UNKNOWN = -1

# Reasons of a `Malformed`, the same words as in `dozor_frames_malformed_total`.
MALFORMED_REASONS = ("checksum", "length", "structure", "login", "truncated", "timeout", "unsupported")

FACTS = ("firmware", "model", "imei", "iccid", "imsi", "operator")  # that a terminal tells of itself

MAX_IDENTITY = 64  # characters
MAX_NAMES = 512  # measures of one record that become columns; no terminal sends as many, a stranger may invent more
COST_BYTES = 128  # bytes that cost as much as one record: the names in them are not counted before decoding
EXACT_INTEGER = 2**53  # above it a float8 no longer holds every integer


class Login:
    """The terminal named itself. `password` is only for comparing, never for logs."""

    __slots__ = ("firmware", "model", "password", "terminal")

    def __init__(
        self, terminal: str, *, firmware: str | None = None, model: str | None = None, password: str | None = None
    ) -> None:
        self.terminal = terminal
        self.firmware = firmware
        self.model = model
        self.password = password

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Login) and (self.terminal, self.firmware, self.model, self.password) == (
            other.terminal,
            other.firmware,
            other.model,
            other.password,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:  # without the password
        return f"Login({self.terminal!r}, firmware={self.firmware!r}, model={self.model!r})"


class Frame(msgspec.Struct, gc=False):
    """One checked frame.

    `data` is what the decoder needs and what quarantine keeps: the wire's bytes of this frame, unescaped and
    inflated. `variant` is the little the decoder must know besides (a protocol version, say) and is stored
    beside the bytes wherever they are stored. `records` is how many the frame claims to hold (caps batches,
    builds acks). `offset` is its first byte in the whole stream. `terminal` is whose records these are where they name
    their own: such a frame holds those of one terminal, so that what a relay sends together comes as several frames, of
    which the last that is acknowledged lets the answer go. It may come on a connection that nobody logged in on. Empty:
    whoever logged in.

    What `Session.run` gives may be a run: `count` frames of one size end to end in `data`, each of `records` records.
    It costs what one frame costs until somebody needs its frames apart: `singles`.

    One is made for nearly every read: a struct of msgspec's is made four times as fast as an object with slots.
    """

    data: bytes
    records: int = 1
    offset: int = 0
    variant: int = 0
    count: int = 1
    terminal: str = ""

    @property
    def cost(self) -> int:
        """What it costs to decode and store, in ordinary records; known before either."""
        return cost_of(self.records, len(self.data), self.count)

    def singles(self) -> list[Frame]:
        """Its frames, one by one."""
        if self.count == 1:
            return [self]
        size = len(self.data) // self.count
        return [
            Frame(self.data[at : at + size], self.records, self.offset + at, self.variant, 1, self.terminal)
            for at in range(0, len(self.data), size)
        ]


@dataclass(slots=True)
class Message:
    """Bytes kept as evidence; `text` where they are text. `kind` says what the protocol calls it.

    `answer`: it answers what the server asked last, and the terminal took that (True) or refused it (False).
    """

    data: bytes
    text: str | None = None
    kind: str = ""
    offset: int = 0
    answer: bool | None = field(default=None, compare=False)
    count: ClassVar[int] = 1  # as a frame's

    @property
    def cost(self) -> int:
        """As a frame's."""
        return cost_of(1, len(self.data))


@dataclass(slots=True)
class Reply:
    """Bytes for the terminal; leaves in its turn, after the acks of everything before it."""

    data: bytes
    count: ClassVar[int] = 1
    cost: ClassVar[int] = 0


@dataclass(slots=True)
class Malformed:
    """Damage, one per damaged frame or run of unreadable bytes; `reason` is one of `MALFORMED_REASONS`."""

    reason: str
    offset: int = 0
    detail: str = ""


@dataclass(slots=True)
class Identified:
    """What the terminal told of itself after the login; None where it told nothing.

    `time`: of the record that tells it, µs since the Unix epoch; None: it is so now. `terminal`: as of a frame.
    `operator`: of the mobile network, MCC and MNC as one decimal number.
    """

    firmware: str | None = None
    model: str | None = None
    time: int | None = None
    terminal: str = ""
    imei: str | None = None
    iccid: str | None = None
    imsi: str | None = None
    operator: str | None = None

    @property
    def facts(self) -> dict[str, str]:
        """What was told, by its name here."""
        named = {name: getattr(self, name) for name in FACTS}
        return {name: value for name, value in named.items() if value}


@dataclass(slots=True)
class Close:
    """The session reads no more; close when everything before it has been answered."""

    reason: str = ""


Event: TypeAlias = Login | Frame | Message | Reply | Malformed | Identified | Close


@dataclass(slots=True)
class Quarantined:
    """A frame, or one member of it, that passed its checksum and cannot be decoded.

    `frame` is the index into the decoded sequence; `data` the member's bytes, None for the whole frame;
    `code` what the protocol's own negative answer needs (Wialon: "10").
    """

    frame: int
    reason: str
    data: bytes | None = None
    code: str = ""


class Session(Protocol):
    """One connection, sans-IO. `now` is Unix time in seconds, for replies that carry it."""

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes. After a `Login` nothing more is parsed until `accept` or `refuse`."""

    def accept(self, now: float) -> Sequence[Event]:
        """The login is good: its reply first, then the events of the bytes that waited behind it."""

    def refuse(self) -> Sequence[Event]:
        """The login is refused: the protocol's own word for it, then `Close`."""

    def run(self, data: bytes) -> Frame | None:
        """The usual read: whole good frames of one size and records, nothing else, on a connection with nothing open.

        None: not that, or not this protocol's way; nothing was consumed, and `receive_data` takes it. A run is of the
        terminal that it names, or of the one that logged in.
        """

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """Let the terminal forget `item`: call after its commit, in order. Empty: the protocol has no answer.

        A run is acknowledged whole; one with a frame in quarantine comes frame by frame.
        """

    def end_of_stream(self) -> Sequence[Event]:
        """The peer closed: `Malformed("truncated")` if it did so inside a frame."""

    def ask_version(self) -> bytes:
        """A request for firmware and model, if the protocol has one and nothing is unanswered; else empty."""

    def encode_command(self, text: str) -> bytes:
        """A command that `WireProtocol.command_problem` has nothing against, to be sent now; its answer is a `Message`
        with `answer`. Empty: not before the login, or never over this transport.
        """


@runtime_checkable
class Relaying(Protocol):
    """A session whose protocol has a word for records that are not wanted, where a relay brings several terminals'."""

    def reject(self, item: Frame) -> bytes:
        """In place of `acknowledge`, in its turn: the frame's terminal is not let in, and nothing of it was kept."""


@runtime_checkable
class Declining(Protocol):
    """A session whose protocol has a word that makes a terminal keep what it sent."""

    def decline(self) -> bytes:
        """Nothing that is unanswered could be kept; the connection closes behind it. Never a positive word."""


Int64s: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(slots=True)
class MeasureGroup:
    """Records of one layout: `values[i]` belongs to row `rows[i]`, one column per name; NaN = not told."""

    names: tuple[str, ...]
    rows: NDArray[np.intp]
    values: Floats


@dataclass(slots=True)
class Batch:
    """Records as columns, shape (n,) each; rows in any order, `frame` then `position` restores the wire's.

    Units: `time` µs since the Unix epoch (`TIME_UNKNOWN`: not told), degrees (NaN = no fix), metres, km/h,
    degrees from north. NaN or -1 where the terminal told nothing. `extra` holds, by row, what a float8 cannot:
    texts and integers beyond 2^53. `time_digits` is how many fractional digits of a second the wire carries.
    """

    frame: NDArray[np.int32]
    position: NDArray[np.int32]
    time: Int64s
    lat: Floats
    lon: Floats
    altitude: NDArray[np.float32]
    speed: NDArray[np.float32]
    course: NDArray[np.float32]
    satellites: NDArray[np.int16]
    flags: NDArray[np.int16]
    fingerprint: Int64s
    groups: list[MeasureGroup] = field(default_factory=list)
    extra: dict[int, dict[str, Any]] = field(default_factory=dict)
    time_digits: int | NDArray[np.int8] = 0

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def concatenate(cls, batches: Sequence[Batch]) -> Batch:
        """Lay batches end to end; equal layouts share one group."""
        if len(batches) == 1:
            return batches[0]
        if not batches:
            return BatchBuilder().build()
        at = 0
        groups: dict[tuple[str, ...], list[MeasureGroup]] = {}
        extra: dict[int, dict[str, Any]] = {}
        for batch in batches:
            for group in batch.groups:
                groups.setdefault(group.names, []).append(MeasureGroup(group.names, group.rows + at, group.values))
            extra.update({row + at: value for row, value in batch.extra.items()})
            at += len(batch)
        digits: int | NDArray[np.int8]
        if all(isinstance(b.time_digits, int) and b.time_digits == batches[0].time_digits for b in batches):
            digits = batches[0].time_digits
        else:
            digits = np.concatenate([np.broadcast_to(np.int8(b.time_digits), len(b)) for b in batches])
        columns = {
            name: np.concatenate([getattr(b, name) for b in batches])
            for name in (
                [
                    "frame",
                    "position",
                    "time",
                    "lat",
                    "lon",
                    "altitude",
                    "speed",
                    "course",
                    "satellites",
                    "flags",
                    "fingerprint",
                ]
            )
        }
        return cls(
            **columns,
            groups=[
                MeasureGroup(names, np.concatenate([p.rows for p in parts]), np.concatenate([p.values for p in parts]))
                for names, parts in groups.items()
            ],
            extra=extra,
            time_digits=digits,
        )


class BatchBuilder:
    """Collects records one by one: for the exact parsers, whose work per record is larger than this."""

    def __init__(self) -> None:
        self._core: list[tuple[int, int, int, float, float, float, float, float, int, int, int]] = []
        self._digits: list[int] = []
        self._groups: dict[tuple[str, ...], tuple[list[int], list[tuple[float, ...]]]] = {}
        self._extra: dict[int, dict[str, Any]] = {}

    def add(
        self,
        *,
        frame: int,
        position: int,
        time: int,
        fingerprint: int,
        lat: float = np.nan,
        lon: float = np.nan,
        altitude: float = np.nan,
        speed: float = np.nan,
        course: float = np.nan,
        satellites: int = SATELLITES_UNKNOWN,
        flags: int = 0,
        names: tuple[str, ...] = (),
        values: tuple[float, ...] = (),
        extra: dict[str, Any] | None = None,
        time_digits: int = 0,
    ) -> None:
        """Append one record; `names` and `values` are its numeric measures in the wire's order."""
        row = len(self._core)
        self._core.append((frame, position, time, lat, lon, altitude, speed, course, satellites, flags, fingerprint))
        self._digits.append(time_digits)
        group = self._groups.get(names)
        if group is None:
            group = self._groups[names] = ([], [])
        group[0].append(row)
        group[1].append(values)
        if extra:
            self._extra[row] = extra

    def __len__(self) -> int:
        return len(self._core)

    def build(self) -> Batch:
        """All records added so far, as columns."""
        columns = list(zip(*self._core, strict=True)) if self._core else [()] * 11
        digits = set(self._digits)
        return Batch(
            frame=np.array(columns[0], np.int32),
            position=np.array(columns[1], np.int32),
            time=np.array(columns[2], np.int64),
            lat=np.array(columns[3], np.float64),
            lon=np.array(columns[4], np.float64),
            altitude=np.array(columns[5], np.float32),
            speed=np.array(columns[6], np.float32),
            course=np.array(columns[7], np.float32),
            satellites=np.array(columns[8], np.int16),
            flags=np.array(columns[9], np.int16),
            fingerprint=np.array(columns[10], np.int64),
            groups=[
                MeasureGroup(
                    names,
                    np.array(rows, np.intp),
                    np.array(values, np.float64).reshape(len(rows), len(names)),
                )
                for names, (rows, values) in self._groups.items()
            ],
            extra=self._extra,
            time_digits=digits.pop() if len(digits) == 1 else np.array(self._digits, np.int8) if digits else 0,
        )


@dataclass(frozen=True, slots=True)
class Named:
    """What a raw measure means on one model, in `unit`; `bits` of a signed number, else 0."""

    name: str
    unit: str = ""
    divisor: float = 1.0
    bits: int = 0

    def value(self, raw: Any) -> Any:
        """A stored value as people read it; a text stays."""
        if not isinstance(raw, int | float):
            return raw
        if self.bits and raw >= 1 << (self.bits - 1):
            raw -= 1 << self.bits
        return raw if self.divisor == 1 else raw / self.divisor


@dataclass(slots=True)
class Decoded:
    """What a decoder made of a sequence of frames."""

    batch: Batch
    quarantined: list[Quarantined] = field(default_factory=list)


def cost_of(records: int, size: int, count: int = 1) -> int:
    """What `count` frames cost, of `records` records each and `size` bytes together, in ordinary records.

    Many members in few bytes cost as many records. Few records in many bytes hold many names, or long texts.
    """
    return max((records or 1) * count, size // COST_BYTES)


def identity_of(text: str) -> str:
    """What a terminal that is called so is called here, on the wire and in the registry alike.

    Without blanks around it; empty if that is no identity: 1 to `MAX_IDENTITY` printable characters.
    """
    text = text.strip()
    return text if len(text) <= MAX_IDENTITY and text.isprintable() else ""


def imei_of(text: str, *, certain: bool = False) -> str | None:
    """A text as an IMEI, which has fifteen digits, the last of which checks the others; None: it is none.

    None begins with 00, but a short number filled up does. `certain`: its protocol says that it is one, however its
    maker came by it.
    """
    if len(text) != 15 or not (text.isascii() and text.isdecimal()) or text.startswith("00"):
        return None
    if certain:
        return text
    doubled = [2 * int(digit) if place % 2 else int(digit) for place, digit in enumerate(text)]
    return None if sum(one // 10 + one % 10 for one in doubled) % 10 else text


def fingerprint(data: bytes) -> int:
    """A signed 64-bit hash of a record's own bytes: with terminal and time it tells a resend from a new record."""
    value: int = fastcrc.crc64.xz(data)
    return value - (1 << 64) if value >> 63 else value
