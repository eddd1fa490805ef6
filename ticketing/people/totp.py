"""The second factor: codes of an authenticator app (TOTP, RFC 6238: SHA-1, six digits, 30 s), and recovery codes.

A code is taken once: the step it belongs to must be later than that of the last one taken (RFC 6238, 5.2). Clocks may
differ by one step. Recovery codes work once each, in place of a code.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256

import pyotp

from ticketing.core.db import Pool
from ticketing.core.errors import Problem, WrongInputError
from ticketing.core.moments import utc_now
from ticketing.core.sealed import Seal

STEP = 30  # s
DRIFT = 1  # steps that a phone's clock may be off
RECOVERY_CODES = 10
_SECRET = re.compile(r"[A-Z2-7]{32}")  # 160 bits, as RFC 4226 recommends
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is misread: 31 letters, twelve of them 59 bits
_ISSUER = "Dozor"


def new_secret() -> str:
    """A secret to enrol with, base32."""
    return pyotp.random_base32()


def otpauth(secret: str, name: str) -> str:
    """What an authenticator app reads, from a picture or as text."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=_ISSUER)


def step_of(secret: str, code: str, now: datetime) -> int | None:
    """The step whose code this is, near `now`; None: it is none."""
    current = int(now.timestamp()) // STEP
    code = re.sub(r"\s", "", code)
    if not (len(code) == 6 and code.isascii() and code.isdecimal()):
        return None
    found = None
    hotp = pyotp.HOTP(secret)
    for step in range(current - DRIFT, current + DRIFT + 1):
        if hmac.compare_digest(hotp.at(step), code):
            found = step
    return found


class SecondFactor:
    """The second factors in the store, sealed."""

    def __init__(self, pool: Pool, seal: Seal, *, now: Callable[[], datetime] = utc_now) -> None:
        self._pool = pool
        self._seal = seal
        self._now = now

    async def enrol(self, user: int, secret: str, code: str) -> list[str]:
        """Ask for a second factor from now on; the recovery codes, told this once.

        Raises
        ------
        WrongInputError
            If the secret is none of ours, or the code is not its.
        """
        step = step_of(secret, code, self._now()) if _SECRET.fullmatch(secret) else None
        if step is None:
            raise WrongInputError(
                Problem("code", "is not what the app shows now", "look at the phone's clock, and enter the next code")
            )
        codes = [_recovery() for _ in range(RECOVERY_CODES)]
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE app_user SET totp = %s, totp_step = %s, recovery = %s WHERE id = %s",
                (self._seal.seal(secret.encode(), _about(user)), step, [_digest(code) for code in codes], user),
            )
        return codes

    async def renew(self, user: int) -> list[str]:
        """New recovery codes; those of before work no longer."""
        codes = [_recovery() for _ in range(RECOVERY_CODES)]
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE app_user SET recovery = %s WHERE id = %s AND totp IS NOT NULL",
                ([_digest(code) for code in codes], user),
            )
        return codes

    async def forget(self, user: int) -> None:
        """Ask for no second factor any more."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE app_user SET totp = NULL, totp_step = NULL, recovery = '{}' WHERE id = %s", (user,)
            )

    async def check(self, user: int, code: str) -> bool:
        """Whether the code is the user's and was not taken before; it is taken then.

        Raises
        ------
        SealError
            If the secret was sealed with another key.
        """
        async with self._pool.connection() as connection, connection.transaction():
            rows = await connection.execute("SELECT totp, totp_step FROM app_user WHERE id = %s FOR UPDATE", (user,))
            row = await rows.fetchone()
            if row is None or row[0] is None:
                return False
            secret = self._seal.open(bytes(row[0]), _about(user)).decode()
            step = step_of(secret, code, self._now())
            if step is not None:
                if row[1] is not None and step <= row[1]:
                    return False
                await connection.execute("UPDATE app_user SET totp_step = %s WHERE id = %s", (step, user))
                return True
            used = await connection.execute(
                """UPDATE app_user SET recovery = array_remove(recovery, %(digest)s)
                   WHERE id = %(user)s AND %(digest)s = ANY(recovery)""",
                {"digest": _digest(code), "user": user},
            )
            return used.rowcount == 1

    async def recovery_left(self, user: int) -> int | None:
        """How many recovery codes are left; None: there is no second factor."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT cardinality(recovery) FROM app_user WHERE id = %s AND totp IS NOT NULL", (user,)
            )
            row = await rows.fetchone()
        return None if row is None else int(row[0])


def _about(user: int) -> str:
    return f"totp of user {user}"


def _recovery() -> str:
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    return f"{letters[:4]}-{letters[4:8]}-{letters[8:]}"


def _digest(code: str) -> bytes:
    """As they are typed: blanks, dashes and case make no difference. They are random: no slow hash is needed."""
    return sha256(re.sub(r"[\s-]", "", code).lower().encode(errors="replace")).digest()
