"""Settings, read once into typed structs: a TOML file, `DOZOR_*` variables over it, defaults below both.

A file is looked for in this order: the one asked for (``--config``), ``$DOZOR_CONFIG``, ``./dozor.toml``,
``/etc/dozor/dozor.toml``. All that is wrong is told at once, each as ``FILE:LINE: key: what is wrong: remedy``.
"""

from __future__ import annotations

import difflib
import os
import platform
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway import config_values as values
from gateway.config_lines import Where, key_lines
from gateway.config_values import Address, Origin, Reader, WrongValueError
from gateway.settings import (
    Desk,
    Firmware,
    Incidents,
    Limits,
    Listen,
    Login,
    Mail,
    Metrics,
    Settings,
    Silence,
    Spool,
    Store,
    Watch,
    Webhook,
)
from protocols.registry import protocol

__all__ = ["KEYS", "Address", "ConfigError", "Listen", "Problem", "Settings", "Webhook", "load"]


@dataclass(frozen=True, slots=True)
class Key:
    """How a key is read, and its default as the file would spell it; None: has none, or it depends on others."""

    read: Reader
    default: object = None


KEYS: dict[str, Key] = {
    "data_dir": Key(values.path),
    "store.dsn": Key(values.dsn, ""),
    "store.retention": Key(values.duration(optional=True), ""),
    "listen.protocol": Key(values.protocol),
    "listen.address": Key(values.address),
    "listen.transport": Key(values.choice("tcp", "udp"), "tcp"),
    "listen.tls": Key(values.tls),
    "listen.proxy_protocol_from": Key(values.listed(values.network), ()),
    "login.policy": Key(values.choice("accept", "known", "quarantine"), "accept"),
    "login.timeout": Key(values.duration(), "30s"),
    "login.idle_timeout": Key(values.duration(), "30m"),
    "limits.connections": Key(values.integer(1), 1_100_000),
    "limits.connections_per_address": Key(values.integer(0), 0),
    "limits.allow": Key(values.listed(values.network), ()),
    "limits.logins_per_minute_per_address": Key(values.integer(0), 0),
    "limits.records_per_second_per_terminal": Key(values.integer(0), 0),
    "limits.frame_bytes": Key(values.size, ""),
    "watch.silence.after": Key(values.factor, 3.0),
    "watch.silence.floor": Key(values.duration(), "5m"),
    "watch.silence.ceiling": Key(values.duration(), "24h"),
    "watch.silence.learn": Key(values.integer(1, 10_000), 8),
    "watch.incidents.hold": Key(values.duration(zero=True), "30s"),
    "watch.incidents.recovery": Key(values.duration(zero=True), "5m"),
    "watch.firmware.ask": Key(values.boolean, True),
    "watch.firmware.catalogue": Key(values.file, ""),
    "desk.address": Key(values.address, "127.0.0.1:8080"),
    "desk.url": Key(values.empty_or(values.url), ""),
    "desk.policy": Key(values.policy, "integrator-standard"),
    "desk.tiles": Key(values.empty_or(values.tiles), ""),
    "mail.host": Key(values.text, ""),
    "mail.port": Key(values.integer(1, 65535), 25),
    "mail.tls": Key(values.choice("none", "starttls", "tls"), "none"),
    "mail.user": Key(values.text, ""),
    "mail.password_file": Key(values.file, ""),
    "mail.from": Key(values.empty_or(values.mailbox), ""),
    "mail.to": Key(values.listed(values.mailbox), ()),
    "webhook.url": Key(values.url),
    "webhook.secret_file": Key(values.file, ""),
    "spool.max_size": Key(values.bound, "4GiB"),
    "metrics.address": Key(values.address, "127.0.0.1:9105"),
}
REPEATED = ("listen", "webhook")  # [[…]]
TABLES = {key.rsplit(".", depth)[0] for key in KEYS for depth in range(1, key.count(".") + 1)}

# Announced, but not in this version: refused rather than silently ignored.
NOT_YET = {"mqtt"}

# Variables with our prefix that are not settings: where the file is; the test run's cache of parts, its long form, and
# whatever else it is told.
_RESERVED = re.compile(r"DOZOR_(CONFIG|CACHE|SOAK|TEST_\w+)")
# What Kubernetes and Docker links set for a service of the name "dozor".
_LINKS = re.compile(r"DOZOR(_\w+)?_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)")

# customary protocol -> port, served where nothing else is asked for
DEFAULT_LISTEN = {"teltonika": 5027, "omnicomm": 9977, "wialon-ips": 20332}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `place` is FILE:LINE or `environment`."""

    place: str
    key: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.what, self.remedy) if part)


class ConfigError(Exception):
    """The configuration cannot be used; `problems` says why, in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(slots=True)
class _Reading:
    """Values by key as they are found, where each came from, and what is wrong."""

    found: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def wrong(self, place: str, key: str, what: str, remedy: str) -> None:
        self.problems.append(Problem(place, key, what, remedy))

    def take(self, where: str, key: str, raw: object, origin: Origin, place: str, name: str = "") -> None:
        """Read `raw` as `key`'s value and keep it under `where`; `name` is what the problem calls it."""
        self.places[where] = place
        try:
            self.found[where] = KEYS[key].read(raw, origin)
        except WrongValueError as wrong:
            self.wrong(place, name or key, wrong.what, wrong.remedy)


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    implicit: bool = True,
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path : the file asked for; None: the first found.
    environ : variables; None: those of the process.
    implicit : False ignores ``./dozor.toml`` and ``/etc/dozor/dozor.toml``.
    defaults : key -> raw value as in a file, in place of the key's own default; ``listen`` takes the short form's text.

    Raises
    ------
    ConfigError
        If anything is wrong, with all of it.
    """
    environ = os.environ if environ is None else environ
    reading = _Reading()
    file = _find(path, environ, implicit)
    if file is not None:
        _read_file(file, reading)
    _read_environment(environ, reading)
    configured = frozenset(where.split("#")[0] for where in reading.places)
    _fill(environ, defaults or {}, reading)
    if not reading.problems:
        _judge(reading)
    if reading.problems:
        raise ConfigError(reading.problems)
    return _build(reading.found, file, configured)


def _find(path: Path | None, environ: Mapping[str, str], implicit: bool) -> Path | None:
    named = path or (Path(environ["DOZOR_CONFIG"]) if environ.get("DOZOR_CONFIG") else None)
    if named is not None:
        return named
    for candidate in (Path("dozor.toml"), Path("/etc/dozor/dozor.toml")) if implicit else ():
        if os.path.lexists(candidate):
            return candidate
    return None


def _read_file(file: Path, reading: _Reading) -> None:
    try:
        source = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        tree = tomllib.loads(source)
    except OSError as error:
        return reading.wrong(str(file), "", error.strerror or str(error), "create it, or correct its path or rights")
    except UnicodeDecodeError as error:
        return reading.wrong(str(file), "", f"byte {error.start} is not UTF-8", "save the file as UTF-8")
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        number = line[1] if line else str(source.count("\n") + 1)
        return reading.wrong(f"{file}:{number}", "", f"is not TOML ({error})", "correct the line")
    lines = key_lines(source)
    origin = Origin(file.absolute().parent)
    _read_table(tree, (), file, lines, origin, reading)
    reading.problems.sort(key=lambda problem: int(problem.place.rpartition(":")[2]))
    return None


def _read_table(
    table: dict[str, Any], above: Where, file: Path, lines: dict[Where, int], origin: Origin, reading: _Reading
) -> None:
    for name, raw in table.items():
        where = (*above, name)
        place = f"{file}:{lines.get(where, 1)}"
        key = ".".join(part for part in where if isinstance(part, str))
        if key in NOT_YET:
            reading.wrong(place, key, "not in this version", "remove it")
        elif key in KEYS:
            stored = key if key.split(".")[0] not in REPEATED else f"{where[0]}#{where[1]}.{name}"
            reading.take(stored, key, raw, origin, place)
        elif key in REPEATED:
            entries = raw if isinstance(raw, list) and all(isinstance(entry, dict) for entry in raw) else None
            if entries is None:
                reading.wrong(place, key, "is not a table that repeats", f"write [[{key}]] in double brackets")
            for index, entry in enumerate(entries or ()):
                reading.places[f"{key}#{index}"] = f"{file}:{lines.get((*where, index), lines.get(where, 1))}"
                _read_table(entry, (*where, index), file, lines, origin, reading)
        elif key in TABLES and isinstance(raw, dict):
            _read_table(raw, where, file, lines, origin, reading)
        elif key in TABLES:
            reading.wrong(place, key, "is a table, not a value", f"write [{key}] and its keys below")
        else:
            reading.wrong(place, key, "unknown key", _nearest(name, above))


def _nearest(name: str, above: Where) -> str:
    prefix = "".join(f"{part}." for part in above if isinstance(part, str))
    here = sorted({known[len(prefix) :].split(".")[0] for known in KEYS if known.startswith(prefix)})
    if close := difflib.get_close_matches(name, here, 1):
        return f'did you mean "{prefix}{close[0]}"?'
    elsewhere = [known for known in KEYS if known.rsplit(".")[-1] == name.rsplit(".")[-1]]
    if elsewhere:
        return "did you mean " + " or ".join(f'"{known}"' for known in elsewhere) + "?"
    return f"remove it; known here: {', '.join(here)}"


def _variable(key: str) -> str:
    return "DOZOR_" + key.upper().replace(".", "__")


def _read_environment(environ: Mapping[str, str], reading: _Reading) -> None:
    keys = {_variable(key): key for key in KEYS if not key.startswith("listen.")}
    origin = Origin(Path.cwd(), text=True)
    place = "environment"
    for name in sorted(name for name in environ if name.startswith("DOZOR_")):
        dotted = name.removeprefix("DOZOR_").lower().replace("__", ".")
        table, _, last = dotted.rpartition(".")
        if name == "DOZOR_LISTEN":
            _forget("listen", reading)
            _read_short_form(environ[name], origin, name, reading)
        elif dotted.startswith("webhook.") and name in keys:
            # One endpoint may come from the environment; it stands in place of the file's.
            if reading.places.get("webhook#0") != place:
                _forget("webhook", reading)
                reading.places["webhook#0"] = place
            reading.take(f"webhook#0.{last}", dotted, environ[name], origin, place, name)
        elif name in keys:
            _forget(keys[name], reading)
            reading.take(keys[name], keys[name], environ[name], origin, place, name)
        elif dotted in NOT_YET or dotted.split(".")[0] in NOT_YET:
            reading.wrong(place, name, "not in this version", "unset it")
        elif table == "listen":
            remedy = 'write listeners in short form, such as DOZOR_LISTEN="teltonika=0.0.0.0:5027"'
            reading.wrong(place, name, "unknown variable", remedy)
        elif not _RESERVED.fullmatch(name) and not _LINKS.fullmatch(name):
            close = difflib.get_close_matches(name, keys, 1)
            reading.wrong(place, name, "unknown variable", f"did you mean {close[0]}?" if close else "unset it")


def _forget(key: str, reading: _Reading) -> None:
    """The environment wins: what the file said of `key` neither counts nor needs to be right."""
    holders: tuple[dict[str, Any], ...] = (reading.places, reading.found)
    for held in holders:
        for where in [where for where in held if where.split("#")[0] == key]:
            del held[where]
    reading.problems = [
        problem
        for problem in reading.problems
        if problem.key not in KEYS or not (problem.key == key or problem.key.startswith(f"{key}."))
    ]


def _read_short_form(text: str, origin: Origin, name: str, reading: _Reading) -> None:
    """``protocol[/transport]=HOST:PORT``, separated by commas."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not entries:
        remedy = 'unset it, or write it as "teltonika=0.0.0.0:5027,teltonika/udp=0.0.0.0:5027"'
        reading.wrong("environment", name, "is empty", remedy)
    for index, entry in enumerate(entries):
        service, _, address = entry.partition("=")
        spoken, slash, transport = service.partition("/")
        reading.places[f"listen#{index}"] = "environment"
        reading.take(f"listen#{index}.protocol", "listen.protocol", spoken.strip(), origin, "environment", name)
        reading.take(f"listen#{index}.address", "listen.address", address.strip(), origin, "environment", name)
        if slash:
            reading.take(
                f"listen#{index}.transport", "listen.transport", transport.strip(), origin, "environment", name
            )


def _entries(table: str, reading: _Reading) -> Iterator[str]:
    index = 0
    while (where := f"{table}#{index}") in reading.places:
        yield where
        index += 1


def _fill(environ: Mapping[str, str], defaults: Mapping[str, object], reading: _Reading) -> None:
    """Put defaults where nothing was said."""
    found, origin = reading.found, Origin(Path.cwd())
    if "data_dir" not in reading.places and "data_dir" not in defaults:
        home = Path(environ.get("HOME") or Path.home())
        found["data_dir"] = Path("/var/lib/dozor") if os.geteuid() == 0 else home / ".local/share/dozor"
    for key, entry in KEYS.items():
        raw = _untupled(defaults.get(key, entry.default))
        if key.split(".")[0] not in REPEATED and key not in reading.places and raw is not None:
            found[key] = entry.read(raw, origin)
    if not any(_entries("listen", reading)):
        customary = ",".join(f"{name}=0.0.0.0:{port}" for name, port in DEFAULT_LISTEN.items())
        _read_short_form(str(defaults.get("listen", customary)), origin, "listen", reading)
    for table, required in (("listen", "protocol"), ("webhook", "url")):
        for where in _entries(table, reading):
            if f"{where}.{required}" not in reading.places:
                reading.wrong(reading.places[where], f"{table}.{required}", "is missing", "write it")
            for key, entry in KEYS.items():
                name = key.removeprefix(f"{table}.")
                if name != key and f"{where}.{name}" not in reading.places and entry.default is not None:
                    found[f"{where}.{name}"] = entry.read(_untupled(entry.default), origin)


def _untupled(raw: object) -> object:
    """A default as a file would have it."""
    return list(raw) if isinstance(raw, tuple) else raw


def _judge(reading: _Reading) -> None:
    """What no value shows alone: values that do not go together."""
    found, places = reading.found, reading.places

    def place(*keys: str) -> str:
        """Where the first of `keys` that somebody set was set."""
        return next((places[key] for key in keys if key in places), "defaults")

    if found["watch.silence.floor"] > found["watch.silence.ceiling"]:
        at = place("watch.silence.floor", "watch.silence.ceiling")
        reading.wrong(at, "watch.silence.floor", "is above watch.silence.ceiling", "lower it, or raise the ceiling")
    if found["mail.host"] and not found["mail.to"]:
        reading.wrong(place("mail.host"), "mail.to", "is empty, and mail.host is set", "name at least one recipient")
    if found["mail.host"] and not found["mail.from"]:
        found["mail.from"] = f"dozor@{platform.node() or 'localhost'}"
    if found["mail.user"] and not found["mail.password_file"]:
        remedy = "put the password in a file and name it here"
        reading.wrong(place("mail.user"), "mail.password_file", "is empty, and mail.user is set", remedy)
    taken: dict[tuple[str, Address], str] = {}
    for key in ("metrics.address", "desk.address"):
        _reserve(taken, "tcp", found[key], key, place(key), reading)
    for where in _entries("listen", reading):
        spoken, transport = found[f"{where}.protocol"], found[f"{where}.transport"]
        at = place(f"{where}.address", where)
        if transport != "tcp" and transport not in protocol(spoken).transports:
            remedy = f'take transport = "{protocol(spoken).transports[0]}"'
            reading.wrong(place(f"{where}.transport"), "listen.transport", f"{spoken} has no {transport}", remedy)
        for name in ("tls", "proxy_protocol_from"):
            if transport != "tcp" and found.get(f"{where}.{name}"):
                remedy = 'remove it, or take transport = "tcp"'
                reading.wrong(place(f"{where}.{name}"), f"listen.{name}", f"there is none over {transport}", remedy)
        if f"{where}.address" not in found:
            port = DEFAULT_LISTEN.get(spoken) or protocol(spoken).port
            found[f"{where}.address"] = values.address(f"0.0.0.0:{port}", Origin(Path.cwd()))
        _reserve(taken, transport, found[f"{where}.address"], "listen.address", at, reading)


def _reserve(
    taken: dict[tuple[str, Address], str], transport: str, address: Address, key: str, place: str, reading: _Reading
) -> None:
    if address.port and (transport, address) in taken:
        what = f"{address} ({transport}) is taken by {taken[transport, address]}"
        reading.wrong(place, key, what, "give each its own address or port")
    taken[transport, address] = key


def _build(found: dict[str, Any], file: Path | None, configured: frozenset[str]) -> Settings:
    def section(name: str) -> dict[str, Any]:
        inside = {key.removeprefix(name + "."): value for key, value in found.items() if key.startswith(name + ".")}
        return {"from_" if key == "from" else key: value for key, value in inside.items() if "." not in key}

    def repeated(name: str) -> list[dict[str, Any]]:
        places = sorted({int(key.split("#")[1].split(".")[0]) for key in found if key.startswith(name + "#")})
        return [section(f"{name}#{place}") for place in places]

    listen = []
    for entry in repeated("listen"):
        address: Address = entry.pop("address")
        listen.append(Listen(host=address.host, port=address.port, **entry))
    return Settings(
        data_dir=found["data_dir"],
        store=Store(**section("store")),
        listen=listen,
        login=Login(**section("login")),
        limits=Limits(**section("limits")),
        watch=Watch(
            silence=Silence(**section("watch.silence")),
            incidents=Incidents(**section("watch.incidents")),
            firmware=Firmware(**section("watch.firmware")),
        ),
        desk=Desk(**section("desk")),
        mail=Mail(**section("mail")),
        webhook=[Webhook(**entry) for entry in repeated("webhook")],
        metrics=Metrics(**section("metrics")),
        spool=Spool(**section("spool")),
        file=file,
        configured=configured,
    )
