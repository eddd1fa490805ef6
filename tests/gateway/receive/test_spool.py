"""The spool on a real directory: what was appended is there, in order, whatever happened in between."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.receive import disk as disk_module
from gateway.receive import spool as spool_module
from gateway.receive.disk import Directory
from gateway.receive.segments import END_BYTES, MAGIC, Entry, measure, pack, pack_end, read_end, unpack
from gateway.receive.spool import Spool, SpoolFullError

ROOM = 64 << 20


def entry(number: int, size: int = 40) -> Entry:
    return Entry("teltonika", f"86{number:013d}", 1_700_000_000_000_000 + number, number.to_bytes(4, "big") * size)


def entries(first: int, last: int, size: int = 40) -> list[Entry]:
    return [entry(number, size) for number in range(first, last)]


class Watched(Directory):
    """A real directory that counts appends and fails when told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.appends: list[tuple[str, int]] = []
        self.refuse: list[int] = []  # bytes that still arrive at each of the next failing appends
        self.refuse_cut = False
        self.refuse_removal = False
        self.reads: list[str] = []

    async def read(self, name: str) -> bytes:
        self.reads.append(name)
        return await super().read(name)

    async def append(self, name: str, data: bytes) -> None:
        self.appends.append((name, len(data)))
        if self.refuse:
            arrives = self.refuse.pop(0)
            await super().append(name, data[:arrives])
            raise OSError(errno.ENOSPC, "no space left on device")
        await super().append(name, data)

    async def truncate(self, name: str, size: int) -> None:
        if self.refuse_cut:
            raise OSError(errno.EIO, "input/output error")
        await super().truncate(name, size)

    async def remove(self, name: str) -> None:
        if self.refuse_removal:
            raise OSError(errno.EIO, "input/output error")
        await super().remove(name)


def play(act: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await act()

    asyncio.run(bounded())


async def opened(path: Path, max_size: int = ROOM, directory: Directory | None = None) -> Spool:
    spool = Spool(directory or Directory(path), max_size)
    await spool.open()
    return spool


async def drain(spool: Spool, limit: int = 7) -> list[Entry]:
    """Everything, in pieces, as the keeper does it."""
    found: list[Entry] = []
    while piece := await spool.oldest(limit):
        found += piece
        await spool.drained(len(piece))
    return found


def files(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 4096)


def test_what_was_appended_comes_back_in_order_after_a_restart(tmp_path: Path) -> None:
    async def act() -> None:
        spool = await opened(tmp_path / "spool")
        message = Entry("wialon-ips", "водитель", 5, b"#M#hello\r\n", kind="driver", text="привет")
        await spool.append(entries(0, 10))
        await spool.append([message])
        await spool.append(entries(10, 20))
        assert spool.frames == 21
        again = await opened(tmp_path / "spool")
        assert (again.frames, again.bytes) == (spool.frames, spool.bytes)
        assert await drain(again) == [*entries(0, 10), message, *entries(10, 20)]
        assert (again.frames, again.bytes) == (0, 0)
        assert files(tmp_path / "spool") == []

    play(act)


def test_appends_that_come_together_share_one_fsync(tmp_path: Path) -> None:
    async def act() -> None:
        directory = Watched(tmp_path)
        spool = await opened(tmp_path, directory=directory)
        await asyncio.gather(*[spool.append([entry(n)]) for n in range(200)])
        assert len(directory.appends) <= 2  # the first that came, and all that came while it was written
        assert await drain(spool, 1000) == entries(0, 200)

    play(act)


def test_an_append_returns_after_its_bytes_are_in_the_file(tmp_path: Path) -> None:
    async def act() -> None:
        spool = await opened(tmp_path)
        for number in range(5):
            await spool.append([entry(number)])
            data = b"".join((tmp_path / name).read_bytes() for name in files(tmp_path))
            assert measure(data)[0] == number + 1

    play(act)


def test_files_are_private(tmp_path: Path) -> None:
    async def act() -> None:
        spool = await opened(tmp_path / "data" / "spool")
        await spool.append([entry(1)])

    play(act)
    place = tmp_path / "data" / "spool"
    assert place.stat().st_mode & 0o777 == 0o700
    assert (place / files(place)[0]).stat().st_mode & 0o777 == 0o600


def test_a_torn_tail_is_cut_wherever_it_was_torn(tmp_path: Path) -> None:
    """Each prefix of a segment gives the entries that are whole in it, and takes more entries after that."""
    known = entries(0, 3, size=2)
    ends = [len(MAGIC) + len(pack(known[:n])) for n in range(4)]
    data = MAGIC + pack(known)

    async def act() -> None:
        for size in range(len(data) + 1):
            path = tmp_path / str(size)
            path.mkdir()
            (path / "00000001.spool").write_bytes(data[:size])
            spool = await opened(path)
            whole = sum(size >= end for end in ends[1:])
            assert spool.frames == whole, size
            assert spool.bytes == (ends[whole] if whole else 0)
            if size % 10 == 0:
                await spool.append([entry(99)])
                assert await drain(await opened(path)) == [*known[:whole], entry(99)], size
            else:
                assert await drain(spool) == known[:whole], size

    play(act)


@pytest.mark.parametrize("tail", [bytes(4096), b"\xff" * 100, b"\x01\x00\x00\x00" + bytes(5), MAGIC])
def test_a_tail_of_anything_else_is_cut_too(tmp_path: Path, tail: bytes) -> None:
    async def act() -> None:
        (tmp_path / "00000001.spool").write_bytes(MAGIC + pack(entries(0, 3)) + tail)
        spool = await opened(tmp_path)
        assert spool.frames == 3
        assert (tmp_path / "00000001.spool").stat().st_size == spool.bytes
        assert await drain(spool) == entries(0, 3)

    play(act)


def test_damage_inside_costs_nothing_behind_it(tmp_path: Path) -> None:
    """A flipped bit in a body: that entry is handed on as raw bytes, its neighbours as they were."""
    first, bad, last = (pack([entry(n)]) for n in range(3))

    async def act() -> None:
        for bit in (0, 17, 100, 8 * (len(bad) - 8) - 1):
            flipped = bytearray(bad)
            flipped[8 + bit // 8] ^= 1 << bit % 8
            (tmp_path / "00000001.spool").write_bytes(MAGIC + first + bytes(flipped) + last)
            spool = await opened(tmp_path)
            assert spool.frames == 3
            found = await drain(spool)
            assert [found[0], found[2]] == [entry(0), entry(2)]
            assert (found[1].protocol, found[1].terminal, found[1].data) == ("", "", bytes(flipped))

    play(act)


def test_an_entry_of_another_version_is_handed_on_raw() -> None:
    import struct
    import zlib

    import msgspec

    body = msgspec.msgpack.encode({"protocol": "teltonika"})
    data = MAGIC + struct.pack("<II", len(body), zlib.crc32(body)) + body + pack([entry(1)])
    assert measure(data) == (2, len(data))
    found, ends = unpack(data, len(MAGIC), 10)
    assert found == [Entry("", "", 0, body), entry(1)]
    assert ends[-1] == len(data)
    assert unpack(data, len(MAGIC), 0) == ([], [])


def test_bytes_inside_a_frame_are_never_taken_for_entries() -> None:
    """What a stranger sends lies in bodies: whatever is torn around it, it does not become an entry of its own."""
    forged = pack([entry(666)])
    outer = Entry("teltonika", "860000000000001", 1, b"\x00" * 50 + forged * 3)
    data = MAGIC + pack([entry(1)]) + pack([outer])
    for size in range(len(data)):
        found, _ = unpack(data[:size], len(MAGIC), 10)
        assert found in ([], [entry(1)]), size


def test_segments_rotate_and_are_deleted_as_they_are_drained(tmp_path: Path, small_segments: None) -> None:
    def on_disk() -> int:
        """Bytes of the segments, without the ends of all but the last."""
        names = files(tmp_path)
        return sum((tmp_path / name).stat().st_size for name in names) - END_BYTES * max(0, len(names) - 1)

    async def act() -> None:
        spool = await opened(tmp_path)
        for number in range(60):
            await spool.append([entry(number)])
        names = files(tmp_path)
        assert len(names) > 2
        assert all((tmp_path / name).stat().st_size <= 4096 for name in names)
        assert on_disk() == spool.bytes
        found: list[Entry] = []
        while piece := await spool.oldest(5):
            found += piece
            await spool.drained(len(piece))
            assert on_disk() == spool.bytes
        assert found == entries(0, 60)
        assert files(tmp_path) == []
        await spool.append([entry(7)])
        assert files(tmp_path)[0] > names[-1]

    play(act)


def test_a_batch_larger_than_a_segment_has_one_of_its_own(tmp_path: Path, small_segments: None) -> None:
    async def act() -> None:
        spool = await opened(tmp_path)
        await spool.append(entries(0, 5))
        await spool.append(entries(5, 100))
        await spool.append(entries(100, 102))
        assert await drain(await opened(tmp_path), 1000) == entries(0, 102)

    play(act)


def test_appending_while_draining(tmp_path: Path, small_segments: None) -> None:
    """Nothing is lost or twice where one segment is drained to its end while more comes for it."""

    async def act() -> None:
        spool = await opened(tmp_path)
        found: list[Entry] = []

        async def fill() -> None:
            for number in range(300):
                await spool.append([entry(number)])
                if number % 7 == 0:
                    await asyncio.sleep(0.001)

        filling = asyncio.create_task(fill())
        while not filling.done() or spool.frames:
            piece = await spool.oldest(3)
            found += piece
            if piece:
                await spool.drained(len(piece))
            else:
                await asyncio.sleep(0)
        assert found == entries(0, 300)
        assert (spool.frames, spool.bytes, files(tmp_path)) == (0, 0, [])

    play(act)


def test_a_drain_cut_anywhere_is_taken_up_where_nothing_is_lost(tmp_path: Path, small_segments: None) -> None:
    """After a restart the segment at hand is drained from its beginning: at least once, in order."""

    async def act() -> None:
        spool = await opened(tmp_path)
        for number in range(60):
            await spool.append([entry(number)])
        found: list[Entry] = []
        for killed in range(60):
            for _ in range(killed % 4):
                if piece := await spool.oldest(7):
                    found += [e for e in piece if e not in found]
                    await spool.drained(len(piece))
            await spool.oldest(5)  # read, perhaps stored, never confirmed
            spool = await opened(tmp_path)
        found += [e for e in await drain(spool) if e not in found]
        assert found == entries(0, 60)
        assert await drain(await opened(tmp_path)) == []

    play(act)


@pytest.mark.parametrize("arrives", [0, 1, 7, 8, 9, 100, 10_000])
@pytest.mark.parametrize("cut", [True, False])
def test_a_failed_append_keeps_nothing_and_the_next_one_works(tmp_path: Path, arrives: int, cut: bool) -> None:
    async def act() -> None:
        directory = Watched(tmp_path)
        spool = await opened(tmp_path, directory=directory)
        await spool.append(entries(0, 2))
        directory.refuse = [arrives]
        directory.refuse_cut = not cut
        with pytest.raises(OSError, match="no space left"):
            await spool.append(entries(10, 12))
        held = spool.bytes
        if cut:
            assert sum((tmp_path / name).stat().st_size for name in files(tmp_path)) == held
        await spool.append(entries(2, 4))
        directory.refuse_cut = False
        left = await drain(await opened(tmp_path, directory=directory))
        # What did arrive may come back after a restart: stored, though nobody was told so.
        assert [e for e in left if e not in entries(10, 12)] == entries(0, 4)
        if cut:
            assert left == entries(0, 4)

    play(act)


def test_the_first_append_of_a_segment_that_fails_leaves_no_file(tmp_path: Path) -> None:
    async def act() -> None:
        directory = Watched(tmp_path)
        spool = await opened(tmp_path, directory=directory)
        directory.refuse = [50, 50, 50]
        for _ in range(3):
            with pytest.raises(OSError, match="no space left"):
                await spool.append(entries(0, 5))
        assert files(tmp_path) == []
        assert (spool.bytes, spool.frames) == (0, 0)

    play(act)


def test_those_that_wait_for_one_failing_write_all_hear_of_it(tmp_path: Path) -> None:
    async def act() -> None:
        directory = Watched(tmp_path)
        spool = await opened(tmp_path, directory=directory)
        directory.refuse = [0]
        results = await asyncio.gather(*[spool.append([entry(n)]) for n in range(20)], return_exceptions=True)
        assert all(isinstance(result, OSError) for result in results)
        await spool.append([entry(3)])
        assert await drain(spool) == [entry(3)]

    play(act)


def test_full_is_full_whoever_comes_together(tmp_path: Path) -> None:
    async def act() -> None:
        most = 20_000
        spool = await opened(tmp_path, max_size=most)
        results = await asyncio.gather(*[spool.append([entry(n)]) for n in range(300)], return_exceptions=True)
        refused = sum(isinstance(result, SpoolFullError) for result in results)
        assert refused > 0
        assert refused + spool.frames == 300
        assert spool.bytes <= most + len(MAGIC)
        assert await drain(spool, 1000) == [entry(n) for n, r in enumerate(results) if r is None]

    play(act)


def test_room_means_more_than_one_frame(tmp_path: Path, small_segments: None) -> None:
    """A full spool does not open its doors for what it would refuse again at once."""

    async def act() -> None:
        spool = await opened(tmp_path, max_size=100_000)
        assert await spool.has_room()
        number = 0
        while spool.bytes + len(pack(entries(0, 10))) <= 100_000:
            await spool.append(entries(number, number + 10))
            number += 10
        with pytest.raises(SpoolFullError):
            await spool.append(entries(number, number + 10))
        assert not await spool.has_room()
        while not await spool.has_room():
            piece = await spool.oldest(5)
            await spool.drained(len(piece))
        assert spool.bytes <= 95_000
        await spool.append(entries(number, number + 10))
        assert "probe" not in files(tmp_path)

    play(act)


def test_a_batch_larger_than_the_spool_does_not_close_it_for_ever(tmp_path: Path) -> None:
    async def act() -> None:
        spool = await opened(tmp_path, max_size=5000)
        with pytest.raises(SpoolFullError):
            await spool.append(entries(0, 1000))
        assert await spool.has_room()
        await spool.append([entry(1)])

    play(act)


def test_room_on_the_disk_is_tried_with_the_size_that_was_refused(tmp_path: Path) -> None:
    async def act() -> None:
        directory = Watched(tmp_path)
        spool = await opened(tmp_path, directory=directory)
        directory.refuse = [0]
        with pytest.raises(OSError, match="no space left"):
            await spool.append(entries(0, 100))
        refused = directory.appends[-1][1]
        directory.refuse = [10]
        assert not await spool.has_room()
        assert directory.appends[-1][1] >= refused
        assert await spool.has_room()
        assert files(tmp_path) == []

    play(act)


def test_the_rest_of_the_disk_is_left_to_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = os.statvfs(tmp_path)
    monkeypatch.setattr(disk_module, "RESERVE", system.f_bavail * system.f_frsize * 2)
    monkeypatch.setattr(disk_module, "RESERVE_PART", 1)

    async def act() -> None:
        spool = await opened(tmp_path)
        with pytest.raises(OSError, match="left to the store") as caught:
            await spool.append([entry(1)])
        assert caught.value.errno == errno.ENOSPC
        assert not await spool.has_room()
        assert files(tmp_path) == []

    play(act)


def test_other_files_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    strange = {
        "notes.txt": b"mine",
        "abc.spool": b"no number",
        "-0000001.spool": b"x",
        "٠٠٠٠٠٠٠١.spool": b"digits of another script",
        "00000003.spool.bak": MAGIC + pack([entry(3)]),
        "00000004.spool": b"dozor9\n\0" + pack([entry(4)]),  # a later version's
        "00000005.spool": os.urandom(100_000),
    }
    for name, data in strange.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "00000006.spool").mkdir()
    (tmp_path / "00000007.spool").symlink_to(tmp_path / "nowhere")
    (tmp_path / "probe").write_bytes(b"left by a kill")
    (tmp_path / "00000002.spool").write_bytes(MAGIC + pack([entry(2)]))
    (tmp_path / "00000001.spool").write_bytes(MAGIC[:5])  # killed while it was made

    async def act() -> None:
        spool = await opened(tmp_path)
        assert spool.frames == 1
        await spool.append([entry(9)])
        assert await drain(spool) == [entry(2), entry(9)]

    play(act)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == strange
    assert (tmp_path / "00000006.spool").is_dir()


def test_a_segment_that_somebody_takes_away_does_not_hold_up_the_rest(tmp_path: Path, small_segments: None) -> None:
    async def act() -> None:
        spool = await opened(tmp_path)
        for number in range(100):
            await spool.append([entry(number)])
        names = files(tmp_path)
        (tmp_path / names[0]).unlink()
        with (tmp_path / names[1]).open("r+b") as file:
            file.truncate(300)
        found = await drain(spool)
        assert found == sorted(found, key=lambda e: e.received)
        assert entry(99) in found
        assert len(found) < 100
        assert (spool.frames, spool.bytes, files(tmp_path)) == (0, 0, [])

    play(act)


def test_a_segment_that_cannot_be_deleted_is_drained_once(tmp_path: Path) -> None:
    async def act() -> None:
        directory = Watched(tmp_path)
        spool = await opened(tmp_path, directory=directory)
        await spool.append(entries(0, 5))
        directory.refuse_removal = True
        assert await drain(spool) == entries(0, 5)
        assert await drain(spool) == []
        assert spool.bytes == 0
        directory.refuse_removal = False
        assert await drain(await opened(tmp_path)) == entries(0, 5)

    play(act)


def test_a_start_walks_through_the_last_segment_only(tmp_path: Path, small_segments: None) -> None:
    async def act() -> None:
        spool = await opened(tmp_path)
        for first in range(0, 200, 10):
            await spool.append(entries(first, first + 10))
        assert len(files(tmp_path)) > 5
        directory = Watched(tmp_path)
        again = await opened(tmp_path, directory=directory)
        assert directory.reads == files(tmp_path)[-1:]
        assert (again.frames, again.bytes) == (spool.frames, spool.bytes)
        assert await drain(again) == entries(0, 200)
        assert files(tmp_path) == []

    play(act)


@pytest.mark.parametrize("harm", ["cut", "flipped", "longer", "missing"])
def test_an_end_that_is_not_whole_costs_a_walk_and_nothing_else(
    tmp_path: Path, small_segments: None, harm: str
) -> None:
    async def act() -> None:
        spool = await opened(tmp_path)
        for first in range(0, 100, 10):
            await spool.append(entries(first, first + 10))
        first_file = tmp_path / files(tmp_path)[0]
        data = bytearray(first_file.read_bytes())
        assert read_end(bytes(data), len(data)) is not None
        if harm == "cut":
            del data[-3:]
        elif harm == "flipped":
            data[-6] ^= 1
        elif harm == "longer":
            data += bytes(5)
        else:
            del data[-END_BYTES:]
        first_file.write_bytes(data)
        again = await opened(tmp_path)
        assert (again.frames, again.bytes) == (spool.frames, spool.bytes)
        assert await drain(again) == entries(0, 100)

    play(act)


def test_an_end_that_cannot_be_written_refuses_nobody(tmp_path: Path, small_segments: None) -> None:
    class Endless(Directory):
        """A disk that takes half of an end and fails."""

        async def append(self, name: str, data: bytes) -> None:
            if len(data) == END_BYTES:
                await super().append(name, data[: END_BYTES // 2])
                raise OSError(errno.EIO, "input/output error")
            await super().append(name, data)

    async def act() -> None:
        spool = await opened(tmp_path, directory=Endless(tmp_path))
        for first in range(0, 100, 10):
            await spool.append(entries(first, first + 10))
        assert len(files(tmp_path)) > 2
        again = await opened(tmp_path)
        assert (again.frames, again.bytes) == (100, spool.bytes)
        assert await drain(again) == entries(0, 100)

    play(act)


def test_what_strangers_send_is_no_end() -> None:
    data = pack_end(100, 3)
    assert read_end(data, 100 + END_BYTES) == (3, 100)
    assert read_end(data, 101 + END_BYTES) is None
    assert read_end(data[1:], 100 + END_BYTES) is None
    assert read_end(b"", 0) is None
    assert read_end(pack_end(100, 0), 100 + END_BYTES) is None
