"""One file that holds an instance whole: the embedded store, the spool, and whatever else lies in the data directory.

    FILE (a zip; what is in it is compressed already or small)
      manifest.json              format, version, schema, when
      spool/…                    acknowledged frames that are not in the store yet
      files/…                    secrets and other files of the data directory
      postgres/dozor.local.conf  the database's own settings, if somebody made any
      store.dump                 pg_dump's custom format: any later PostgreSQL reads it

The spool is copied before the database is: a frame that is drained meanwhile is in both, and the store's unique keys
make it one row. The other way round it would be in neither. So the back-up holds everything that was acknowledged
before it began, and some of what came while it ran.

A file appears under its name only when it is whole and on disk; a zip that was cut has no directory and is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import structlog

from gateway import VERSION
from gateway.errors import BackupError
from gateway.files import place_of
from gateway.store.embedded import EmbeddedServer, plain_environment

_log = structlog.get_logger()

FORMAT = 1
MANIFEST, DUMP, LOCAL = "manifest.json", "store.dump", "postgres/dozor.local.conf"
SPOOL, FILES = "spool/", "files/"
# Made anew where it is restored, or by nobody but the service that runs.
NOT_KEPT = frozenset({"postgres", "postgres.new", "postgres-bin", "spool", "dozor.lock", "restore.new", "restore.old"})
_PIECE = 1 << 20


class Manifest(msgspec.Struct, frozen=True):
    """What a back-up says of itself; `schema` is the number of the last migration in it."""

    format: int
    version: str
    schema: int
    created_at: datetime


def backup(server: EmbeddedServer, file: Path) -> Manifest:
    """Write everything of a running embedded store's data directory to `file`, in place of an older one. Blocking.

    Raises
    ------
    BackupError
        If it cannot be written whole; then nothing new is there under that name.
    """
    try:
        place = place_of(file)
    except OSError as error:
        raise BackupError(f"{file} cannot be written: {error.strerror}: name another file") from error
    partial = place.with_name(f".{place.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w+b") as out:
            with zipfile.ZipFile(out, "w") as archive:
                manifest = Manifest(FORMAT, VERSION, _schema(server), datetime.now(UTC))
                archive.writestr(MANIFEST, msgspec.json.encode(manifest))
                _put_folder(archive, server.data_dir / "spool", SPOOL.rstrip("/"))
                for entry in sorted(server.data_dir.iterdir()):
                    if entry.name not in NOT_KEPT:
                        put = _put_folder if entry.is_dir() and not entry.is_symlink() else _put
                        put(archive, entry, f"{FILES}{entry.name}")
                _put(archive, server.cluster / "dozor.local.conf", LOCAL)
                _dump(server, archive)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(place)
        sync_folder(place.parent)
    except OSError as error:
        raise BackupError(f"{file} cannot be written: {error.strerror or error}: nothing was left there") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return manifest


def _schema(server: EmbeddedServer) -> int:
    with psycopg.connect(server.dsn) as link:
        row = link.execute("SELECT max(number) FROM schema_version").fetchone()
    return int(row[0]) if row is not None and row[0] is not None else 0


def _put_folder(archive: zipfile.ZipFile, folder: Path, name: str) -> None:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for each in sorted(names):
            path = Path(parent, each)
            _put(archive, path, f"{name}/{path.relative_to(folder)}")


def _put(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    """One file as it is now; one that is gone meanwhile, such as a segment that was drained, is left out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError as error:
        if path.is_symlink() or stat.S_ISSOCK(path.lstat().st_mode):
            _log.warning("not in the back-up: no plain file", file=str(path))
            return
        raise BackupError(f"{path} cannot be read: {error.strerror}: correct its rights, or move it away") from error
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            _log.warning("not in the back-up: no plain file", file=str(path))
            return
        with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as out:
            shutil.copyfileobj(source, out, _PIECE)


def _dump(server: EmbeddedServer, archive: zipfile.ZipFile) -> None:
    command = [
        server.tool("pg_dump"), "--format=custom", "--compress=gzip:1", "--no-owner", "--no-privileges",
        f"--dbname={server.dsn}",
    ]  # fmt: skip
    with run_tool(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101  # a pipe was asked for
        with archive.open(zipfile.ZipInfo(DUMP), "w", force_zip64=True) as out:
            shutil.copyfileobj(process.stdout, out, _PIECE)


@contextlib.contextmanager
def run_tool(command: list[str], **pipes: Any) -> Iterator[subprocess.Popen[bytes]]:
    """One of PostgreSQL's programs; ended when the block is left early.

    Raises
    ------
    BackupError
        If it fails, with the last of what it said.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stderr=said, env=plain_environment(), **pipes)
        broken: BaseException | None = None
        try:
            yield process
        except BaseException as error:
            broken = error
            if not isinstance(error, BrokenPipeError):  # it has ended by itself, and says why
                process.kill()
                raise
        finally:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            process.wait()
        if process.returncode or broken is not None:
            said.seek(max(0, said.seek(0, os.SEEK_END) - 2000))
            told = said.read().decode(errors="replace").strip() or f"it ended with {process.returncode}"
            raise BackupError(f"{Path(command[0]).name} failed: {told}")


def read_manifest(archive: zipfile.ZipFile) -> Manifest:
    """What the back-up says of itself.

    Raises
    ------
    BackupError
        If it is none, or of a later version.
    """
    try:
        with archive.open(MANIFEST) as source:
            manifest = msgspec.json.decode(source.read(1 << 16), type=Manifest)
        archive.getinfo(DUMP)
    except (KeyError, msgspec.MsgspecError, zipfile.BadZipFile) as error:
        raise BackupError("it is a zip, but no back-up of dozor") from error
    if manifest.format > FORMAT:
        raise BackupError(f"version {manifest.version} wrote it, which this one does not read: take that version")
    return manifest


def sync_folder(folder: Path) -> None:
    """Make what its names say durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
