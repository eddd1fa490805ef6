"""Which protocols there are. A new one costs one line in `PROTOCOLS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from protocols.errors import UnknownProtocolError
from protocols.records import Decoded, Frame, Session


@dataclass(frozen=True, slots=True)
class WireProtocol:
    """Everything the gateway knows of a protocol.

    Attributes
    ----------
    name : as in `dozor decode` and the configuration.
    port : the customary TCP port.
    new_session : ``new_session(transport="tcp" | "udp", max_frame=bytes or None) -> Session``. A UDP session
        is made anew for each datagram.
    decode : frames -> columns; never raises on any bytes.
    tree : one frame's bytes (`Frame.data`) -> nested containers from the declaration, for people.
    transports : where the protocol is spoken.
    closes_on_damage : acks are cumulative or bare counts, so that one behind a damaged frame would release it.
    """

    name: str
    port: int
    new_session: Callable[..., Session]
    decode: Callable[[Sequence[Frame]], Decoded]
    tree: Callable[[Frame], Any]
    transports: tuple[str, ...] = ("tcp",)
    closes_on_damage: bool = False


# name -> module that holds `PROTOCOL: WireProtocol`
PROTOCOLS = {
    "teltonika": "protocols.teltonika",
    "omnicomm": "protocols.omnicomm",
    "wialon-ips": "protocols.wialon_ips",
}


@cache
def protocol(name: str) -> WireProtocol:
    """Look a protocol up by name.

    Raises
    ------
    UnknownProtocolError
        If there is none of that name; the message lists those there are.
    """
    module = PROTOCOLS.get(name)
    if module is None:
        raise UnknownProtocolError(f"unknown protocol {name!r}: known are {', '.join(PROTOCOLS)}")
    found: WireProtocol = import_module(module).PROTOCOL
    return found
