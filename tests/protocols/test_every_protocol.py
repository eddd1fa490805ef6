"""What holds for every protocol, over the registry; `form.py` says what a protocol brings for it."""

from __future__ import annotations

import copy
import os
import random
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from protocols.measures import _pattern, describe
from protocols.records import TIME_UNKNOWN, Close, Event, Frame, Identified, Login, Malformed, Message, imei_of
from protocols.registry import PROTOCOLS, Registered, protocol, terminals
from tests.protocols import form
from tests.protocols.examples import LONG, some
from tests.protocols.form import NOW, Line, checked, frames_of, heard, spoken, streams
from tests.protocols.helpers import CUTS, of_kind
from tests.protocols.rows import rows_of

every = pytest.mark.parametrize("name", [*PROTOCOLS, "template"])
LAST = 4_102_444_800_000_000  # µs, the year 2100: what a terminal dates later is no time, or is told as it came


@pytest.fixture(autouse=True)
def the_template_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied into a new protocol is held to all of it, and is none that a listener speaks."""
    monkeypatch.setitem(PROTOCOLS, "template", Registered("protocols.template", 0))


def contents(events: list[Event]) -> list[bytes]:
    return [frame.data for frame in frames_of(events)]


def values(name: str, events: list[Event]) -> list[dict[str, Any]]:
    """What the frames of a connection hold."""
    return [{**row, "frame": 0} for row in rows_of(protocol(name).decode(frames_of(events)).batch)]


# -- the session ------------------------------------------------------------------------------------------------------


@every
def test_how_a_stream_is_cut_changes_nothing(name: str) -> None:
    for data in streams(name):
        whole, *pieces = [heard(name, data, step) for step in reversed(CUTS)]
        assert whole
        for events in pieces:
            assert events == whole


@every
def test_the_usual_read_is_what_the_exact_one_is(name: str) -> None:
    login, frames = spoken(name, 12)
    usual, exact = (protocol(name).new_session(transport="tcp") for _ in range(2))
    for session in (usual, exact):
        session.receive_data(login, NOW)
        session.accept(NOW)
    for frame in frames:
        found = usual.run(frame)
        told = [found] if found is not None else list(usual.receive_data(frame, NOW))
        singles = [single for one in frames_of(told) for single in one.singles()]
        assert singles == frames_of(list(exact.receive_data(frame, NOW)))
        assert usual.run(frame[:-1]) is None
        spoilt = copy.deepcopy(usual)  # without a checksum it may be taken for a frame
        assert spoilt.run(form.damaged(frame, random.Random(3))) is None or not checked(name)


@every
def test_damage_neither_loses_nor_invents_a_neighbour(name: str) -> None:
    login, (first, bad, last, *_) = spoken(name)
    good = contents(heard(name, login + first + bad + last))
    before = contents(heard(name, login + first))
    assert good[: len(before)] == before
    dice = random.Random(7)
    for turn in range(60):
        spoilt = bytearray(bad)
        match turn % 4:
            case 0:
                spoilt = bytearray(form.damaged(bad, dice))
            case 1:
                del spoilt[dice.randrange(len(bad)) :]
            case 2:
                del spoilt[: dice.randrange(1, len(bad))]
            case _:
                spoilt = bytearray()
        events = heard(name, login + first + bytes(spoilt) + last)
        found = contents(events)
        assert found[: len(before)] == before
        if checked(name):
            assert [data for data in found if data not in good] == [], bytes(spoilt).hex()


@every
def test_a_frame_that_was_cut_is_no_frame(name: str) -> None:
    login, (first, second, *_) = spoken(name, 4, 1)
    stream = login + first + second
    whole = contents(heard(name, stream))
    told = contents(heard(name, login + first))
    for size in range(len(stream)):
        events = heard(name, stream[:size])
        found = contents(events)
        assert found == whole[: len(found)]
        reasons = [event.reason for event in of_kind(events, Malformed)]
        assert set(reasons) <= {"truncated"}
        if size > len(login) + len(first) + 1:  # one byte may be a delimiter that two frames share
            assert found == told
            assert reasons == ["truncated"], size
    for data in streams(name)[:-1]:
        frames = contents(heard(name, data))
        for size in range(0, len(data), 1 if len(data) < 600 else 7):
            found = contents(heard(name, data[:size]))
            assert found == frames[: len(found)]


@every
def test_a_turned_bit_never_makes_a_record(name: str) -> None:
    if not checked(name):
        pytest.skip("no checksum on the wire: a turned bit is another record")
    login, (first, second, *_) = spoken(name, 4, 1)
    known = contents(heard(name, login + first + second))
    before = len(contents(heard(name, login + first)))
    stream = bytearray(login + first + second)
    whole = values(name, heard(name, bytes(stream)))
    for bit in range((len(login) + len(first)) * 8, len(stream) * 8):
        stream[bit >> 3] ^= 1 << (bit & 7)
        events = heard(name, bytes(stream))
        stream[bit >> 3] ^= 1 << (bit & 7)
        found = contents(events)
        if found != known[:before]:  # a digit of a checksum in text may be the other case
            assert len(found) == len(known), (bit >> 3, bit & 7)
            assert values(name, events) == whole, (bit >> 3, bit & 7)


NOISE = {
    "zeros": bytes(65_536),
    "ones": b"\xff" * 65_536,
    "letters": b"A" * 65_536,
    "chance": random.Random(1).randbytes(65_536),
}


@every
@pytest.mark.parametrize("kind", NOISE)
def test_64_kib_of_anything_cost_little_and_are_nothing(name: str, kind: str) -> None:
    wire, noise = protocol(name), NOISE[kind]
    login, frames = spoken(name)
    for head in (b"", login, login + frames[0], login + frames[0][: len(frames[0]) // 2]):
        good = contents(heard(name, head))
        begun = time.process_time()
        events = heard(name, head + noise, 4096)
        assert time.process_time() - begun < 2
        assert contents(events) == good
        assert len(events) < 2000, "one bout of damage is few events"
        if wire.anatomy is not None:
            assert sum(unit.size for unit in wire.anatomy(head + noise[:4096])) == len(head) + 4096


@every
def test_memory_is_bounded_whatever_comes(name: str) -> None:
    wire = protocol(name)
    login, frames = spoken(name)
    bound = 3 * max(wire.max_frame, 65_536) + 100_000
    for head in (b"", login, login + frames[0], login + frames[0][: len(frames[0]) // 2]):
        for filler in (b"\0", b"1", frames[1][:-1]):
            piece = (filler * (16_384 // len(filler) + 1))[:16_384]
            session = wire.new_session(transport="tcp")
            tracemalloc.start()
            try:
                if any(isinstance(event, Login) for event in session.receive_data(head, NOW)):
                    session.accept(NOW)
                for _ in range(2 * wire.max_frame // len(piece) + 8):
                    session.receive_data(piece, NOW)
                assert tracemalloc.get_traced_memory()[0] < bound
            finally:
                tracemalloc.stop()


@every
def test_memory_is_bounded_while_a_login_is_being_decided(name: str) -> None:
    wire = protocol(name)
    login, frames = spoken(name)
    if not login:
        pytest.skip("nobody logs in")
    session = wire.new_session(transport="tcp")
    assert any(isinstance(event, Login) for event in session.receive_data(login, NOW))
    piece = frames[0] * (65_536 // len(frames[0]) + 1)
    tracemalloc.start()
    try:
        for _ in range(20 * wire.max_frame // len(piece) + 2):
            events = session.receive_data(piece, NOW)
            assert of_kind(list(events), Frame) == []
        assert tracemalloc.get_traced_memory()[0] < 17 * wire.max_frame + 200_000
    finally:
        tracemalloc.stop()


def refused(name: str) -> Iterator[str]:
    """The reasons that damage of every kind is told by."""
    dice = random.Random(11)
    wire = protocol(name)
    login, frames = spoken(name)
    tries = [*streams(name), *form.refusals(name).values(), *NOISE.values(), *frames]
    for data in streams(name):
        tries += [data[:-1], data[: len(data) // 2], login + data, data + login]
        tries += [form.damaged(data, dice) for _ in range(150)]
    tries += [login + form.damaged(frame, dice) for frame in frames for _ in range(100)]
    for data in tries:
        yield from (event.reason for event in of_kind(heard(name, data), Malformed))
    if "udp" in wire.transports:
        for one in form.vectors(name, udp=True):
            session = wire.new_session(transport="udp")
            yield from (event.reason for event in of_kind(list(session.receive_data(one.wire[:-1], NOW)), Malformed))


@every
def test_each_reason_is_given_or_said_to_be_impossible(name: str) -> None:
    given = set(refused(name))
    impossible = set(form.impossible(name))
    assert given <= form.REASONS
    assert not given & impossible, "said to be impossible"
    assert given | impossible == form.REASONS, "name it in IMPOSSIBLE with why, or bring its bytes in REFUSALS"
    for reason, data in form.refusals(name).items():
        assert reason in {event.reason for event in of_kind(heard(name, data), Malformed)}


# -- the decoder ------------------------------------------------------------------------------------------------------


def every_frame(name: str) -> list[Frame]:
    """The frames of all connections and datagrams."""
    found = [frame for data in streams(name) for frame in frames_of(heard(name, data))]
    for one in form.vectors(name, udp=True):
        session = protocol(name).new_session(transport="udp")
        events = list(session.receive_data(one.wire, NOW))
        if any(isinstance(event, Login) for event in events):
            events += session.accept(NOW)
        found += frames_of(events)
    return found


def mutated(frames: list[Frame], dice: random.Random, count: int) -> Iterator[Frame]:
    """Frames as a bad terminal might seal them."""
    for _ in range(count):
        frame = dice.choice(frames)
        data = bytearray(frame.data)
        for _ in range(dice.randrange(1, 4)):
            match dice.randrange(4):
                case 0 if len(data) > 2:
                    del data[dice.randrange(len(data))]
                case 1:
                    data.insert(dice.randrange(len(data) + 1), dice.randrange(256))
                case _:
                    data[dice.randrange(len(data))] = dice.randrange(256)
        yield Frame(bytes(data), frame.records, 0, frame.variant, 1, frame.terminal)


@every
def test_neighbours_in_a_batch_change_nothing(name: str) -> None:
    decode = protocol(name).decode
    good = every_frame(name)
    batch = [*good, *mutated(good, random.Random(5), 60), *good]
    random.Random(6).shuffle(batch)
    together = decode(batch)
    found = rows_of(together.batch)
    alone = []
    for place, frame in enumerate(batch):
        decoded = decode([frame])
        alone += [{**row, "frame": place} for row in rows_of(decoded.batch)]
        assert len(decoded.quarantined) == sum(bad.frame == place for bad in together.quarantined)
    assert found == alone


@every
def test_the_decoder_reads_what_the_declaration_says(name: str) -> None:
    judge, good = form.oracle(name), every_frame(name)
    frames = [*good, *mutated(good, random.Random(9), some(400))]
    refusals = 0
    for place, frame in enumerate(frames):
        declared = judge.declared(frame)
        decoded = protocol(name).decode([frame])
        rows = rows_of(decoded.batch)
        if declared is None:
            refusals += 1
            assert place >= len(good), "a good frame that the declaration refuses"
            continue
        assert len(rows) == len(declared), frame.data.hex()
        for row, expected in zip(rows, declared, strict=True):
            wrong = {
                n: (row[n], v)
                for n, v in expected.items()
                if n not in ("frame", "fingerprint") and not form.near(row[n], v)
            }
            assert wrong == {}, frame.data.hex()
    assert refusals < len(frames) - len(good), "nothing that was mutated is compared"


@every
def test_the_declaration_builds_what_it_parses(name: str) -> None:
    login, frames = spoken(name, 12)
    for frame in frames_of(heard(name, login + b"".join(frames))):
        assert form.oracle(name).rebuilt(frame) == frame.data


@every
def test_all_measures_are_in_the_dictionary(name: str) -> None:
    wire, frames = protocol(name), every_frame(name)
    told = [_pattern(one) for one in (*wire.measures, *wire.shared_measures)]
    for row in rows_of(wire.decode([*frames, *mutated(frames, random.Random(2), 200)]).batch):
        for measure in row["measures"]:
            assert describe(measure) is not None, measure
            named = any(one.fullmatch(measure) for one in told)
            assert named, f"{measure}: named in neither measures nor shared_measures"


@every
def test_no_date_lies_in_a_future_that_nobody_told_and_no_zone_is_the_machine_s(name: str) -> None:
    decode, frames = protocol(name).decode, every_frame(name)
    here = os.environ.get("TZ")
    found = []
    try:
        for zone in ("UTC", "Asia/Kamchatka", "America/St_Johns"):
            os.environ["TZ"] = zone
            time.tzset()
            found.append(rows_of(decode(frames).batch))
    finally:
        os.environ.pop("TZ") if here is None else os.environ.update(TZ=here)
        time.tzset()
    assert found[0] == found[1] == found[2]
    stamps = [row["time"] for row in found[0]]
    assert all(stamp == TIME_UNKNOWN or 0 < stamp < LAST for stamp in stamps)
    for row in rows_of(decode([*mutated(frames, random.Random(4), 300)]).batch):
        assert row["time"] == TIME_UNKNOWN or -62_135_596_800_000_000 <= row["time"] < 253_402_300_800_000_000


@every
def test_any_frame_is_read_in_bounded_time(name: str) -> None:
    wire = protocol(name)
    good = every_frame(name)
    bad = list(mutated(good, random.Random(8), 500))
    begun = time.process_time()
    decoded = wire.decode(bad)
    took = time.process_time() - begun
    assert took < 0.05 + 60e-6 * sum(frame.cost for frame in bad) + 2e-3 * len(bad), "a stranger's frames cost too much"
    for quarantined in decoded.quarantined:
        assert quarantined.reason
        whole = bad[quarantined.frame]
        wire.member(whole.data if quarantined.data is None else quarantined.data, whole.variant)
    for frame in bad[:100]:
        wire.tree(frame)


# -- a terminal and its line ------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("records", [1, 3])
def test_what_a_terminal_sent_is_what_is_stored(name: str, records: int) -> None:
    for transport in terminals(name):
        line = Line(name, transport, records)
        line.connect()
        for _ in range(12):
            line.record(records)
            line.exchange() if transport == "tcp" else line.datagrams()
        line.terminal.disconnected()
        line.record(40)  # a backlog
        line.connect()
        line.exchange() if transport == "tcp" else line.datagrams()
        line.record(records)
        line.exchange() if transport == "tcp" else line.datagrams()
        assert line.terminal.pending == 0
        assert line.truth.violation_count == 0, line.truth.violations
        assert list(line.differences()) == []
        assert len(line.stored) == len(line.truth.records)


@every
def test_what_is_sent_again_is_stored_once(name: str) -> None:
    line = Line(name)
    line.connect()
    line.record(6)
    line.exchange()
    line.record(9)
    silent, line.terminal.receive = line.terminal.receive, lambda _data, _now: None  # type: ignore[method-assign]
    line.exchange()  # is stored, and no ack arrives
    line.terminal.receive = silent  # type: ignore[method-assign]
    assert line.terminal.pending
    line.connect()
    line.exchange()
    line.exchange()
    assert line.terminal.pending == 0
    assert line.again > 0
    assert list(line.differences()) == []
    assert len(line.stored) == len(line.truth.records)


@every
@pytest.mark.parametrize("seed", range(4 if LONG else 2))
def test_a_bad_line_loses_and_invents_nothing(name: str, seed: int) -> None:
    """Bits turn and connections break until all is through; nothing is erased that is not stored."""
    dice = random.Random(seed)
    line = Line(name, seed=seed + 1)
    line.connect()
    for _ in range(400):
        line.record(dice.randrange(3) if len(line.truth.records) < 90 else 0)
        line.exchange(dice, 0.3)
        kind = type(line.terminal)
        for record in line.truth.records:
            assert not record.acked or kind.expected(record)["time"] in line.stored, "erased and not stored"
        if len(line.truth.records) >= 90 and not line.terminal.pending:
            break
        line.connect()
    line.connect()
    line.exchange()
    line.terminal.record(line.vehicle.read(line.vehicle.due, int(NOW * 1000)))
    line.terminal._urgent = True
    line.exchange()
    assert list(line.differences()) == []
    assert len(line.stored) == len(line.truth.records)


@every
def test_whose_imei_it_is(name: str) -> None:
    """Where a protocol calls terminals by their IMEI, a login is one."""
    events = [event for data in streams(name) for event in heard(name, data)]
    called = {event.terminal for event in of_kind(events, Login)} | {frame.terminal for frame in frames_of(events)}
    if protocol(name).called_by_imei:
        named = {one for one in called if one and one[:2] != "00"}  # a short number filled up; a login put before
        assert all(imei_of(one, certain=True) == one for one in named)
    for event in of_kind(events, Identified):
        assert event.imei is None or imei_of(event.imei, certain=True) == event.imei
        assert event.iccid is None or (event.iccid.isdecimal() and 18 <= len(event.iccid) <= 20)
        assert event.imsi is None or (event.imsi.isdecimal() and 12 <= len(event.imsi) <= 15)
        assert event.operator is None or 20_000 <= int(event.operator) <= 799_999


# -- people -----------------------------------------------------------------------------------------------------------


@every
def test_every_byte_has_a_name(name: str) -> None:
    anatomy = protocol(name).anatomy
    assert anatomy is not None, "anatomy names every byte"
    dice = random.Random(3)
    for data in streams(name):
        for one in (
            data,
            *(form.damaged(data, dice) for _ in range(20)),
            *(data[: dice.randrange(len(data))] for _ in range(20)),
        ):
            units = list(anatomy(one))
            assert sum(unit.size for unit in units) == len(one)
            assert all(span.name and span.size > 0 for unit in units for span in unit.spans)


@every
def test_no_ack_before_its_frame(name: str) -> None:
    """What a session says of itself promises nothing: the terminal erases by acknowledgements alone."""
    line = Line(name)
    line.connect()
    line.record(6)
    session = line.session
    assert session is not None
    pending = list(session.receive_data(line.terminal.data_to_send(NOW), NOW))
    heard_frames = 0
    for _ in range(50):
        events: list[Event] = []
        for event in pending:
            if isinstance(event, Login):
                events += session.accept(NOW)
            heard_frames += isinstance(event, Frame)
            if not isinstance(event, Frame | Message | Malformed | Close) and hasattr(event, "data"):
                line.terminal.receive(event.data, NOW)
        for event in events:
            heard_frames += isinstance(event, Frame)
            if not isinstance(event, Frame | Message | Malformed | Close) and hasattr(event, "data"):
                line.terminal.receive(event.data, NOW)
        data = line.terminal.data_to_send(NOW)
        if not data:
            break
        pending = list(session.receive_data(data, NOW))
    assert heard_frames
    assert not any(record.acked for record in line.truth.records)
    assert np.isfinite(line.terminal.pending)


@every
def test_every_record_has_a_layout(name: str) -> None:
    """The store keeps records by layout: one in no group, or in two, would be acknowledged and nowhere."""
    frames = every_frame(name)
    batch = protocol(name).decode([*frames, *mutated(frames, random.Random(3), 200)]).batch
    assert sorted(row for group in batch.groups for row in group.rows.tolist()) == list(range(len(batch)))
