"""`dozor backup` and `dozor restore`: the embedded store, the spool and the secrets in one file, and back."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from gateway.commands.common import load_settings, with_embedded
from gateway.configuration.settings import Settings
from gateway.errors import BackupError, InUseError
from gateway.service.lock import DataDirectoryLock
from gateway.store import backup as written
from gateway.store import restore as read


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="where to; one of that name is replaced when the new is whole"
    )


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `dozor backup` wrote")
    parser.add_argument("--replace", action="store_true", help="put it in place of the data that are there")


def backup(args: argparse.Namespace) -> int:
    """Write one; works while the service runs and while it does not."""
    settings = _embedded_only(load_settings(args), "back up")
    places = ("postgres", "restore.new", "restore.old")  # also what a restore that was cut off has left
    if not any(os.path.exists(settings.data_dir / name) for name in places):  # no right to look: False
        raise BackupError(
            f"{settings.data_dir}: no store is there, and an empty one is no back-up: name the data directory "
            f"(data_dir in the file that --config names, or DOZOR_DATA_DIR)"
        )
    manifest = with_embedded(settings, lambda server: written.backup(server, args.file))
    size = args.file.stat().st_size
    print(f"{args.file}: {size} bytes, version {manifest.version}, schema {manifest.schema}")
    return 0


def restore(args: argparse.Namespace) -> int:
    """Make a data directory of one; the service must not run."""
    settings = _embedded_only(load_settings(args), "restore into")
    try:
        args.file.open("rb").close()
    except OSError as error:
        raise BackupError(f"{args.file}: {error.strerror}: name a file that `dozor backup` wrote") from error
    lock = DataDirectoryLock(settings.data_dir)
    try:
        lock.acquire()
    except InUseError as error:
        raise InUseError(f"{error}; a restore needs the service stopped") from error
    try:
        print(f"restoring into {settings.data_dir} …", file=sys.stderr)
        manifest = read.restore(args.file, settings.data_dir, replace=args.replace)
    finally:
        lock.release()
    print(
        f"{settings.data_dir}: as of {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC, written by version {manifest.version}"
    )
    return 0


def _embedded_only(settings: Settings, what: str) -> Settings:
    if settings.store.dsn:
        raise BackupError(
            f"store.dsn is set: {what} that database with its own tools (pg_dump, pg_basebackup), and copy "
            f"{settings.data_dir} while the service is stopped"
        )
    return settings
