"""What is written whole under a name: in place of a file, never of a folder, a device or somebody's link."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.backtest.trace import CORE, Trace, TraceWriter
from gateway.commands.calibration_csv import read_points as imported
from gateway.commands.calibration_csv import written
from gateway.commands.sensor_calibrate import read_points, write_points
from gateway.errors import BackupError
from gateway.files import place_of
from gateway.store.backup import backup
from gateway.store.calibrations import Point
from gateway.store.embedded import EmbeddedServer

POINTS = [Point(1, 2), Point(3, 4)]


# Shares as a register of single precision tells them: seventeen digits each, some of them behind zeros.
SINGLE = [Point(float(np.float32(code)), code) for code in (1e-9, 0.1, 0.2, 0.3, 0.7, 0.99)]


def trace(file: Path) -> None:
    with TraceWriter(file, ["1"], {}) as writer:
        writer.append({name: np.zeros(1, dtype) for name, dtype in CORE.items()})


def calibration(file: Path) -> None:
    write_points(file, POINTS)


WRITERS = [trace, calibration]


def fifo(place: Path) -> None:
    os.mkfifo(place)


def device(place: Path) -> None:
    try:
        os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices are root's to make")


def bound(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.relpath(place))


def folder(place: Path) -> None:
    place.mkdir()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("make", [fifo, device, bound, folder])
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_stays_what_it_is(
    write: Callable[[Path], None], make: Callable[[Path], None], linked: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "place"
    make(place)
    was = os.lstat(place)
    file = tmp_path / "link" if linked else place
    if linked:
        file.symlink_to("place")
    names = sorted(os.listdir(tmp_path))
    with pytest.raises(Exception, match=r"plain file|Is a directory"):
        write(file)
    assert (os.lstat(place).st_ino, os.lstat(place).st_mode) == (was.st_ino, was.st_mode)
    assert sorted(os.listdir(tmp_path)) == names, "nothing half is left"


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("there", [False, True])
def test_a_link_is_followed_and_stays(write: Callable[[Path], None], there: bool, tmp_path: Path) -> None:
    elsewhere, link = tmp_path / "disk" / "kept", tmp_path / "latest"
    elsewhere.parent.mkdir()
    if there:
        elsewhere.write_text("an older one")
    link.symlink_to("disk/kept")
    write(link)
    assert link.is_symlink()
    assert elsewhere.is_file()
    assert not elsewhere.is_symlink()
    assert elsewhere.read_bytes() != b"an older one"
    assert [path.name for path in elsewhere.parent.iterdir()] == ["kept"]


def test_a_link_that_leads_in_a_circle_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        place_of(tmp_path / "a")


@pytest.mark.parametrize("make", [fifo, device, folder])
def test_a_back_up_goes_to_no_device(
    make: Callable[[Path], None], postgres_server: EmbeddedServer, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    make(place)
    was = os.lstat(place)
    with pytest.raises(BackupError, match=r"place cannot be written: .*: name another file"):
        backup(postgres_server, place)
    assert os.lstat(place).st_ino == was.st_ino
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_back_up_by_a_link_lies_where_the_link_leads(postgres_server: EmbeddedServer, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "disk" / "dozor.backup")
    assert backup(postgres_server, tmp_path / "latest").schema > 0
    assert (tmp_path / "latest").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["dozor.backup"]
    assert (tmp_path / "disk" / "dozor.backup").stat().st_mode & 0o077 == 0


def test_what_was_there_stays_where_the_new_cannot_be_written(tmp_path: Path) -> None:
    long = "x" * 253  # itself a name, but not with what a file beside it has more
    write_points(tmp_path / "short.csv", POINTS)
    (tmp_path / "short.csv").rename(tmp_path / long)
    for write in WRITERS:
        with pytest.raises(Exception, match="File name too long"):
            write(tmp_path / long)
    assert (tmp_path / long).read_text() == written(POINTS)
    assert os.listdir(tmp_path) == [long]


def test_a_trace_over_an_older_one_is_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "month.npz"
    file.write_bytes(b"no trace")
    trace(file)
    rows: list[Any] = list(Trace(file).slices())
    assert [len(part["terminal"]) for part in rows] == [1]


def test_a_calibration_of_any_codes_comes_back_as_it_was(tmp_path: Path) -> None:
    """Registers of a profile tell fractions: those that were rounded would be another table than the store's."""
    points = [Point(0.1, 0), Point(0.30000000000000004, 0.1), Point(1234.56789, 40.25), Point(1234.567891, 40.251)]
    points += [Point(100_000.25, 41), Point(100_000.5, 41.5), Point(99_999_999.5, 1234.56789)]
    for file, its in ((tmp_path / "tank.csv", points), (tmp_path / "single.csv", SINGLE)):
        write_points(file, its)
        assert read_points(file) == its, "gone on with"
        assert imported(file) == its, "by dozor calibration import"
