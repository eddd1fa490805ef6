"""The tables of what carries records besides sockets: serial lines, brokers, and those to whom they are passed on.

As in `settings`, each key has its reader, its default and what it is for beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from gateway.configuration import speaking, values
from gateway.configuration.keys import REQUIRED, Key
from gateway.mqtt import Broker, ClientTls
from protocols.modbus_fuel.profile import Profile
from protocols.registry import LINES


class Serial(msgspec.Struct, frozen=True, kw_only=True):
    port: Annotated[
        str,
        Key(
            speaking.port,
            REQUIRED,
            "a device such as `/dev/ttyUSB0`, or any URL of pyserial: `socket://host:port` of a serial server, "
            "`rfc2217://host:port`. Each port once; a device is held by one process alone",
        ),
    ]
    protocol: Annotated[str, Key(values.choice(*LINES), "lls", "`lls` or `modbus-fuel`")]
    baudrate: Annotated[
        int, Key(values.integer(50, 4_000_000), 19_200, "bits per second; a `socket://` has the serial server's own")
    ]
    parity: Annotated[str, Key(values.choice("none", "even", "odd"), "none", "`none`, `even` or `odd`; 8 bits, 1 stop")]
    terminal: Annotated[
        str,
        Key(
            values.text,
            "",
            "whose sensors these are (needed): the identity of a terminal, registered as any other. Each line has its "
            "own",
        ),
    ]
    sensors: Annotated[
        list[int],
        Key(
            values.listed(values.integer(0, 255)),
            (1,),
            "addresses on the bus, 1 to 254 (Modbus: to 247), at most 64; the first is sensor 1 of the records",
        ),
    ]
    interval: Annotated[
        float, Key(values.duration(), "10s", "from one round over all sensors to the next; 1 s or more serves sensors")
    ]
    profile: Annotated[
        str,
        Key(
            speaking.profile,
            "",
            "`modbus-fuel` (needed): what the registers mean: a [shipped profile](serial.md#register-profiles) by "
            "name, or the path of a file, known by its slash or its ending `.toml`",
            spread=True,
        ),
    ]
    registers: Profile | None = None


class Mqtt(msgspec.Struct, frozen=True, kw_only=True):
    url: Annotated[
        Broker,
        Key(
            values.mqtt_url,
            "mqtt://127.0.0.1:1883",
            "the broker: `mqtt://host:1883`, or `mqtts://user:password@host:8883` over TLS; what is special in user "
            "or password as %XX. MQTT 5",
        ),
    ]
    client_id: Annotated[
        str,
        Key(
            values.client_id,
            "dozor",
            "the name under which the broker keeps what is not acknowledged yet: fixed, and each gateway's its own. "
            "With `--workers` each appends its place, `-0`, `-1` …",
        ),
    ]
    topics: Annotated[
        list[str],
        Key(
            values.listed(values.topic_filter),
            ("telemetry/+/+",),
            "what is subscribed to at QoS 1, as `telemetry/{terminal}/{protocol}`, `telemetry/{terminal}/json`, or the "
            "template's. Beside `…/telemetry/+/…` the terminals' `…/status/+` is subscribed to",
        ),
    ]
    share: Annotated[
        str,
        Key(
            values.empty_or(values.client_id),
            "",
            "name of a group of gateways that divide the load, `$share/NAME/…`; empty: this one gets all, divided "
            "among its workers",
        ),
    ]
    receive_maximum: Annotated[
        int,
        Key(
            values.integer(1, 65_535),
            1000,
            "messages that the broker sends ahead of our acknowledgements. Mind its own bound, `max_inflight_messages` "
            "of Mosquitto",
        ),
    ]
    template: Annotated[
        Path | None,
        Key(
            values.file,
            "",
            "TOML file that says [how JSON of your own is read](mqtt.md#a-template); empty: the shapes that are known",
        ),
    ]
    tls: Annotated[
        ClientTls | None,
        Key(
            values.client_tls,
            {},
            '`{ca = "…", cert = "…", key = "…"}` (PEM), each may be left out: the authority that signed the broker\'s '
            "certificate, and a certificate of our own with its key. Needs `mqtts://`",
        ),
    ]
    password_file: Annotated[Path | None, Key(values.file, "", "file that holds the password, read at each connection")]


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[
        str,
        Key(
            values.name,
            REQUIRED,
            "names the consumer's cursor, in the store, in metrics and for `dozor egress`: letters, digits, `-`, `_`. "
            "Services on one store that have the same name send as one",
        ),
    ]
    url: Annotated[
        Broker,
        Key(
            values.consumer,
            REQUIRED,
            "`mqtt://user:password@host:1883` or `mqtts://host:8883`: an MQTT 5 broker that is published to; "
            "`wialon-ips://host:20332`: another platform, which takes each terminal on a connection of its own "
            "(with `:password@` in front of the host where terminals need one); "
            "`wialon-retranslator://host:20163`, `egts://host:20629`: one that takes all terminals on one connection "
            "(`egts://7@host`: dispatcher 7)",
        ),
    ]
    terminals: Annotated[
        list[str], Key(values.listed(values.identity), (), "whose records, by identity; empty: everybody's")
    ]
    start: Annotated[
        str,
        Key(
            values.choice("now", "beginning"),
            "now",
            "where a cursor that is new begins: with what is stored from then on, or with all there is",
        ),
    ]
    password_file: Annotated[
        Path | None, Key(values.file, "", "file that holds the password, in place of one in `url`")
    ]
    tls: Annotated[
        ClientTls | None,
        Key(
            values.client_tls,
            {},
            '`{ca = "…", cert = "…", key = "…"}` for `mqtts`, each may be left out: whom to trust (PEM; without it '
            "whom the system does), and our own certificate with its key",
        ),
    ]
