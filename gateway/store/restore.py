"""A back-up becomes a data directory: built whole beside the old data, then put in their place by renames.

    data_dir/restore.new   being built; without its file `whole` it is rubbish of a restore that was cut
    data_dir/restore.old   what was replaced, until the last rename is done

A restore that is cut while it builds has changed nothing. One that is cut between the renames is finished by the next
start of anything that takes the directory (`finish`): the renames that are left are done, in the same order.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import psycopg

from gateway.errors import BackupError
from gateway.store.backup import DUMP, FILES, LOCAL, NOT_KEPT, SPOOL, Manifest, read_manifest, run_tool, sync_folder
from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate, migrations

_NEW, _OLD = "restore.new", "restore.old"
_WHOLE, _AWAY = "whole", "all is away"  # marks: built; nothing of the old data lies in place any more
# What may be moved away and come anew; the lock stays where its holder has it.
_OURS = NOT_KEPT - {"dozor.lock", "postgres-bin", _NEW, _OLD}
_PIECE = 1 << 20
_MODE = 0o600
_PART = re.compile(r"[^/\0]{1,255}")


def is_empty(data_dir: Path) -> bool:
    """Whether no data lie there yet."""
    return not any(entry.name not in ("dozor.lock", "postgres-bin", _NEW) for entry in data_dir.iterdir())


def restore(file: Path, data_dir: Path, *, replace: bool) -> Manifest:
    """Build what `file` holds and put it in place. Blocking; the caller holds the directory's lock.

    Raises
    ------
    BackupError
        If `file` is no whole back-up of this or an earlier version, or there are data and not `replace`; then
        everything is as it was.
    """
    if not replace and not is_empty(data_dir):
        raise BackupError(f"{data_dir} holds data already: set another data_dir, or say --replace")
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = read_manifest(archive)
            newest = migrations()[-1][0]
            if manifest.schema > newest:
                raise BackupError(
                    f"{file}: its schema is at {manifest.schema}, this version knows {newest}: take dozor "
                    f"{manifest.version} or later"
                )
            _end_server(data_dir)  # it outlived a service that was killed
            _build(archive, data_dir / _NEW)
    except (zipfile.BadZipFile, EOFError) as error:
        shutil.rmtree(data_dir / _NEW, ignore_errors=True)
        raise BackupError(f"{file} is damaged or not whole ({error}): take another back-up") from error
    except (OSError, psycopg.Error) as error:
        shutil.rmtree(data_dir / _NEW, ignore_errors=True)
        raise BackupError(f"{file} was not restored, all is as it was: {error}") from error
    except BaseException:
        shutil.rmtree(data_dir / _NEW, ignore_errors=True)
        raise
    finish(data_dir)
    return manifest


def _end_server(folder: Path) -> None:
    if (folder / "postgres").exists() and (server := EmbeddedServer(folder)).is_running():
        server.stop()


def _build(archive: zipfile.ZipFile, new: Path) -> None:
    _end_server(new)  # of a restore that was killed
    shutil.rmtree(new, ignore_errors=True)
    for info in archive.infolist():
        for prefix, folder in ((SPOOL, new / "spool"), (FILES, new / "files")):
            if info.filename.startswith(prefix):
                _extract(archive, info, folder, info.filename.removeprefix(prefix))
    server = EmbeddedServer(new)
    server.ensure_running()
    try:
        command = [server.tool("pg_restore"), "--exit-on-error", "--no-owner", f"--dbname={server.dsn}"]
        with run_tool(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process, archive.open(DUMP) as dump:
            assert process.stdin is not None  # noqa: S101  # a pipe was asked for
            shutil.copyfileobj(dump, process.stdin, _PIECE)
        migrate(server.dsn)
    finally:
        server.stop()
    if LOCAL in archive.namelist():
        _extract(archive, archive.getinfo(LOCAL), server.cluster, "dozor.local.conf")
        shutil.chown(server.cluster / "dozor.local.conf", server.cluster.stat().st_uid, server.cluster.stat().st_gid)
    shutil.rmtree(new / "postgres-bin", ignore_errors=True)  # data_dir has its own, or makes it
    (new / "dozor.lock").unlink(missing_ok=True)
    os.sync()
    (new / _WHOLE).touch()
    sync_folder(new)


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, name: str) -> None:
    """One file below `folder`, wherever its name would rather lie."""
    parts = name.split("/")
    ours = info.filename == FILES + name and parts[0] in NOT_KEPT  # in whose place it would be put
    if ours or len(parts) > 32 or not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts):
        raise BackupError(f"it holds a file by the name {info.filename!r}: not written by dozor")
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with os.fdopen(descriptor, "wb") as out, archive.open(info) as source:
        shutil.copyfileobj(source, out, _PIECE)


def finish(data_dir: Path) -> bool:
    """Put a restore that was built whole in place, wherever an earlier attempt was cut; whether there was one."""
    new, old = data_dir / _NEW, data_dir / _OLD
    if not (new / _WHOLE).exists():
        shutil.rmtree(old, ignore_errors=True)  # the last rename was done, and the clearing up was cut
        return False
    old.mkdir(exist_ok=True, mode=0o700)
    files = sorted(entry.name for entry in (new / "files").iterdir()) if (new / "files").exists() else []
    if not (old / _AWAY).exists():  # else what lies there is new already
        for name in (*sorted(_OURS), *files):
            if (data_dir / name).exists():
                (data_dir / name).rename(old / name)
        (old / _AWAY).touch()
        sync_folder(old)
    for name in sorted(_OURS):
        if (new / name).exists():
            (new / name).rename(data_dir / name)
    for name in files:
        (new / "files" / name).rename(data_dir / name)
    sync_folder(data_dir)
    (new / _WHOLE).unlink()
    shutil.rmtree(new)
    shutil.rmtree(old)
    return True
