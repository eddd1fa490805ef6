"""Each protocol's worked packets name their sources, and the page of protocols tells them."""

from __future__ import annotations

import pytest

from protocols.records import Frame, Login, Malformed
from protocols.registry import PROTOCOLS, protocol
from tests.protocols.helpers import feed, of_kind
from tools.protocols_doc import BEGINNINGS, PAGE, beginnings, page, vectors


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.protocols_doc"
    assert BEGINNINGS.read_text(encoding="utf-8") == beginnings(), "run: python -m tools.protocols_doc"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_packet_has_a_source_and_is_read_without_damage(name: str) -> None:
    packets = vectors(name)
    assert len({packet.name for packet in packets}) == len(packets) >= 5
    for packet in packets:
        assert ", " in packet.source, packet.name
        assert packet.source in page() or packet.source.rpartition(", ")[0] in page()
        wire = protocol(name)
        over = "udp" if "UDP" in packet.source else "tcp"
        session = wire.new_session(transport=over)
        login = wire.missing_login(packet.wire) if over == "tcp" else b""
        events = feed(session, login + packet.wire)
        assert of_kind(events, Login) or all(frame.terminal for frame in of_kind(events, Frame))
        reasons = {event.reason for event in of_kind(events, Malformed)}
        assert reasons <= {"unsupported"}, packet.name  # pictures, Codec 14 and 15
        assert protocol(name).decode(of_kind(events, Frame)).quarantined == []
