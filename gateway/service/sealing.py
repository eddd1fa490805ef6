"""The key that seals secrets in the store: a file in `data_dir`, made at the first start."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gateway.errors import GatewayError
from ticketing.core.sealed import KEY_BYTES, Seal

NAME = "secrets.key"


def seal_in(data_dir: Path) -> Seal:
    """The seal of this instance. Without the file, what was sealed with it cannot be read: it belongs into a backup.

    Raises
    ------
    GatewayError
        If the file is not such a key, or cannot be read or made.
    """
    path = data_dir / NAME
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_bytes()
        else:
            key = secrets.token_bytes(KEY_BYTES)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise GatewayError(f"{path}: {error.strerror}: the service must be able to read and make it") from error
    if len(key) != KEY_BYTES:
        raise GatewayError(f"{path} has {len(key)} bytes, not {KEY_BYTES}: put the file of a backup in its place")
    return Seal(key)
