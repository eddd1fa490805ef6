"""The configuration as the public contract gives it: every key, every default, every refusal, read from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from gateway.configuration.reading import KEYS, Address, ConfigError, Listen, Settings, Webhook, load
from gateway.configuration.values import MAX_HOOK
from gateway.mqtt import Broker
from tests.gateway.configuration.serial_keys import SERIAL_KEYS
from tests.gateway.configuration.watch_keys import WATCH_KEYS
from ticketing import policies
from ticketing.core.toml_source import key_lines

# key, default, TOML text of another value, its text in the environment (None: no such variable), the other value
EVERY_KEY: list[tuple[str, Any, str, str | None, Any]] = [
    ("data_dir", None, '"/srv/dozor"', "/srv/dozor", Path("/srv/dozor")),
    ("store.dsn", "", '"postgresql://u@h/d"', "postgresql://u@h/d", "postgresql://u@h/d"),
    ("store.retention", None, '"400d"', "400d", 400 * 86400.0),
    ("store.keep.connection", 34_560_000.0, '"30d"', "30d", 2_592_000.0),
    ("store.keep.message", 34_560_000.0, "86400", "86400", 86_400.0),
    ("store.keep.quarantine", 7_776_000.0, '"1d"', "1d", 86_400.0),
    ("store.keep.outbox", 7_776_000.0, '"1d"', "1d", 86_400.0),
    ("login.policy", "accept", '"known"', "quarantine", None),
    ("login.timeout", 30.0, "12.5", "12.5", 12.5),
    ("login.idle_timeout", 1800.0, '"2h"', "2h", 7200.0),
    ("limits.connections", 1100000, "20", "20", 20),
    ("limits.connections_per_address", 0, "7", "7", 7),
    ("limits.allow", [], '["10.0.0.0/8", "::1"]', "10.0.0.0/8, ::1", [ip_network("10.0.0.0/8"), ip_network("::1")]),
    ("limits.logins_per_minute_per_address", 0, "60", "60", 60),
    ("limits.records_per_second_per_terminal", 0, "50", "50", 50),
    ("limits.registrations_per_minute", 0, "1000", "1000", 1000),
    ("limits.registrations_per_minute_per_address", 600, "0", "0", 0),
    ("limits.frame_bytes", None, '"4KiB"', "4096", 4096),
    ("watch.silence.false_alarms", 10.0, "2.5", "2.5", 2.5),
    ("watch.silence.expected", True, "false", "false", False),
    ("watch.silence.after", 3.0, "2", "2", 2.0),
    ("watch.silence.floor", 300.0, '"90s"', "90s", 90.0),
    ("watch.silence.ceiling", 86400.0, '"15m"', "900", 900.0),
    ("watch.silence.learn", 8, "3", "3", 3),
    ("watch.mass_silence.enabled", True, "false", "false", False),
    ("watch.mass_silence.share", 0.2, "0.5", "0.5", 0.5),
    ("watch.mass_silence.terminals", 5, "20", "20", 20),
    ("watch.mass_silence.settle", 60.0, '"2s"', "2s", 2.0),
    ("watch.incidents.hold", 30.0, "0", "0", 0.0),
    ("watch.incidents.recovery", 300.0, '"1m"', "1m", 60.0),
    ("watch.incidents.tickets_per_minute", 60, "0", "0", 0),
    ("watch.firmware.ask", True, "false", "false", False),
    *WATCH_KEYS,
    ("desk.address", Address("127.0.0.1", 8080), '"[::]:80"', "[::]:80", Address("::", 80)),
    ("desk.url", "", '"https://desk.example.org/"', "https://desk.example.org", "https://desk.example.org"),
    ("desk.policy", "integrator-standard", '"after-sales@1"', "after-sales@1", "after-sales@1"),
    ("desk.time_zone", "", '"Asia/Almaty"', "Asia/Almaty", "Asia/Almaty"),
    ("desk.tiles", "", '"https://t.example/{z}/{x}/{y}.png"', "https://t.example/{z}/{x}/{y}.png", None),
    ("desk.trusted_proxies", [], '["10.0.0.0/8"]', "10.0.0.0/8", [ip_network("10.0.0.0/8")]),
    ("desk.addresses", [], '["a@example.org", "B <b@example.org>"]', "a@example.org,B <b@example.org>", None),
    ("desk.budget.address_hour", 10, "3", "3", 3),
    ("desk.budget.address_day", 40, "400", "400", 400),
    ("mail.port", 25, "587", "587", 587),
    ("mail.tls", "none", '"starttls"', "starttls", "starttls"),
    ("mail.user", "", '""', "", ""),
    ("mail.from", "", '"a@example.org"', "a@example.org", "a@example.org"),
    ("mail.to", [], '["a@example.org", "b@example.org"]', "a@example.org,b@example.org", None),
    ("spool.max_size", 4 << 30, '"1MiB"', "1048576", 1 << 20),
    ("jt808.check_auth", True, "false", "false", False),
    ("metrics.address", Address("127.0.0.1", 9105), '"localhost:1"', "localhost:1", Address("localhost", 1)),
]  # fmt: skip
MQTT = ("url", "client_id", "topics", "share", "receive_maximum", "template", "tls", "password_file")
OPENED = ("ticket.opened",)
# keys whose values need a file or repeat: tested by their own tests below
ELSEWHERE = {f"mqtt.{name}" for name in MQTT} | {
    "mail.host", "mail.password_file", "watch.firmware.catalogue", "webhook.url", "webhook.secret_file",
    "webhook.events", "notify.url_file", "notify.events", "desk.letters",
    "mailbox.host", "mailbox.port", "mailbox.tls", "mailbox.user", "mailbox.password_file", "mailbox.folder",
    "mailbox.poll", "lmtp.address",
    "listen.protocol", "listen.protocols", "listen.address", "listen.transport", "listen.tls",
    "listen.proxy_protocol_from",
    "egress.name", "egress.url", "egress.terminals", "egress.start", "egress.password_file", "egress.tls",
}  # fmt: skip


def value(settings: Settings, key: str) -> Any:
    found: Any = settings
    for name in key.split("."):
        found = getattr(found, "from_" if name == "from" else name)
    return found


def read(tmp_path: Path, text: str, **environ: str) -> Settings:
    file = tmp_path / "dozor.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ)


def refused(tmp_path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, **environ)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def as_toml(key: str, text: str) -> str:
    table, _, name = key.rpartition(".")
    return f"[{table}]\n{name} = {text}\n" if table else f"{name} = {text}\n"


def test_the_table_names_every_key() -> None:
    assert {row[0] for row in EVERY_KEY} | ELSEWHERE | SERIAL_KEYS == set(KEYS)


@pytest.mark.parametrize(("key", "default", "text", "variable", "other"), EVERY_KEY, ids=lambda v: str(v)[:24])
def test_default_file_and_environment(
    tmp_path: Path, key: str, default: Any, text: str, variable: str | None, other: Any
) -> None:
    untouched = load(None, {"HOME": "/home/someone"}, implicit=False)
    if key != "data_dir":
        assert value(untouched, key) == default
    assert not untouched.configured

    from_file = read(tmp_path, as_toml(key, text))
    assert key in from_file.configured
    name = "DOZOR_" + key.upper().replace(".", "__")
    from_environment = load(None, {name: str(variable)}, implicit=False)
    assert from_environment.configured == {key}
    if other is not None:
        assert value(from_file, key) == other
        assert value(from_environment, key) == other


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, '[login]\npolicy = "known"\ntimeout = 5\n', DOZOR_LOGIN__POLICY="quarantine")
    assert (settings.login.policy, settings.login.timeout) == ("quarantine", 5.0)
    assert read(tmp_path, '[login]\ntimeout = "soon"\n', DOZOR_LOGIN__TIMEOUT="5").login.timeout == 5.0


def test_data_dir_belongs_to_the_user() -> None:
    expected = Path("/var/lib/dozor") if os.geteuid() == 0 else Path("/home/someone/.local/share/dozor")
    assert load(None, {"HOME": "/home/someone"}, implicit=False).data_dir == expected


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "releases.toml").write_text("grace_days = 30\n")
    settings = read(
        tmp_path,
        'data_dir = "data/../kept"\n[watch.firmware]\ncatalogue = "releases.toml"\n'
        '[[webhook]]\nurl = "https://example.org/hook"\nsecret_file = "secret"\n'
        '[mail]\nhost = "mail.example.org"\nuser = "dozor"\npassword_file = "secret"\nto = ["a@example.org"]\n',
    )
    assert settings.data_dir == tmp_path / "kept"
    assert settings.watch.firmware.catalogue == tmp_path / "releases.toml"
    assert settings.webhook == [Webhook(url="https://example.org/hook", secret_file=tmp_path / "secret", events=OPENED)]
    assert settings.mail.password_file == tmp_path / "secret"
    assert settings.mail.from_.startswith("dozor@")


def test_listeners_default_to_three_protocols_on_their_customary_ports_and_one_that_tells_them_apart() -> None:
    assert load(None, {}, implicit=False).listen == [
        Listen(protocol="teltonika", host="0.0.0.0", port=5027, transport="tcp"),
        Listen(protocol="omnicomm", host="0.0.0.0", port=9977, transport="tcp"),
        Listen(protocol="wialon-ips", host="0.0.0.0", port=20332, transport="tcp"),
        Listen(protocol="auto", host="0.0.0.0", port=5000, transport="tcp"),
    ]


def test_a_listener_that_tells_protocols_apart(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        '[[listen]]\nprotocol = "auto"\n'
        '[[listen]]\nprotocol = "auto"\nprotocols = ["teltonika", "wialon-ips"]\naddress = "[::]:7"\n'
        'transport = "udp"\n',
    )
    assert settings.listen == [
        Listen(protocol="auto", host="0.0.0.0", port=5000, transport="tcp"),
        Listen(protocol="auto", protocols=["teltonika", "wialon-ips"], host="::", port=7, transport="udp"),
    ]
    assert [entry.protocol for entry in read(tmp_path, "", DOZOR_LISTEN="auto=127.0.0.1:0").listen] == ["auto"]


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ('protocol = "auto"\nprotocols = ["lls"]', "serial lines"),
        ('protocol = "auto"\nprotocols = ["smtp"]', "there is no protocol"),
        ('protocol = "auto"\nprotocols = ["auto"]', "there is no protocol"),
        ('protocol = "auto"\nprotocols = ["omnicomm"]\ntransport = "udp"', "omnicomm has no udp"),
        ('protocol = "teltonika"\nprotocols = ["omnicomm"]', 'is for protocol = "auto"'),
    ],
)
def test_what_cannot_be_told_apart_is_said(tmp_path: Path, lines: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        read(tmp_path, f"[[listen]]\n{lines}\n")


def test_listeners_repeat(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        '[[listen]]\nprotocol = "teltonika"\naddress = "[::]:7"\ntransport = "udp"\n'
        '[[listen]]\nprotocol = "omnicomm"\n',
    )
    assert settings.listen == [
        Listen(protocol="teltonika", host="::", port=7, transport="udp"),
        Listen(protocol="omnicomm", host="0.0.0.0", port=9977, transport="tcp"),
    ]
    assert settings.configured == {"listen"}


def test_listeners_in_short_form_replace_those_of_the_file(tmp_path: Path) -> None:
    short = "teltonika=127.0.0.1:5027,teltonika/udp=127.0.0.1:5027, omnicomm=127.0.0.1:0"
    settings = read(tmp_path, '[[listen]]\nprotocol = "wialon-ips"\naddress = "x"\n', DOZOR_LISTEN=short)
    assert [(entry.protocol, str(entry.address), entry.transport) for entry in settings.listen] == [
        ("teltonika", "127.0.0.1:5027", "tcp"),
        ("teltonika", "127.0.0.1:5027", "udp"),
        ("omnicomm", "127.0.0.1:0", "tcp"),
    ]


def test_a_webhook_may_come_from_the_environment(tmp_path: Path) -> None:
    text = '[[webhook]]\nurl = "http://one.example"\n[[webhook]]\nurl = "http://two.example"\n'
    assert [hook.url for hook in read(tmp_path, text).webhook] == ["http://one.example", "http://two.example"]
    settings = read(tmp_path, text, DOZOR_WEBHOOK__URL="http://three.example")
    assert settings.webhook == [Webhook(url="http://three.example", secret_file=None, events=OPENED)]


@pytest.mark.parametrize("end", ["", "/", "/hook", "/hook/", "/hook//", "/hook?key=/", "/#x/"])
def test_a_webhook_is_called_as_it_is_written(tmp_path: Path, end: str) -> None:
    """Many receivers answer the one of `/hook` and `/hook/` with a redirect to the other, which no call follows."""
    address = f"https://hooks.example{end}"
    assert [hook.url for hook in read(tmp_path, f'[[webhook]]\nurl = "{address}"\n').webhook] == [address]
    assert read(
        tmp_path, f'[desk]\nurl = "https://desk.example{end}"\n'
    ).desk.url == f"https://desk.example{end}".rstrip("/")


def test_a_webhook_that_no_index_takes_is_refused_at_once(tmp_path: Path) -> None:
    """Its value is not repeated: it may hold a token."""
    start = "https://hooks.example/"
    longest = start + "x" * (MAX_HOOK - len(start))
    assert read(tmp_path, f'[[webhook]]\nurl = "{longest}"\n').webhook[0].url == longest
    for longer in (longest + "x", start + "я" * (MAX_HOOK // 2), start + "x" * 100_000):
        with pytest.raises(ConfigError) as refused:
            read(tmp_path, f'[[webhook]]\nurl = "{longer}"\n')
        assert "dozor.toml:2: webhook.url: has more than 2000 bytes: take a shorter one" in str(refused.value)
        assert "xxx" not in str(refused.value)


def test_order_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("asked", 1), ("variable", 2), ("dozor", 3)):
        (tmp_path / f"{name}.toml").write_text(f"[login]\ntimeout = {seconds}\n")
    monkeypatch.chdir(tmp_path)
    environ = {"DOZOR_CONFIG": str(tmp_path / "variable.toml")}
    assert load(tmp_path / "asked.toml", environ).login.timeout == 1
    assert load(None, environ).login.timeout == 2
    assert load(None, {}).login.timeout == 3
    assert load(None, {"DOZOR_CONFIG": ""}).file == Path("dozor.toml")
    assert load(None, {}, implicit=False).file is None
    assert load(None, environ, implicit=False).login.timeout == 2


def test_who_sets_a_key_of_the_plain_rule_has_the_plain_rule(tmp_path: Path) -> None:
    for key in ("after = 2", "ceiling = '1h'", "learn = 3"):
        assert not read(tmp_path, f"[watch.silence]\n{key}\n").watch.silence.expected
        assert read(tmp_path, f"[watch.silence]\n{key}\nexpected = true\n").watch.silence.expected
    assert read(tmp_path, "[watch.silence]\nfloor = '1m'\n").watch.silence.expected
    assert not read(tmp_path, "", DOZOR_WATCH__SILENCE__LEARN="3").watch.silence.expected


def test_another_command_may_bring_its_own_defaults(tmp_path: Path) -> None:
    own = {
        "watch.silence.floor": "5s",
        "desk.address": "127.0.0.1:0",
        "listen": "omnicomm=127.0.0.1:0",
        "data_dir": "/x",
    }
    file = tmp_path / "dozor.toml"
    file.write_text('[desk]\naddress = "127.0.0.1:81"\n')
    settings = load(file, {}, defaults=own)
    assert settings.watch.silence.floor == 5.0
    assert settings.desk.address.port == 81
    assert settings.data_dir == Path("/x")
    assert [entry.protocol for entry in settings.listen] == ["omnicomm"]
    assert settings.configured == {"desk.address"}


WRONG = [
    ("\n[store]\ndns = ''", ['dozor.toml:3: store.dns: unknown key: did you mean "store.dsn"?']),
    ("colour = 1", ["dozor.toml:1: colour: unknown key: remove it; known here: data_dir, desk, egress"]),
    ("floor = 3", ['dozor.toml:1: floor: unknown key: did you mean "watch.silence.floor"?']),
    ("[login]\ntimeout = 'soon'", ['dozor.toml:2: login.timeout: "soon" is no duration: write seconds as a number']),
    ("[login]\ntimeout = 0", ["dozor.toml:2: login.timeout: 0 is not above zero: "]),
    ("[login]\ntimeout = true", ["dozor.toml:2: login.timeout: true is no duration"]),
    ("[login]\ntimeout = inf", ["dozor.toml:2: login.timeout: inf is no duration"]),
    ("[login]\npolicy = 'all'", ['dozor.toml:2: login.policy: "all" is not known: take one of "accept", "known"']),
    ("[store]\nretention = 0", ["dozor.toml:2: store.retention: 0 is not above zero"]),
    ("[store]\ndsn = 'postgresql://u:hunter2@h:port/d'", []),
    ("[limits]\nconnections = 0", ["dozor.toml:2: limits.connections: 0 is out of range: take a number from 1"]),
    ("[limits]\nconnections = '9'", ['dozor.toml:2: limits.connections: "9" is not a whole number']),
    ("[limits]\nframe_bytes = '64 furlongs'", ['dozor.toml:2: limits.frame_bytes: "64 furlongs" is no size']),
    ("[limits]\nallow = ['10.1.0.0/8']", ['dozor.toml:2: limits.allow: "10.1.0.0/8" has host bits set: write ']),
    ("[limits]\nallow = [\n 'x'\n]", ['dozor.toml:2: limits.allow: "x" is no network']),
    ("[desk]\naddress = 8080", ["dozor.toml:2: desk.address: 8080 is no address: write HOST:PORT"]),
    ("[desk]\naddress = 'a:70000'", ["dozor.toml:2: desk.address: port 70000 does not exist"]),
    ("[desk]\nurl = 'desk.example.org'", ["dozor.toml:2: desk.url: is no http or https URL"]),
    ("[desk]\ntime_zone = 'Mars/Base'", ['dozor.toml:2: desk.time_zone: there is no time zone "Mars/Base"']),
    ("[desk]\ntime_zone = '../../etc/passwd'", ["dozor.toml:2: desk.time_zone: there is no time zone"]),
    ("[desk]\ntime_zone = 3", ["dozor.toml:2: desk.time_zone: there is no time zone 3"]),
    ("[desk]\ntiles = 'https://t.example'", ["dozor.toml:2: desk.tiles: does not say where zoom and tile go"]),
    ("[desk]\npolicy = 'x'", ['dozor.toml:2: desk.policy: there is no policy "x": take one of "integrator-stand']),
    ("[desk]\npolicy = ''", ['dozor.toml:2: desk.policy: there is no policy "": take one of "integrator-standard", ']),
    ("[desk]\npolicy = 1", ["dozor.toml:2: desk.policy: there is no policy 1: take one of "]),
    ("[desk]\npolicy = 'x@1'", ['dozor.toml:2: desk.policy: there is no policy "x@1": take one of ']),
    ("[desk]\npolicy = 'dealer-desk@2'", ["dozor.toml:2: desk.policy: dealer-desk has no version '2': take one of "]),
    ("[desk]\npolicy = 'no.toml'", ["dozor.toml:2: desk.policy: "]),
    ("[desk]\npolicy = 'dozor.toml'", ["dozor.toml:2: desk.policy: "]),
    ("[watch.firmware]\ncatalogue = 'none.toml'", ["dozor.toml:2: watch.firmware.catalogue: "]),
    ("[watch.mass_silence]\nshare = 2", ["dozor.toml:2: watch.mass_silence.share: 2 is above one"]),
    ("[watch.silence]\nfloor = '25h'", ["dozor.toml:2: watch.silence.floor: is above watch.silence.ceiling"]),
    ("[mail]\nhost = 'h'", ["dozor.toml:2: mail.to: is empty, and mail.host is set: name at least one recipient"]),
    ("[mail]\nuser = 'u'", ["dozor.toml:2: mail.password_file: is empty, and mail.user is set"]),
    ("[mail]\nto = ['nobody']", ['dozor.toml:2: mail.to: "nobody" is no mail address']),
    ("[[webhook]]\nsecret_file = ''", ["dozor.toml:1: webhook.url: is missing: write it"]),
    ("[[listen]]\naddress = 'a:1'", ["dozor.toml:1: listen.protocol: is missing: write it"]),
    ("[[listen]]\nprotocol = 'smtp'", ['dozor.toml:2: listen.protocol: there is no protocol "smtp"']),
    (
        "[[listen]]\nprotocol = 'omnicomm'\naddress = 'a:1'\n[[listen]]\nprotocol = 'teltonika'\naddress = 'a:1'",
        ["dozor.toml:6: listen.address: a:1 (tcp) is taken by listen.address"],
    ),
    ("[[listen]]\nprotocol = 'omnicomm'\ntransport = 'udp'", ["dozor.toml:3: listen.transport: omnicomm has no udp: "]),
    ("[listen]\nprotocol = 'omnicomm'", ["dozor.toml:1: listen: is not a table that repeats: write [[listen]]"]),
    ("desk = 1", ["dozor.toml:1: desk: is a table, not a value: write [desk]"]),
    ("a = 1\nb =", ["dozor.toml:2: is not TOML"]),
    (
        "[[listen]]\nprotocol = 'omnicomm'\ntls = {cert = 'none.crt', key = 'none.key'}",
        ["dozor.toml:3: listen.tls: cert "],
    ),
    ("[[listen]]\nprotocol = 'omnicomm'\ntls = 'cert.pem'", ["dozor.toml:3: listen.tls: is not a certificate with "]),
    ("[[listen]]\nprotocol = 'omnicomm'\ntls = {cert = 'c'}", ["dozor.toml:3: listen.tls: is not a certificate with "]),
    (
        "[[listen]]\nprotocol = 'omnicomm'\nproxy_protocol_from = ['x']",
        ['dozor.toml:3: listen.proxy_protocol_from: "x" is no network'],
    ),
    (
        "[[listen]]\nprotocol = 'teltonika'\ntransport = 'udp'\nproxy_protocol_from = ['::1']",
        ["dozor.toml:4: listen.proxy_protocol_from: there is none over udp: remove it, or take transport"],
    ),
    ("[limits]\nlogins_per_minute_per_address = -1", ["dozor.toml:2: limits.logins_per_minute_per_address: -1 is out"]),
    ("\n[spool]\nmax_size = ''", ["dozor.toml:3: spool.max_size: is empty: write bytes"]),
    ("[jt808]\ncheck_auth = 0", ["dozor.toml:2: jt808.check_auth: "]),
    # brokers
    ("[[mqtt]]\nurl = 'http://u:hunter2@h'", ["dozor.toml:2: mqtt.url: is no mqtt or mqtts URL: write it whole"]),
    ("[[mqtt]]\nurl = 'mqtt://u:hunter2@h:0'", ["dozor.toml:2: mqtt.url: is no mqtt or mqtts URL"]),
    ("[[mqtt]]\nclient_id = 'a/b'", ['dozor.toml:2: mqtt.client_id: "a/b" is no name']),
    ("[[mqtt]]\ntopics = []", ["dozor.toml:2: mqtt.topics: is empty"]),
    ("[[mqtt]]\ntopics = ['a/#/b']", ['dozor.toml:2: mqtt.topics: "a/#/b" is no topic filter']),
    ("[[mqtt]]\ntopics = ['$share/g/t']", ['dozor.toml:2: mqtt.topics: "$share/g/t" begins with $: leave it out']),
    ("[[mqtt]]\nreceive_maximum = 0", ["dozor.toml:2: mqtt.receive_maximum: 0 is out of range"]),
    ("[[mqtt]]\ntls = {ca = 'none.pem'}", ["dozor.toml:2: mqtt.tls: ca "]),
    ("[[mqtt]]\ntls = {cert = 'c.pem'}", ["dozor.toml:2: mqtt.tls: is no table of a client's certificates"]),
    ("[[mqtt]]\n[[mqtt]]", ['dozor.toml:2: mqtt.client_id: "dozor" has a session at 127.0.0.1:1883 already: give']),
    ("[[mqtt]]\ntemplate = 'none.toml'", ["dozor.toml:2: mqtt.template: "]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), WRONG, ids=lambda v: v.replace("\n", " ") if isinstance(v, str) else "")
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, told: list[str]) -> None:
    if not told:  # libpq judges ports only when it connects
        assert "port" in read(tmp_path, text).store.dsn
        return
    problems = refused(tmp_path, text)
    assert len(problems) == len(told), problems
    for problem, beginning in zip(problems, told, strict=True):
        assert problem.startswith(beginning)


def test_a_broker(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("[fields]\nts = 't'\n")
    (tmp_path / "password").write_text("hunter2\n")
    (entry,) = read(tmp_path, "[[mqtt]]").mqtt
    assert str(entry.url) == "127.0.0.1:1883"
    assert (entry.client_id, entry.topics, entry.share, entry.receive_maximum) == ("dozor", ["telemetry/+/+"], "", 1000)
    assert (entry.template, entry.tls, entry.password_file) == (None, None, None)
    text = "[[mqtt]]\nurl = 'mqtts://f%40leet:hunter2@[::1]'\nshare = 'gw'\ntopics = ['a/+', '#']\ntemplate = 't.toml'"
    (entry,) = read(tmp_path, text).mqtt
    url = entry.url
    assert (url.scheme, url.host, url.port, url.user, url.password) == ("mqtts", "::1", 8883, "f@leet", "hunter2")
    assert str(url) == "[::1]:8883"
    assert "hunter2" not in repr(entry)
    assert (entry.share, entry.topics, entry.template) == ("gw", ["a/+", "#"], tmp_path / "t.toml")
    environment = {
        "DOZOR_MQTT__URL": "mqtt://h",
        "DOZOR_MQTT__TOPICS": "a,b",
        "DOZOR_CONFIG": str(tmp_path / "dozor.toml"),
    }
    (entry,) = load(None, environment).mqtt  # in place of the file's
    assert (str(entry.url), entry.topics, entry.share) == ("h:1883", ["a", "b"], "")


def test_a_policy_of_ones_own_is_a_file_beside_the_configuration(tmp_path: Path) -> None:
    shipped = Path(policies.__file__).with_name("after-sales.toml").read_text(encoding="utf-8")
    (tmp_path / "ours.toml").write_text(shipped.replace('"after-sales"', '"ours"', 1), encoding="utf-8")
    settings = read(tmp_path, "[desk]\npolicy = 'ours.toml'")
    assert settings.desk.policy == str(tmp_path / "ours.toml")
    assert policies.resolve(settings.desk.policy).reference == "ours@1"
    (tmp_path / "ours.toml").write_text(shipped.replace('"10m"', '"10 furlongs"', 1), encoding="utf-8")
    (problem,) = refused(tmp_path, "[desk]\npolicy = 'ours.toml'")
    assert problem.startswith("dozor.toml:2: desk.policy: ours.toml:")
    assert "'10 furlongs' is no budget" in problem
    assert problem.endswith("correct the file, `dozor policy check ours.toml` tells all")


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        ("DOZOR_LOGIN__TIMEOUT", "soon", 'environment: DOZOR_LOGIN__TIMEOUT: "soon" is no duration'),
        ("DOZOR_LIMITS__CONNECTIONS", "many", 'environment: DOZOR_LIMITS__CONNECTIONS: "many" is not a whole number'),
        ("DOZOR_WATCH__FIRMWARE__ASK", "maybe", "environment: DOZOR_WATCH__FIRMWARE__ASK: "),
        ("DOZOR_LOGIN__TIMEOT", "3", "environment: DOZOR_LOGIN__TIMEOT: unknown variable: did you mean DOZOR_LOGIN__T"),
        ("DOZOR_LISTEN", "", "environment: DOZOR_LISTEN: is empty: "),
        ("DOZOR_LISTEN", "smtp=127.0.0.1:25", 'environment: DOZOR_LISTEN: there is no protocol "smtp"'),
        ("DOZOR_LISTEN", "omnicomm", 'environment: DOZOR_LISTEN: "" is no address'),
        ("DOZOR_LISTEN", "omnicomm/sctp=a:1", 'environment: DOZOR_LISTEN: "sctp" is not known'),
        (
            "DOZOR_LISTEN__PROTOCOL",
            "omnicomm",
            "environment: DOZOR_LISTEN__PROTOCOL: unknown variable: write listeners",
        ),
        ("DOZOR_SPOOL__MAX_SIZE", "", "environment: DOZOR_SPOOL__MAX_SIZE: is empty"),
        ("DOZOR_MQTT__URL", "mqtt//u:hunter2@h", "environment: DOZOR_MQTT__URL: is no mqtt or mqtts URL"),
        ("DOZOR_JT808__CHECK_AUTH", "perhaps", "environment: DOZOR_JT808__CHECK_AUTH: "),
        ("DOZOR_STORE__DSN", "user=u password=hunter2 x", "environment: DOZOR_STORE__DSN: is no libpq DSN or URI"),
        ("DOZOR_WEBHOOK__SECRET_FILE", "", "environment: webhook.url: is missing"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named_by_its_variable(variable: str, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {variable: text}, implicit=False)
    assert str(caught.value).startswith(told)
    assert "hunter2" not in str(caught.value)


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    problems = refused(tmp_path, "[desk]\nurl = 1\n[login]\ntimeout = -1\nx = 1\n", DOZOR_MAIL__PORT="0")
    assert [problem.split(": ")[0] for problem in problems] == [
        "dozor.toml:2", "dozor.toml:4", "dozor.toml:5", "environment",
    ]  # fmt: skip


def test_variables_of_a_service_of_the_same_name_are_no_settings() -> None:
    environ = {"DOZOR_SERVICE_HOST": "10.0.0.1", "DOZOR_PORT_5027_TCP_ADDR": "10.0.0.1", "DOZOR_SERVICE_PORT": "1"}
    assert not load(None, environ | {"DOZOR_PORT": "tcp://10.0.0.1:5027"}, implicit=False).configured


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "dozor.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"dozor.toml(:1: byte 0 is not UTF-8|: No such file or directory): "):
        load(file, {})


def test_lines_of_keys() -> None:
    lines = key_lines(
        'a = 1\n\n[t]\n# comment\nb = """\n[no]\nc = 1\n"""\n"d" = [\n 1,\n]\ne.f = {g = 1}\n[[l]]\nh = 1\n[[l]]\n'
        "i = 1\n[l.m]\nj = 1\n"
    )
    assert lines[("a",)] == 1
    assert lines[("t",)] == 3
    assert lines["t", "b"] == 5
    assert lines["t", "d"] == 9
    assert lines["t", "e", "f"] == lines["t", "e", "f", "g"] == 12
    assert lines["l", 0] == 13
    assert lines["l", 0, "h"] == 14
    assert lines["l", 1, "i"] == 16
    assert lines["l", 1, "m", "j"] == 18
    assert ("no",) not in lines


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("24h", 86400),
        ("400d", 34560000),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("7", 7),
        ("1w", 604800),
    ],
)
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    assert read(tmp_path, f'[login]\ntimeout = "{text}"\n').login.timeout == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [('"64MiB"', 2**26), ('"1 KiB"', 1024), ('"2kB"', 2000), ("77", 77), ('"77"', 77), ('"1GiB"', 2**30)],
)
def test_sizes(tmp_path: Path, text: str, count: int) -> None:
    assert read(tmp_path, f"[limits]\nframe_bytes = {text}\n").limits.frame_bytes == count


@pytest.mark.parametrize(("text", "code"), [("[login]\ntimeout = 3\n", 0), ("[login]\nretries = 3\n", 2)])
def test_check_config(tmp_path: Path, text: str, code: int) -> None:
    file = tmp_path / "dozor.toml"
    file.write_text(text)
    script = (
        "import argparse, sys; from gateway.commands import check_config as c;"
        "p = argparse.ArgumentParser(); c.add_arguments(p); sys.exit(c.run(p.parse_args()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--config", str(file)],
        capture_output=True, text=True, check=False, timeout=30, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == code
    if code:
        assert done.stderr.startswith(f"{file}:2: login.retries: unknown key: ")
    else:
        assert done.stdout == f"{file}: usable\n"


def test_another_platform_as_a_consumer(tmp_path: Path) -> None:
    text = '[[egress]]\nname = "a"\nurl = "wialon-ips://:secret@other.example"\n'
    (found,) = read(tmp_path, text).egress
    assert found.url == Broker("wialon-ips", "other.example", 20332, "", "secret")
    for url in ("wialon-ips://", "wialon-ips://user:x@h:1", "wialon-ips://h:0", "wialon-ips://h/path"):
        (problem,) = refused(tmp_path, f'[[egress]]\nname = "a"\nurl = "{url}"\n')
        assert "is no address of wialon-ips" in problem
        assert "secret" not in problem


def test_platforms_that_take_all_terminals_on_one_connection(tmp_path: Path) -> None:
    for url, told in (
        ("wialon-retranslator://h", Broker("wialon-retranslator", "h", 20163, "", "")),
        ("egts://h:7", Broker("egts", "h", 7, "", "")),
        ("egts://4294967295@h", Broker("egts", "h", 20629, "4294967295", "")),
    ):
        (found,) = read(tmp_path, f'[[egress]]\nname = "a"\nurl = "{url}"\n').egress
        assert found.url == told
