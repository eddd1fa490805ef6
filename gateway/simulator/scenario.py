"""What fleet is wanted: a TOML file, every key of it optional.

Reasons for the defaults: intervals are those of ordinary contracts (a point every 10 s on the road, every 5 min
asleep); a demo or a test shortens them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from gateway.configuration.values import seconds_of
from gateway.mqtt import Broker, parse_url
from protocols.registry import PROTOCOLS, served, terminals
from ticketing.core.toml_source import NotTomlError, TomlSource, Where, where_and_what

PROFILES = ("driving", "idling", "parked", "sleeping")

Seconds = float
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
LEAST_INTERVAL = 0.001  # s: with less, making up records would leave no time to send them, or to hear a signal
_Interval = Annotated[float, msgspec.Meta(ge=LEAST_INTERVAL)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class ScenarioError(ValueError):
    """The scenario cannot be used; the message names the file, the key and the remedy."""


class Intervals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds between two reports of one vehicle in each state; `spread` is how far vehicles differ (share)."""

    moving: _Interval = 10.0
    idling: _Interval = 30.0
    parked: _Interval = 60.0
    sleeping: _Interval = 300.0
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


class Answers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How vehicles answer commands: shares of them that do so late (by `delay` seconds), never, twice; else at once."""

    late: Share = 0.0
    never: Share = 0.0
    twice: Share = 0.0
    delay: _Positive = 20.0

    def of(self, index: int) -> str:
        """How the vehicle at that position in the fleet does."""
        place = index % 100
        for words, share in (("late", self.late), ("never", self.never), ("twice", self.twice)):
            if place < share * 100:
                return words
            place -= round(share * 100)
        return "at once"


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


def mixed(protocols: Iterable[str]) -> dict[str, float]:
    """The weights of a fleet that speaks all of these."""
    return {name: terminals(name)["tcp"].weight for name in protocols}


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fleet. `mix` are weights by protocol, `targets` host:port by protocol, or a broker's mqtt://host:port.

    `broker` : a broker besides, to which a part of the fleet, `broker_share`, publishes in place of connecting;
    `frame_records` : at most so many records in one frame of live data (a backlog goes in larger ones);
    `window` : frames in flight before an ack is awaited (real terminals: 1);
    `ramp` : all terminals have connected within so many seconds.
    """

    seed: int = 1
    terminals: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10
    duration: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    transport: Literal["tcp", "udp"] = "tcp"
    mix: dict[str, Annotated[float, msgspec.Meta(ge=0)]] = msgspec.field(default_factory=lambda: mixed(served()))
    targets: dict[str, str] = {}
    broker: str = ""
    broker_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    intervals: Intervals = Intervals()
    profiles: Profiles = Profiles()
    archive: Archive = Archive()
    no_fix: NoFix = NoFix()
    link_loss: LinkLoss = LinkLoss()
    answers: Answers = Answers()
    frame_records: Annotated[int, msgspec.Meta(ge=1, le=50)] = 1
    window: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    ramp: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    ack_timeout: _Positive = 30.0
    fault: list[FaultPlan] = []


def parse_duration(text: str) -> float:
    """Seconds from a number or a text such as "90s" or "1.5m"; raises `ScenarioError`."""
    value = seconds_of(text)
    if value is None or value < 0:
        raise ScenarioError(f"{text!r} is no duration: write seconds, or for example 90s, 15m")
    return value


def _durations(value: object) -> object:
    """Turn texts such as "90s" into seconds wherever they stand; other texts stay."""
    if isinstance(value, dict):
        return {key: _durations(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_durations(item) for item in value]
    if isinstance(value, str) and (seconds := seconds_of(value)) is not None:
        return seconds
    return value


def parse_scenario(text: str | bytes, name: str = "scenario") -> Scenario:
    """Read a scenario from TOML.

    Raises
    ------
    ScenarioError
        Not TOML, an unknown key, a value outside its range, a mix or profiles without any weight; with FILE:LINE.
    """
    try:
        source = TomlSource(text.encode() if isinstance(text, str) else text)
    except NotTomlError as error:
        raise ScenarioError(f"{name}:{error.line}: not TOML: {error.detail}: correct the syntax") from error

    def wrong(where: Where, what: str) -> ScenarioError:
        key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).removeprefix(".")
        return ScenarioError(f"{name}:{source.line(where)}: {key}{': ' if key else ''}{what}")

    try:
        scenario = msgspec.convert(_durations(source.content), Scenario, strict=True)
    except msgspec.ValidationError as error:
        where, what = where_and_what(str(error))
        raise wrong(where, f"{what}: see docs/simulator.md for keys and ranges") from error
    for table, names in (("mix", scenario.mix), ("targets", scenario.targets)):
        if unknown := sorted(set(names) - set(PROTOCOLS)):
            raise wrong((table, unknown[0]), f"unknown protocol: known are {', '.join(PROTOCOLS)}")
    if sum(scenario.mix.values()) <= 0:
        raise wrong(("mix",), "no protocol has a weight: give at least one a number above 0")
    if sum(getattr(scenario.profiles, key) for key in PROFILES) <= 0:
        raise wrong(("profiles",), "no profile has a weight: give at least one a number above 0")
    for protocol, target in scenario.targets.items():
        try:
            parse_target(target)
        except ScenarioError as error:
            raise wrong(("targets", protocol), str(error)) from error
    if scenario.broker or scenario.broker_share:
        try:
            if not isinstance(parse_target(scenario.broker), Broker):
                raise ScenarioError("that is no mqtt://HOST:PORT: write for example mqtt://127.0.0.1:1883")
        except ScenarioError as error:
            raise wrong(("broker",), str(error)) from error
    if unable := not_over_udp(scenario):
        raise wrong(("transport",), f'{unable} has no "udp" here: give a mix of {over_udp()} alone')
    return scenario


def over_udp() -> str:
    """Who can be simulated over UDP, in words."""
    return ", ".join(name for name in PROTOCOLS if "udp" in terminals(name))


def not_over_udp(scenario: Scenario) -> str:
    """The first protocol of the mix that has no terminal over the scenario's UDP; empty: all have."""
    used = (key for key, weight in scenario.mix.items() if weight > 0)
    return next((key for key in used if scenario.transport not in terminals(key)), "")


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file; raises `ScenarioError` also when it cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}: name a readable file") from error
    return parse_scenario(raw, str(path))


def parse_target(text: str) -> tuple[str, int] | Broker:
    """`host:port` or `[v6]:port` → (host, port), `mqtt://…` → a broker; raises `ScenarioError`."""
    if text.startswith("mqtt") and "//" in text:  # a host may be called so too
        broker = parse_url(text)
        if broker is None or broker.secure:  # what a terminal's certificate is, nobody has said
            raise ScenarioError("that is no mqtt://HOST:PORT: write for example mqtt://127.0.0.1:1883")
        return broker
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        raise ScenarioError(f"{text!r} is no HOST:PORT: write for example 127.0.0.1:5027")
    return host.removeprefix("[").removesuffix("]"), int(port)
