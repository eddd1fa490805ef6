"""Which detectors watch the fleet, and what of the configuration each is made from. One more is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from detectors.backlog import Backlog, BacklogRule
from detectors.clock import Clock, ClockRule
from detectors.detector import Detector, switched_off
from detectors.expected import Expected
from detectors.firmware import Firmware
from detectors.fuel import FuelRule, FuelSensor
from detectors.gnss import Gnss, GnssRule
from detectors.identity import Identity, IdentityRule
from detectors.mass import MassRule
from detectors.modem import Modem, ModemRule
from detectors.power import Power, PowerRule
from detectors.restarts import Restarts, RestartsRule
from detectors.silence import Silence, SilenceRule
from gateway.configuration.catalogue import read_catalogue
from gateway.configuration.settings import Settings


def _silence(settings: Settings) -> Detector:
    silent = settings.watch.silence
    rule = SilenceRule(after=silent.after, floor=silent.floor, ceiling=silent.ceiling, learn=silent.learn)
    return Silence(rule, Expected(silent.false_alarms, silent.floor) if silent.expected else None)


def _firmware(settings: Settings) -> Detector:
    file = settings.watch.firmware.catalogue
    return Firmware(read_catalogue(file) if file else None)


def _by_thresholds(detector: Callable[[Any], Detector], rule: type[Any], table: str) -> Callable[[Settings], Detector]:
    """One whose rule has a field for each key of its table but `enabled`."""

    def make(settings: Settings) -> Detector:
        told = msgspec.structs.asdict(getattr(settings.watch, table))
        made = detector(rule(**{name: value for name, value in told.items() if name != "enabled"}))
        return made if told["enabled"] else switched_off(made)

    return make


DETECTORS: Mapping[type[Detector], Callable[[Settings], Detector]] = {
    Silence: _silence,
    Firmware: _firmware,
    FuelSensor: _by_thresholds(FuelSensor, FuelRule, "fuel"),
    Power: _by_thresholds(Power, PowerRule, "power"),
    Gnss: _by_thresholds(Gnss, GnssRule, "gnss"),
    Clock: _by_thresholds(Clock, ClockRule, "clock"),
    Modem: _by_thresholds(Modem, ModemRule, "modem"),
    Restarts: _by_thresholds(Restarts, RestartsRule, "restarts"),
    Backlog: _by_thresholds(Backlog, BacklogRule, "backlog"),
    Identity: _by_thresholds(Identity, IdentityRule, "identity"),
}


def detectors_of(settings: Settings) -> tuple[Detector, ...]:
    """All of them, as configured. Reads files: not on the loop once terminals are served.

    Raises
    ------
    CatalogueError
        If the firmware catalogue cannot be used.
    """
    return tuple(make(settings) for make in DETECTORS.values())


def mass_rule(settings: Settings) -> MassRule:
    """When many that fall silent are one."""
    told = settings.watch.mass_silence
    return MassRule(enabled=told.enabled, share=told.share, terminals=told.terminals, settle=told.settle)
