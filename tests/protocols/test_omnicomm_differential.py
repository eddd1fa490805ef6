"""Omnicomm: the parser against the protobuf library, learned structures against messages read one by one."""

from __future__ import annotations

import random
import struct
from typing import Any

import fastcrc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st

from protocols.omnicomm import PROTOCOL, declaration, parser
from protocols.omnicomm.declaration import RecReg
from protocols.omnicomm.decoder import decode
from protocols.omnicomm.fields import MESSAGE, Group, Odd, Scaled
from protocols.omnicomm.framing import stuff
from protocols.records import (
    Frame,
    Quarantined,
    fingerprint,
)
from tests.protocols.examples import examples
from tests.protocols.omnicomm_vectors import (
    body,
    decoded_of,
    measures_of,
    records,
)

# --- the decoder against the declaration -----------------------------------------------------------------------------


def _paths(group: Group, path: tuple[int, ...] = ()) -> dict[Scaled | Odd, tuple[int, ...]]:
    found: dict[Scaled | Odd, tuple[int, ...]] = {}
    for place, entry in group.fields.items():
        if isinstance(entry, Group):
            found |= _paths(entry, (*path, place))
        else:
            found[entry] = (*path, place)
    return found


PATHS = _paths(MESSAGE)


def by_decoder(data: bytes) -> dict[tuple[int, ...], Any] | None:
    """All fields of a message as the parser reads them; None if it is broken."""
    try:
        parsed = parser.parse(data)
    except parser.BrokenError:
        return None
    found: dict[tuple[int, ...], Any] = {}
    for scaled, value in parsed.scaled.items():
        found[PATHS[scaled]] = (value >> 1) ^ -(value & 1) if scaled.signed else value
    for odd, values in parsed.odd.items():
        if odd.signed:
            values = [(int(v) >> 1) ^ -(int(v) & 1) for v in values]
        if odd.kind == "group":
            found[PATHS[odd]] = b"".join(bytes(v) for v in values)
        elif odd.kind in ("hex", "key", "text", "number", "float"):
            found[PATHS[odd]] = values[-1]
        elif values:
            found[PATHS[odd]] = list(values)
    return found


def by_declaration(data: bytes) -> dict[tuple[int, ...], Any] | None:
    message = declaration.read_message(data)
    return None if message is None or _depth(UnknownFieldSet(message)) > 4 or _deep(message) else _flat(message)


def _deep(message: Message, above: int = 0) -> bool:
    if above + _depth(UnknownFieldSet(message)) > parser.MAX_DEPTH:
        return True
    return any(
        _deep(value, above + 1) for descriptor, value in message.ListFields() if descriptor.message_type is not None
    )


def _depth(unknown: Any) -> int:
    return max((1 + _depth(f.data) for f in unknown if f.wire_type == 3), default=0)


def _flat(message: Message, path: tuple[int, ...] = ()) -> dict[tuple[int, ...], Any]:
    found: dict[tuple[int, ...], Any] = {}
    for descriptor, value in message.ListFields():
        here = (*path, descriptor.number)
        if descriptor.message_type is not None:
            if descriptor.name == "gencomm":
                found[here] = value.SerializeToString()
            else:
                found |= _flat(value, here)
        elif descriptor.cpp_type == descriptor.CPPTYPE_FLOAT:
            found[here] = [struct.pack("<f", v) for v in value] if descriptor.is_repeated else struct.pack("<f", value)
        elif descriptor.is_repeated:
            found[here] = list(value)
        else:
            found[here] = value
    return found


def random_message(chance: random.Random, descriptor: Any = RecReg.DESCRIPTOR, share: float | None = None) -> Any:
    """A message with a random share of all fields, extremes included."""
    share = chance.choice([0.05, 0.3, 0.9]) if share is None else share
    content: dict[str, Any] = {}
    for item in descriptor.fields:
        if chance.random() > share:
            continue
        if item.message_type is not None:
            content[item.name] = random_message(chance, item.message_type, share)
        elif item.is_repeated:
            content[item.name] = [_random_value(chance, item) for _ in range(chance.randrange(1, 5))]
        else:
            content[item.name] = _random_value(chance, item)
    return content


def _random_value(chance: random.Random, item: Any) -> Any:
    if item.cpp_type == item.CPPTYPE_STRING:
        return chance.randbytes(chance.randrange(20))
    if item.cpp_type == item.CPPTYPE_FLOAT:
        return chance.choice([0.0, 12.6, -1.5, 3.4e38])
    bits = 64 if item.cpp_type == item.CPPTYPE_UINT64 else 32
    value = chance.choice([0, 1, chance.getrandbits(7), chance.getrandbits(16), chance.getrandbits(bits), 2**bits - 1])
    return value - 2 ** (bits - 1) if item.cpp_type == item.CPPTYPE_INT32 else value


seeds = st.integers(0, 2**32)


@examples(200)
@given(seeds)
def test_random_messages_read_as_the_declaration_reads_them(seed: int) -> None:
    chance = random.Random(seed)
    data = declaration.message(random_message(chance))
    assert by_decoder(data) == by_declaration(data)
    merged = data + declaration.message(random_message(chance))  # two of a group merge, the last value wins
    assert by_decoder(merged) == by_declaration(merged)


@examples(400)
@given(seeds)
def test_mutated_messages_read_as_the_declaration_reads_them(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(declaration.message(random_message(chance, share=0.1)) or b"\x08\x01")
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.choice([0, 0x0B, 0x0C, 0x13, 0x14, 0x7F, 0x80, 0xFF])
            case 2:
                del data[at : at + chance.randrange(1, 4)]
                data = data or bytearray(b"\x08")
            case _:
                data[at:at] = chance.choice([b"\x13", b"\x14", b"\x80", b"\xff" * 11, b"\x4b\x43"])
    assert by_decoder(bytes(data)) == by_declaration(bytes(data))


@examples(60)
@given(seeds)
def test_columns_learned_structures_agree_with_messages_read_one_by_one(seed: int) -> None:
    """Batches of a few kinds of messages, many of each, values and some bytes changed."""
    chance = random.Random(seed)
    kinds = [random_message(chance, share=chance.choice([0.1, 0.5])) for _ in range(3)]
    for kind in kinds[:2]:
        kind["mID"] = [chance.randrange(20) for _ in range(chance.randrange(3))]
    for kind in kinds:
        if "general" in kind and chance.random() < 0.7:
            kind["general"]["IDDrv"] = bytes(8)
    messages = []
    for _ in range(60):
        data = bytearray(declaration.message(_vary(chance, chance.choice(kinds))) or b"\x08\x01")
        if chance.random() < 0.2:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        messages.append(bytes(data))
    frames = [
        Frame(body(declaration.container(i, 1000 + i, messages[i : i + 20], command=chance.choice([0x86, 0x95]))))
        for i in range(0, 60, 20)
    ]
    together = decode(frames)
    alone: list[dict[str, Any]] = []
    quarantined: list[bytes | None] = []
    for i, data in enumerate(messages):
        (kind,) = (f.data[0] for f in frames[i // 20 : i // 20 + 1])
        single = decode([Frame(body(declaration.container(1, 1000 + i // 20 * 20, [data], command=kind)))])
        alone += records(single)
        quarantined += [q.data for q in single.quarantined]
    assert records(together) == alone
    assert sorted(q.data or b"" for q in together.quarantined) == sorted(q or b"" for q in quarantined)
    assert sorted(together.batch.fingerprint.tolist()) == sorted(
        fingerprint(m) for m in messages if m not in quarantined
    )


def test_drivers_keys_in_every_record() -> None:
    keys = [bytes([n, 0x80 | n, 0x1A, 0x08, 0xFF, n, 0, n]) for n in range(40)]
    messages = [{"mID": [1], "general": {"Time": 1000 + n, "IDDrv": key, "FLG": 1}} for n, key in enumerate(keys)]
    got = records(decoded_of(*messages))
    assert [r["measures"]["driver.key"] for r in got] == [key.hex() for key in keys]
    assert [r["measures"] for r in got] == [measures_of(m) for m in messages]


def test_a_drivers_key_has_the_same_text_either_way_round_and_zeros_are_none() -> None:
    family_first = bytes.fromhex("01a2b3c4d5e6f7")
    family_first += bytes([fastcrc.crc8.maxim_dow(family_first)])
    told = {family_first: family_first[::-1].hex(), family_first[::-1]: family_first[::-1].hex(), bytes(8): None}
    for key, text in told.items():
        message = {"mID": [1], "general": {"Time": 1000, "IDDrv": key, "FLG": 1}}
        assert measures_of(message).get("driver.key") == text  # read alone
        many = records(decoded_of(*[message] * 30))  # and by columns
        assert [r["measures"].get("driver.key") for r in many] == [text] * 30


@pytest.mark.parametrize(
    "like",
    [
        bytes.fromhex("081a0801") + bytes.fromhex("0802") * 6,  # event 26, then event 1
        bytes.fromhex("131a08010203040506070814"),  # a true key …
        bytes.fromhex("131a080102030405060708" + "1a081112131415161718" + "14"),  # … twice: the last one wins
        bytes.fromhex("231a0801020304050607081424"),  # the same bytes under a picture: not a size
        bytes.fromhex("13" + "3d00001a08" + "1a080102030405060708" + "14"),  # behind an unknown number that looks alike
    ],
)
def test_what_looks_like_a_drivers_key(like: bytes) -> None:
    decoded = decoded_of(*[like] * 30)
    alone = decoded_of(like)
    assert records(decoded) == records(alone) * 30
    assert len(decoded.quarantined) == 30 * len(alone.quarantined)


def test_packed_events_that_look_like_a_drivers_key_keep_their_numbers() -> None:
    plain, alike = [*range(1, 13)], [26, 8, *range(1, 11)]
    got = records(decoded_of(*[{"mID": plain}] * 20, *[{"mID": alike}] * 20))
    assert [r["measures"]["events"] for r in got] == [",".join(map(str, e)) for e in [plain] * 20 + [alike] * 20]


def test_packed_events_of_another_width_do_not_pass_for_those_learned() -> None:
    learned, wider = bytes.fromhex("0a0201020805"), bytes.fromhex("0a0281010a0805")  # as many numbers, other ends
    decoded = decoded_of(*[learned] * 20, wider)
    assert decoded.quarantined == [Quarantined(0, "structure", wider)]
    assert [r["measures"] for r in records(decoded)] == [{"event": 1, "events": "1,2,5"}] * 20


def _vary(chance: random.Random, content: dict[str, Any]) -> dict[str, Any]:
    """The same fields with other values."""
    varied: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            varied[name] = _vary(chance, value)
        elif isinstance(value, int) and chance.random() < 0.5:
            varied[name] = chance.randrange(abs(value) + 1) if value >= 0 else -chance.randrange(-value + 1)
        elif name == "IDDrv":
            varied[name] = chance.choice([chance.randbytes(8), b"\x1a\x08\x80\xff\x14\x1a\x08\xc0", value])
        else:
            varied[name] = value
    return varied


@examples(100)
@given(st.lists(st.binary(max_size=40), max_size=20), st.sampled_from([0x86, 0x95, 0x9F]))
def test_any_bytes_behind_a_good_checksum_end_as_records_or_in_quarantine(parts: list[bytes], command: int) -> None:
    raw = struct.pack("<IIB", 1, 2, 0) + b"".join(len(p).to_bytes(2, "little") + p for p in parts)
    frame = Frame(body(declaration.frame(command, raw)))
    decoded = decode([frame, Frame(body(declaration.frame(command, b"".join(parts) or b"x")))])
    lost = [q for q in decoded.quarantined if q.frame == 0]
    rows = int(np.count_nonzero(decoded.batch.frame == 0))
    if b"" in parts:
        assert lost[-1].reason == "structure"
    else:
        assert rows + len(lost) == len(parts)
    assert all(q.reason == "structure" for q in decoded.quarantined)
    PROTOCOL.tree(frame)


def test_nothing_decodes_to_nothing() -> None:
    assert len(decode([]).batch) == 0
    assert stuff(b"") == b"\xc0"
