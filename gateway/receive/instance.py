"""The name of this instance: one data directory, whatever process lives on it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

_FILE = "instance"


def instance_name(data_dir: Path) -> str:
    """Made once, kept in the data directory; the same for all of its processes."""
    file = data_dir / _FILE
    with contextlib.suppress(FileNotFoundError):
        name = file.read_text(encoding="ascii", errors="replace").strip()
        if name.isalnum():
            return name
        file.unlink()  # of a file system that lost its contents
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = data_dir / f".{_FILE}-{secrets.token_hex(4)}"
    made.write_text(secrets.token_hex(16) + "\n", encoding="ascii")
    try:
        os.link(made, file)  # whole, or another process was quicker
    except FileExistsError:
        pass
    finally:
        made.unlink()
    return file.read_text(encoding="ascii").strip()
