"""Make `.venv` with the locked dependencies and `dozor` itself. Needs only Python 3.11 and its standard library.

    python3 tools/bootstrap.py

Debian's python3 comes without pip and without the means to bring it (python3-venv, python3-pip); then pip is unpacked
from Debian's own package of it, and not installed. pip fetches one thing, the pinned uv, and checks its hash; uv
fetches the rest, all pinned with hashes in requirements.lock.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
VENV = HERE / ".venv"
LOCK = HERE / "requirements.lock"
FOLDERS = ("gateway", "protocols", "detectors", "ticketing")


def main() -> int:
    if sys.version_info < (3, 11):
        print(
            f"Dozor needs Python 3.11 or later, and this is {sys.version.split()[0]}: name another, "
            "such as `make setup PYTHON=python3.12`",
            file=sys.stderr,
        )
        return 2
    begun = time.monotonic()
    if not _works(VENV / "bin" / "python"):
        _step("making .venv")
        _make_venv()
    _step("fetching uv, which fetches the rest")
    _install_uv()
    uv = [str(VENV / "bin" / "uv"), "pip"]
    python = ["--python", str(VENV / "bin" / "python")]
    locked = len(re.findall(r"^[A-Za-z0-9._-]+==", LOCK.read_text(), re.MULTILINE))
    _step(f"installing what requirements.lock pins, up to {locked} packages: a minute where none is in uv's cache")
    # Compiled here: a service that may not write into its environment would compile half of it at each start (3 s).
    quiet = [] if sys.stderr.isatty() else ["--quiet"]  # uv's bars are for people
    _run([*uv, "sync", *quiet, "--compile-bytecode", *python, "--require-hashes", str(LOCK)])
    _step("installing dozor itself")
    # --no-build-isolation: the build back end is in the lock too.
    _run([*uv, "install", "--quiet", *python, "--no-deps", "--no-build-isolation", "--editable", str(HERE)])
    _run([str(VENV / "bin" / "python"), "-m", "compileall", "-q", *[str(HERE / folder) for folder in FOLDERS]])
    _step(f"done in {time.monotonic() - begun:.0f} s: .venv/bin/dozor help, or make demo")
    return 0


def _step(text: str) -> None:
    print(f"set-up: {text}", file=sys.stderr, flush=True)


def _works(python: Path) -> bool:
    """Whether the environment is whole and of a Python that still serves; a moved or half-made one is made anew."""
    try:
        probe = "import sys; print(sys.prefix, sys.version_info >= (3, 11))"
        told = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return told.split() == [str(VENV), "True"]


def _make_venv() -> None:
    if VENV.exists():
        shutil.rmtree(VENV)
    _run([sys.executable, "-m", "venv", "--without-pip", str(VENV)])


def _pip() -> list[str]:
    """A command that runs pip for the environment; of the places it may come from, the quickest first."""
    into = ["--python", str(VENV / "bin" / "python"), "--disable-pip-version-check"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", *into]
    if importlib.util.find_spec("ensurepip"):
        try:
            _run([str(VENV / "bin" / "python"), "-m", "ensurepip", "--default-pip"], quiet=True)
        except subprocess.CalledProcessError:
            pass  # Debian leaves the module there and takes its wheels away
        else:
            return [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    sys.path.insert(0, str(HERE / "tools"))
    import parts

    try:
        return [sys.executable, str(parts.pip_wheel() / "pip"), *into]
    except parts.PartMissingError as error:
        raise SystemExit(f"python3 has no pip, and it cannot be had ({error}): install python3-venv") from None


def _install_uv() -> None:
    """The pinned uv, hash-checked; nothing where it is there already."""
    entry = re.search(r"^uv==(\S+) \\\n(?:    --hash=\S+(?: \\)?\n)+", LOCK.read_text(), re.MULTILINE)
    if entry is None:
        raise SystemExit("requirements.lock does not pin uv: run `make lock`")
    program = VENV / "bin" / "uv"
    if program.exists():
        told = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False, timeout=60)
        if told.stdout.split()[1:2] == [entry[1]]:
            return
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder) / "uv.txt"
        requirement.write_text(entry[0])
        _run([*_pip(), "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(requirement)])


def _run(command: list[str], *, quiet: bool = False) -> None:
    output = subprocess.DEVNULL if quiet else None
    # uv keeps no record of pip's settings: hand on the certificates of those who set them for pip only.
    environ = dict(os.environ)
    if environ.get("PIP_CERT"):
        environ.setdefault("SSL_CERT_FILE", environ["PIP_CERT"])
    if environ.get("PIP_INDEX_URL"):
        environ.setdefault("UV_DEFAULT_INDEX", environ["PIP_INDEX_URL"])
    # Nothing is to be taken from another environment that happens to be active.
    environ.pop("VIRTUAL_ENV", None)
    subprocess.run(command, check=True, env=environ, stdout=output, stderr=output)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(map(str, error.cmd[:4]))} … failed with {error.returncode}", file=sys.stderr)
        sys.exit(1)
