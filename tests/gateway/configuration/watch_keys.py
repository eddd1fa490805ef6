"""The keys of detectors that are thresholds alone: key, default, as in a file, as a variable, what that means."""

_SECONDS = {
    "fuel.lasting": 600.0,
    "fuel.frozen": 7200.0,
    "power.lasting": 300.0,
    "gnss.moving": 900.0,
    "gnss.standing": 14_400.0,
    "clock.ahead": 120.0,
    "clock.behind": 900.0,
    "clock.lasting": 1800.0,
    "modem.lasting": 1800.0,
    "modem.weak_lasting": 86_400.0,
    "modem.window": 3600.0,
    "restarts.window": 3600.0,
    "backlog.behind": 21_600.0,
    "backlog.lasting": 7200.0,
    "backlog.finish": 259_200.0,
    "identity.window": 3600.0,
}
_COUNTS = {
    "fuel.contacts": 5, "power.contacts": 3, "gnss.contacts": 5, "clock.contacts": 5, "modem.contacts": 5,
    "modem.reconnects": 30, "restarts.most": 10, "identity.most": 4,
}  # fmt: skip
_NUMBERS = {
    "fuel.range": 4095.0, "fuel.leap": 0.2, "power.absent": 3.0, "power.low_12v": 11.5, "power.low_24v": 23.0,
    "power.battery": 3.5, "modem.weak": 10.0, "identity.distance": 20.0, "identity.speed": 400.0,
}  # fmt: skip
_TABLES = ("fuel", "power", "gnss", "clock", "modem", "restarts", "backlog", "identity")

WATCH_KEYS = [
    *((f"watch.{key}", default, '"90s"', "1m30s", 90.0) for key, default in _SECONDS.items()),
    *((f"watch.{key}", default, "7", "7", 7) for key, default in _COUNTS.items()),
    *((f"watch.{key}", default, "2.5", "2.5", 2.5) for key, default in _NUMBERS.items()),
    *((f"watch.{table}.enabled", True, "false", "false", False) for table in _TABLES),
]
