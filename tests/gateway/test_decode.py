"""`dozor decode` from the outside: a process, hex in, lines out. The packets are those of the manuals."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.commands.decode import add_arguments
from gateway.commands.decode import run as command
from gateway.service.decode_print import JsonPrinter, Printer, TextPrinter
from protocols import registry
from protocols.measures import describe
from protocols.omnicomm.framing import server_frame
from protocols.records import Frame
from protocols.teltonika import declaration as d
from protocols.wialon_ips.wire import crc16
from tests.protocols.teltonika_vectors import (
    AVL,
    CODEC_8,
    CODEC_8E,
    CODEC_13,
    CODEC_14_REFUSAL,
    CODEC_15,
    CODEC_16,
    GETVER,
    GETVER_REPLY,
    GETVER_TEXT,
    IMEI,
    LOGIN,
    UDP_8E,
)
from tests.protocols.wialon_ips_vectors import W1, W2, W3, W4, W5

MAIN = (
    "import argparse, sys; from gateway.commands.decode import add_arguments, run; "
    "p = argparse.ArgumentParser('dozor decode'); add_arguments(p); sys.exit(run(p.parse_args()))"
)


class Done(NamedTuple):
    """What the command left behind."""

    returncode: int
    stdout: bytes
    stderr: bytes


def run(*args: str, stdin: str | bytes = "", cwd: Path | None = None) -> Done:
    """The command with streams of its own, as a process has them."""
    given, out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(3))
    given.buffer.write(stdin.encode() if isinstance(stdin, str) else stdin)
    given.seek(0)
    parser = argparse.ArgumentParser("dozor decode")
    add_arguments(parser)
    before, sys.stdin = sys.stdin, given
    try:
        with redirect_stdout(out), redirect_stderr(err), chdir(cwd or Path.cwd()):
            code = command(parser.parse_args(args))
    except SystemExit as stopped:  # argparse's own way out
        code = int(stopped.code or 0)
    finally:
        sys.stdin = before
    return Done(code, out.buffer.getvalue(), err.buffer.getvalue())


def process(*args: str, stdin: bytes = b"", **environment: str) -> Done:
    """The command as a process."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *args],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def decode(*args: str, stdin: str | bytes = "", told: str = "") -> list[dict[str, Any]]:
    """The events; `told` is what stderr says besides, whole lines without the command's name."""
    done = run(*args, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert done.stderr.decode() == "".join(f"dozor decode: {line}\n" for line in told.splitlines())
    return [json.loads(line) for line in done.stdout.splitlines()]


def login(terminal: str = IMEI, firmware: str | None = None) -> dict[str, Any]:
    return {"event": "login", "terminal": terminal, "firmware": firmware}


def reply(data: bytes | str, when: str = "after commit") -> dict[str, Any]:
    return {"event": "reply", "hex": data if isinstance(data, str) else data.hex(), "when": when}


WELCOME = [login(), reply("01", "now")]
ASSUMED = "no login at the start: one is assumed; --terminal ID says whose bytes these are"

CODEC_8_RECORD = {
    "event": "record",
    "time": "2026-03-14T09:26:53.000Z",
    "lat": 55.7520123,
    "lon": 37.6175432,
    "altitude": 168,
    "speed": 61,
    "course": 274,
    "satellites": 11,
    "valid": True,
    "archive": False,
    "measures": CODEC_8.records[0]["measures"],
}
CODEC_8E_RECORDS = [
    {
        "event": "record",
        "time": "2026-03-14T09:27:23.250Z",
        "lat": None,
        "lon": None,
        "altitude": 25,
        "speed": 0,
        "course": 0,
        "satellites": 0,
        "valid": False,
        "archive": False,
        "measures": CODEC_8E.records[0]["measures"],
    },
    {
        "event": "record",
        "time": "2026-03-14T09:28:23.250Z",
        "lat": -34.6037346,
        "lon": -58.3815592,
        "altitude": 25,
        "speed": 12,
        "course": 180,
        "satellites": 9,
        "valid": True,
        "archive": False,
        "measures": CODEC_8E.records[1]["measures"],
    },
]


# --- Teltonika --------------------------------------------------------------------------------------------------


def test_teltonika_codecs_8_and_8e_to_the_letter() -> None:
    assert decode("teltonika", "-", stdin=f"{LOGIN.hex()}\n{CODEC_8.wire.hex()}\n{CODEC_8E.wire.hex()}\n") == [
        *WELCOME,
        CODEC_8_RECORD,
        reply("00000001"),
        *CODEC_8E_RECORDS,
        reply("00000002"),
    ]


def test_the_lines_are_those_of_the_contract() -> None:
    done = process("teltonika", "-", "--json", stdin=(LOGIN + CODEC_8.wire).hex().upper().encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        '{"event":"login","terminal":"356938035643809","firmware":null}',
        '{"event":"reply","hex":"01","when":"now"}',
        '{"event":"record","time":"2026-03-14T09:26:53.000Z","lat":55.7520123,"lon":37.6175432,"altitude":168,'
        '"speed":61,"course":274,"satellites":11,"valid":true,"archive":false,"measures":{"event":0,"priority":0,'
        '"ignition":1,"movement":1,"gsm.signal":80,"fuel.temperature.1":-7,"power.external":27.84,'
        '"power.battery":4.073,"fuel.level.1":1893,"gsm.operator":25001,"odometer":148356210}}',
        '{"event":"reply","hex":"00000001","when":"after commit"}',
    ]


def test_teltonika_codec_16_and_the_text_codecs() -> None:
    wire = LOGIN + CODEC_16.wire + GETVER_REPLY + CODEC_13 + CODEC_14_REFUSAL + CODEC_15 + CODEC_8.wire
    events = decode("teltonika", wire.hex())
    at = len(LOGIN + CODEC_16.wire + GETVER_REPLY + CODEC_13)
    assert events[:2] == WELCOME
    assert events[2]["time"] == "2026-03-14T09:30:00.000Z"
    assert events[2]["measures"] == CODEC_16.records[0]["measures"]
    assert events[3:] == [
        reply("00000001"),
        {"event": "message", "text": GETVER_TEXT, "hex": GETVER_TEXT.encode().hex()},
        {"event": "message", "text": "LVL=1893;T=-7\r\n", "hex": b"LVL=1893;T=-7\r\n".hex()},
        {"event": "malformed", "reason": "unsupported", "offset": at},
        {"event": "malformed", "reason": "unsupported", "offset": at + len(CODEC_14_REFUSAL)},
        CODEC_8_RECORD,
        reply("00000001"),
    ]
    assert GETVER.hex() not in json.dumps(events)


def test_teltonika_over_udp_one_datagram_a_line() -> None:
    other = d.udp_datagram(
        d.avl_payload(d.CODEC_8, [d.avl_record(timestamp=0)] * 2), "356938035643808", packet_id=1, avl_id=2
    )
    broken = UDP_8E.wire[:-1]
    events = decode(
        "teltonika", "-", "--udp", stdin="\n".join([UDP_8E.wire.hex(), broken.hex(), "", other.hex()]) + "\n"
    )
    assert events[0] == login()
    assert events[1]["time"] == "2026-03-14T09:33:00.000Z"
    assert events[1]["measures"] == UDP_8E.records[0]["measures"]
    assert events[2:4] == [
        reply(UDP_8E.ack),
        {"event": "malformed", "reason": "length", "offset": len(UDP_8E.wire)},
    ]
    assert events[4] == login("356938035643808")
    assert [e["time"] for e in events[5:7]] == ["1970-01-01T00:00:00.000Z"] * 2
    assert events[7:] == [reply("00050001010202")]


def test_behind_damage_the_good_frames_are_shown_and_not_acknowledged() -> None:
    bad = bytearray(CODEC_8E.wire)
    bad[60] ^= 1
    events = decode("teltonika", (LOGIN + CODEC_8.wire + bytes(bad) + CODEC_8.wire).hex())
    assert events == [
        *WELCOME,
        CODEC_8_RECORD,
        reply("00000001"),
        {"event": "malformed", "reason": "checksum", "offset": len(LOGIN + CODEC_8.wire)},
        CODEC_8_RECORD,
    ]


def test_what_passes_its_checksum_and_cannot_be_decoded_is_quarantined_in_its_place() -> None:
    good, absurd = d.avl_record(timestamp=1000), d.avl_record(timestamp=2**64 - 1)
    codec_7 = d.tcp_frame(bytes.fromhex("070450aa14320201f00150aa17f3031f4233ff01"))  # Number of Data 1 is 4
    mixed = d.avl_frame(d.CODEC_8, [good, absurd, good, absurd, good])
    events = decode("teltonika", (LOGIN + codec_7 + mixed).hex())
    refused = {"event": "quarantined", "reason": "time", "offset": len(LOGIN + codec_7)}
    assert events[2:4] == [{"event": "quarantined", "reason": "codec", "offset": len(LOGIN)}, reply("00000004")]
    assert [e["event"] for e in events[4:]] == ["record", "quarantined", "record", "quarantined", "record", "reply"]
    assert [e for e in events[4:] if e["event"] == "quarantined"] == [refused] * 2
    assert events[-1] == reply("00000005")


def test_numbers_are_printed_without_noise_and_exactly() -> None:
    items = [(239, b"\xff" * 8), (240, (2**53 - 1).to_bytes(8, "big")), (181, b"\0\x0e"), (78, b"\0" * 7 + b"\x0a")]
    wire = d.avl_frame(d.CODEC_8E, [d.avl_record(timestamp=1, items=items)])
    line = run("teltonika", (LOGIN + wire).hex(), "--json").stdout.splitlines()[2].decode()
    assert '"io.239":18446744073709551615' in line
    assert '"io.240":9007199254740991' in line
    assert '"pdop":1.4,' in line
    assert '"driver.key":"000000000000000a"' in line


# --- Omnicomm and Wialon IPS ------------------------------------------------------------------------------------

E1 = "c080080047dbdddbdc1d38010000296d"
E3 = (
    "c086c90011130100b00e8d1d0060000a01011308b09db4ec01200728cb1c30e40438c80b409102486450d0016005680470c401142b0886cc"
    "de880410e0f2ac940418e70420f701280d30ba162c330884de011000180020dcaa03280030003443080d109f091804200b289f0d3004445c"
    "00080408091308ce9db4ec01200728d8093000389606409402486450ca016005680470c401142b08e8dede8804108abfac9404180c20fb01"
    "280c30c2162c330800100018002098b003280030003443080d10001806200b28c50d300444ba61"
)
E7 = "c0930000edf5"
E9 = "c095270012130100e20e8d1d001c000a01121308e29db4ec011483010a0b56657233313220525354318401bc5d"
ASK = "c0850400000000003125"


TWO_OF_ONE_ID = d.avl_frame(
    d.CODEC_8E,
    [d.avl_record(timestamp=1_790_000_000_000, satellites=9, items=[(385, b"\x11\2\3"), (385, b"\x1f\1\0")])],
)


@pytest.mark.parametrize(
    ("wire", "measures"),
    [
        (
            "000000000000002f8e01000001a0c4506c000011f0e5401debe9800064005a09002800000001000000000000000000010181000211"
            "02010000f606",
            {"io.385": "1102"},
        ),
        (
            "00000000000000308e01000001a0c4506c000011f0e5401debe9800064005a09002800000001000000000000000000010181000311"
            "0203010000628b",
            {"io.385": "110203"},
        ),
        (TWO_OF_ONE_ID.hex(), {"io.385": "110203", "io.385.2": "1f0100"}),
        (
            "000000000000003f8e01000001a0c4506c000011f0e5401debe9800064005a09002800000004000000010049ff9700030048fffffffe"
            "004a00000bb8004b0000035200000000010000f2f0",
            {"temperature.1": -0.2, "temperature.2": -10.5, "temperature.status.3": 3000, "temperature.status.4": 850},
        ),
    ],
    ids=["two bytes", "three bytes", "two of one id", "below zero"],
)
def test_teltonika_measures_have_one_type_and_none_is_lost(wire: str, measures: dict[str, Any]) -> None:
    """As they stand in a log, behind their login."""
    events = decode("teltonika", "000f333530303030303030303030303333" + wire)
    (record,) = [event for event in events if event["event"] == "record"]
    assert {name: record["measures"].get(name) for name in measures} == measures


def test_omnicomm_identification_archive_time_and_live_data() -> None:
    events = decode(
        "omnicomm", "-", "--now", "2024-09-17T05:40:42Z", stdin=f"{E1}\n{E3[: 77 * 2]}\r\n{E3[77 * 2 :]}\n{E7}{E9}\n"
    )
    assert events[:2] == [login("499178311", "312"), reply(ASK, "now")]
    first, second = events[2:4]
    assert (first["time"], second["time"]) == ("2024-09-17T05:40:00Z", "2024-09-17T05:40:30Z")
    assert (first["lat"], first["lon"], first["altitude"]) == (54.6034435, 55.8210224, 143.7)
    assert (first["speed"], first["course"], first["satellites"]) == (61.5, 247, 13)
    assert first["valid"] is True
    assert first["archive"] is True
    measures = first["measures"]
    assert (measures["event"], measures["ignition"], measures["power.external"]) == (1, 1, 27.3)
    assert (measures["mileage.delta"], measures["fuel.level.1"], measures["fuel.level.2"]) == (3659, 1183, 1695)
    assert (measures["fuel.temperature.1"], measures["fuel.status.1"]) == (-7, 2)
    assert second["measures"]["events"] == "4,9"
    assert "fuel.level.1" not in second["measures"]
    assert second["measures"]["fuel.status.1"] == 3
    assert (second["altitude"], second["speed"]) == (144.1, 1.2)
    assert events[4:6] == [reply("c087040011130100c301"), reply("c0940400da0e8d1ddadf", "now")]
    live = events[6]
    assert live["time"] == "2024-09-17T05:40:50Z"
    assert (live["lat"], live["valid"], live["archive"], live["satellites"]) == (None, False, False, None)
    assert (live["measures"]["event"], live["measures"]["log"]) == (18, "Ver312 RST1")
    assert events[7:] == [reply(server_frame(0x87, bytes.fromhex("12130100")))]


def test_omnicomm_is_not_spoken_over_udp() -> None:
    done = run("omnicomm", E1, "--udp", "--json")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"UDP" in done.stderr


LOGIN_1, LOGIN_2 = W1, W2
WIALON = login("862531045219738")


def test_wialon_1_1_short_data() -> None:
    assert decode("wialon-ips", (LOGIN_1 + W3).hex()) == [
        WIALON,
        reply(b"#AL#1\r\n", "now"),
        {
            "event": "record",
            "time": "2025-03-21T08:15:07Z",
            "lat": 51.661504,
            "lon": 39.200287,
            "altitude": 157,
            "speed": 57,
            "course": 214,
            "satellites": 14,
            "valid": True,
            "archive": False,
            "measures": {},
        },
        reply(b"#ASD#1\r\n"),
    ]


def test_wialon_2_0_data_black_box_ping_message_and_wrong_checksum() -> None:
    wrong = b"#SD#210325;081507;5139.69024;N;03912.01722;E;57;214;157;14;DC90\r\n"
    wire = LOGIN_2 + W4 + W5 + b"#P#\r\n#M#Refuel stop 12 min;8397\r\n" + wrong + wrong.replace(b"DC90", b"DC9B")
    events = decode("wialon-ips", wire.hex())
    assert events[:2] == [WIALON, reply(b"#AL#1\r\n", "now")]
    assert events[2]["measures"] == {
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
    }
    assert events[3] == reply(b"#AD#1\r\n")
    south, nowhere, third = events[4:7]
    assert (south["lat"], south["lon"], south["satellites"]) == (-33.905217, -18.421904, 0)
    assert (nowhere["lat"], nowhere["satellites"], nowhere["valid"]) == (None, None, False)
    assert nowhere["altitude"] is nowhere["speed"] is nowhere["course"] is None
    assert nowhere["measures"] == {"param.lls1": 65530}
    assert third["measures"]["hdop"] == 1.1
    assert [r["archive"] for r in (south, nowhere, third)] == [True] * 3
    at = len(LOGIN_2 + W4 + W5) + len(b"#P#\r\n#M#Refuel stop 12 min;8397\r\n")
    assert events[7:10] == [
        reply(b"#AB#3\r\n"),
        reply(b"#AP#\r\n", "now"),
        {"event": "message", "text": "Refuel stop 12 min", "hex": b"#M#Refuel stop 12 min;8397".hex()},
    ]
    assert events[10:13] == [
        reply(b"#AM#1\r\n"),
        {"event": "malformed", "reason": "checksum", "offset": at},
        reply(b"#ASD#13\r\n", "now"),
    ]
    assert [e["event"] for e in events[13:]] == ["record", "reply"]


def test_wialon_time_na_is_null_and_a_refused_member_stands_in_its_place() -> None:
    member = b"210325;081507;5139.69024;N;03912.01722;E;57;214;157;14"
    body = b"NA;NA;NA;NA;NA;NA;0;0;0;NA|" + member + b"|210325;250000;NA;NA;NA;NA;0;0;0;0|" + member + b"|"
    wire = LOGIN_2 + b"#B#" + body + b"%04X\r\n" % crc16(body)
    events = decode("wialon-ips", wire.hex())
    assert [e["event"] for e in events[2:]] == ["record", "record", "quarantined", "record", "reply"]
    assert events[2]["time"] is None
    assert events[4]["offset"] == len(LOGIN_2)
    assert bytes.fromhex(events[-1]["hex"]).startswith(b"#AB#")


def test_wialon_fractions_of_a_second_have_the_wire_s_digits() -> None:
    wire = LOGIN_1 + W3.replace(b"081507", b"081507.25")
    assert decode("wialon-ips", wire.hex())[2]["time"] == "2025-03-21T08:15:07.25Z"


def test_wialon_over_udp_is_answered_to_the_sender() -> None:
    wire = b"2.0;862531045219738#SD#210325;081507;5139.69024;N;03912.01722;E;57;214;157;14;DC9B\r\n"
    events = decode("wialon-ips", "-", "--udp", stdin=wire.hex())
    assert [e["event"] for e in events] == ["login", "record", "reply"]
    assert events[2] == reply(b"#ASD#1\r\n")


def test_wialon_pictures_are_refused_and_the_connection_goes_on() -> None:
    picture = b"#I#24;0;0;210325;081700;cab.jpg;3FBA\r\n" + bytes.fromhex(
        "b8581a8d464256116c26ec5c512ece65b49150ebe0959059"
    )
    events = decode("wialon-ips", (LOGIN_2 + picture + b"#P#\r\n").hex())
    assert events[2:] == [
        {"event": "malformed", "reason": "unsupported", "offset": len(LOGIN_2)},
        reply(b"#AI#0;0\r\n", "now"),
        reply(b"#AP#\r\n", "now"),
    ]


@pytest.mark.parametrize(
    ("protocol", "wire"),
    [
        ("teltonika", LOGIN + b"".join(v.wire for v in AVL)),
        ("omnicomm", bytes.fromhex(E1 + E3 + E9)),
        ("wialon-ips", LOGIN_2 + W4 + W5),
    ],
)
def test_cuts_change_nothing_and_every_measure_is_in_the_dictionary(protocol: str, wire: bytes) -> None:
    now = ("--now", "2026-01-01T00:00:00Z")
    whole = decode(protocol, *now, stdin=wire.hex())
    assert decode(protocol, *now, "-", stdin="\n".join(f"{byte:02X}" for byte in wire)) == whole
    names = {name for event in whole for name in event.get("measures", ())}
    assert len(names) > 10
    assert [name for name in names if (m := describe(name)) is None or protocol not in m.protocols] == []


# --- input ------------------------------------------------------------------------------------------------------


def test_white_space_is_ignored_and_lines_are_pieces() -> None:
    text = LOGIN.hex(" ", 2)
    expected = decode("teltonika", LOGIN.hex())
    assert expected == WELCOME
    for shown in (f"  {text}\t\r\n\r\n", "\ufeff" + text, text.replace(" ", "\u00a0"), text.replace(" ", "\n")):
        assert decode("teltonika", "-", stdin=shown) == expected
    assert decode("teltonika", text) == expected


def test_end_of_input_is_a_close() -> None:
    assert decode("teltonika", "-") == []
    assert decode("teltonika", stdin=LOGIN.hex()[:-2]) == [{"event": "malformed", "reason": "truncated", "offset": 0}]
    assert decode("teltonika", (LOGIN + CODEC_8.wire[:9]).hex())[-1] == {
        "event": "malformed",
        "reason": "truncated",
        "offset": len(LOGIN),
    }


def test_options_stand_before_and_behind_the_bytes() -> None:
    assert run("teltonika", "--json", LOGIN.hex()).stdout == run("--json", "teltonika", LOGIN.hex()).stdout != b""


@pytest.mark.parametrize(
    ("args", "stdin", "told"),
    [
        (("teltonika", "-"), "000f\n00 0g", "line 2, column 5: 'g'"),
        (("teltonika", "-"), "x000f", "line 1, column 1: 'x'"),
        (("teltonika", "-"), "0x000x0f", "line 1, column 6: 'x'"),
        (("teltonika", "-"), "00 0x0 0x0f", "line 1, column 8: the byte before has only one digit"),
        (("teltonika", "-"), "000f\n\n 003 ", "line 3, column 4"),
        (("teltonika", "-"), b"00\xff", "line 1, column 3"),
        (("teltonika", "000f;"), "", "line 1, column 5"),
        (("teltonika", "-"), "\u0660\u0660", "line 1, column 1"),
        (("nonesuch", "00"), "", "nonesuch"),
        (("teltonika", "00", "--now", "yesterday"), "", "yesterday"),
    ],
)
def test_a_wrong_question_is_2_with_the_reason_and_prints_nothing(
    args: tuple[str, ...], stdin: str | bytes, told: str
) -> None:
    done = run(*args, "--json", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, b"")
    assert told in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_configured_limit_holds_here_too(tmp_path: Path) -> None:
    config = tmp_path / "dozor.toml"
    config.write_text("[limits]\nframe_bytes = 100\n", encoding="utf-8")
    done = run("teltonika", (LOGIN + CODEC_8E.wire).hex(), "--json", "--config", str(config))
    assert json.loads(done.stdout.splitlines()[-1]) == {"event": "malformed", "reason": "length", "offset": len(LOGIN)}
    config.write_text("nonsense = 1\n", encoding="utf-8")
    done = run("teltonika", LOGIN.hex(), "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"dozor.toml:1" in done.stderr


@pytest.mark.parametrize(
    "wire", [bytes(64 * 1024), b"\xff" * 5000, b"#" * 5000, b"\xc0" * 5000], ids=["00", "ff", "#", "c0"]
)
def test_garbage_is_damage_and_exit_0(wire: bytes) -> None:
    for protocol in ("teltonika", "omnicomm", "wialon-ips"):
        assumed = ASSUMED if protocol == "teltonika" and not wire[0] else ""
        events = decode(protocol, stdin=wire.hex(), told=assumed)
        assert events
        assert {e["event"] for e in events} <= {"malformed", "reply"}


# --- for people -------------------------------------------------------------------------------------------------


def test_the_text_form_shows_events_tree_and_replies() -> None:
    shown = run("teltonika", (LOGIN + CODEC_8.wire + GETVER_REPLY).hex()).stdout.decode()
    for part in (
        "login      356938035643809",
        "reply      01  now",
        "frame      72 bytes at 17",
        "record 2026-03-14T09:26:53.000Z, 55.7520123 37.6175432, 168 m, 61 km/h, 274 °, 11 satellites",
        "power.external = 27.84 V",
        "fuel.level.1 = 1893\n",
        "timestamp: 1773480413000",
        "value: 6cc0",
        "reply      00000001  after commit",
        "message    codec 12 at 89",
        "identified firmware 03.29.00_05, model FMC130",
    ):
        assert part in shown


def test_the_text_form_never_sends_control_characters() -> None:
    items = [(256, b"\x1b[2J\x07hostile-text")]
    avl = d.avl_frame(d.CODEC_8E, [d.avl_record(timestamp=1, items=items)])
    answer = d.tcp_frame(d.TEXT.build({"codec": 12, "type": 6, "body": "\u202e\u009bclear".encode()}))
    broken = d.tcp_frame(b"\x08\x01\x1b\x1b\x01")
    shown = run("teltonika", (LOGIN + avl + answer + broken).hex()).stdout.decode()
    evil = LOGIN_1 + b"#SD#\x1b[31m\r\n#D#210325;081507;NA;NA;NA;NA;0;0;0;0;NA;NA;NA;;\x1b[31m;a\x1b:3:\x07\r\n"
    shown += run("wialon-ips", evil.hex()).stdout.decode()
    assert "quarantined" in shown
    assert "\\x1b" in shown
    assert [c for c in shown if not c.isprintable() and c != "\n"] == []


def test_the_text_form_survives_a_stdout_without_unicode() -> None:
    body = "2.0;терминал;NA;".encode()
    done = process("wialon-ips", (b"#L#" + body + b"%04X\r\n" % crc16(body)).hex(), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u0442" in done.stdout


def test_as_a_process_a_wrong_question_is_2_too() -> None:
    done = process("teltonika", "-", stdin=b"zz")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"dozor decode: line 1, column 1: 'z' is no hex digit\n"


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_record_that_names_its_own_terminal_says_so(json_lines: bool) -> None:
    out = io.StringIO()
    printer: Printer = JsonPrinter(out) if json_lines else TextPrinter(out, trees=False)
    wire = registry.protocol("teltonika")
    data = d.avl_frame(d.CODEC_8, [d.avl_record(timestamp=1_700_000_000_000)])
    frames = [Frame(data, 1), Frame(data, 1, len(data), 0, 1, "KT-7")]
    for frame, reading in zip(frames, printer.read(wire, frames), strict=True):
        printer.frame(frame, reading, 0)
    if json_lines:
        told = [json.loads(line) for line in out.getvalue().splitlines()]
        assert [record.get("terminal") for record in told] == [None, "KT-7"]
        assert list(told[1])[:2] == ["event", "terminal"]
    else:
        assert ["of KT-7" in line for line in out.getvalue().splitlines() if "record" in line] == [False, True]
