"""The template: its worked packets value by value, and what answers what."""

from __future__ import annotations

from protocols.records import ARCHIVE, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID, Close, Frame, Login, Malformed
from protocols.template import PROTOCOL
from protocols.template.session import TemplateSession
from tests.protocols.helpers import feed, of_kind
from tests.protocols.rows import rows_of
from tests.protocols.template_vectors import LOGIN, ONE, TWO


def test_every_value_of_two_records() -> None:
    events = feed(TemplateSession(), LOGIN + TWO)
    assert events[0] == Login("860000000000011")
    first, second = rows_of(PROTOCOL.decode(of_kind(events, Frame)).batch)
    assert (first["time"], second["time"]) == (1_790_000_000_000_000, 1_790_000_030_000_000)
    assert (first["lat"], first["lon"], first["altitude"]) == (53.902, 27.561, 220)
    assert (first["speed"], first["course"], first["satellites"]) == (61, 274, 11)
    assert first["flags"] == VALID | MOVING | IGNITION_KNOWN | IGNITION_ON
    assert (second["lat"], second["lon"], second["flags"]) == (None, None, IGNITION_KNOWN | ARCHIVE)
    assert first["measures"] == {"ignition": 1, "power.external": 13.87}


def test_an_ack_names_its_packet() -> None:
    session = TemplateSession()
    (frame,) = of_kind(feed(session, LOGIN + ONE, close=False), Frame)
    assert session.acknowledge(frame) == b"TP\x06\x77\x2c"


def test_records_of_nobody_are_refused() -> None:
    assert feed(TemplateSession(), ONE) == [Malformed("login", 0, "records before the login"), Close("damaged")]
    session = TemplateSession()
    session.receive_data(LOGIN + ONE, 0.0)
    assert session.refuse() == (Close("refused"),)
    assert session.receive_data(ONE, 0.0) == ()


def test_a_record_sent_again_as_archive_is_the_same_record() -> None:
    live, late = ONE[4:-2], bytearray(ONE[4:-2])
    late[-1] |= 2
    decoded = PROTOCOL.decode([Frame(b"TP\x02\x02" + live + bytes(late) + b"??", 2)])
    assert len(set(decoded.batch.fingerprint.tolist())) == 1
    assert [bool(flags & ARCHIVE) for flags in decoded.batch.flags.tolist()] == [False, True]
