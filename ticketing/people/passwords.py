"""Passwords: argon2id in threads, so that a login never holds up the event loop.

    PasswordError
    └── BusyError   too many logins wait already

One verification takes some 50 ms of a core and 64 MiB; how many run and how many wait is bounded, so that a flood
of logins costs neither memory nor the gateway's own work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MAX_PASSWORD_BYTES = 1024  # argon2 takes any length; hashing megabytes is only work for us

T = TypeVar("T")


class PasswordError(ValueError):
    """A password that cannot be taken."""


class BusyError(PasswordError):
    """Too many logins wait already; come back later."""


class Passwords:
    """Hash and verify. `threads` run at once, `waiting` more may queue behind them."""

    def __init__(self, *, threads: int = 2, waiting: int = 32, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._room = threads + waiting
        self._busy = 0
        # Verified when the name is unknown, so that the answer takes as long as for a known one.
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """The encoded argon2id hash of `password`.

        Raises
        ------
        PasswordError
            If it is empty or longer than 1024 bytes.
        BusyError
            If too many wait already.
        """
        check(password)
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether `password` is the one behind `encoded`; None (no such user) costs the same and is False."""
        if not 0 < len(password.encode(errors="replace")) <= MAX_PASSWORD_BYTES:
            return False
        return await self._run(lambda: self._verify(encoded, password))

    def close(self) -> None:
        """Stop the threads; verifications that wait are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, encoded: str | None, password: str) -> bool:
        if encoded is None and self._decoy is None:
            self._decoy = self._hasher.hash("no such user")
        try:
            self._hasher.verify(encoded or self._decoy or "", password)
        except (VerificationError, InvalidHashError):
            return False
        return encoded is not None

    async def _run(self, work: Callable[[], T]) -> T:
        if self._busy >= self._room:
            raise BusyError("too many logins at once")
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._busy -= 1


def check(password: str) -> None:
    """Refuse what cannot be a password.

    Raises
    ------
    PasswordError
        If it is empty or longer than 1024 bytes.
    """
    if not password:
        raise PasswordError("the password is empty")
    if len(password.encode(errors="replace")) > MAX_PASSWORD_BYTES:
        raise PasswordError(f"the password is longer than {MAX_PASSWORD_BYTES} bytes")
