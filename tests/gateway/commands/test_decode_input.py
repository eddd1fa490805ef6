"""`dozor decode` takes bytes as people have them: logs, dumps, escapes, text, from behind a login."""

from __future__ import annotations

import struct

import pytest

from protocols.omnicomm import declaration as omnicomm
from protocols.teltonika import declaration as d
from protocols.wialon_ips import packets
from tests.gateway.test_decode import ASSUMED, CODEC_8_RECORD, E1, E9, WELCOME, decode, login, reply, run
from tests.protocols.teltonika_vectors import CODEC_8, LOGIN
from tests.protocols.wialon_ips_vectors import W3, W4, W5

FRAME = CODEC_8.wire
BOTH = [*WELCOME, CODEC_8_RECORD, reply("00000001")]
HEX = LOGIN.hex()


def grouped(data: bytes, between: str, prefix: str = "") -> str:
    return between.join(f"{prefix}{byte:02x}" for byte in data)


@pytest.mark.parametrize(
    "line",
    [
        f"0x{HEX}",
        f"0X{HEX.upper()}",
        grouped(LOGIN, " ", "0x"),
        grouped(LOGIN, ", ", "0x"),
        grouped(LOGIN, ":"),
        grouped(LOGIN, "-"),
        grouped(LOGIN, "", "\\x"),
        grouped(LOGIN, " ", "\\x"),
        r"\x00\x0f356938035643809",
        r"b'\x00\x0f356938035643809'",
        rf'"{grouped(LOGIN, "", chr(92) + "x")}"',
        f"'{HEX}'",
        f"2026-11-21T10:00:00.123Z {HEX}",
        f"[2026-11-21 10:00:00] 17 bytes from 10.0.0.1:40000: {HEX}",
        f"2026-11-21 10:00:00  INFO: [T4b3e1c2a: 5027 < 10.0.0.1] HEX: {HEX}",
        f"21.11.2026 10:00:00 recv {grouped(LOGIN, ' ')}",
        f"10:00:00.123456 <- hex={HEX.upper()}",
        f"Nov 21 10:00:00 gw[12]: recv 17 {grouped(LOGIN, ':')}",
        f"1795255200.125 {HEX[:4]} {HEX[4:8]} {HEX[8:12]} {HEX[12:16]} {HEX[16:20]} {HEX[20:24]} "
        f"{HEX[24:28]} {HEX[28:32]} {HEX[32:]}",
        f'2026-11-21 10:00:00 got "{HEX}".',
        r"2026-11-21 10:00:00 got b'\x00\x0f356938035643809'",
        rf"10:00:00 {grouped(LOGIN, '', chr(92) + 'x')}",
    ],
)
def test_the_spellings_of_one_login(line: str) -> None:
    assert decode("teltonika", "-", stdin=f"\n{line}\r\n{FRAME.hex()}\n") == BOTH


def test_hex_of_digits_and_colons_is_no_time() -> None:
    assert decode("teltonika", grouped(FRAME, ":"), told=ASSUMED) == BOTH[2:]


# --- dumps ------------------------------------------------------------------------------------------------------


def shown(part: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)


def xxd(data: bytes) -> str:
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        groups = " ".join(part.hex()[i : i + 4] for i in range(0, 2 * len(part), 4))
        lines.append(f"{at:08x}: {groups:<39}  {shown(part)}")
    return "\n".join(lines) + "\n"


def hexdump(data: bytes) -> str:
    lines = []
    before = None
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        if part == before:
            if lines[-1] != "*":
                lines.append("*")
            continue
        before = part
        lines.append(f"{at:08x}  {part[:8].hex(' '):<23}  {part[8:].hex(' '):<23}  |{shown(part)}|")
    return "\n".join([*lines, f"{len(data):08x}"]) + "\n"


def wireshark(data: bytes, indent: str = "", middle: str = " ") -> str:
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        digits = part[:8].hex(" ") + (middle if len(part) > 8 else "") + part[8:].hex(" ")
        lines.append(f"{indent}{at:08x}  {digits:<48}   {shown(part)}")
    return "\n".join(lines) + "\n"


def tcpdump(data: bytes, *, letters: bool = True) -> str:
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        groups = " ".join(part.hex()[i : i + 4] for i in range(0, 2 * len(part), 4))
        lines.append(f"\t0x{at:04x}:  {groups:<39}" + (f"  {shown(part)}" if letters else ""))
    return "\n".join(lines) + "\n"


def packet(payload: bytes, *, back: bool = False, protocol: int = 6, checksum: bool = True) -> bytes:
    """An IPv4 packet from the terminal, or `back` to it."""
    ports = struct.pack(">HH", 5027, 40000) if back else struct.pack(">HH", 40000, 5027)
    body = ports + (bytes(8) + b"\x50\x18" + bytes(6) if protocol == 6 else struct.pack(">HH", 8 + len(payload), 0))
    head = bytearray(struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body) + len(payload), 1, 0x4000, 64, protocol, 0))
    ends = [b"\x0a\0\0\1", b"\x0a\0\0\2"]
    head += b"".join(ends[::-1] if back else ends)
    if checksum:
        total = sum(struct.unpack(">10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        head[10:12] = (0xFFFF - total).to_bytes(2, "big")
    return bytes(head) + body + payload


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 15, 16, 17, len(LOGIN + FRAME)])
@pytest.mark.parametrize("style", [xxd, hexdump, wireshark, tcpdump, lambda data: wireshark(data, middle="  ")])
def test_dumps_of_every_length(style, cut: int) -> None:
    wire = LOGIN + FRAME
    dump = style(wire[:cut]) + (style(wire[cut:]) if wire[cut:] else "")
    assert decode("teltonika", "-", stdin=dump) == BOTH
    assert decode("teltonika", "-", stdin=dump.replace("\n", "\r\n")) == BOTH


def test_letters_beside_a_dump_that_look_like_hex_are_no_bytes() -> None:
    text = b"#L#" + b"a" * 40 + b";NA\r\n"
    for style in (xxd, hexdump, wireshark, tcpdump):
        assert decode("wialon-ips", "-", stdin=style(text))[0] == login("a" * 40)
    assert decode("teltonika", "-", stdin=xxd(LOGIN))[0] == login()


def test_short_lines_whose_letters_have_the_width_of_their_groups() -> None:
    wire = LOGIN + FRAME
    parts = [wire[at : at + 8] for at in range(0, len(wire), 8)]
    lines = [f"{8 * n:08x}: {part[:4].hex()} {part[4:].hex():<8}  {shown(part)}" for n, part in enumerate(parts)]
    assert "03564380" in "".join(lines)
    assert decode("teltonika", "-", stdin="\n".join(lines)) == BOTH
    # letters of the last line that look like hex: no line is longer than the first
    assert decode("teltonika", "-", stdin="\n".join(lines[:2])) == decode("teltonika", LOGIN[:16].hex())


def test_a_star_stands_for_the_lines_before_it() -> None:
    wire = LOGIN + d.avl_frame(d.CODEC_8E, [d.avl_record(timestamp=1)]) + b"\xff" * 200 + FRAME
    dump = hexdump(wire)
    assert "\n*\n" in dump
    assert decode("teltonika", "-", stdin=dump)[-2:] == BOTH[2:]


def test_captured_packets_lose_their_headers_and_the_other_side() -> None:
    sent = [packet(b""), packet(LOGIN), packet(b"\x01", back=True), packet(FRAME), packet(b"\0\0\0\1", back=True)]
    told = "IP headers taken off 5 packets; 2 of the other side left out"
    for frames in (sent, [b"\x11" * 12 + b"\x08\x00" + one for one in sent]):
        dump = "".join(
            f"10:00:00.{n:06d} IP 10.0.0.1.40000 > 10.0.0.2.5027: Flags [P.]\n{tcpdump(one)}"
            for n, one in enumerate(frames)
        )
        assert decode("teltonika", "-", stdin=dump, told=told) == BOTH
    datagram = packet(d.udp_datagram(FRAME[8:-4], "356938035643809"), protocol=17, checksum=False)
    told = "IP headers taken off 1 packets; 0 of the other side left out"
    events = decode("teltonika", "-", "--udp", stdin=tcpdump(datagram, letters=False), told=told)
    assert events[:2] == [login(), CODEC_8_RECORD]


def test_the_indented_side_of_a_followed_stream_is_the_peer() -> None:
    dump = wireshark(LOGIN) + wireshark(b"\x01", "    ") + wireshark(FRAME, middle="  ")
    assert decode("teltonika", "-", stdin=dump, told="1 indented dumps left out: the peer's") == BOTH


# --- text protocols ---------------------------------------------------------------------------------------------


def test_wialon_text_as_it_stands_in_logs() -> None:
    expected = decode("wialon-ips", (b"#L#862531045219738;NA\r\n" + W3 + b"#P#\r\n").hex())
    log = (
        "2026-11-21 10:00:00 [10.0.0.1] <- #L#862531045219738;NA\\r\\n\n"
        "2026-11-21 10:00:00 [10.0.0.1] -> #AL#1\\r\\n\n"
        f"10:00:01.5 recv b'{W3.decode().strip()}\\r\\n'\r\n"
        "2026-11-21 10:00:02 send #ASD#1\n"
        'Nov 21 10:00:03 "#P#"\n'
    )
    assert decode("wialon-ips", "-", stdin=log, told="2 lines of the server's answers left out") == expected
    plain = "#L#862531045219738;NA\n" + W3.decode() + "#P#\n"
    assert decode("wialon-ips", "-", stdin=plain) == expected


def test_wialon_text_keeps_letters_of_any_code_page_and_datagrams_their_prefix() -> None:
    line = "#D#210325;081507;NA;NA;NA;NA;0;0;0;0;NA;NA;NA;;NA;text:3:Привет"
    for encoding in ("utf-8", "cp1251"):
        events = decode("wialon-ips", "-", stdin=line.encode(encoding), told=ASSUMED)
        assert events[0]["measures"] == {"param.text": "Привет"}
    events = decode("wialon-ips", "2.0;862531045219738" + W4.decode().strip(), "--udp")
    assert events[0] == login("862531045219738")


# --- behind a login ---------------------------------------------------------------------------------------------

BEHIND = [
    ("teltonika", b"\xff" + FRAME, "00000001"),
    ("omnicomm", bytes.fromhex(E9), "c0870400121301001f9a"),
    ("wialon-ips", W3, b"#ASD#1\r\n".hex()),
    ("wialon-ips", W3.replace(b"\r\n", b"\n") * 2, b"#ASD#1\r\n".hex()),
    ("wialon-ips", W4, b"#AD#1\r\n".hex()),
    ("wialon-ips", W5, b"#AB#3\r\n".hex()),
    ("wialon-ips", b"#P#\r\n" + W4, b"#AD#1\r\n".hex()),
    ("wialon-ips", packets.compressed(W4), b"#AD#1\r\n".hex()),
    ("wialon-ips", W4.replace(b"E4C1", b"E4C2"), b"#AD#16\r\n".hex()),
]


@pytest.mark.parametrize(("protocol", "wire", "answer"), BEHIND)
def test_a_missing_login_is_assumed_and_said_unless_the_terminal_is_named(
    protocol: str, wire: bytes, answer: str
) -> None:
    events = decode(protocol, wire.hex(), told=ASSUMED)
    assert "login" not in [event["event"] for event in events]
    assert events[-1]["hex"] == answer
    assert decode(protocol, wire.hex(), "--terminal", "350000000000001") == events


def test_offsets_behind_an_assumed_login_count_from_the_bytes_given() -> None:
    broken = FRAME[:-1] + bytes([FRAME[-1] ^ 1])
    events = decode("teltonika", (FRAME + broken).hex(), told=ASSUMED)
    assert events[-1] == {"event": "malformed", "reason": "checksum", "offset": len(FRAME)}
    half = decode("omnicomm", omnicomm.archive_exhausted().hex()[:-2], told=ASSUMED)
    assert half == [{"event": "malformed", "reason": "truncated", "offset": 0}]


@pytest.mark.parametrize(("protocol", "wire"), [("teltonika", LOGIN.hex()), ("omnicomm", E1), ("wialon-ips", "#P")])
def test_bytes_that_need_no_login_get_none(protocol: str, wire: str) -> None:
    told = "--terminal is not used: the bytes do not begin with a frame behind a login"
    if wire == "#P":
        wire = b"#P".hex()
    assert decode(protocol, wire, "--terminal", "1", told=told) == decode(protocol, wire)


# --- what is wrong ----------------------------------------------------------------------------------------------

DUMP = xxd(LOGIN + FRAME).splitlines()


@pytest.mark.parametrize(
    ("stdin", "told"),
    [
        ("2026-11-21 10:00:00 started", "line 1, column 27: no hex at the end of this log line"),
        (f"{HEX}\n10:00:00.5 {HEX}0", "line 2, column 46: the last byte has only one digit"),
        ("\\x00\\x0g", "line 1, column 5: '\\\\x0g' is no byte"),
        ("b'\\x00\\q'", "line 1, column 7: '\\\\q' is no byte"),
        ("'000g'", "line 1, column 5: 'g' is no hex digit"),
        ("0x0 0x0f", "line 1, column 5: the byte before has only one digit"),
        ("\n".join([DUMP[0], *DUMP[2:]]), "line 2, column 1: offset 0x20 where 0x10 is due: lines are missing or cut"),
        ("\n".join([DUMP[0], DUMP[1].replace("9c", "9z"), *DUMP[2:]]), "line 2"),
        (DUMP[0][:30] + "g" + DUMP[0][31:], "line 1, column 31: no hex digit"),
        (f"{DUMP[0]}\n0000001g: 00", "line 2, column 1: no line of a hex dump"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_with_what_and_where(stdin: str, told: str) -> None:
    done = run("teltonika", "-", "--json", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, b"")
    assert told in done.stderr.decode()


def test_a_terminal_that_cannot_be_is_refused() -> None:
    for args in (("--terminal", ""), ("--terminal", "x" * 65), ("--terminal", "1", "--udp")):
        done = run("teltonika", FRAME.hex(), *args)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"--terminal" in done.stderr
