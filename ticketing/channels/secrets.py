"""Secrets in files: read at each use, so that a changed one counts at once; never logged."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ticketing.core.errors import DeliveryError

LIMIT = 64 * 1024  # a secret is a line; the limit keeps a wrong path from being swallowed whole


async def read_secret(path: Path) -> bytes:
    """The file's content without a trailing newline.

    Raises
    ------
    DeliveryError
        If it cannot be read, or is empty: a key that anybody knows is none.
    """
    return await asyncio.to_thread(_read, path)


async def read_password(path: Path) -> str:
    """The same as text; a byte order mark, as some editors begin a file with, is no part of it.

    Raises
    ------
    DeliveryError
        As `read_secret`, and if it is not UTF-8; what it holds is not told.
    """
    secret = await read_secret(path)
    try:
        return secret.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DeliveryError(f"secret file {path} is not UTF-8") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            secret = file.read(LIMIT)
    except OSError as error:
        raise DeliveryError(f"secret file {path}: {error.strerror}") from error
    secret = secret.removesuffix(b"\n").removesuffix(b"\r")
    if not secret:
        raise DeliveryError(f"secret file {path} is empty")
    return secret
