"""The settings' types. Attribute names equal the configuration's keys.

Except `Mail.from_`: `from` is a word of Python. Durations are seconds, sizes bytes, paths absolute.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.config_values import Address, Network, Tls


class Store(msgspec.Struct, frozen=True, kw_only=True):
    dsn: str  # empty: the embedded server in data_dir
    retention: float | None  # s; None: for ever


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    protocol: str
    host: str
    port: int
    transport: str  # tcp | udp
    tls: Tls | None = None
    proxy_protocol_from: list[Network] = []  # whose PROXY headers are believed; empty: none is expected

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)


class Login(msgspec.Struct, frozen=True, kw_only=True):
    policy: str  # accept | known | quarantine
    timeout: float  # s
    idle_timeout: float  # s


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    connections: int
    connections_per_address: int  # 0: no limit
    allow: list[Network]  # empty: all
    logins_per_minute_per_address: int  # 0: no limit
    records_per_second_per_terminal: int  # 0: no limit
    frame_bytes: int | None  # None: the protocol's own


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    after: float  # learned intervals
    floor: float  # s
    ceiling: float  # s
    learn: int  # gaps


class Incidents(msgspec.Struct, frozen=True, kw_only=True):
    hold: float  # s
    recovery: float  # s


class Firmware(msgspec.Struct, frozen=True, kw_only=True):
    ask: bool
    catalogue: Path | None


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    silence: Silence
    incidents: Incidents
    firmware: Firmware


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    address: Address
    url: str  # empty: derived from the address
    policy: str
    tiles: str


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    host: str  # empty: no mail
    port: int
    tls: str  # none | starttls | tls
    user: str
    password_file: Path | None
    from_: str
    to: list[str]


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    secret_file: Path | None


class Spool(msgspec.Struct, frozen=True, kw_only=True):
    max_size: int  # bytes


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    address: Address


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings.

    Attributes
    ----------
    file : the file read, or None.
    configured : dotted keys that the file or the environment set, such as ``desk.address``; for tables that repeat the
        table's name (``listen``, ``webhook``). All others hold defaults.
    """

    data_dir: Path
    store: Store
    listen: list[Listen]
    login: Login
    limits: Limits
    watch: Watch
    desk: Desk
    mail: Mail
    webhook: list[Webhook]
    metrics: Metrics
    spool: Spool
    file: Path | None
    configured: frozenset[str]
