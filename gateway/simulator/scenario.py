"""What fleet is wanted: a TOML file, every key of it optional.

Reasons for the defaults: intervals are those of ordinary contracts (a point every 10 s on the road, every 5 min
asleep); a demo or a test shortens them.
"""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

PROTOCOLS = ("teltonika", "omnicomm", "wialon-ips")
PROFILES = ("driving", "idling", "parked", "sleeping")

Seconds = float
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class ScenarioError(ValueError):
    """The scenario cannot be used; the message names the file, the key and the remedy."""


class Intervals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds between two reports of one vehicle in each state; `spread` is how far vehicles differ (share)."""

    moving: _Positive = 10.0
    idling: _Positive = 30.0
    parked: _Positive = 60.0
    sleeping: _Positive = 300.0
    spread: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.2


class Profiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of what the vehicles do: on the road with stops, engine on at a site, parked, asleep."""

    driving: Annotated[float, msgspec.Meta(ge=0)] = 6
    idling: Annotated[float, msgspec.Meta(ge=0)] = 1
    parked: Annotated[float, msgspec.Meta(ge=0)] = 1.5
    sleeping: Annotated[float, msgspec.Meta(ge=0)] = 1.5


class Archive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vehicles (a share of those awake) that come with records of the time before their first connection."""

    share: Share = 0.1
    records: Annotated[int, msgspec.Meta(ge=0, le=5000)] = 40


class NoFix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vehicles that lose their fix now and then: for `length` seconds, `every` seconds on average."""

    share: Share = 0.15
    every: _Positive = 120.0
    length: _Positive = 15.0


class LinkLoss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Connections that break: how often per vehicle, and how long it keeps what it records. 0: never."""

    every: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    length: _Positive = 5.0
    share: Share = 1.0


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of fault for `count` terminals, or for those whose positions in the fleet `terminals` lists.

    kind : "silence" | "firmware"
    at, spread : silence begins `at` seconds after the start, the last of them `spread` seconds later.
    until : seconds after the start when it reports again; 0 = never.
    mode : "power" the terminal is off, its connection dies without a word said; "hang" the connection stays open;
        "modem" off the air but recording: what it recorded comes when it is back.
    profiles : which vehicles may get it.
    mark : firmware: "outdated" | "critical" | "broken".
    """

    kind: Literal["silence", "firmware"]
    count: _Count = 0
    terminals: list[_Count] = []
    at: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    spread: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    until: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    mode: Literal["power", "hang", "modem", "mixed"] = "mixed"
    mark: Literal["outdated", "critical", "broken", "mixed"] = "mixed"
    profiles: tuple[Literal["driving", "idling", "parked", "sleeping"], ...] = ("driving", "idling", "parked")


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fleet. `mix` are weights by protocol, `targets` host:port by protocol.

    `frame_records` : at most so many records in one frame of live data (a backlog goes in larger ones);
    `window` : frames in flight before an ack is awaited (real terminals: 1);
    `ramp` : all terminals have connected within so many seconds.
    """

    seed: int = 1
    terminals: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10
    duration: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    transport: Literal["tcp", "udp"] = "tcp"
    mix: dict[str, Annotated[float, msgspec.Meta(ge=0)]] = msgspec.field(
        default_factory=lambda: {"teltonika": 4.0, "omnicomm": 3.0, "wialon-ips": 3.0}
    )
    targets: dict[str, str] = {}
    intervals: Intervals = Intervals()
    profiles: Profiles = Profiles()
    archive: Archive = Archive()
    no_fix: NoFix = NoFix()
    link_loss: LinkLoss = LinkLoss()
    frame_records: Annotated[int, msgspec.Meta(ge=1, le=50)] = 1
    window: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    ramp: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    ack_timeout: _Positive = 30.0
    fault: list[FaultPlan] = []


def parse_duration(text: str) -> float:
    """Seconds from a number or a text such as "90s" or "1.5m"; raises `ScenarioError`."""
    value = _durations(text)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = math.nan
    if not isinstance(value, float) or not 0 <= value < math.inf:
        raise ScenarioError(f"{text!r} is no duration: write seconds, or for example 90s, 15m")
    return value


def _durations(value: object) -> object:
    """Turn texts such as "90s" into seconds wherever they stand; other texts stay."""
    if isinstance(value, dict):
        return {key: _durations(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_durations(item) for item in value]
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match:
            return float(match[1]) * _UNITS[match[2]]
    return value


def parse_scenario(text: str, name: str = "scenario") -> Scenario:
    """Read a scenario from TOML.

    Raises
    ------
    ScenarioError
        Not TOML, an unknown key, a value outside its range, a mix or profiles without any weight.
    """
    try:
        scenario = msgspec.convert(_durations(tomllib.loads(text)), Scenario, strict=True)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{name}: not TOML: {error}: correct the syntax") from error
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{name}: {error}: see docs/simulator.md for keys and ranges") from error
    for table, names in (("mix", scenario.mix), ("targets", scenario.targets)):
        if unknown := sorted(set(names) - set(PROTOCOLS)):
            raise ScenarioError(f"{name}: {table}.{unknown[0]}: unknown protocol: known are {', '.join(PROTOCOLS)}")
    if sum(scenario.mix.values()) <= 0:
        raise ScenarioError(f"{name}: mix: no protocol has a weight: give at least one a number above 0")
    if sum(getattr(scenario.profiles, key) for key in PROFILES) <= 0:
        raise ScenarioError(f"{name}: profiles: no profile has a weight: give at least one a number above 0")
    for protocol, target in scenario.targets.items():
        try:
            parse_target(target)
        except ScenarioError as error:
            raise ScenarioError(f"{name}: targets.{protocol}: {error}") from error
    if scenario.transport == "udp" and any(weight and key != "teltonika" for key, weight in scenario.mix.items()):
        raise ScenarioError(f'{name}: transport: "udp" is for teltonika alone: set mix = {{teltonika = 1}}')
    return scenario


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file; raises `ScenarioError` also when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from error
    return parse_scenario(text, str(path))


def parse_target(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` → (host, port); raises `ScenarioError`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ScenarioError(f"{text!r} is no HOST:PORT: write for example 127.0.0.1:5027")
    return host.removeprefix("[").removesuffix("]"), int(port)
