"""Public decoders of pinned version, for comparison. Each is unpacked into a cache and runs in a process of its own.

    mgf-tele-teltonika   Codec 8 and 8E; its own checksum is a loop over bits, so the figure without it stands beside
    omnicomm             containers and protobuf to dictionaries. Its pinned protobuf has no compiled reader for this
                         Python, so it gets the one that Dozor uses, which is far faster

No public Wialon IPS parser is on the package index. A package that cannot be had is left out by name.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.processes import ROOT, ask

PACKAGES = {"teltonika": "mgf-tele-teltonika 0.1.3", "omnicomm": "omnicomm 0.4.1"}
_HERE = Path(__file__).resolve().parent


class PackageMissingError(Exception):
    """The package cannot be had here; the text says why."""


def measure(protocol: str, frames: Path, seconds: float) -> dict[str, float]:
    """Records per second by name; `frames` holds one frame a line, in hex.

    Raises
    ------
    PackageMissingError
        If it cannot be fetched, or does not run.
    """
    folder = _unpacked(protocol)
    path = os.pathsep.join([str(folder), str(ROOT)])
    try:
        told = ask(
            "bench.public.run", protocol, str(frames), str(seconds), timeout=seconds * 4 + 60,
            environment={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    except RuntimeError as error:
        raise PackageMissingError(f"{PACKAGES[protocol]}: {error}") from error
    return {f"{PACKAGES[protocol]}{what}": round(rate, 1) for what, rate in told.items()}


def _unpacked(protocol: str) -> Path:
    """The folder it lies in; fetched on first use, by the hashes that are written down here."""
    pins = _HERE / f"{protocol}.txt"
    cache = Path(os.environ.get("DOZOR_CACHE") or Path.home() / ".cache" / "dozor") / "bench"
    folder = cache / f"{PACKAGES[protocol].replace(' ', '-')}-{sys.version_info.major}.{sys.version_info.minor}"
    if (folder / "whole").exists():
        return folder
    environment = {"UV_HTTP_TIMEOUT": "15", **os.environ}
    if environment.get("PIP_CERT"):
        environment.setdefault("SSL_CERT_FILE", environment["PIP_CERT"])
    command = [
        str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--python", sys.executable,
        "--target", str(folder), "--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(pins),
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=90)
    except subprocess.CalledProcessError as error:
        raise PackageMissingError(f"{PACKAGES[protocol]}: {error.stderr.strip()[-300:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackageMissingError(f"{PACKAGES[protocol]}: {error}") from error
    (folder / "whole").touch()
    return folder
