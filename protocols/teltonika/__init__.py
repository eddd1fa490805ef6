"""Teltonika: codecs 8, 8E and 16 over TCP and UDP, codecs 12 and 13 for commands and replies."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.records import Frame, Session
from protocols.registry import WireProtocol
from protocols.teltonika.declaration import AVL_CODECS, parse_avl
from protocols.teltonika.decoder import decode, payload_span
from protocols.teltonika.session import TeltonikaDatagram, TeltonikaSession


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    return TeltonikaDatagram(max_frame=max_frame) if transport == "udp" else TeltonikaSession(max_frame=max_frame)


def _tree(frame: Frame) -> Any:
    start, stop = payload_span(frame)
    payload = frame.data[start:stop]
    if payload[:1] and payload[0] in AVL_CODECS:
        try:
            return parse_avl(payload)
        except ConstructError as error:
            return {"codec": payload[0], "payload": payload.hex(), "error": str(error)}
    return {"codec": payload[0] if payload else None, "payload": payload.hex()}


PROTOCOL = WireProtocol(
    name="teltonika",
    port=5027,
    new_session=_new_session,
    decode=decode,
    tree=_tree,
    transports=("tcp", "udp"),
    closes_on_damage=True,
)
