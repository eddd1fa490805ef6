"""Stored bytes read for people: bounded, and never an exception, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.service.reading import MAX_PASTED, MAX_SHOWN, MAX_TREE, MAX_VALUE, anatomy, decoded, frame_anatomy, named
from protocols.registry import PROTOCOLS
from protocols.teltonika import declaration as d
from protocols.teltonika.measures import meaning_of
from protocols.teltonika.models import FAMILIES
from protocols.wialon_ips import packets
from tests.protocols.omnicomm_vectors import E3, body
from tests.protocols.teltonika_vectors import CODEC_8, LOGIN, UDP_8E
from tests.protocols.wialon_ips_vectors import W4
from ticketing.core.errors import InvalidTextError
from ticketing.kit.ports import Anatomy

STARTS = [CODEC_8.wire, CODEC_8.wire[10:-5], UDP_8E.wire, b"#B#", b"#D#", b"\x86\x09\0", b"2103", b""]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([*PROTOCOLS, "nonesuch"]),
    st.sampled_from(STARTS),
    st.binary(max_size=80),
    st.integers(-32768, 32767),
)
def test_no_bytes_raise_and_nothing_unprintable_comes_out(name: str, start: bytes, rest: bytes, variant: int) -> None:
    for data in (start + rest, start[: len(rest)] + rest, rest):
        for kept in (variant, 0, 1, 2):
            shown = decoded(name, data, kept)
            assert len(shown) <= MAX_SHOWN + 3
            assert [c for c in shown if not c.isprintable() and c != "\n"] == []


def test_one_member_is_read_by_the_codec_that_fits_it() -> None:
    record = d.avl_record(timestamp=2**64 - 1, satellites=7, items=[(239, b"\1")])
    for codec in d.AVL_CODECS:
        data = d.avl_payload(codec, [{**record, "io": {**record["io"], "generation": 5}}])[2:-1]
        shown = decoded("teltonika", data, 0)
        assert f"codec: {codec}" in shown
        assert "satellites: 7" in shown
    assert "bytes: 0102" in decoded("teltonika", b"\1\2", 0)


def test_a_long_frame_is_cut_at_a_line() -> None:
    data = b"#B#" + b"|".join([b"210325;081507;NA;NA;NA;NA;0;0;0;0"] * 1500)
    shown = decoded("wialon-ips", data, 1)
    assert len(shown) <= MAX_SHOWN + 3
    assert shown.endswith("archive\n…\n")


def test_an_omnicomm_frame_and_a_message() -> None:
    from protocols.omnicomm.declaration import container, message

    one = message({"mID": [5], "general": {"Time": 100, "Uboard": 241}})
    assert "power.external = 24.1 V" in decoded("omnicomm", body(container(1, 100, [one])), 0)
    assert "Uboard: 241" in decoded("omnicomm", one, 0)


@pytest.mark.parametrize(
    ("model", "measure", "name"),
    [
        ("FMB920", "io.6", "adc.2"),
        ("fmc650", "io.6", "temperature.5"),
        ("FMM640", "io.69", "tacho.driver.1.driving"),
        ("FTC961", "io.6", "adc.2"),
        ("FTC961", "io.155", None),  # its meaning there is not published
        ("FMB125", "io.155", "geofence.1"),
        ("FM3612", "io.75", "sensor.rom.1"),
        ("TAT240", "io.116", "charger.connected"),
        ("FMC130", "io.385", None),
        ("Unheard-of 1", "io.6", None),
        ("FMB920", "power.external", None),
        ("FMB920", "io.6.2", "adc.2.2"),
    ],
)
def test_names_by_model(model: str, measure: str, name: str | None) -> None:
    found = named("teltonika", model, {measure: 5})
    assert (found[measure].name if found else None) == name


def test_other_protocols_and_unknown_models_name_nothing() -> None:
    assert named("omnicomm", "FMB920", {"io.6": 1}) == {}
    assert named("teltonika", None, {"io.6": 1}) == {}
    assert named(None, "FMB920", {"io.6": 1}) == {}
    assert named("teltonika", "FMB920", {"io.6": "ab"})["io.6"].value == "ab"


def test_what_a_model_names_is_stored_by_its_id() -> None:
    """A row that the dictionary names itself would never be looked up."""
    for _, table in FAMILIES:
        for identifier in table:
            names = {meaning_of(identifier, size).name for size in (1, 2, 4, 8)}
            assert f"io.{identifier}" in names


def whole(found: Anatomy) -> str:
    """The hex of all fields, which leave no gap."""
    at = 0
    for field in found.fields:
        assert (field.offset, bool(field.hex)) == (at, True)
        at += len(field.hex) // 2
    return "".join(field.hex for field in found.fields)


@pytest.mark.parametrize(
    ("text", "name", "sent"),
    [
        (LOGIN.hex(" "), "teltonika", LOGIN),
        (", ".join(f"0x{byte:02X}" for byte in LOGIN), "teltonika", LOGIN),
        (CODEC_8.wire.hex("-"), "teltonika", CODEC_8.wire),
        ("\n".join(E3.hex()[at : at + 32] for at in range(0, len(E3) * 2, 32)), "omnicomm", E3),
        ("  " + W4.decode().strip() + " ", "wialon-ips", W4),
    ],
)
def test_bytes_as_people_paste_them(text: str, name: str, sent: bytes) -> None:
    found = anatomy(text, None, udp=False)
    assert (found.protocol, found.hex) == (name, sent.hex())
    assert whole(found) == sent.hex()
    assert not [field for field in found.fields if field.field.endswith("remainder")]


def test_bytes_that_do_not_tell_their_protocol() -> None:
    for text, note in (("00 0f 33", "may be teltonika"), ("5a5a5a", "no protocol that is told")):
        found = anatomy(text, None, udp=False)
        assert (found.protocol, whole(found)) == (None, text.replace(" ", ""))
        assert note in found.note
    assert anatomy("000f33", "omnicomm", udp=False).fields[0].field == "remainder"
    assert anatomy(UDP_8E.wire.hex(), None, udp=True).protocol == "teltonika"


@pytest.mark.parametrize("text", ["0", "xyz", "00 0", "٠٠", "00" * (MAX_PASTED + 1), "#L#" + "x" * MAX_PASTED])
def test_what_is_no_bytes_or_too_many_is_refused(text: str) -> None:
    with pytest.raises(InvalidTextError, match=r"^bytes: "):
        anatomy(text, None, udp=False)


def test_a_small_container_makes_no_large_page() -> None:
    bomb = packets.compressed(b"#M#" + b"A" * 500_000 + b"\r\n")
    (value,) = [
        field.value for field in anatomy(bomb.hex(), "wialon-ips", udp=False).fields if field.field == "compressed"
    ]
    assert len(value) == MAX_VALUE + 1
    shown = [field.value for field in anatomy("#M#\x1b[2J\u202e", "wialon-ips", udp=False).fields]
    assert "\\x1b[2J\\u202e" in shown
    named_so = [field.field for field in anatomy("#D#;;;;;;;;;;;;;;;a\u202eb:1:5", "wialon-ips", udp=False).fields]
    assert "message.param.a\\u202eb" in named_so


@pytest.mark.parametrize(
    ("name", "data", "variant", "sent"),
    [
        ("teltonika", CODEC_8.wire, 0, CODEC_8.wire),
        ("teltonika", UDP_8E.wire, 1, UDP_8E.wire),
        ("omnicomm", body(E3), 0, E3),
        ("wialon-ips", W4.strip(), 2, W4),
    ],
)
def test_a_quarantined_frame_is_named_as_it_stood_on_the_wire(
    name: str, data: bytes, variant: int, sent: bytes
) -> None:
    found = frame_anatomy(name, data, variant)
    assert (found.protocol, found.hex) == (name, sent.hex())
    assert whole(found) == sent.hex()
    assert not [field for field in found.fields if field.field.endswith("remainder")]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([*PROTOCOLS, "nonesuch"]),
    st.sampled_from(STARTS),
    st.binary(max_size=80),
    st.integers(-32768, 32767),
)
def test_no_kept_bytes_raise(name: str, start: bytes, rest: bytes, variant: int) -> None:
    for data in (start + rest, start[: len(rest)] + rest):
        for kept in (variant, 0, 1, 2):
            found = frame_anatomy(name, data, kept)
            assert not found.fields or whole(found) == found.hex


def test_a_frame_too_long_for_a_page_says_so() -> None:
    assert "dozor decode teltonika --tree" in frame_anatomy("teltonika", bytes(MAX_TREE + 1), 0).note
