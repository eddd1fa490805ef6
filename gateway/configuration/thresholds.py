"""The tables `[watch.…]` of detectors that need nothing but thresholds: each key once, as in `settings`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.configuration import values
from gateway.configuration.keys import Key

_OFF = "`false`: no verdict, no ticket; one that is open stays until it is closed"
_CONTACTS = "so many contacts in a row must say so before there is a finding"
_CONTACT = values.integer(2, 250)


class Fuel(msgspec.Struct, frozen=True, kw_only=True):
    enabled: Annotated[bool, Key(values.boolean, True, _OFF)]
    contacts: Annotated[int, Key(_CONTACT, 5, _CONTACTS)]
    lasting: Annotated[float, Key(values.duration(zero=True), "10m", "and over so long")]
    range: Annotated[float, Key(values.factor, 4095.0, "the highest level that sensors are set to tell, raw")]
    frozen: Annotated[
        float,
        Key(values.duration(), "2h", "so much driving without any change of a level; twice that at full or empty"),
    ]
    leap: Annotated[
        float,
        Key(values.factor, 0.2, "share of its highest level by which a sensor leaps up and down when it is noise"),
    ]


class Power(msgspec.Struct, frozen=True, kw_only=True):
    enabled: Annotated[bool, Key(values.boolean, True, _OFF)]
    contacts: Annotated[int, Key(_CONTACT, 3, _CONTACTS)]
    lasting: Annotated[float, Key(values.duration(zero=True), "5m", "and over so long")]
    absent: Annotated[float, Key(values.factor, 3.0, "V of external power below which it is gone")]
    low_12v: Annotated[float, Key(values.factor, 11.5, "V below which a 12 V net is low, with the ignition on")]
    low_24v: Annotated[float, Key(values.factor, 23.0, "V below which one is low whose usual voltage is above 18 V")]
    battery: Annotated[float, Key(values.factor, 3.5, "V below which the terminal's own battery holds no charge")]


class Gnss(msgspec.Struct, frozen=True, kw_only=True):
    enabled: Annotated[bool, Key(values.boolean, True, _OFF)]
    contacts: Annotated[int, Key(_CONTACT, 5, _CONTACTS)]
    moving: Annotated[float, Key(values.duration(zero=True), "15m", "moving without a valid position, or jammed")]
    standing: Annotated[
        float,
        Key(values.duration(zero=True), "4h", "ignition on without one, and no word of moving: garages have roofs"),
    ]


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    enabled: Annotated[bool, Key(values.boolean, True, _OFF)]
    contacts: Annotated[int, Key(_CONTACT, 5, _CONTACTS)]
    ahead: Annotated[float, Key(values.duration(), "2m", "records dated later than they arrive by more than this")]
    behind: Annotated[
        float,
        Key(values.duration(), "15m", "records late by one constant of more than this: a clock, and no black box"),
    ]
    lasting: Annotated[
        float,
        Key(values.duration(zero=True), "30m", "so long behind; what is ahead, or years behind, needs no time"),
    ]


class Modem(msgspec.Struct, frozen=True, kw_only=True):
    enabled: Annotated[bool, Key(values.boolean, True, _OFF)]
    contacts: Annotated[int, Key(_CONTACT, 5, _CONTACTS)]
    lasting: Annotated[
        float,
        Key(values.duration(zero=True), "30m", "awake and no record, or the same record again and again, for so long"),
    ]
    weak: Annotated[float, Key(values.factor, 10.0, "percent of GSM signal that is weak")]
    weak_lasting: Annotated[float, Key(values.duration(zero=True), "24h", "weak for so long")]
    reconnects: Annotated[int, Key(_CONTACT, 30, "new connections within `window` that are too many")]
    window: Annotated[float, Key(values.duration(), "1h", "in which they leak away")]


class Restarts(msgspec.Struct, frozen=True, kw_only=True):
    enabled: Annotated[bool, Key(values.boolean, True, _OFF)]
    most: Annotated[int, Key(_CONTACT, 10, "restarts within `window` that are too many")]
    window: Annotated[float, Key(values.duration(), "1h", "in which they leak away")]


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    enabled: Annotated[bool, Key(values.boolean, True, _OFF)]
    behind: Annotated[float, Key(values.duration(), "6h", "the newest record that comes is so old, and none is of now")]
    lasting: Annotated[float, Key(values.duration(), "2h", "for so long without a break")]
    finish: Annotated[
        float, Key(values.duration(), "3d", "at its pace it would take longer than this to be read, or it grows")
    ]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    enabled: Annotated[bool, Key(values.boolean, True, _OFF)]
    distance: Annotated[float, Key(values.factor, 20.0, "km between a record and the one before that make a jump")]
    speed: Annotated[float, Key(values.factor, 400.0, "km/h that no vehicle drives")]
    most: Annotated[int, Key(_CONTACT, 4, "jumps to another connection's place within `window` that are too many")]
    window: Annotated[float, Key(values.duration(), "1h", "in which they leak away")]
