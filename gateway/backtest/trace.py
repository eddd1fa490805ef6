"""A trace: what arrived, and when, as columns of a numpy `.npz`; written and read in slices, however long it is.

    names      str, shape (t,): the terminals' identities
    terminal   int32, shape (n,): which of `names`; -1 is the gateway itself
    received   int64, shape (n,): µs UTC of the arrival; rows are sorted by it
    time       int64, shape (n,): µs UTC that the terminal told; without a record the arrival
    kind       int8, shape (n,): `Kind`
    ignition   int8, shape (n,): -1 not told, 0 off, 1 on
    any other  float, shape (n,): `moving`, `speed`, `satellites`, `voltage`, `archive`, or a measure; NaN = absent.
               Of a row that tells the end of a connection, `connection.frames`, `connection.malformed` (how many it
               brought) and `connection.ended` (`Ending`)

Rows of one terminal with the same `received` came in one frame. A file is a stranger's: members are never unpickled,
everything they claim is checked, and no more than a slice of each is held.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from enum import IntEnum
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gateway.errors import BacktestError
from gateway.files import place_of
from protocols.records import identity_of

Slice: TypeAlias = dict[str, NDArray[Any]]

SLICE = 1 << 18  # rows: some 10 MB
GATEWAY = -1  # the terminal of rows that are about the gateway itself
CORE: Mapping[str, np.dtype[Any]] = {
    "terminal": np.dtype("<i4"),
    "received": np.dtype("<i8"),
    "time": np.dtype("<i8"),
    "kind": np.dtype("i1"),
    "ignition": np.dtype("i1"),
}
CONNECTION = ("connection.frames", "connection.malformed", "connection.ended")
_NAMES = "names"
_COLUMN = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
_TERMINALS_MOST = 2_000_000
_COLUMNS_MOST = 200
_LONGEST_NAME = 64  # characters, as identities are
_LATEST = 7_258_118_400_000_000  # µs: the year 2200. What is later was told in another unit
_COPIED = 1 << 20  # bytes
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


class Kind(IntEnum):
    """What a row is about."""

    RECORD = 0
    FRAME = 1  # without a record, or a heartbeat
    CONNECTED = 2
    DISCONNECTED = 3
    LISTENING = 10  # from here on the gateway listens
    DEAF = 11  # from here on it does not


class Ending(IntEnum):
    """How a connection ended: the column `connection.ended` of the row that tells of it."""

    IN_ORDER = 0  # closed by the terminal
    LOST = 1  # reset
    TIMED_OUT = 2
    REPLACED = 3  # by a newer one
    OURS = 4  # the gateway ended it for another reason


_OF_TERMINALS = [Kind.RECORD, Kind.FRAME, Kind.CONNECTED, Kind.DISCONNECTED]
_OF_GATEWAY = [Kind.LISTENING, Kind.DEAF]


class TraceWriter:
    """Writes a trace slice by slice; a context manager, at whose end the file is there whole, or not at all."""

    def __init__(self, file: Path, names: list[str], more: Mapping[str, DTypeLike]) -> None:
        """`more`: columns beside the core ones, and their types."""
        self._file = file
        self._names = np.array(names, np.str_)
        self._columns = {**CORE, **{name: np.dtype(dtype) for name, dtype in more.items()}}
        self._stack = ExitStack()
        self._parts: dict[str, IO[bytes]] = {}
        self.rows = 0

    def __enter__(self) -> TraceWriter:
        folder = self._file.absolute().parent
        try:
            for name in self._columns:
                self._parts[name] = self._stack.enter_context(TemporaryFile(dir=folder))
        except OSError as error:
            raise BacktestError(f"{folder}: cannot be written to: {error.strerror}: correct path or rights") from error
        return self

    def append(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows that arrived no earlier than those before; an array of the same length for each column."""
        for name, dtype in self._columns.items():
            columns[name].astype(dtype, copy=False).tofile(self._parts[name])
        self.rows += len(columns["terminal"])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._stack:
            if kind is None:
                self._assemble()

    def _assemble(self) -> None:
        half: Path | None = None
        try:
            place = place_of(self._file)
            half = place.with_name(place.name + ".part")
            with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                with archive.open(f"{_NAMES}.npy", "w") as member:
                    np.lib.format.write_array(member, self._names, allow_pickle=False)
                for name, dtype in self._columns.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        header = {"descr": dtype.str, "fortran_order": False, "shape": (self.rows,)}
                        np.lib.format.write_array_header_1_0(member, header)
                        self._parts[name].seek(0)
                        while data := self._parts[name].read(_COPIED):
                            member.write(data)
            half.replace(place)
        except OSError as error:
            raise BacktestError(
                f"{self._file}: cannot be written: {error.strerror}: make room, or name another"
            ) from error
        finally:
            if half is not None:
                half.unlink(missing_ok=True)


class Trace:
    """A trace that is read.

    Attributes
    ----------
    names : identities of its terminals.
    rows : how many rows it has.
    columns : names of its columns, the core ones first.
    """

    def __init__(self, file: Path) -> None:
        """Look at what the file claims.

        Raises
        ------
        BacktestError
            If it is no trace; it says which member is wrong, and how.
        """
        self.file = file
        try:
            with zipfile.ZipFile(file) as archive:
                members = [info.filename.removesuffix(".npy") for info in archive.infolist()]
                self._check(members)
                self.names = self._read_names(archive)
                self.columns = [*CORE, *(name for name in members if name not in CORE and name != _NAMES)]
                lengths = {}
                for name in self.columns:
                    with archive.open(f"{name}.npy") as member:
                        lengths[name] = self._header(member, name)[0]
        except OSError as error:
            raise BacktestError(f"{file}: cannot be read: {error.strerror}: correct its path or rights") from error
        except _DAMAGE as error:
            raise self._damaged(error) from error
        self.rows = lengths["terminal"]
        for name, length in lengths.items():
            if length != self.rows:
                raise self._wrong(name, f"has {length} rows, and terminal has {self.rows}", "give each a value a row")

    def slices(self, size: int = SLICE) -> Iterator[Slice]:
        """Its rows in order, at most `size` at a time, each an array by column.

        Raises
        ------
        BacktestError
            At the first row that cannot be; it says which.
        """
        before = -(1 << 62)
        try:
            with zipfile.ZipFile(self.file) as archive, ExitStack() as stack:
                members, dtypes = {}, {}
                for name in self.columns:
                    members[name] = stack.enter_context(archive.open(f"{name}.npy"))
                    dtypes[name] = self._header(members[name], name)[1]
                for first in range(0, self.rows, size):
                    count = min(size, self.rows - first)
                    rows = {name: self._read(members[name], name, dtypes[name], count) for name in self.columns}
                    before = self._sound(rows, first, before)
                    yield rows
        except BacktestError:
            raise
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def _check(self, members: list[str]) -> None:
        missing = [name for name in (_NAMES, *CORE) if name not in members]
        if missing:
            raise self._wrong(missing[0], "is missing", "docs/backtest.md says what a trace holds")
        if len(members) > _COLUMNS_MOST or len(set(members)) != len(members):
            raise BacktestError(f"{self.file}: {len(members)} members: at most {_COLUMNS_MOST}, each once")
        for name in members:
            if not _COLUMN.fullmatch(name) or len(name) > _LONGEST_NAME:
                raise self._wrong(
                    repr(name[:_LONGEST_NAME]), "is no name of a column", "take small letters, digits, _ and ."
                )

    def _read_names(self, archive: zipfile.ZipFile) -> list[str]:
        with archive.open(f"{_NAMES}.npy") as member:
            count, dtype = self._header(member, _NAMES)
            if count > _TERMINALS_MOST or dtype.itemsize > 4 * _LONGEST_NAME:
                raise self._wrong(_NAMES, f"{count} of {dtype.itemsize // 4} characters", "at most 2000000 of 64")
            names: list[str] = self._read(member, _NAMES, dtype, count).tolist()
        for at, name in enumerate(names):
            if not name or identity_of(name) != name:
                raise self._wrong(_NAMES, f"number {at}, {name!r}, is no identity", "1 to 64 printable characters")
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise self._wrong(_NAMES, f"{name!r} is there twice", "a terminal has one place")
            seen.add(name)
        return names

    def _header(self, member: IO[bytes], name: str) -> tuple[int, np.dtype[Any]]:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise self._wrong(name, f"is an array of format {version}", "write it with numpy.savez")
        shape, _, dtype = read(member)
        if len(shape) != 1:
            raise self._wrong(name, f"has shape {shape}", "give it one value a row")
        wanted, kinds = ("str", "U") if name == _NAMES else ("integers", "iu") if name in CORE else ("floats", "fiub")
        if dtype.kind not in kinds:
            raise self._wrong(name, f"holds {dtype}", f"give it {wanted}")
        return int(shape[0]), dtype

    def _read(self, member: IO[bytes], name: str, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        wanted = count * dtype.itemsize
        data = member.read(wanted)
        if len(data) != wanted:
            raise self._wrong(name, "ends before its last row", "write the file anew")
        array = np.frombuffer(data, dtype)
        if name in CORE:
            narrow = array.astype(CORE[name])
            if not np.array_equal(narrow, array):
                raise self._wrong(name, f"holds numbers beyond {CORE[name]}", "docs/backtest.md has the units")
            return narrow
        return array.astype(np.float64) if name != _NAMES else array

    def _sound(self, rows: Slice, first: int, before: int) -> int:
        """Refuse a row that cannot be; returns the last arrival."""
        terminal, received, kind, ignition = (rows[name] for name in ("terminal", "received", "kind", "ignition"))
        own = terminal == GATEWAY
        earlier = np.concatenate([[before], received[:-1]])
        for name, wrong, remedy in (
            ("received", received < earlier, "sort the rows by received"),
            ("received", (received < 0) | (received > _LATEST), "give µs since 1970"),
            ("terminal", (terminal < GATEWAY) | (terminal >= len(self.names)), f"there are {len(self.names)} names"),
            ("kind", ~np.isin(kind, _OF_TERMINALS) & ~own, "0 to 3, and of the gateway (terminal -1) 10 or 11"),
            ("kind", ~np.isin(kind, _OF_GATEWAY) & own, "of the gateway (terminal -1) 10 or 11"),
            ("ignition", np.abs(ignition) > 1, "-1, 0 or 1"),
        ):
            if wrong.any():
                at = int(np.argmax(wrong))
                raise self._wrong(name, f"row {first + at}: {rows[name][at]}", remedy)
        return int(received[-1])

    def _wrong(self, name: str, what: str, remedy: str) -> BacktestError:
        return BacktestError(f"{self.file}: {name}: {what}: {remedy}")

    def _damaged(self, error: BaseException) -> BacktestError:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        return BacktestError(f"{self.file}: is no trace, or is damaged: {what}: docs/backtest.md says what a trace is")
