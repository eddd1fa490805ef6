"""System parts that tests run for real: looked for on this machine, else unpacked from Debian's packages into a cache.

    python tools/parts.py [promtool|amtool|nginx|caddy|mosquitto|dovecot|chromium|timescaledb|axe] …
        fetch, say where they are

Nothing is installed and no service is started: packages are downloaded with `apt-get` (which checks their signatures)
into `$DOZOR_CACHE` (default ``~/.cache/dozor``) and unpacked there with `dpkg`. Needs neither root nor package
lists; where there is no apt, or no network, `PartMissingError` says so. Standard library only: the set-up uses it too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# How parts are laid out below the cache; one of another layout is fetched anew. Raise it with every change.
LAYOUT = "2"

# TimescaleDB is in Debian since trixie. Its libc is newer than that of the machines we run on, so the whole closure is
# taken from there and started by its own loader.
TIMESCALEDB_SOURCE = (
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main"
)
POSTGRESQL = "usr/lib/postgresql/17"
# In the closure, but nothing the server runs needs it: wrappers in perl, accounts, questions, the JIT's compiler.
UNNEEDED = re.compile(
    r"(lib)?perl|.*-perl$|debconf|adduser|passwd|login|lib(c-)?l10n|locales|libllvm|libz3|openssl$|ssl-cert|postgresql-"
    r"(common|client-common)|procps|libproc2|ucf|sensible-utils|netbase|libpam-modules|libsemanage|libsepol|sysvinit|base-|"
    r"dpkg|tar$|libc-bin|libnewt|tzdata"
)
PRUNED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/perl*", "usr/lib/postgresql/*/lib/bitcode")


AXE = (
    "4.14.1",
    "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
)  # Version of axe-core, SHA-256 of its package


class PartMissingError(Exception):
    """The part cannot be had here; the text says why."""


def cache() -> Path:
    return Path(os.environ.get("DOZOR_CACHE") or Path.home() / ".cache" / "dozor") / "parts"


@dataclass(frozen=True, slots=True)
class Apt:
    """apt with state of its own below `state`; `source` in place of the machine's sources and of what is installed."""

    state: Path
    source: str | None = None

    def run(self, *arguments: str, folder: Path | None = None) -> str:
        if not (shutil.which("apt-get") and shutil.which("dpkg")):
            raise PartMissingError("no apt-get and dpkg on this machine")
        lists, archives = self.state / "lists", self.state / "archives"
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        lines = [
            f'Dir::State::lists "{lists}";',
            f'Dir::Cache "{self.state}";',
            f'Dir::Cache::archives "{archives}";',
            'Acquire::Languages "none";',
            'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
            'Acquire::Retries "2";',
            'Acquire::http::Timeout "20";',
            'Debug::NoLocking "true";',
            f'APT::Sandbox::User "{"root" if os.geteuid() == 0 else ""}";',
        ]
        if self.source is not None:
            (self.state / "sources.list").write_text(self.source + "\n")
            (self.state / "status").touch()
            lines += [
                f'Dir::Etc::sourcelist "{self.state / "sources.list"}";',
                'Dir::Etc::sourceparts "/dev/null";',
                'Dir::Etc::preferencesparts "/dev/null";',
                f'Dir::State::status "{self.state / "status"}";',
            ]
        (self.state / "apt.conf").write_text("\n".join(lines) + "\n")
        environ = os.environ | {"APT_CONFIG": str(self.state / "apt.conf"), "LC_ALL": "C"}
        command = ["apt-get", "-q", *arguments]
        try:
            done = subprocess.run(
                command, env=environ, cwd=folder, capture_output=True, text=True, check=False, timeout=900
            )
        except subprocess.TimeoutExpired:
            raise PartMissingError(f"{' '.join(command[:3])} took more than 900 s") from None
        if done.returncode:
            told = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[-1]
            raise PartMissingError(f"{' '.join(command[:3])}: {told}")
        return done.stdout

    def update(self) -> None:
        """Fetch the lists; one source of several that fails is no failure, and apt says nothing when all do."""
        self.run("update")
        if not any((self.state / "lists").glob("*_Packages*")):
            raise PartMissingError("apt-get update brought no package lists: is there a network?")

    def closure(self, *packages: str) -> list[str]:
        """`packages` and all they need beyond what is installed, as ``name=version``."""
        planned = self.run("install", "--simulate", "--no-install-recommends", *packages)
        found = re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+) ", planned, re.MULTILINE)
        return [f"{name}={version}" for name, version in found]

    def unpack(self, packages: list[str], root: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self.state) as name:
            folder = Path(name)
            self.run("download", *packages, folder=folder)
            for package in sorted(folder.glob("*.deb")):
                subprocess.run(["dpkg", "-x", str(package), str(root)], check=True, capture_output=True, timeout=300)
        for pattern in PRUNED:
            for unneeded in root.glob(pattern):
                shutil.rmtree(unneeded)


@contextmanager
def _once(name: str) -> Iterator[tuple[Path, bool]]:
    """The part's folder, and whether it has to be filled; what is left half-done by an interruption is done again."""
    home = cache()
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / f"{name}.lock").open("w")
    except OSError as error:
        raise PartMissingError(f"cannot write to {home}: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root, done = home / name, home / name / ".complete"
        missing = not done.exists() or done.read_text() != LAYOUT
        if missing and root.exists():
            shutil.rmtree(root)
        root.mkdir(exist_ok=True)
        yield root, missing
        if missing:
            done.write_text(LAYOUT)


def _libraries(root: Path) -> str:
    """Folders of shared libraries below `root`, as the loader wants them."""
    main = [*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")]
    private = sorted({library.parent for folder in main for library in folder.glob("*/lib*.so*")})
    return ":".join(map(str, (*main, *private)))


def _script(path: Path, *lines: str) -> None:
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(0o755)


def _try(program: Path, version: str = "--version", code: int = 0) -> None:
    """What was unpacked has to start, or it is as good as missing; `code` is what it ends with then."""
    done = subprocess.run([program, version], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != code:
        raise PartMissingError(f"{program.name} does not start here: {done.stderr.strip()[-300:]}")


def _program(
    name: str, package: str, *, folder: str = "usr/bin", unneeded: str = "", version: str = "--version"
) -> Path:
    """The program `name` of a package that needs no other; `unneeded` comes along and nothing here starts it."""
    if found := shutil.which(name):
        return Path(found)
    with _once(name) as (root, missing):
        program = root / folder / name
        if missing:
            apt = Apt(root / "apt")
            apt.update()
            apt.unpack([package], root)
            shutil.rmtree(root / "apt")
            if unneeded:
                (root / folder / unneeded).unlink()
            if not program.exists():
                raise PartMissingError(f"the package {package} holds no {folder}/{name}")
            _try(program, version)
        return program


def promtool() -> Path:
    """Prometheus' checker of rules and metrics."""
    return _program("promtool", "prometheus", unneeded="prometheus")  # 50 MB less


def amtool() -> Path:
    """Alertmanager's checker of configurations."""
    return _program("amtool", "prometheus-alertmanager", unneeded="prometheus-alertmanager")  # 24 MB less


def nginx() -> Path:
    """A proxy, as the documents have it before the desk."""
    return _program("nginx", "nginx", folder="usr/sbin", version="-v")


def caddy() -> Path:
    """Another one."""
    return _program("caddy", "caddy", version="version")


def mosquitto() -> Path:
    """An MQTT broker, with the libraries this machine lacks."""
    if found := shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"):
        return Path(found)
    with _once("mosquitto") as (root, missing):
        start = root / "start" / "mosquitto"
        if missing:
            apt = Apt(root / "apt")
            apt.update()
            apt.unpack(apt.closure("mosquitto"), root)
            shutil.rmtree(root / "apt")
            start.parent.mkdir()
            program = next(root.glob("usr/*bin/mosquitto"), None)
            if program is None:
                raise PartMissingError("the package mosquitto holds no program of that name")
            _script(start, f'export LD_LIBRARY_PATH="{_libraries(root)}"', f'exec "{program}" "$@"')
            _try(start, "-h", code=3)  # its help, with the version
        return start


def dovecot() -> Path:
    """An IMAP server: a folder that holds its ``usr/``. Its programs know their paths: copy it before use."""
    with _once("dovecot") as (root, missing):
        if missing:
            apt = Apt(root / "apt")
            apt.update()
            apt.unpack(apt.closure("dovecot-imapd"), root)
            shutil.rmtree(root / "apt")
            if not (root / "usr/sbin/dovecot").exists():
                raise PartMissingError("the package dovecot-imapd holds no usr/sbin/dovecot")
        return root


def chromium() -> Path:
    """A browser that Playwright can drive, with the libraries and the fonts this machine lacks."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return Path(found)
    with _once("chromium") as (root, missing):
        start = root / "start" / "chromium"
        if missing:
            apt = Apt(root / "apt")
            apt.update()
            apt.unpack(apt.closure("chromium", "fonts-dejavu-core"), root)
            shutil.rmtree(root / "apt")
            (root / "fonts.conf").write_text(
                '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
                f"<dir>{root / 'usr/share/fonts'}</dir><dir>/usr/share/fonts</dir>"
                f"<cachedir>{root / 'fontcache'}</cachedir></fontconfig>\n"
            )
            start.parent.mkdir()
            _script(
                start,
                f'export LD_LIBRARY_PATH="{_libraries(root)}"',
                f'export FONTCONFIG_FILE="{root / "fonts.conf"}"',
                f'exec "{root / "usr/lib/chromium/chromium"}" "$@"',
            )
            _try(start)
        return start


def timescaledb() -> Path:
    """A PostgreSQL installation with TimescaleDB: a folder that has ``bin/`` below it. It may be copied elsewhere."""
    with _once("timescaledb") as (root, missing):
        if missing:
            apt = Apt(root / "apt", TIMESCALEDB_SOURCE)
            apt.update()
            closure = apt.closure("postgresql-17", "postgresql-17-timescaledb")
            apt.unpack([package for package in closure if not UNNEEDED.match(package.split("=")[0])], root)
            shutil.rmtree(root / "apt")
            _wrap_programs(root)
            _try(root / POSTGRESQL / "bin" / "postgres")
        return root / POSTGRESQL


def _wrap_programs(root: Path) -> None:
    """Put a script in each program's place that starts it with the loader and the libraries it was built for."""
    loader = next(iter((*root.glob("usr/lib64/ld-linux-*"), *root.glob("usr/lib/*-linux-gnu/ld-linux-*"))), None)
    if loader is None:
        raise PartMissingError("libc's loader is not where it is known to be")
    libraries = ":".join(f"$root/{Path(path).relative_to(root)}" for path in _libraries(root).split(":"))
    for program in ("postgres", "initdb", "pg_ctl", "psql"):
        path = root / POSTGRESQL / "bin" / program
        path.rename(path.with_suffix(".real"))
        _script(
            path,
            # PostgreSQL finds its folders from its own path, which stays this script's.
            'here=$(dirname "$(readlink -f "$0")")',
            'root=$(readlink -f "$here/../../../../..")',
            f'exec "$root/{loader.relative_to(root)}" --argv0 "$here/{program}" --library-path "{libraries}" '
            f'"$here/{program}.real" "$@"',
        )


def pip_wheel() -> Path:
    """pip as a wheel that Python can run as it is, for machines whose Python came without it."""
    with _once("pip") as (root, missing):
        if missing:
            apt = Apt(root / "apt")
            apt.update()
            apt.unpack(["python3-pip-whl"], root)
            shutil.rmtree(root / "apt")
        return next(root.glob("usr/share/python-wheels/pip-*.whl"))


def axe() -> Path:
    """axe-core, the accessibility rules that run in a page: one script, of npm's package."""
    with _once(f"axe-{AXE[0]}") as (root, missing):
        if missing:
            npm = shutil.which("npm")
            if npm is None:
                raise PartMissingError("no npm on this machine")
            done = subprocess.run(
                [npm, "pack", "--silent", f"axe-core@{AXE[0]}"],
                cwd=root, capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
            package = root / f"axe-core-{AXE[0]}.tgz"
            if done.returncode or not package.is_file():
                raise PartMissingError(f"npm did not bring axe-core: {done.stderr.strip()[-300:]}")
            if hashlib.sha256(package.read_bytes()).hexdigest() != AXE[1]:
                raise PartMissingError("npm brought another axe-core than the one that is pinned")
            with tarfile.open(package) as archive:
                script = archive.extractfile("package/axe.min.js")
                if script is None:
                    raise PartMissingError("axe-core's package holds no axe.min.js")
                (root / "axe.min.js").write_bytes(script.read())
            package.unlink()
        return root / "axe.min.js"


PARTS: dict[str, Callable[[], Path]] = {
    "promtool": promtool,
    "amtool": amtool,
    "nginx": nginx,
    "caddy": caddy,
    "mosquitto": mosquitto,
    "dovecot": dovecot,
    "chromium": chromium,
    "timescaledb": timescaledb,
    "axe": axe,
}


def main(names: list[str]) -> int:
    missing = 0
    for name in names or PARTS:
        if name not in PARTS:
            print(f"there is no part {name!r}: known are {', '.join(PARTS)}", file=sys.stderr)
            return 2
        try:
            print(f"{name}: {PARTS[name]()}")
        except PartMissingError as error:
            print(f"{name}: {error}", file=sys.stderr)
            missing += 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
