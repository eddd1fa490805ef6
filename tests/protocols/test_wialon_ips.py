"""Wialon IPS on the wire: worked packets, cuts, damage, limits, datagrams."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from protocols.records import ARCHIVE, VALID, Close, Frame, Identified, Login, Malformed, Message, Reply
from protocols.registry import PROTOCOLS, protocol
from protocols.wialon_ips import PROTOCOL, packets
from protocols.wialon_ips.containers import inflate
from protocols.wialon_ips.declaration import build_long_message, build_message
from protocols.wialon_ips.wire import MAX_MEMBERS, crc16
from tests.protocols.rows import rows_of
from tests.protocols.wialon_ips_vectors import BLOCK, H1, W1, W2, W3, W4, W5, W6, W8, W10, W11, W12

GOOD = W12.replace(b"DC90", b"DC9B")
TERMINAL = "862531045219738"


@dataclass
class Talk:
    """What a gateway that stores everything sees and says; `said` keeps the order of the requests."""

    events: list[object] = field(default_factory=list)
    said: bytes = b""
    records: list[dict[str, object]] = field(default_factory=list)
    quarantined: list[tuple[str, str, bytes | None]] = field(default_factory=list)

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, Malformed)]


NOW = 1.8e9  # s: every vector's time is past


def talk(
    *pieces: bytes, transport: str = "tcp", step: int = 0, accept: bool = True, max_frame: int | None = None
) -> Talk:
    """Play the gateway: accept the login, commit and acknowledge at once, close at the end."""
    session = PROTOCOL.new_session(transport=transport, max_frame=max_frame)
    heard = Talk()

    def take(events: Iterable[object]) -> None:
        for event in events:
            heard.events.append(event)
            if isinstance(event, Login):
                take(session.accept(NOW) if accept else session.refuse())
            elif isinstance(event, Reply):
                heard.said += event.data
            elif isinstance(event, Message):
                heard.said += session.acknowledge(event)
            elif isinstance(event, Frame):
                decoded = PROTOCOL.decode([event])
                heard.records += rows_of(decoded.batch)
                heard.quarantined += [(q.reason, q.code, q.data) for q in decoded.quarantined]
                heard.said += session.acknowledge(event, decoded.quarantined)

    for piece in pieces:
        for at in range(0, len(piece), step or max(len(piece), 1)):
            take(session.receive_data(piece[at : at + (step or len(piece))], NOW))
    take(session.end_of_stream())
    return heard


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000


W3_ROW = {
    "time": utc(2025, 3, 21, 8, 15, 7),
    "digits": 0,
    "lat": 51.661504,
    "lon": 39.200287,
    "speed": 57.0,
    "course": 214.0,
    "altitude": 157.0,
    "satellites": 14,
    "flags": VALID,
    "measures": {},
}
W4_ROW = W3_ROW | {
    "time": utc(2025, 3, 21, 8, 15, 37),
    "lat": 51.659871,
    "lon": 39.197442,
    "speed": 61.0,
    "course": 219.0,
    "altitude": 158.0,
    "satellites": 15,
    "measures": {
        "hdop": 0.9,
        "inputs": 5,
        "outputs": 1,
        "adc.1": 12.48,
        "adc.2": 0.03,
        "adc.3": 4.95,
        "driver.key": "0000A1B2C3D4",
        "param.lls1": 2317,
        "param.lls1t": -4,
        "param.fw": "KIT-2.14.3",
        "param.fuel": 186.25,
        "param.SOS": 0,
    },
}
W5_ROWS = [
    W3_ROW
    | {
        "time": utc(2025, 3, 21, 8, 16, 0),
        "lat": -33.905217,
        "lon": -18.421904,
        "speed": 0.0,
        "course": 0.0,
        "altitude": 12.0,
        "satellites": 0,
        "flags": VALID | ARCHIVE,
    },
    {
        "time": utc(2025, 3, 21, 8, 16, 30),
        "digits": 0,
        "lat": None,
        "lon": None,
        "speed": None,
        "course": None,
        "altitude": None,
        "satellites": -1,
        "flags": ARCHIVE,
        "measures": {"param.lls1": 65530},
    },
    W4_ROW | {"flags": VALID | ARCHIVE, "measures": {"hdop": 1.1, "inputs": 0, "outputs": 0}},
]


@dataclass(frozen=True)
class Vector:
    name: str
    wire: bytes
    said: bytes
    rows: tuple[dict[str, object], ...] = ()
    kinds: tuple[str, ...] = ()


VECTORS = [
    Vector("W1 login 1.1", W1, b"#AL#1\r\n", kinds=("Login", "Reply")),
    Vector("W2 login 2.0", W2, b"#AL#1\r\n", kinds=("Login", "Reply")),
    Vector("W3 short 1.1", W1 + W3, b"#AL#1\r\n#ASD#1\r\n", (W3_ROW,), ("Login", "Reply", "Frame")),
    Vector("W4 long 2.0", W2 + W4, b"#AL#1\r\n#AD#1\r\n", (W4_ROW,), ("Login", "Reply", "Frame", "Identified")),
    Vector("W5 black box, W7", W2 + W5, b"#AL#1\r\n#AB#3\r\n", tuple(W5_ROWS), ("Login", "Reply", "Frame")),
    Vector("W6 ping", W2 + W6, b"#AL#1\r\n#AP#\r\n", kinds=("Login", "Reply", "Reply")),
    Vector("W8 picture", W2 + W8, b"#AL#1\r\n#AI#0;0\r\n", kinds=("Login", "Reply", "Malformed", "Reply")),
    Vector("W10 driver", W2 + W10, b"#AL#1\r\n#AM#1\r\n", kinds=("Login", "Reply", "Message")),
    Vector("W12 bad sum", W2 + W12, b"#AL#1\r\n#ASD#13\r\n", kinds=("Login", "Reply", "Malformed", "Reply")),
    Vector("H1 compressed", H1 + GOOD, b"#AL#1\r\n#ASD#1\r\n", (W3_ROW,), ("Login", "Reply", "Frame")),
]


def assert_rows(found: list[dict[str, object]], expected: list[dict[str, object]]) -> None:
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        for name, value in want.items():
            if name in ("lat", "lon"):
                assert got[name] == (None if value is None else pytest.approx(value, abs=5e-7))
            else:
                assert got[name] == value, name


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
@pytest.mark.parametrize("step", [0, 1, 3])
def test_worked_packets_however_the_stream_is_cut(vector: Vector, step: int) -> None:
    heard = talk(vector.wire, step=step)
    assert heard.said == vector.said
    assert tuple(heard.kinds()) == vector.kinds
    assert_rows(heard.records, list(vector.rows))
    assert heard.events[0] == Login(TERMINAL)
    whole = talk(vector.wire)
    assert repr(heard.events) == repr(whole.events)


def test_the_protocol_is_registered() -> None:
    assert protocol("wialon-ips") is PROTOCOL
    assert PROTOCOLS["wialon-ips"].port == 20332
    assert (PROTOCOL.transports, PROTOCOL.closes_on_damage) == (("tcp", "udp"), False)


def test_frames_carry_line_version_count_and_offset() -> None:
    heard = talk(W2 + W5)
    frame = next(e for e in heard.events if isinstance(e, Frame))
    assert (frame.data, frame.variant, frame.records, frame.offset) == (W5[:-2], 2, 3, len(W2))
    first = next(e for e in talk(W1 + W3).events if isinstance(e, Frame))
    assert (first.data, first.variant, first.records) == (W3[:-2], 1, 1)


def test_coordinates_print_without_binary_noise() -> None:
    (row,) = talk(W1 + W3).records
    assert (row["lat"], row["lon"]) == (51.661504, 39.200287)


def test_builders_make_the_worked_packets() -> None:
    at = utc(2025, 3, 21, 8, 15, 37)
    short = build_message(time=at, lat=51.659871, lon=39.197442, speed=61, course=219, altitude=158, satellites=15)
    message = build_long_message(
        short,
        hdop=0.9,
        inputs=5,
        outputs=1,
        adc=[12.48, 0.03, 4.95],
        key="0000A1B2C3D4",
        params={"lls1": 2317, "lls1t": -4, "fw": "KIT-2.14.3", "fuel": 186.25, "SOS": 0},
    )
    assert packets.long(message) == W4
    assert packets.login(TERMINAL) == W1
    assert packets.login(TERMINAL, version="2.0") == W2
    assert packets.driver_message("Refuel stop 12 min") == W10
    assert packets.picture_block(BLOCK, 0, 0, "cab.jpg", stamp="210325;081700") == W8
    assert packets.datagram(TERMINAL, GOOD, version="2.0") == W11
    assert talk(packets.compressed(W2)).events[0] == Login(TERMINAL)


def test_the_terminal_reads_its_answers() -> None:
    answers, rest = packets.read_answers(b"#AL#1\r\n#AB#3\r\n#ASD#-1\r\ncommand\r\n#AD#1\r\n#AD")
    assert [(a.kind, a.body, a.releases()) for a in answers] == [
        ("L", "1", 1),
        ("B", "3", 3),
        ("SD", "-1", 0),
        ("D", "1", 1),
    ]
    assert rest == b"#AD"


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize(
    ("bad", "reason", "said"),
    [
        (W12, "checksum", b"#ASD#13\r\n"),
        (W4.replace(b"E4C1", b"E4C2"), "checksum", b"#AD#16\r\n"),
        (W5.replace(b"|8395", b"|8396"), "checksum", b"#AB#\r\n"),
        (W10.replace(b"8397", b"83"), "checksum", b"#AM#01\r\n"),
        (GOOD.replace(b";DC9B", b""), "checksum", b"#ASD#13\r\n"),
        (GOOD.replace(b"DC9B", b"XYZ!"), "checksum", b"#ASD#13\r\n"),
        (b"\x00\x01garbage\r\n", "structure", b""),
        (b"#QLV#1;2\r\n", "unsupported", b""),
        (W8, "unsupported", b"#AI#0;0\r\n"),
        (b"#I#24;3;2;210325;081700;cab.jpg;3FBA\r\n" + BLOCK, "structure", b"#AI#3;0\r\n"),
        (b"#I#24;0;0;210325;081700;cab.jpg;3FBB\r\n" + BLOCK, "checksum", b"#AI#0;01\r\n"),
        (b"#I#none;0;0;210325;081700;cab.jpg;3FBA\r\n", "structure", b"#AI#NA;0\r\n"),
        (b"#T#7;24;0;3FBA\r\n" + BLOCK, "unsupported", b"#AT#0;0\r\n"),
        (b"#IT#210325;081700;D1;7;3;%04X\r\n" % crc16(b"210325;081700;D1;7;3;"), "unsupported", b"#AIT#0\r\n"),
        (b"#IT#210325;081700;D1;7;3;0000\r\n", "checksum", b"#AIT#01\r\n"),
        (b"\xff\x04\x00abcd", "structure", b""),
        (b"#lonely\r\n", "structure", b""),
    ],
)
def test_good_bad_good(bad: bytes, reason: str, said: bytes, step: int) -> None:
    heard = talk(W2 + GOOD + bad + GOOD + W6, step=step)
    assert heard.reasons() == [reason]
    assert heard.said == b"#AL#1\r\n#ASD#1\r\n" + said + b"#ASD#1\r\n#AP#\r\n"
    assert heard.kinds().count("Frame") == 2
    damage = next(e for e in heard.events if isinstance(e, Malformed))
    assert damage.offset == len(W2) + len(GOOD)


@pytest.mark.parametrize("text", [b"dc9b", b"0xDC9B", b"0Xdc9b"])
def test_spellings_of_the_checksum(text: bytes) -> None:
    assert talk(W2 + GOOD.replace(b"DC9B", text)).said.endswith(b"#ASD#1\r\n")


def test_a_checksum_without_its_leading_zero() -> None:
    body = next(
        b for b in (b"210325;0815%02d;NA;NA;NA;NA;1;2;3;4;" % second for second in range(60)) if crc16(b) < 0x1000
    )
    assert talk(W2 + b"#SD#%s%X\r\n" % (body, crc16(body))).said.endswith(b"#ASD#1\r\n")


@pytest.mark.parametrize(
    ("line", "said", "reasons"),
    [
        (b"#L#2.0;862531045219738;NA;B4EF\r\n", b"#AL#10\r\n", ["checksum"]),
        (b"#L#862531045219738\r\n", b"#AL#0\r\n", ["structure"]),
        (b"#L#1;2;3\r\n", b"#AL#0\r\n", ["structure"]),
        (b"#L#;NA\r\n", b"#AL#0\r\n", ["structure"]),
        (b"#L#2.0;862531045219738;NA\r\n", b"#AL#0\r\n", ["structure"]),
        (b"#L#3.0;862531045219738;NA;B4EE\r\n", b"#AL#0\r\n", ["structure"]),
        (b"#L#" + b"9" * 65 + b";NA\r\n", b"#AL#0\r\n", ["structure"]),
        (b"#L#86\x07;NA\r\n", b"#AL#0\r\n", ["structure"]),
        (W3, b"#AL#0\r\n", ["login"]),
        (W6, b"#AL#0\r\n", ["login"]),
        (b"#\r\n", b"#AL#0\r\n", ["login"]),
    ],
)
def test_logins_that_fail(line: bytes, said: bytes, reasons: list[str]) -> None:
    heard = talk(line)
    assert (heard.said, heard.reasons()) == (said, reasons)
    closed = any(isinstance(e, Close) for e in heard.events)
    assert closed == (said != b"#AL#10\r\n")


def test_a_login_may_be_tried_again_after_a_wrong_checksum() -> None:
    heard = talk(b"#L#2.0;862531045219738;NA;B4EF\r\n" + W2 + GOOD)
    assert heard.said == b"#AL#10\r\n#AL#1\r\n#ASD#1\r\n"


def test_passwords_go_to_the_login_and_nowhere_else() -> None:
    heard = talk(packets.login("42", "se-cret", version="2.1"))
    login = heard.events[0]
    assert isinstance(login, Login)
    assert login.password == "se-cret"
    assert "cret" not in repr(heard.events)
    assert talk(b"#L#2.0;42;;%04X\r\n" % crc16(b"2.0;42;;")).events[0] == Login("42")


def test_refused_logins_close() -> None:
    heard = talk(W1 + W3, accept=False)
    assert heard.said == b"#AL#0\r\n"
    assert heard.kinds() == ["Login", "Reply", "Close"]


def test_nothing_is_read_before_the_login_is_decided() -> None:
    session = PROTOCOL.new_session()
    assert session.receive_data(W1 + W3, 0.0) == [Login(TERMINAL)]
    assert session.receive_data(W6, 0.0) == []
    kinds = [type(e).__name__ for e in session.accept(0.0)]
    assert kinds == ["Reply", "Frame", "Reply"]


def test_a_second_login() -> None:
    assert talk(W1 + W1 + W3).said == b"#AL#1\r\n#AL#1\r\n#ASD#1\r\n"
    other = talk(W1 + b"#L#1234;NA\r\n" + W3)
    assert other.said == b"#AL#1\r\n#AL#0\r\n"
    assert other.kinds()[-1] == "Close"


def sd(**fields: str) -> bytes:
    names = ["date", "time", "lat", "north", "lon", "east", "speed", "course", "altitude", "satellites"]
    values = dict(zip(names, W3[4:-2].decode().split(";"), strict=True)) | fields
    return ";".join(values[name] for name in names).encode()


@pytest.mark.parametrize(
    ("body", "reason", "code"),
    [
        (sd(date="310225"), "time", "0"),
        (sd(date="2103255"), "time", "0"),
        (sd(time="246060"), "time", "0"),
        (sd(time="081507."), "time", "0"),
        (sd(lat="5160.01"), "coordinates", "10"),
        (sd(lat="9000.01"), "coordinates", "10"),
        (sd(lat="-5139.6"), "coordinates", "10"),
        (sd(lon="18000.01"), "coordinates", "10"),
        (sd(lat="NA"), "coordinates", "10"),
        (sd(north="X"), "coordinates", "10"),
        (sd(east="n"), "coordinates", "10"),
        (sd(speed="-1"), "motion", "11"),
        (sd(course="361"), "motion", "11"),
        (sd(altitude="1e3"), "motion", "11"),
        (sd(altitude="nan"), "motion", "11"),
        (sd(satellites="4.5"), "satellites", "12"),
        (sd(satellites="99999"), "satellites", "12"),
        (b"1;2;3", "structure", "-1"),
        (sd() + b";15", "structure", "-1"),
        (b"", "structure", "-1"),
        (sd(speed="\0"), "structure", "-1"),
    ],
)
def test_short_messages_that_cannot_be_read(body: bytes, reason: str, code: str) -> None:
    heard = talk(W1 + b"#SD#" + body + b"\r\n" + W3)
    assert heard.quarantined == [(reason, code, None)]
    assert heard.said == f"#AL#1\r\n#ASD#{code}\r\n#ASD#1\r\n".encode()
    boxed = talk(W1 + b"#B#" + sd() + b"|" + body + b"|" + sd() + b"\r\n")
    assert boxed.quarantined == [(reason, code, body)]
    assert boxed.said == b"#AL#1\r\n#AB#3\r\n"
    assert len(boxed.records) == 2


@pytest.mark.parametrize(
    ("tail", "reason", "code"),
    [
        (";x;0;0;;NA;", "satellites", "12"),
        (";1;-5;0;;NA;", "inputs", "13"),
        (";1;0;1.5;;NA;", "inputs", "13"),
        (";1;0;0;a,1;NA;", "adc", "14"),
        (";1;0;0;;NA", "structure", "-1"),
        ("", "structure", "-1"),
    ],
)
def test_long_messages_that_cannot_be_read(tail: str, reason: str, code: str) -> None:
    heard = talk(W1 + b"#D#" + sd() + tail.encode() + b"\r\n")
    assert heard.quarantined == [(reason, code, None)]
    assert heard.said == f"#AL#1\r\n#AD#{code}\r\n".encode()


def test_a_long_message_is_no_short_one() -> None:
    heard = talk(W1 + b"#SD#" + W4[3:-7] + b"\r\n#D#" + W3[4:])
    assert heard.said == b"#AL#1\r\n#ASD#-1\r\n#AD#-1\r\n"


def test_black_boxes_with_too_many_or_no_messages_go_to_quarantine_whole() -> None:
    many = b"#B#" + b"|".join([b"x"] * (MAX_MEMBERS + 1)) + b"\r\n"
    heard = talk(W1 + many + b"#B#\r\n")
    assert heard.quarantined == [("structure", "-1", None)] * 2
    assert heard.said == b"#AL#1\r\n#AB#0\r\n#AB#0\r\n"


@pytest.mark.parametrize(
    "name", ["a/b", "50%25", "..", "../../etc", "<b>x</b>", "' OR 1=1", "Ü 1", "{{7*7}}", "a|b", "a\\b"]
)
def test_an_identity_of_odd_characters_is_one_as_any(name: str) -> None:
    heard = talk(packets.login(name, version="2.0") + GOOD)
    assert heard.said == b"#AL#1\r\n#ASD#1\r\n"
    (login,) = [event for event in heard.events if isinstance(event, Login)]
    assert login.terminal == name
    assert talk(packets.datagram(name, W3), transport="udp").said == b"#ASD#1\r\n"


@pytest.mark.parametrize("step", [0, 1, 3])
def test_lines_that_end_in_lf_alone_are_answered_as_any(step: int) -> None:
    wire = W1 + W3 + W6 + W4[:-7] + b"\r\n" + b"garbage\r\n" + b"\r\n" + W3
    usual, alone = talk(wire, step=step), talk(wire.replace(b"\r\n", b"\n"), step=step)
    assert alone.said == usual.said == b"#AL#1\r\n#ASD#1\r\n#AP#\r\n#AD#1\r\n#ASD#1\r\n"
    assert alone.records == usual.records
    assert len(alone.records) == 3
    assert alone.reasons() == usual.reasons() == ["structure"]


def test_lf_alone_in_version_2_with_black_box_message_picture_and_a_stray_cr() -> None:
    wire = (W2 + W5 + W10 + W8 + W6 + GOOD).replace(b"\r\n", b"\n") + W12
    heard = talk(wire)
    assert heard.said == b"#AL#1\r\n#AB#3\r\n#AM#1\r\n#AI#0;0\r\n#AP#\r\n#ASD#1\r\n#ASD#13\r\n"
    assert len(heard.records) == 4


def test_how_lines_end_is_decided_by_the_first_so_that_a_text_may_hold_a_line_feed() -> None:
    heard = talk(W1 + b"#M#two\nlines\r\n" + W6)
    (message,) = [event for event in heard.events if isinstance(event, Message)]
    assert message.text == "two\nlines"
    assert heard.said == b"#AL#1\r\n#AM#1\r\n#AP#\r\n"


def test_a_wrong_first_line_with_lf_alone_is_refused_at_once() -> None:
    assert talk(b"#P#\n").said == b"#AL#0\r\n"
    assert talk(b"#L#one\n").said == b"#AL#0\r\n"
    assert talk(b"hello\n" * 3).reasons() == ["structure"] * 3


def test_datagrams_that_end_in_lf_alone() -> None:
    two = W11.replace(b"\r\n", b"\n") * 2
    heard = talk(two, transport="udp")
    assert heard.said == b"#ASD#1\r\n" * 2
    assert [r["lat"] for r in heard.records] == [51.661504] * 2


def test_firmware_and_model_are_told_once_per_change() -> None:
    def line(text: str) -> bytes:
        return b"#D#" + sd() + b";NA;NA;NA;;NA;" + text.encode() + b"\r\n"

    heard = talk(
        W1,
        line("fw:3:1.0,hw:3:T"),
        line("fw:3:1.0,hw:3:T"),
        line("hw:3:T,a:1:1,fw:3:1.1"),
        line("xfw:3:9,fw:1:7"),
        line("fw:3:,hw:3:\7"),
        line("fw:3:" + "9" * 65),
        b"#B#" + line("fw:3:1.2")[3:-2] + b"|" + line("fw:3:1.3")[3:-2] + b"\r\n",
    )
    assert [(e.firmware, e.model) for e in heard.events if isinstance(e, Identified)] == [
        ("1.0", "T"),
        ("1.1", None),
        ("1.2", None),
        ("1.3", None),
    ]


def test_modem_and_card_are_told_where_parameters_have_them() -> None:
    def line(text: str) -> bytes:
        return f"#D#210325;081537;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;;NA;{text}\r\n".encode()

    card = "imei:3:356938035643809,iccid:3:89701017034562198421"
    heard = talk(W1, line(card), line(card), line("ximei:3:1,imei:1:7"), line("imsi:3:250017034562198"))
    assert [e.facts for e in heard.events if isinstance(e, Identified)] == [
        {"imei": "356938035643809", "iccid": "89701017034562198421"},
        {"imsi": "250017034562198"},
    ]


def test_an_old_record_tells_nothing_against_a_newer_one() -> None:
    """Out of the black box, whatever the order of its messages; each event says what time it is of."""

    def line(clock: str, text: str) -> bytes:
        return f"210325;{clock};NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;;NA;{text}".encode()

    heard = talk(
        W1,
        b"#B#" + line("080000", "fw:3:1.0,hw:3:A") + b"|" + line("070000", "fw:3:0.9") + b"\r\n",
        b"#D#" + line("120000", "fw:3:2.0") + b"\r\n",
        b"#B#" + line("110000", "fw:3:1.0,hw:3:B") + b"|" + line("100000", "hw:3:A") + b"\r\n",
    )
    noon = 1_742_558_400_000_000  # 21 March 2025
    told = [((e.time or 0) - noon, e.firmware, e.model) for e in heard.events if isinstance(e, Identified)]
    hour = 3_600_000_000
    assert told == [(-4 * hour, "1.0", "A"), (0, "2.0", None), (-hour, None, "B")]


def test_messages_are_kept_as_text() -> None:
    utf8 = talk(packets.login("1") + packets.driver_message("Стою", 1)).events[-1]
    cyrillic = talk(packets.login("1") + b"#M#" + "Стою".encode("cp1251") + b"\r\n").events[-1]
    assert isinstance(utf8, Message)
    assert isinstance(cyrillic, Message)
    assert utf8.text == cyrillic.text == "Стою"


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize(
    ("answer", "taken", "kind"),
    [
        (b"#AM#1\r\n", True, "answer"),
        (b"#AM#1;8397\r\n", True, "answer"),
        (b"#AM#0\r\n", False, "answer"),
        (b"#AM#01\r\n", False, "answer"),
        (b"#AM#\r\n", False, "answer"),
        (W10, True, "driver"),
    ],
)
def test_a_command_is_a_message_and_what_answers_it(answer: bytes, taken: bool, kind: str, step: int) -> None:
    session = PROTOCOL.new_session()
    assert session.encode_command("hi") == b"", "nobody is there yet"
    session.receive_data(W2, NOW)
    assert session.encode_command("hi") == b""
    session.accept(NOW)
    assert session.encode_command("Где; вы?") == packets.driver_message("Где; вы?", 2)
    found = []
    for at in range(0, len(answer), step or len(answer)):
        found += session.receive_data(answer[at : at + (step or len(answer))], NOW)
    (message,) = found
    assert isinstance(message, Message)
    assert (message.answer, message.kind) == (taken, kind)
    assert session.acknowledge(message) == (b"" if kind == "answer" else b"#AM#1\r\n")
    # Of a command that was never sent there is no receipt, and the driver's words answer nothing.
    again = [*session.receive_data(b"#AM#1\r\n" + W10, NOW)]
    assert [type(event).__name__ for event in again] == ["Malformed", "Message"]
    assert again[0].reason == "unsupported"
    assert again[1].answer is None


def test_no_commands_over_udp() -> None:
    session = PROTOCOL.new_session(transport="udp")
    session.receive_data(W11, NOW)
    session.accept(NOW)
    assert session.encode_command("hi") == b""


# -- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 1000, 1])
def test_a_line_over_the_limit(step: int) -> None:
    line = b"#M#" + b"x" * 98  # 101 bytes
    heard = talk(W1 + line + b"\r\n" + line[:-1] + b"\r\n" + W6, step=step, max_frame=100)
    assert heard.reasons() == ["length"]
    assert heard.said == b"#AL#1\r\n#AM#1\r\n#AP#\r\n"


def test_an_endless_line_is_not_buffered() -> None:
    session = PROTOCOL.new_session()
    list(session.receive_data(W1, 0.0))
    list(session.accept(0.0))
    reasons = []
    for _ in range(40):
        events = session.receive_data(b"#D#" + b"x" * 65_533, 0.0)
        reasons += [e.reason for e in events if isinstance(e, Malformed)]
        assert len(session._buffer) <= (1 << 20) + 65_536
    assert reasons == ["length"]
    assert len(session._buffer) <= 1


def test_what_waits_for_the_login_is_bounded() -> None:
    session = PROTOCOL.new_session()
    events = [e for piece in [W1, *[W6 * 10_000] * 100] for e in session.receive_data(piece, 0.0)]
    assert events == [
        Login(TERMINAL),
        Malformed("length", len(W1), "too much before the login was decided"),
        Close("length"),
    ]


def test_zeros_are_one_run_and_are_not_buffered() -> None:
    session = PROTOCOL.new_session()
    events = [e for _ in range(16) for e in session.receive_data(bytes(4096), 0.0)]
    assert [e.reason for e in events if isinstance(e, Malformed)] == ["structure"]
    assert len(session._buffer) <= 1


@pytest.mark.parametrize("step", [0, 1])
def test_three_unreadable_runs_in_a_row_close(step: int) -> None:
    heard = talk(W1 + b"a\r\nb\r\n" + W6 + b"c\r\nd\r\ne\r\n" + W6, step=step)
    assert heard.reasons() == ["structure"] * 5
    assert heard.kinds()[-1] == "Close"
    assert heard.said == b"#AL#1\r\n#AP#\r\n"


def test_the_end_of_the_stream_inside_something() -> None:
    assert talk(W1 + W3[:-2]).reasons() == ["truncated"]
    assert talk(W2 + W8[:-1]).reasons() == ["truncated"]
    assert talk(W2 + H1[:-1]).reasons() == ["truncated"]
    assert talk(W1 + W3).reasons() == []
    assert talk(b"").reasons() == []


def test_a_picture_is_dropped_as_it_comes() -> None:
    size = 512 << 10
    session = PROTOCOL.new_session()
    list(session.receive_data(W1, 0.0))
    list(session.accept(0.0))
    assert session.receive_data(b"#I#%d;0;0;210325;081700;cab.jpg\r\n" % size, 0.0) == []
    for _ in range(size // 4096 - 1):
        assert session.receive_data(bytes(4096), 0.0) == []
        assert len(session._buffer) == 0
    refused, reply, ping = session.receive_data(bytes(4096) + W6, 0.0)
    assert isinstance(refused, Malformed)
    assert (refused.reason, refused.offset) == ("unsupported", len(W1))
    assert (reply, ping) == (Reply(b"#AI#0;0\r\n"), Reply(b"#AP#\r\n"))


def test_a_block_of_impossible_length_closes() -> None:
    heard = talk(W1 + b"#I#524289;0;0;210325;081700;cab.jpg\r\n")
    assert heard.reasons() == ["length"]
    assert heard.kinds()[-1] == "Close"


def container(block: bytes) -> bytes:
    return b"\xff" + len(block).to_bytes(2, "little") + block


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        (zlib.compress(bytes(40 << 20), 9), "length"),
        (zlib.compress(b"#M#" + b"x" * (1 << 20)), "length"),
        (zlib.compress(W6 + W6), "structure"),
        (zlib.compress(H1), "structure"),
        (zlib.compress(b""), "structure"),
        (zlib.compress(b"text"), "structure"),
        (zlib.compress(W6)[:-2], "structure"),
        (zlib.compress(W6) + b"x", "structure"),
        (b"", "structure"),
    ],
    ids=["bomb", "long line", "two packets", "nested", "empty", "no packet", "cut", "tail", "nothing"],
)
def test_containers_that_hold_no_packet(inside: bytes, reason: str) -> None:
    heard = talk(W1 + container(inside) + container(zlib.compress(W6)))
    assert heard.reasons() == [reason]
    assert heard.said == b"#AL#1\r\n#AP#\r\n"


@pytest.mark.parametrize("limit", [1000, 1 << 20])
def test_a_bomb_is_unpacked_no_further_than_the_longest_line(limit: int) -> None:
    bomb = zlib.compress(bytes(40 << 20), 9)
    tracemalloc.start()
    try:
        assert inflate(bomb, limit) == (b"", "length")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * limit + 200_000


# -- datagrams ------------------------------------------------------------------------------------------------------


def test_w11_datagram() -> None:
    heard = talk(W11, transport="udp")
    assert heard.kinds() == ["Login", "Frame"]
    assert heard.said == b"#ASD#1\r\n"
    assert_rows(heard.records, [W3_ROW])
    frame = heard.events[1]
    assert isinstance(frame, Frame)
    assert (frame.data, frame.variant, frame.offset) == (GOOD[:-2], 2, len("2.0;862531045219738"))


@pytest.mark.parametrize(
    ("datagram", "kinds", "said"),
    [
        (b"99999999" + W3, ["Login", "Frame"], b"#ASD#1\r\n"),
        (b"99999999" + W3[:-2], ["Login", "Frame"], b"#ASD#1\r\n"),
        (b"2.0;1" + W12, ["Login", "Malformed", "Reply"], b"#ASD#13\r\n"),
        (b"2.0;1" + W4 + b"2.0;1" + W6, ["Login", "Frame", "Identified", "Reply"], b"#AD#1\r\n#AP#\r\n"),
        (b"2.0;1" + W8, ["Login", "Malformed", "Reply"], b"#AI#0;0\r\n"),
        (b"2.0;1" + W8[:-1], ["Login", "Malformed"], b""),
        (container(zlib.compress(W11)), ["Login", "Frame"], b"#ASD#1\r\n"),
        (W1, ["Malformed"], b""),
        (b"garbage", ["Malformed"], b""),
        (b"3.0;1" + W3, ["Malformed"], b""),
        (b"\xff\x01", ["Malformed"], b""),
        (b"1" + W1, ["Login", "Malformed"], b""),
    ],
)
def test_datagrams(datagram: bytes, kinds: list[str], said: bytes) -> None:
    heard = talk(datagram, transport="udp")
    assert (heard.kinds(), heard.said) == (kinds, said)


def test_a_refused_datagram_gets_no_word() -> None:
    heard = talk(W11, transport="udp", accept=False)
    assert (heard.kinds(), heard.said) == (["Login", "Close"], b"")


def test_an_empty_datagram() -> None:
    session = PROTOCOL.new_session(transport="udp")
    assert [e.reason for e in session.receive_data(b"", 0.0) if isinstance(e, Malformed)] == ["structure"]


@pytest.mark.parametrize("name", ["a" * 64, "я" * 64, "😀" * 64, "я"])
@pytest.mark.parametrize("version", [b"", b"2.0;"])
def test_a_name_may_be_as_long_over_udp_as_over_tcp(name: str, version: bytes) -> None:
    """64 characters, of however many bytes: else a terminal is known over one transport and damage over the other."""
    heard = talk(version + name.encode() + b"#P#\r\n", transport="udp")
    assert (heard.kinds(), heard.said) == (["Login", "Reply"], b"#AP#\r\n")
    assert "Login" in talk(b"#L#" + name.encode() + b";NA\r\n").kinds()
    longer = talk(version + (name + "a" * 64).encode() + b"#P#\r\n", transport="udp")
    assert (longer.kinds(), longer.said) == (["Malformed"], b"")
