"""Settings, read once into typed structs: a TOML file, `DOZOR_*` variables over it, defaults below both.

A file is looked for in this order: the one asked for (``--config``), ``$DOZOR_CONFIG``, ``./dozor.toml``,
``/etc/dozor/dozor.toml``. All that is wrong is told at once, each as ``FILE:LINE: key: what is wrong: remedy``.
"""

from __future__ import annotations

import difflib
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from gateway.configuration.keys import REQUIRED, declared, fill, keys
from gateway.configuration.settings import Listen, Settings, Webhook
from gateway.configuration.values import Address, Origin, WrongValueError
from protocols.auto import AUTO
from protocols.auto import PORT as AUTO_PORT
from protocols.lines import MAX_SENSORS
from protocols.records import MAX_NAMES, identity_of
from protocols.registry import PROTOCOLS, line, protocol, served
from ticketing.core.toml_source import NotTomlError, NotUtf8Error, TomlSource, Where

__all__ = ["KEYS", "Address", "ConfigError", "Listen", "Problem", "Settings", "Webhook", "load"]


KEYS = keys(Settings)
REPEATED = tuple(entry.name for entry in declared(Settings) if entry.repeats)  # [[…]]
TABLES = {key.rsplit(".", depth)[0] for key in KEYS for depth in range(1, key.count(".") + 1)}

# Tables that repeat of which one entry may come from there.
FROM_ENVIRONMENT = ("webhook", "notify", "mailbox", "mqtt", "egress", "serial")

# Variables with our prefix that are not settings: where the file is; the test run's cache of parts, its long form, and
# whatever else it is told.
PLAIN_RULE = ("after", "ceiling", "learn")  # of silence: who sets one of them means it
_RESERVED = re.compile(r"DOZOR_(CONFIG|CACHE|SOAK|TEST_\w+)")
# What Kubernetes and Docker links set for a service of the name "dozor".
_LINKS = re.compile(r"DOZOR(_\w+)?_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)")


_EVERYWHERE = "0.0.0.0"  # noqa: S104 - terminals come from anywhere


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
    changes: Mapping[str, str] | None = None,
    whole: bool = False,
) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path : the file asked for; None: the first found.
    environ : variables; None: those of the process.
    implicit : False ignores ``./dozor.toml`` and ``/etc/dozor/dozor.toml``.
    changes : key -> text, over file and variables, as a command was told.
    whole : read the files that it names too, as the service would: catalogue, secrets.
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
    _read_changes(changes or {}, reading)
    configured = frozenset(where.split("#")[0] for where in reading.places)
    _fill(environ, defaults or {}, reading)
    _judge(reading)
    if whole:
        _read_whole(reading)
    if reading.problems:
        raise ConfigError(_in_order(reading.problems, file))
    settings: Settings = fill(Settings, reading.found, file=file, configured=configured)
    return settings


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
        source = TomlSource(file.read_bytes())
    except OSError as error:
        return reading.wrong(str(file), "", error.strerror or str(error), "create it, or correct its path or rights")
    except NotUtf8Error as error:
        return reading.wrong(f"{file}:{error.line}", "", error.detail, "save the file as UTF-8")
    except NotTomlError as error:
        return reading.wrong(f"{file}:{error.line}", "", f"is not TOML ({error.detail})", "correct the line")
    _read_table(source.content, (), file, source, Origin(file.absolute().parent), reading)
    return None


def _read_table(
    table: dict[str, Any], above: Where, file: Path, source: TomlSource, origin: Origin, reading: _Reading
) -> None:
    for name, raw in table.items():
        where = (*above, name)
        place = f"{file}:{source.line(where)}"
        key = ".".join(part for part in where if isinstance(part, str))
        if "." in name:  # in quotes: it stands for no table
            reading.wrong(place, key, "unknown key", "take it out of its quotes" if key in KEYS else "remove it")
        elif key in KEYS:
            stored = key if key.split(".")[0] not in REPEATED else f"{where[0]}#{where[1]}.{name}"
            reading.take(stored, key, raw, origin, place)
        elif key in REPEATED:
            entries = raw if isinstance(raw, list) and all(isinstance(entry, dict) for entry in raw) else None
            if entries is None:
                reading.wrong(place, key, "is not a table that repeats", f"write [[{key}]] in double brackets")
            for index, entry in enumerate(entries or ()):
                reading.places[f"{key}#{index}"] = f"{file}:{source.line((*where, index))}"
                _read_table(entry, (*where, index), file, source, origin, reading)
        elif key in TABLES and isinstance(raw, dict):
            _read_table(raw, where, file, source, origin, reading)
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
        elif table in FROM_ENVIRONMENT and name in keys:
            # One entry may come from the environment; it stands in place of the file's.
            if reading.places.get(f"{table}#0") != place:
                _forget(table, reading)
                reading.places[f"{table}#0"] = place
            reading.take(f"{table}#0.{last}", dotted, environ[name], origin, place, name)
        elif name in keys:
            _forget(keys[name], reading)
            reading.take(keys[name], keys[name], environ[name], origin, place, name)
        elif table == "listen":
            remedy = 'write listeners in short form, such as DOZOR_LISTEN="teltonika=0.0.0.0:5027"'
            reading.wrong(place, name, "unknown variable", remedy)
        elif not _RESERVED.fullmatch(name) and not _LINKS.fullmatch(name):
            close = difflib.get_close_matches(name, keys, 1)
            reading.wrong(place, name, "unknown variable", f"did you mean {close[0]}?" if close else "unset it")


def _read_changes(changes: Mapping[str, str], reading: _Reading) -> None:
    for key, text in changes.items():
        if key in KEYS and key.split(".")[0] not in REPEATED:
            _forget(key, reading)
            reading.take(key, key, text, Origin(Path.cwd(), text=True), "command line")
        else:
            *above, name = key.split(".")
            while above and ".".join(above) not in TABLES:
                above.pop()
            reading.wrong("command line", key, "unknown key", _nearest(name, tuple(above)))


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
        ports = {**served(), AUTO: AUTO_PORT}
        customary = ",".join(f"{name}={_EVERYWHERE}:{port}" for name, port in ports.items())
        _read_short_form(str(defaults.get("listen", customary)), origin, "listen", reading)
    for table in REPEATED:
        inside = {key.removeprefix(f"{table}."): entry for key, entry in KEYS.items() if key.startswith(f"{table}.")}
        for where in _entries(table, reading):
            for name, entry in inside.items():
                if f"{where}.{name}" in reading.places or entry.default is None:
                    continue
                if entry.default is REQUIRED:
                    reading.wrong(reading.places[where], f"{table}.{name}", "is missing", "write it")
                else:
                    found[f"{where}.{name}"] = entry.read(_untupled(entry.default), origin)


def _untupled(raw: object) -> object:
    """A default as a file would have it."""
    return list(raw) if isinstance(raw, tuple) else raw


def _judge_told_apart(where: str, reading: _Reading) -> None:
    """`protocols` is of listeners that tell them apart, over the transport that each of them is spoken over."""
    place, names = reading.places.get(f"{where}.protocols", "defaults"), reading.found[f"{where}.protocols"]
    if reading.found[f"{where}.protocol"] != AUTO:
        reading.wrong(place, "listen.protocols", 'is for protocol = "auto"', "remove it, or take auto")
    transport = reading.found[f"{where}.transport"]
    for name in names:
        if transport not in protocol(name).transports:
            reading.wrong(place, "listen.protocols", f"{name} has no {transport}", "leave it out")


def _judge(reading: _Reading) -> None:
    """What no value shows alone: values that do not go together."""
    found, places = reading.found, reading.places

    def place(*keys: str) -> str:
        """Where the first of `keys` that somebody set was set."""
        return next((places[key] for key in keys if key in places), "defaults")

    def said(key: str) -> Any:
        """Its value; None where it is wrong, and so was told already."""
        return found.get(key)

    floor, ceiling = said("watch.silence.floor"), said("watch.silence.ceiling")
    if floor is not None and ceiling is not None and floor > ceiling:
        at = place("watch.silence.floor", "watch.silence.ceiling")
        reading.wrong(at, "watch.silence.floor", "is above watch.silence.ceiling", "lower it, or raise the ceiling")
    if "watch.silence.expected" not in places and any(f"watch.silence.{key}" in places for key in PLAIN_RULE):
        found["watch.silence.expected"] = False
    if said("mail.host") and said("mail.to") == [] and not said("desk.addresses"):
        reading.wrong(place("mail.host"), "mail.to", "is empty, and mail.host is set", "name at least one recipient")
    if said("mail.host") and said("mail.from") == "":
        found["mail.from"] = f"dozor@{platform.node() or 'localhost'}"
    if said("mail.user") and "mail.password_file" in found and found["mail.password_file"] is None:
        remedy = "put the password in a file and name it here"
        reading.wrong(place("mail.user"), "mail.password_file", "is empty, and mail.user is set", remedy)
    _judge_egress(reading)
    files: set[Path] = set()
    for where in _entries("notify", reading):
        url_file = said(f"{where}.url_file")
        if url_file in files:
            what = f"{url_file} stands in another [[notify]] too"
            reading.wrong(place(f"{where}.url_file"), "notify.url_file", what, "name all its events in one")
        files |= {url_file} if url_file is not None else set()
    taken: dict[tuple[str, Address], str] = {}
    mailboxes: set[tuple[Any, ...]] = set()
    for where in _entries("mailbox", reading):
        named = tuple(said(f"{where}.{key}") for key in ("host", "port", "user", "folder"))
        if named in mailboxes and None not in named:
            what = f"{named[2]} at {named[0]}, folder {named[3]}, stands in another [[mailbox]] too"
            reading.wrong(place(f"{where}.host", where), "mailbox", what, "keep one of them")
        mailboxes.add(named)
    for key in ("metrics.address", "desk.address", "lmtp.address"):
        _reserve(taken, "tcp", said(key), key, place(key), reading)
    for where in _entries("listen", reading):
        spoken, transport = said(f"{where}.protocol"), said(f"{where}.transport")
        if spoken is None or transport is None:
            continue
        at = place(f"{where}.address", where)
        transports = protocol(spoken).transports if spoken != AUTO else ("tcp", "udp")
        if found.get(f"{where}.protocols"):
            _judge_told_apart(where, reading)
        if transport not in transports and transport != "tcp":
            remedy = f'take transport = "{transports[0]}"'
            reading.wrong(place(f"{where}.transport"), "listen.transport", f"{spoken} has no {transport}", remedy)
        for name in ("tls", "proxy_protocol_from"):
            if transport != "tcp" and found.get(f"{where}.{name}"):
                remedy = 'remove it, or take transport = "tcp"'
                reading.wrong(place(f"{where}.{name}"), f"listen.{name}", f"there is none over {transport}", remedy)
        if f"{where}.address" not in places:
            found[f"{where}.address"] = Address(_EVERYWHERE, AUTO_PORT if spoken == AUTO else PROTOCOLS[spoken].port)
        _reserve(taken, transport, said(f"{where}.address"), "listen.address", at, reading)
    sessions: set[tuple[str, str]] = set()
    for where in _entries("mqtt", reading):
        broker, name = said(f"{where}.url"), said(f"{where}.client_id")
        if broker is None or name is None:
            continue
        if broker.password and said(f"{where}.password_file"):
            remedy = "take it out of the URL"
            reading.wrong(place(f"{where}.password_file"), "mqtt.password_file", "the URL has a password too", remedy)
        if not broker.secure and said(f"{where}.tls"):
            reading.wrong(place(f"{where}.tls"), "mqtt.tls", "the URL is not over TLS", "write mqtts:// in mqtt.url")
        if said(f"{where}.topics") == []:
            reading.wrong(place(f"{where}.topics"), "mqtt.topics", "is empty", 'write ["telemetry/+/+"]')
        if (str(broker), name) in sessions:
            what = f'"{name}" has a session at {broker} already'
            reading.wrong(place(f"{where}.client_id", where), "mqtt.client_id", what, "give each its own")
        sessions.add((str(broker), name))
    _judge_lines(reading)


_FASTEST = 0.1  # s between rounds: a sensor's own filter works by the second


def _judge_lines(reading: _Reading) -> None:
    """Each `[[serial]]`, and one beside the other."""
    found, places = reading.found, reading.places
    used: dict[tuple[str, str], str] = {}
    for where in _entries("serial", reading):

        def wrong(key: str, what: str, remedy: str, where: str = where) -> None:
            reading.wrong(places.get(f"{where}.{key}", places[where]), f"serial.{key}", what, remedy)

        terminal, sensors = found.get(f"{where}.terminal"), found.get(f"{where}.sensors")
        spoken, profile = found.get(f"{where}.protocol"), found.get(f"{where}.profile")
        if terminal is not None:
            found[f"{where}.terminal"] = named = identity_of(terminal)
            if not named:
                wrong("terminal", "names no terminal", "write 1 to 64 printable characters: whose sensors these are")
        for key, value in (("port", found.get(f"{where}.port")), ("terminal", found.get(f"{where}.terminal"))):
            if value and (key, value) in used:
                what = "its sensors would have the same numbers" if key == "terminal" else "two cannot ask on one line"
                wrong(key, f"{value} stands in another [[serial]] too", f"{what}: give each its own")
            elif value:
                used[key, value] = where
        interval = found.get(f"{where}.interval")
        if interval is not None and interval < _FASTEST:
            wrong("interval", f"{interval:g} s is shorter than {_FASTEST:g} s", "take a longer one")
        if spoken is None:
            continue
        if sensors is not None:
            addresses = line(spoken).addresses
            bad = [address for address in sensors if address not in addresses]
            if bad:
                wrong("sensors", f"there is no address {bad[0]}", f"take {addresses[0]} to {addresses[-1]}")
            elif not sensors or len(sensors) > MAX_SENSORS:
                wrong("sensors", f"names {len(sensors)} addresses", f"take 1 to {MAX_SENSORS}")
            elif len(set(sensors)) < len(sensors):
                wrong("sensors", "names an address twice", "name each once")
            elif profile and profile.registers and len(sensors) * (len(profile.registers.names) + 1) > MAX_NAMES:
                most = MAX_NAMES // (len(profile.registers.names) + 1)
                wrong("sensors", f"names {len(sensors)} addresses", f"a record has room for {most} of this profile")
        if profile is not None and line(spoken).takes_profile != bool(profile.profile):
            if profile.profile:
                wrong("profile", f"{spoken} has none", "remove it")
            else:
                wrong("profile", f"is empty, and {spoken} needs one", "name a shipped one or a file")


_WITHOUT_PASSWORD = {  # and how they name objects
    "egts": "name numbers from 1 to 4294967295 without leading zeros",
    "wialon-retranslator": "name printable ASCII without spaces, up to 64 characters",
}


def _unnameable(scheme: str, terminals: Sequence[str]) -> list[str]:
    """Those that a platform spoken to by `scheme` could not tell apart."""
    if scheme not in _WITHOUT_PASSWORD:
        return []
    name = import_module(f"protocols.{scheme.replace('-', '_')}.passing").object_id  # only where it is asked for
    return [one for one in terminals if name(one) is None]


def _judge_egress(reading: _Reading) -> None:
    found, places = reading.found, reading.places
    names: set[str] = set()
    for where in _entries("egress", reading):
        name, url, tls = (found.get(f"{where}.{key}") for key in ("name", "url", "tls"))
        if name in names:
            at = places[f"{where}.name"]
            reading.wrong(at, "egress.name", f'"{name}" is there twice', "each consumer has a cursor: name its own")
        names.add(name or "")
        if url is not None and not url.secure and tls:
            at = places.get(f"{where}.tls", places[where])
            reading.wrong(at, "egress.tls", "is set, and the url is not mqtts", "write mqtts://…, or remove it")
        if url is None:
            continue
        told, remedy = "", "write mqtt://user@host, and the password into the file"
        if url.scheme in _WITHOUT_PASSWORD:
            told, remedy = f"is set, and {url.scheme} has no password", "remove it"
        elif url.password:
            told = "is set, and the url holds a password"
        elif not url.user and url.scheme.startswith("mqtt"):
            told = "is set, and the url names no user"
        if told and found.get(f"{where}.password_file") is not None:
            reading.wrong(places[f"{where}.password_file"], "egress.password_file", told, remedy)
        bad = _unnameable(url.scheme, found.get(f"{where}.terminals") or ())
        if bad:  # of all terminals, those that are none are set aside one by one
            what = f'"{bad[0]}" is no object of {url.scheme}'
            reading.wrong(places[f"{where}.terminals"], "egress.terminals", what, _WITHOUT_PASSWORD[url.scheme])


def _reserve(
    taken: dict[tuple[str, Address], str],
    transport: str,
    address: Address | None,
    key: str,
    place: str,
    reading: _Reading,
) -> None:
    if address is None:
        return
    if address.port and (transport, address) in taken:
        what = f"{address} ({transport}) is taken by {taken[transport, address]}"
        reading.wrong(place, key, what, "give each its own address or port")
    taken[transport, address] = key


def _read_whole(reading: _Reading) -> None:
    from gateway.configuration.whole import unreadable  # only who asks for it pays for numpy and the channels

    for where, what, remedy in unreadable(reading.found):
        key = re.sub(r"#\d+", "", where)
        reading.wrong(reading.places.get(where, "defaults"), key, what, remedy)


def _in_order(problems: list[Problem], file: Path | None) -> list[Problem]:
    """Those of the file by line, then the others as they came."""

    def line(problem: Problem) -> float:
        name, _, number = problem.place.rpartition(":")
        return int(number) if name == str(file) and number.isdecimal() else math.inf

    return sorted(problems, key=line)
