"""The settings: each key once, with its reader, its default and its meaning (`keys.Key`).

A key is reached by its own name, tables as attributes, except `Mail.from_` (`from` is a word of Python) and an address
of a listener, which its `host` and `port` hold. Durations are seconds, sizes bytes, paths absolute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from gateway.configuration import speaking, thresholds, values
from gateway.configuration.carriers import Egress, Mqtt, Serial
from gateway.configuration.keys import REQUIRED, Key
from gateway.configuration.values import Address, Network, Tls
from protocols.registry import PROTOCOLS

_PROTOCOLS = ", ".join(f"`{name}`" for name in PROTOCOLS)


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """How long what is neither telemetry nor a ticket is kept."""

    connection: Annotated[
        float, Key(values.duration(), "400d", "history of connections that ended longer ago is deleted")
    ]
    message: Annotated[
        float,
        Key(
            values.duration(),
            "400d",
            "answers and drivers' messages that came longer ago are deleted, and commands that ended longer ago",
        ),
    ]
    quarantine: Annotated[
        float,
        Key(
            values.duration(),
            "90d",
            "raw frames that came longer ago are deleted; those that wait for their terminal to be registered are "
            "telemetry to be: they stay as long as `store.retention` says, and at least this long",
        ),
    ]
    outbox: Annotated[float, Key(values.duration(), "90d", "messages delivered, or given up, longer ago are deleted")]


class Store(msgspec.Struct, frozen=True, kw_only=True):
    dsn: Annotated[
        str,
        Key(
            values.dsn,
            "",
            "empty: PostgreSQL in `data_dir`, run by the service. Otherwise any libpq DSN or URI; with TimescaleDB "
            "there, records are a hypertable. PostgreSQL 14 or later, a database with `ENCODING 'UTF8'`, a user who "
            "may create tables and temporary tables: anything else is refused at the start, with the remedy; so "
            "are an extension `timescaledb` whose library is not loaded, and a pooler that drops what a session sets",
        ),
    ]
    retention: Annotated[
        float | None,
        Key(
            values.duration(optional=True),
            "",
            "older telemetry is dropped by whole partitions, what is dated outside them by when it came; empty: kept "
            "for ever",
        ),
    ]
    keep: Keep


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    protocol: Annotated[
        str,
        Key(
            speaking.spoken,
            REQUIRED,
            f"as in `dozor decode`: {_PROTOCOLS}; or `auto`: the first bytes tell it, once for each connection, over "
            "UDP for each datagram",
        ),
    ]
    protocols: Annotated[
        list[str],
        Key(
            values.listed(speaking.told_apart),
            (),
            "of `auto`: which it may be; empty: all that [can be told apart](protocols.md)",
        ),
    ] = []
    host: Annotated[
        str,
        Key(
            values.address,
            None,
            "where; without it the protocol's customary port on all addresses, of `auto` 5000",
            named="address",
            spread=True,
        ),
    ]
    port: int
    transport: Annotated[
        str,
        Key(
            values.choice("tcp", "udp"),
            "tcp",
            "`tcp` or `udp`; over UDP an answer leaves from the address that the datagram was sent to, also where the "
            "listener is on all of the host's",
        ),
    ]
    tls: Annotated[
        Tls | None,
        Key(
            values.tls,
            None,
            '`{cert = "…", key = "…"}`: TLS 1.2 or later with this certificate (PEM, with what stands between it and '
            "its root) and its key (PEM, no passphrase). Without it the listener speaks plain TCP",
        ),
    ] = None
    proxy_protocol_from: Annotated[
        list[Network],
        Key(
            values.listed(values.network),
            (),
            "networks of proxies in front that say in a PROXY header whose connection they pass on; empty: none",
        ),
    ] = []

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)


class Login(msgspec.Struct, frozen=True, kw_only=True):
    policy: Annotated[
        str,
        Key(
            values.choice("accept", "known", "quarantine"),
            "accept",
            "`accept`: a terminal is registered when it is first seen. `known`: unregistered ones are refused. "
            "`quarantine`: what they send is stored raw and acknowledged, listed under `/api/quarantine`, and decoded "
            "in order once `dozor terminal add` has registered them. Of a relay each terminal is judged "
            "for itself; who is refused is told so where the protocol "
            "has a word for it (EGTS), elsewhere its frames are kept as under `quarantine`",
        ),
    ]
    timeout: Annotated[float, Key(values.duration(), "30s", "from connecting to a complete login")]
    idle_timeout: Annotated[
        float, Key(values.duration(), "30m", "a connection without any bytes for so long is closed")
    ]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    connections: Annotated[
        int,
        Key(
            values.integer(1),
            1_100_000,
            "per process, and never above the limit of descriptors less 256; more are closed and counted",
        ),
    ]
    connections_per_address: Annotated[
        int, Key(values.integer(0), 0, "0: no limit. Carriers put thousands of terminals behind one address")
    ]
    allow: Annotated[list[Network], Key(values.listed(values.network), (), "networks that may connect; empty: all")]
    logins_per_minute_per_address: Annotated[
        int,
        Key(
            values.integer(0),
            0,
            "0: no limit. So many logins an address may make at once, and as many in every minute after; further ones "
            "are not answered and their connections close, counted under `login_rate`. Mind carrier NAT, as above. TCP "
            "only: over UDP every datagram names its terminal anew",
        ),
    ]
    records_per_second_per_terminal: Annotated[
        int,
        Key(
            values.integer(0),
            0,
            "0: no limit. A terminal that sends more is left unread, at most a minute at a time, until it is within "
            "the limit: what it sent is stored and acknowledged, what it has left waits in the terminal. Datagrams "
            "above the limit stay unanswered, and are sent again",
        ),
    ]
    registrations_per_minute: Annotated[
        int,
        Key(
            values.integer(0),
            0,
            "new terminals in a minute, all addresses together; 0: no limit beyond the next. As many may come at once. "
            "With `--workers` each process has its share of it, and of the next, rounded up",
        ),
    ]
    registrations_per_minute_per_address: Annotated[
        int,
        Key(
            values.integer(0),
            600,
            "new terminals in a minute from one address; 0: no limit. A fleet behind carrier NAT comes in within its "
            "first hour. Above it a login that would register a terminal is not answered and its connection closes, "
            "counted under `registration_rate`; so is a datagram. Terminals of the registry are never held up by it; "
            "while the store is away only those that the process knows already count as such, and new ones count as "
            "when it is there",
        ),
    ]
    frame_bytes: Annotated[
        int | None,
        Key(
            values.size,
            "",
            "lowers the protocol's own limit of a frame ([protocols](../protocols/README.md)); empty: leaves it",
        ),
    ]


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    false_alarms: Annotated[
        float,
        Key(
            values.factor,
            10.0,
            "wanted false tickets per 1 000 terminal-days: how sure a ticket must be follows from it "
            "([silence](detectors.md#silence)); 5 and less also waits a night for who goes dark in motion at the "
            "end of its day",
        ),
    ]
    expected: Annotated[
        bool,
        Key(
            values.boolean,
            True,
            "measure each terminal by its own silences in the same situation, over weeks. false: the plain rule, whose "
            "keys are the three below; a configuration that sets one of them and not this has the plain rule",
        ),
    ]
    floor: Annotated[float, Key(values.duration(), "5m", "never before this, by either rule")]
    after: Annotated[
        float,
        Key(
            values.factor,
            3.0,
            "plain rule: fail when its age is above so many of the terminal's learned intervals, suspect from two "
            "thirds of that",
        ),
    ]
    ceiling: Annotated[float, Key(values.duration(), "24h", "plain rule: always after this")]
    learn: Annotated[
        int,
        Key(
            values.integer(1, 10_000),
            8,
            "plain rule: gaps seen before a learned interval counts; until then the ceiling applies. Two are learned: "
            "ignition on (or unknown), and off",
        ),
    ]


class MassSilence(msgspec.Struct, frozen=True, kw_only=True):
    enabled: Annotated[
        bool,
        Key(
            values.boolean,
            True,
            "one incident and one ticket where [many fall silent together](detectors.md#mass-silence); false: each has "
            "its own",
        ),
    ]
    share: Annotated[
        float,
        Key(values.share, 0.2, "least part of a group that must be silent together, 0 to 1, before it is suspected"),
    ]
    terminals: Annotated[int, Key(values.integer(2, 1_000_000), 5, "least number of its terminals that must be")]
    settle: Annotated[
        float,
        Key(
            values.duration(zero=True),
            "60s",
            "how long a suspicion lasts before it is a group, while single tickets of its terminals wait",
        ),
    ]


class Incidents(msgspec.Struct, frozen=True, kw_only=True):
    hold: Annotated[
        float,
        Key(values.duration(zero=True), "30s", "a failing verdict opens an incident when it has lasted so long"),
    ]
    recovery: Annotated[
        float,
        Key(
            values.duration(zero=True),
            "5m",
            "the ticket moves to awaiting consent when all has been good for so long",
        ),
    ]
    tickets_per_minute: Annotated[
        int,
        Key(
            values.integer(0),
            60,
            "findings within a minute that get tickets of their own; the rest "
            "[share one](../ticketing/README.md#why-it-is-as-it-is) of kind `storm`. 0: no limit",
        ),
    ]


class Firmware(msgspec.Struct, frozen=True, kw_only=True):
    ask: Annotated[
        bool,
        Key(
            values.boolean,
            True,
            "ask a terminal for its version where the protocol can: once per connection and at most every 6 h, at each "
            "connection while its firmware fails; without an answer again after 6 h, a day, then a week each",
        ),
    ]
    catalogue: Annotated[Path | None, Key(values.file, "", "file of releases per model, as below; empty: none")]


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    silence: Silence
    mass_silence: MassSilence
    incidents: Incidents
    firmware: Firmware
    fuel: thresholds.Fuel
    power: thresholds.Power
    gnss: thresholds.Gnss
    clock: thresholds.Clock
    modem: thresholds.Modem
    restarts: thresholds.Restarts
    backlog: thresholds.Backlog
    identity: thresholds.Identity


class LetterBudget(msgspec.Struct, frozen=True, kw_only=True):
    address_hour: Annotated[
        int,
        Key(
            values.integer(1),
            10,
            "automatic letters of tickets that an address gets within an hour; what is above it is listed in one "
            "letter at the next full hour ([letters](letters.md#storm-budget))",
        ),
    ]
    address_day: Annotated[int, Key(values.integer(1), 40, "and within 24 hours")]


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    address: Annotated[Address, Key(values.address, "127.0.0.1:8080", "pages and `/api`")]
    url: Annotated[
        str,
        Key(
            values.empty_or(values.url),
            "",
            "the address people use, for links in letters; empty: derived from `desk.address`",
        ),
    ]
    policy: Annotated[
        str,
        Key(
            values.policy,
            "integrator-standard",
            "whose clock new tickets take: a shipped policy (`dozor policy list`), by name or as `NAME@VERSION`, or "
            "the path of a [policy file](clocks.md#the-policy-file), known by its slash or its ending `.toml`. Old "
            "tickets keep the policy and calendar that they were opened under",
        ),
    ]
    time_zone: Annotated[
        str,
        Key(
            values.empty_or(values.time_zone),
            "",
            "zone of the times on pages and in letters, an IANA name such as `Europe/Moscow`; empty: the policy's. "
            "Deadlines are told in the policy's too where it differs; the API says UTC",
        ),
    ]
    tiles: Annotated[
        str,
        Key(
            values.empty_or(values.tiles),
            "",
            "URL template of a map tile server, with `{z}`, `{x}`, `{y}`; empty: tracks are drawn without a map, and "
            "nothing is loaded from elsewhere",
        ),
    ]
    trusted_proxies: Annotated[
        list[Network],
        Key(
            values.listed(values.network),
            (),
            "networks of proxies in front of the desk, whose `X-Forwarded-For` says who asks; empty: none, and who "
            "asks is whoever connects. Behind a proxy that is not named here all people share one address's sign-in "
            "attempts",
        ),
    ]
    addresses: Annotated[
        list[str],
        Key(
            values.listed(values.desk_address),
            (),
            "the desk's own mail addresses, the first is the sender of letters; empty: `mail.from` is. Bounces come "
            "to it with `+b…` before the @",
        ),
    ]
    letters: Annotated[
        Path | None,
        Key(
            values.letter_texts, "", "folder with [texts of your own](letters.md#texts-of-your-own); empty: the shipped"
        ),
    ]
    budget: LetterBudget


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    host: Annotated[str, Key(values.text, "", "SMTP server; empty: no mail")]
    port: Annotated[int, Key(values.integer(1, 65535), 25, "its port")]
    tls: Annotated[str, Key(values.choice("none", "starttls", "tls"), "none", "`none`, `starttls` or `tls`")]
    user: Annotated[str, Key(values.text, "", "empty: no login")]
    password_file: Annotated[Path | None, Key(values.file, "", "file that holds the password")]
    from_: Annotated[
        str,
        Key(values.empty_or(values.mailbox), "", "sender; empty: `dozor@` and the machine's name", named="from"),
    ]
    to: Annotated[
        list[str],
        Key(
            values.listed(values.mailbox),
            (),
            "who is told of new tickets; needed when `host` is set and `desk.addresses` is not",
        ),
    ]


class Mailbox(msgspec.Struct, frozen=True, kw_only=True):
    host: Annotated[str, Key(values.needed_text, REQUIRED, "IMAP server")]
    port: Annotated[int, Key(values.integer(1, 65535), 993, "its port; 143 for `starttls` and `none`")]
    tls: Annotated[str, Key(values.choice("tls", "starttls", "none"), "tls", "`tls`, `starttls` or `none`")]
    user: Annotated[str, Key(values.needed_text, REQUIRED, "login")]
    password_file: Annotated[
        Path, Key(values.needed_file, REQUIRED, "file that holds the password; read at each connection")
    ]
    folder: Annotated[str, Key(values.needed_text, "INBOX", "the folder that is read; nothing in it is changed")]
    poll: Annotated[
        float,
        Key(values.duration(), "30s", "between looks; while it fails twice as long each time, ten minutes at most"),
    ]


class Lmtp(msgspec.Struct, frozen=True, kw_only=True):
    address: Annotated[
        Address | None,
        Key(
            values.none_or(values.address),
            "",
            "where a mail server hands mail over, such as `127.0.0.1:2525`; empty: nowhere. Whoever reaches it may "
            "send as anybody: loopback or a private network",
        ),
    ]


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    url: Annotated[str, Key(values.hook, REQUIRED, "where ticket events are posted; at most 2 000 bytes")]
    secret_file: Annotated[
        Path | None,
        Key(
            values.file,
            "",
            "file that holds the key of the signature, `Dozor-Signature: t=UNIX,v1=HEX`: HMAC-SHA256 over `t.body`",
        ),
    ]
    events: Annotated[
        tuple[str, ...],
        Key(
            values.events,
            ("ticket.opened",),
            "what it is told: `ticket.opened`, `ticket.changed` (its state), `ticket.warned`, `ticket.breached`, "
            "`ticket.closed`, `outage.opened`, `outage.closed`",
        ),
    ]


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    url_file: Annotated[
        Path,
        Key(
            values.needed_file,
            REQUIRED,
            "file of [apprise](https://github.com/caronc/apprise/wiki) addresses, one a line, such as `ntfys://topic`; "
            "read at each use",
        ),
    ]
    events: Annotated[
        tuple[str, ...],
        Key(
            values.events,
            ("ticket.opened",),
            "what they are told, as of a webhook; `opened`, `changed`, `warning`, `breach`, `closed`, `outage`, "
            "`outage-end` for short",
        ),
    ]


class Jt808(msgspec.Struct, frozen=True, kw_only=True):
    check_auth: Annotated[
        bool,
        Key(
            values.boolean,
            True,
            "a terminal must show the authentication code that it was given when it registered; the code is made of "
            "its identity and a secret of this instance, so that none has to be kept. false: any code, or none, will "
            "do",
        ),
    ]


class Spool(msgspec.Struct, frozen=True, kw_only=True):
    max_size: Annotated[
        int,
        Key(
            values.bound,
            "4GiB",
            "how much the spool may hold while the store is away; it lies in `data_dir/spool`. When it is full nothing "
            "more is acknowledged",
        ),
    ]


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    address: Annotated[
        Address,
        Key(
            values.address,
            "127.0.0.1:9105",
            "`/metrics`, `/healthz`, `/readyz`: plain HTTP without a login. Keep it off public networks",
        ),
    ]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings.

    Attributes
    ----------
    file : the file read, or None.
    configured : dotted keys that the file or the environment set, such as ``desk.address``; for tables that repeat the
        table's name (``listen``, ``webhook``, ``notify``, ``mailbox``, ``mqtt``, ``serial``, ``egress``). All others
        hold defaults.
    """

    data_dir: Annotated[
        Path,
        Key(values.path, None, "the embedded store and secrets: one folder to back up. One service at a time"),
    ]
    store: Store
    listen: list[Listen]
    serial: list[Serial]
    login: Login
    limits: Limits
    watch: Watch
    desk: Desk
    mail: Mail
    mailbox: list[Mailbox]
    lmtp: Lmtp
    webhook: list[Webhook]
    notify: list[Notify]
    mqtt: list[Mqtt]
    egress: list[Egress]
    jt808: Jt808
    spool: Spool
    metrics: Metrics
    file: Path | None
    configured: frozenset[str]
