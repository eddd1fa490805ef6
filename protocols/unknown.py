"""Payloads of no protocol that is known: nothing of them is decoded, all is kept as it came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocols.errors import UnknownProtocolError
from protocols.records import BatchBuilder, Decoded, Frame, Quarantined, Session
from protocols.registry import WireProtocol


def _no_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    raise UnknownProtocolError("no protocol: nothing can be said in it")


def _decode(frames: Sequence[Frame]) -> Decoded:
    return Decoded(BatchBuilder().build(), [Quarantined(number, "protocol") for number in range(len(frames))])


def _member(data: bytes, variant: int = 0) -> Any:
    return {"bytes": data.hex()}


PROTOCOL = WireProtocol(
    name="unknown",
    new_session=_no_session,
    decode=_decode,
    tree=lambda frame: _member(frame.data),
    measures={},
    max_frame=1 << 20,
    member=_member,
    missing_login=lambda _data: b"",
)
