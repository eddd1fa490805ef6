"""What one value may be: numbers without end, text that is none, homes of nobody, hosts that cannot be asked for.

Each key is read by one of a few readers: here they meet what `tests/test_any_input.py` seldom draws, and whatever they
take is usable.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from email.utils import parseaddr
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.configuration import values
from gateway.configuration.catalogue import CatalogueError, read_catalogue
from gateway.configuration.keys import declared
from gateway.configuration.reading import KEYS, REPEATED, ConfigError, load
from gateway.configuration.settings import Settings
from gateway.configuration.values import Origin, WrongValueError
from gateway.mqtt import is_host
from ticketing.core.toml_source import NotTomlError, TomlSource

ENDLESS = 10**400  # an integer of TOML that no float holds
UNWRITABLE = f"0x{'f' * 5000}"  # one that Python reads, and cannot write
UNREADABLE = "9" * 5000  # one that it does not even read
FILE, VARIABLE = Origin(Path("/etc/dozor")), Origin(Path("/etc/dozor"), text=True)
REPEATING = [entry.name for entry in declared(Settings) if entry.repeats]


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    """All that is wrong with a file, without the folder; a traceback is a fault."""
    file = folder / "dozor.toml"
    file.write_text(text, encoding="utf-8")
    try:
        load(file, {"HOME": "/x", **environ}, implicit=False, whole=True)
    except ConfigError as error:
        return [str(problem).replace(f"{folder}/", "") for problem in error.problems]
    return []


def read(reader: Callable[[object, Origin], Any], raw: object, origin: Origin = FILE) -> tuple[Any, WrongValueError]:
    """The value, and what is wrong where there is none; whatever else is raised is a fault."""
    try:
        return reader(raw, origin), WrongValueError("", "")
    except WrongValueError as error:
        return None, error


def in_file(key: str, value: str) -> str:
    """The key with that value, in its table, on the last line."""
    table, _, name = key.rpartition(".")
    if not table:
        return f"{name} = {value}\n"
    return (f"[[{table}]]\n" if table in REPEATING else f"[{table}]\n") + f"{name} = {value}\n"


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_number_without_end_is_refused_by_every_key(tmp_path: Path, key: str) -> None:
    for value in (str(ENDLESS), f"-{ENDLESS}", UNWRITABLE, f"[{UNWRITABLE}]"):
        told = problems(tmp_path, in_file(key, value))
        line = in_file(key, value).count("\n")
        assert any(problem.startswith(f"dozor.toml:{line}: {key}: ") for problem in told), (value[:5], told)
        assert all(len(problem) < 400 for problem in told), "nobody reads four thousand digits"


def test_a_number_that_is_not_even_read_is_named_by_its_line(tmp_path: Path) -> None:
    """Wherever TOML is read: settings, catalogues, templates, policies."""
    assert problems(tmp_path, f"[login]\n\ntimeout = {UNREADABLE}\n") == [
        "dozor.toml:3: is not TOML (a number without end): correct the line"
    ]
    with pytest.raises(NotTomlError) as caught:
        TomlSource(f"a = 1\nb = {'1_' * 4400}1\n".encode())
    assert caught.value.line == 2
    assert TomlSource(f"a = '{UNREADABLE}'".encode()).content == {"a": UNREADABLE}, "a text may be as long"


@pytest.mark.parametrize("value", [str(ENDLESS), UNWRITABLE, UNREADABLE, "nan", "-1"], ids=lambda v: v[:3])
def test_grace_without_end(tmp_path: Path, value: str) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(f"\ngrace_days = {value}\n")
    with pytest.raises(CatalogueError) as caught:
        read_catalogue(file)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{file}:2: ")
    assert len(problem) < 300


def test_keys_of_a_catalogue_that_are_unknown_are_told_in_their_order(tmp_path: Path) -> None:
    """A set's order differs from process to process."""
    file = tmp_path / "catalogue.toml"
    names = [f"k{n}" for n in range(12)]
    file.write_text("".join(f"{name} = 1\n" for name in names))
    with pytest.raises(CatalogueError) as caught:
        read_catalogue(file)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == names


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spool.max_size", f'"{UNREADABLE}KiB"'), ("spool.max_size", f'"{"9" * 29}TiB"'),
        ("limits.frame_bytes", '"-1"'), ("limits.frame_bytes", '"1.5MiB"'), ("limits.frame_bytes", "0"),
        ("limits.frame_bytes", "true"),
    ],
)  # fmt: skip
def test_a_size_that_is_none(tmp_path: Path, key: str, value: str) -> None:
    (problem,) = problems(tmp_path, in_file(key, value))
    assert problem.startswith(f"dozor.toml:2: {key}: ")


@settings(deadline=None)
@given(st.integers(0, 10**12), st.sampled_from(["", "B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"]))
def test_sizes_are_what_their_units_say(count: int, unit: str) -> None:
    power = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}[unit.rstrip("iB")]
    expected = count * (1024 if "i" in unit else 1000) ** power
    for spelled in (f"{count}{unit}", f" {count} {unit.lower()} "):
        if 1 <= expected < 2**63:
            assert values.size(spelled, FILE) == expected
        else:
            with pytest.raises(WrongValueError):
                values.size(spelled, FILE)


durations = st.lists(
    st.tuples(st.integers(0, 999), st.sampled_from(["ms", "s", "m", "h", "d", "w"])), min_size=1, max_size=4
)


@settings(deadline=None)
@given(durations, st.booleans())
def test_durations_are_the_sum_of_their_parts(parts: list[tuple[int, str]], blanks: bool) -> None:
    seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    expected = sum(count * seconds[unit] for count, unit in parts)
    spelled = (" " if blanks else "").join(f"{count}{unit}" for count, unit in parts)
    read = values.duration()
    if 0 < expected <= 100 * 365 * 86_400:
        assert read(spelled, FILE) == pytest.approx(expected)
        assert read(expected, FILE) == expected
        assert read(repr(expected), VARIABLE) == pytest.approx(expected)
    else:
        with pytest.raises(WrongValueError):
            read(spelled, FILE)


@pytest.mark.parametrize(
    "value", ["1h 30", "h", "1 h", "1e3s", "-5m", "1h-5m", "", "٣s٣", "1m\n", "inf", "nan", "1_0s"]
)
def test_what_is_no_duration(value: str) -> None:
    found, error = read(values.duration(), value, VARIABLE)
    assert error.remedy or (value, found) == ("1m\n", 60.0), "blanks around it are no part of it"


# -- texts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DOZOR_MAIL__HOST", "mx\udcff"), ("DOZOR_STORE__DSN", "host=\udcff"), ("DOZOR_MQTT__TOPICS", "a,\udcff/+"),
        ("DOZOR_MQTT__URL", "mqtt://u\udcff:p@h"), ("DOZOR_MQTT__URL", "mqtt://u:p\udcff@h"),
        ("DOZOR_WEBHOOK__URL", "https://h\udcff/x"), ("DOZOR_MAIL__TO", "a@b,\udcff@c"),
        ("DOZOR_DESK__ADDRESS", "\udcff:1"),
        ("DOZOR_LISTEN", "teltonika=\udcff:1"), ("DOZOR_LISTEN", "\udcff=a:1"), ("DOZOR_DESK__POLICY", "\udcff"),
        ("DOZOR_DESK__TIME_ZONE", "\udcff"), ("DOZOR_LIMITS__ALLOW", "\udcff"), ("DOZOR_LOGIN__TIMEOUT", "\udcff"),
    ],
)  # fmt: skip
def test_a_variable_that_is_no_utf_8_is_told_before_anything_uses_it(variable: str, value: str) -> None:
    """Python hands its bytes over as halves of surrogate pairs, which no wire and no store takes."""
    with pytest.raises(ConfigError) as caught:
        load(None, {"HOME": "/x", variable: value}, implicit=False)
    assert any(str(problem).startswith(f"environment: {variable}: ") for problem in caught.value.problems)


def test_a_path_may_be_whatever_the_file_system_has() -> None:
    found = load(None, {"HOME": "/x", "DOZOR_DATA_DIR": "/srv/\udcff"}, implicit=False)
    assert bytes(found.data_dir) == b"/srv/\xff"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data_dir", '"~nobody-of-that-name/dozor"'),
        ("watch.firmware.catalogue", '"~nobody-of-that-name/c.toml"'),
        ("mqtt.tls", '{ca = "~nobody-of-that-name/ca.pem"}'),
    ],
)
def test_a_path_at_the_home_of_nobody(tmp_path: Path, key: str, value: str) -> None:
    told = problems(tmp_path, in_file(key, value))
    assert [problem for problem in told if f": {key}: " in problem and "nobody's home" in problem], told


@pytest.mark.parametrize("key", ["metrics.address", "listen.protocol", "watch.silence.floor", "mqtt#0.url", "a.b"])
def test_a_key_in_quotes_stands_for_no_table(tmp_path: Path, key: str) -> None:
    """`"listen.protocol" = …` at the top is a key of that name, and there is none."""
    (problem,) = problems(tmp_path, f'\n"{key}" = "teltonika"\n')
    assert problem.startswith(f"dozor.toml:2: {key}: unknown key: ")
    (problem,) = problems(tmp_path, f'[watch]\n"silence.{key}" = 1\n')
    assert problem.startswith(f"dozor.toml:2: watch.silence.{key}: unknown key: ")


@pytest.mark.parametrize("dsn", ["host=a\\u0000b", "postgresql://u:p@h/d\\u0000x"])
def test_a_dsn_is_not_read_to_its_first_nul(tmp_path: Path, dsn: str) -> None:
    (problem,) = problems(tmp_path, in_file("store.dsn", f'"{dsn}"'))
    assert problem == "dozor.toml:2: store.dsn: has a NUL in it: take it out"


@pytest.mark.parametrize(
    "port", ["hwgrep://[", "hwgrep://(?P<", "spy://[::1", "socket://h", "rfc2217://:4000", "ttyUSB0"]
)
def test_a_port_that_is_none(tmp_path: Path, port: str) -> None:
    (problem,) = problems(tmp_path, f'[[serial]]\nterminal = "T"\nport = "{port}"\n')
    assert problem.startswith(f'dozor.toml:3: serial.port: "{port}" ')


# -- addresses ----------------------------------------------------------------------------------------------------

LONG = "a" * 64  # a label has 63 characters


@pytest.mark.parametrize("host", [f"{LONG}.example", "a..b", f"x.{LONG}"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("desk.address", "{}:80"), ("metrics.address", "{}:80"), ("listen.address", "{}:80"), ("mqtt.url", "mqtt://{}"),
        ("egress.url", "mqtts://u@{}:1"), ("webhook.url", "https://{}/x"), ("desk.url", "http://{}"),
    ],
)  # fmt: skip
def test_a_host_that_cannot_be_asked_for_is_told_before_the_start(
    tmp_path: Path, key: str, value: str, host: str
) -> None:
    """`getaddrinfo` answers such a name with an error that is no OSError."""
    with pytest.raises(UnicodeError):
        socket.getaddrinfo(host, 80)
    told = problems(tmp_path, in_file(key, f'"{value.format(host)}"'))
    assert [problem for problem in told if problem.startswith(f"dozor.toml:2: {key}: ")], told


hosts = st.from_regex(r"[A-Za-z0-9.-]{1,20}|[0-9.]{7,15}|[0-9a-f:]{2,20}|[а-я]{1,8}\.рф", fullmatch=True)


@settings(deadline=None)
@given(hosts, st.integers(0, 70_000))
@example("::1", 5027)
@example("0.0.0.0", 0)
@example("пример.рф", 80)
def test_an_address_is_read_as_it_was_written(host: str, port: int) -> None:
    spelled = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    found, error = read(values.address, spelled)
    if found is None:
        assert error.remedy
        assert port > 65_535 or not is_host(host)
        return
    assert (found.host, found.port, str(found)) == (host, port, spelled)
    assert values.address(f" {spelled} ", VARIABLE) == found


@settings(deadline=None)
@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(
        lambda a: st.tuples(st.just(a), st.integers(0, a.max_prefixlen))
    )
)
def test_a_network_is_taken_or_its_remedy_is(told: tuple[Any, int]) -> None:
    """Host bits are a mistake; what is advised in their place is read."""
    address, length = told
    spelled = f"{address}/{length}"
    found, error = read(values.network, spelled)
    if found is None:
        advised = error.remedy.removeprefix('write "').removesuffix('"')
        assert address in values.network(advised, FILE)
        assert str(ip_network(spelled, strict=False)) == advised
    else:
        assert str(found) == str(ip_network(spelled))


@pytest.mark.parametrize(
    ("mailbox", "fine"),
    [
        ("desk@example.org", True), ("Desk <desk@example.org>", True), ("Служба, ночь <desk@example.org>", True),
        ("<desk@example.org>", True), ("desk@пример.рф", True), ("Desk <desk@example.org", False),
        ("desk@example.org>", False), ("<<a@b>>", False), ("a@b c", False), ("a b@c", False), ("a@b@c", False),
        ("Desk <a@b>, Night <c@d>", False), ("a@b\r\nBcc: x@y", False), ("a@b\0", False), ("@b", False), ("a@", False),
    ],
)  # fmt: skip
def test_a_mailbox_is_one_that_a_letter_can_go_to(mailbox: str, fine: bool) -> None:
    if not fine:
        with pytest.raises(WrongValueError):
            values.mailbox(mailbox, FILE)
        return
    assert values.mailbox(mailbox, FILE) == mailbox
    assert parseaddr(mailbox)[1] in mailbox


filters = st.lists(st.sampled_from(["a", "telemetry", "+", "#", "a+", "#b", "", "$SYS", "с"]), min_size=1, max_size=4)


@settings(deadline=None)
@given(filters)
def test_topic_filters_are_those_of_the_standard(levels: list[str]) -> None:
    """4.7.1 of MQTT 5: wildcards are whole levels, `#` the last."""
    text = "/".join(levels)
    fine = (
        bool(text)
        and all(level in ("+", "#") or not set("+#") & set(level) for level in levels)
        and "#" not in levels[:-1]
        and not text.startswith("$")
    )
    assert read(values.topic_filter, text)[0] == (text if fine else None)


# -- all keys -----------------------------------------------------------------------------------------------------

strange = st.one_of(
    st.just(""), st.text(max_size=20), st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=3),
    st.lists(st.integers(0, 300), max_size=3), st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    st.text(st.characters(categories=("Cs", "Cc", "Zl", "Nd")), max_size=5),
)  # fmt: skip
READERS: dict[str, Callable[[object, Origin], Any]] = {key: entry.read for key, entry in KEYS.items()}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(READERS)), strange, st.booleans())
@example("mqtt.topics", ["\udcff"], False)
@example("login.idle_timeout", "0\x1f", False)
@example("store.retention", "1\x1f", True)
@example("limits.connections", "1\x1f", True)
@example("serial.port", "hwgrep://[", False)
@example("data_dir", "~\0", False)
@example("egress.terminals", ["\u2028"], True)
def test_a_reader_gives_a_value_or_says_what_is_wrong(key: str, raw: object, text: bool) -> None:
    """Of every key, those of tables that repeat too."""
    value, error = read(READERS[key], raw, VARIABLE if text else FILE)
    assert value is None or not error.what
    assert len(error.what) < 300


def test_every_table_that_repeats_is_among_them() -> None:
    assert {key.split(".")[0] for key in READERS} >= set(REPEATED) == set(REPEATING)


@pytest.mark.parametrize("key", sorted(key for key, entry in KEYS.items() if isinstance(entry.default, str | int)))
def test_a_default_that_is_written_down_changes_nothing(tmp_path: Path, key: str) -> None:
    """As the page of keys shows it, so may somebody copy it."""
    default = KEYS[key].default
    table = key.split(".")[0]
    if table in REPEATING:
        assert READERS[key](default, FILE) is not NotImplemented
        return
    spelled = str(default).lower() if isinstance(default, bool) else repr(default).replace("'", '"')
    file = tmp_path / "dozor.toml"
    file.write_text(in_file(key, spelled))
    plain, said = load(None, {"HOME": "/x"}, implicit=False), load(file, {"HOME": "/x"}, implicit=False)
    if key not in ("watch.silence.after", "watch.silence.ceiling", "watch.silence.learn"):  # who says them means them
        for name in Settings.__struct_fields__:
            if name not in ("file", "configured"):
                assert getattr(plain, name) == getattr(said, name)
    assert said.configured == {key}
