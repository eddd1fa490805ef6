"""Who may use the desk: accounts with one role each, browser sessions, API tokens.

    UserError
    ├── BadNameError    not a usable name
    ├── BadRoleError    not a role
    ├── BadEmailError   not an e-mail address
    ├── UserExistsError the name is taken
    ├── NoUserError     no user of that name
    └── LastAdminError  the last admin cannot be removed

What a role may do stands in `ticketing.kit.access`; here is only who somebody is.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from ticketing.core.db import Connection
from ticketing.core.moments import utc_now
from ticketing.people import normal
from ticketing.people.passwords import Passwords

ROLES = ("admin", "engineer", "manager", "crew", "auditor", "client")
SCOPES = ("full", "read")
MAX_NAME = 64
RESERVED = ("watch",)  # the journal's name for the service itself
WORDS = ("list", "revoke")  # of `dozor user token`
_USER: LiteralString = (
    "SELECT u.*, o.language AS organisation_language, o.time_zone AS organisation_zone"
    " FROM app_user u LEFT JOIN organisation o ON o.id = u.organisations[1]"
)
_BY_SESSION: LiteralString = (
    "SELECT u.*, o.language AS organisation_language, o.time_zone AS organisation_zone, s.used_at"
    " FROM session s JOIN app_user u ON u.id = s.app_user LEFT JOIN organisation o ON o.id = u.organisations[1]"
)
_BY_API: LiteralString = (
    "SELECT u.*, o.language AS organisation_language, o.time_zone AS organisation_zone, t.scope, t.used_at"
    " FROM api_token t JOIN app_user u ON u.id = t.app_user LEFT JOIN organisation o ON o.id = u.organisations[1]"
)
TOUCH_EVERY = timedelta(minutes=1)  # a session is not written at each request


class UserError(Exception):
    """Base of this module's errors; the message is for people."""


class BadNameError(UserError):
    """Not a usable name."""


class BadRoleError(UserError):
    """Not a role."""


class BadEmailError(UserError):
    """Not an e-mail address."""


class UserExistsError(UserError):
    """The name is taken."""


class NoUserError(UserError):
    """No user of that name."""


class LastAdminError(UserError):
    """The last admin cannot be removed."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who signed in. `scope` is "read" for a token that may change nothing.

    `organisations` are a client's own, `teams` and `tier` where an engineer or a crew belongs; `language` ("en", "ru",
    "zh") and `time_zone` (an IANA name) are None for who chose none; those of a client's first organisation then serve.
    """

    id: int
    name: str
    role: str
    scope: str = "full"
    organisations: tuple[int, ...] = ()
    teams: tuple[str, ...] = ()
    tier: int | None = None
    language: str | None = None
    time_zone: str | None = None
    organisation_language: str | None = None
    organisation_zone: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """Whose password was right; `second` says whether they are asked for a code besides."""

    user: User
    encoded: str
    second: bool

    @property
    def mark(self) -> bytes:
        """Another one after each change of the password."""
        return hashlib.sha256(self.encoded.encode()).digest()


@dataclass(frozen=True, slots=True)
class Token:
    """An API token, as it is listed; the token itself was shown once."""

    id: int
    user: str
    scope: str
    label: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Account:
    """One line of `dozor user list`."""

    name: str
    role: str
    created_at: datetime
    sessions: int
    tokens: int


def digest(token: str) -> bytes:
    """What is stored of a session or token: 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def checked_name(name: str) -> str:
    """`name` in its normal form.

    Raises
    ------
    BadNameError
        If it is empty, longer than 64 characters, not printable, padded with spaces, or reserved.
    """
    name = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise BadNameError(f"{name!r} is not a user name: 1 to {MAX_NAME} printable characters, no spaces around")
    if name.lower() in RESERVED:
        raise BadNameError(f"{name!r} is how the service signs in the journal: choose another name")
    if name.lower() in WORDS:
        raise BadNameError(f"{name!r} is a word of `dozor user token`: choose another name")
    return name


def _address(email: str | None) -> str | None:
    """`email` in its normal form.

    Raises
    ------
    BadEmailError
    """
    if not email:
        return None
    found = normal.email(email)
    if found is None:
        raise BadEmailError(f"{email!r} is no e-mail address: write it as in anna@example.com")
    return found


def _spelled(name: str) -> str:
    """`name` as accounts are stored; "" where none can be called that, so that nobody is found."""
    name = unicodedata.normalize("NFC", name)
    return name if len(name) <= MAX_NAME and name.isprintable() else ""


def _user(row: Mapping[str, Any], scope: str = "full") -> User:
    return User(
        row["id"],
        row["name"],
        row["role"],
        scope,
        organisations=tuple(row["organisations"]),
        teams=tuple(row["teams"]),
        tier=row["tier"],
        language=row["language"],
        time_zone=row["time_zone"],
        organisation_language=row["organisation_language"],
        organisation_zone=row["organisation_zone"],
    )


async def end_all(connection: Connection, user: int) -> None:
    """End a user's sessions and tokens."""
    await connection.execute("DELETE FROM session WHERE app_user = %s", (user,))
    await connection.execute("DELETE FROM api_token WHERE app_user = %s", (user,))


class Users:
    """Accounts in the store. `idle` and `lifetime` end a session, whichever comes first."""

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        *,
        passwords: Passwords | None = None,
        idle: timedelta = timedelta(hours=8),
        lifetime: timedelta = timedelta(days=7),
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool = pool
        self._passwords = passwords or Passwords()
        self._idle = idle
        self._lifetime = lifetime
        self._now = now

    @property
    def lifetime(self) -> timedelta:
        """After this a session ends, used or not."""
        return self._lifetime

    @property
    def passwords(self) -> Passwords:
        """What hashes and verifies, in bounded threads."""
        return self._passwords

    def close(self) -> None:
        """Stop the password threads."""
        self._passwords.close()

    async def add(self, name: str, role: str, password: str, *, email: str | None = None) -> None:
        """Make an account.

        Raises
        ------
        BadNameError, BadRoleError, BadEmailError, UserExistsError, PasswordError
        """
        address = _address(email)
        name = checked_name(name)
        if role not in ROLES:
            raise BadRoleError(f"{role!r} is not a role: {', '.join(ROLES)}")
        encoded = await self._passwords.hash(password)
        try:
            await self._execute(
                "INSERT INTO app_user (name, role, password, email) VALUES (%s, %s, %s, %s)",
                (name, role, encoded, address),
            )
        except UniqueViolation as error:
            raise UserExistsError(f"user {name!r} exists: `dozor user password` sets a new password") from error

    async def set_password(self, name: str, password: str, *, forget_code: bool = False) -> None:
        """Set a new password; the user's sessions and tokens end. `forget_code`: no code is asked for any more.

        Raises
        ------
        NoUserError, PasswordError
        """
        encoded = await self._passwords.hash(password)
        async with self._pool.connection() as connection, connection.transaction():
            rows = await connection.execute(
                """UPDATE app_user SET password = %s, row_version = row_version + 1
                   WHERE lower(name) = lower(%s) RETURNING id""",
                (encoded, _spelled(name)),
            )
            found = await rows.fetchone()
            if found is None:
                raise NoUserError(f"no user {name!r}")
            # A statement of its own: it sees the session of a sign-in that the first one waited for.
            await end_all(connection, found[0])
            if forget_code:
                await connection.execute(
                    "UPDATE app_user SET totp = NULL, totp_step = NULL, recovery = '{}' WHERE id = %s", (found[0],)
                )

    async def set_email(self, name: str, email: str | None) -> None:
        """Where letters to this user go; None: nowhere, unless the name is an address.

        Raises
        ------
        NoUserError, BadEmailError
        """
        found = await self._one(
            "UPDATE app_user SET email = %s, row_version = row_version + 1 WHERE lower(name) = lower(%s) RETURNING id",
            (_address(email), _spelled(name)),
        )
        if found is None:
            raise NoUserError(f"no user {name!r}")

    async def remove(self, name: str) -> None:
        """Remove an account with its sessions and tokens; the journal keeps the name.

        Raises
        ------
        NoUserError, LastAdminError
        """
        async with self._pool.connection() as connection, connection.transaction():
            # Two removals at once must not each see the other's admin as the remaining one.
            rows = await (
                await connection.execute(
                    """SELECT id, lower(name) = lower(%s), role = 'admin' AND active FROM app_user
                       ORDER BY id FOR UPDATE""",
                    (_spelled(name),),
                )
            ).fetchall()
            gone = [row for row in rows if row[1]]
            if not gone:
                raise NoUserError(f"no user {name!r}")
            if gone[0][2] and sum(row[2] for row in rows) == 1:
                raise LastAdminError(f"{name!r} is the last admin: add another one first")
            await connection.execute("DELETE FROM app_user WHERE id = %s", (gone[0][0],))

    async def anybody(self) -> bool:
        """Whether there is an account at all."""
        async with self._pool.connection() as connection:
            return await (await connection.execute("SELECT FROM app_user LIMIT 1")).fetchone() is not None

    async def accounts(self) -> list[Account]:
        """All accounts, by name."""
        async with self._pool.connection() as connection:
            rows = await (
                await connection.execute(
                    """SELECT u.name, u.role, u.created_at,
                              (SELECT count(*) FROM session s WHERE s.app_user = u.id AND s.used_at > %s
                                                                AND s.opened_at > %s),
                              (SELECT count(*) FROM api_token t WHERE t.app_user = u.id)
                       FROM app_user u ORDER BY lower(u.name)""",
                    (self._now() - self._idle, self._now() - self._lifetime),
                )
            ).fetchall()
        return [Account(*row) for row in rows]

    async def token(
        self, name: str, scope: str = "full", *, label: str = "", expires_at: datetime | None = None
    ) -> str:
        """A new API token; only its digest is kept.

        Raises
        ------
        NoUserError
        """
        token = secrets.token_urlsafe(32)
        found = await self._one(
            """INSERT INTO api_token (digest, app_user, scope, label, expires_at, created_at)
               SELECT %s, id, %s, %s, %s, %s FROM app_user WHERE lower(name) = lower(%s) AND active
               RETURNING app_user""",
            (digest(token), scope, label, expires_at, self._now(), _spelled(name)),
        )
        if found is None:
            raise NoUserError(f"no user {name!r}")
        return token

    async def tokens(self, name: str | None = None) -> list[Token]:
        """The tokens of one account, or of all; those that have expired among them."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                """SELECT t.id, u.name, t.scope, t.label, t.created_at, t.expires_at, t.used_at
                   FROM api_token t JOIN app_user u ON u.id = t.app_user
                   WHERE %(name)s::text IS NULL OR lower(u.name) = lower(%(name)s) ORDER BY lower(u.name), t.id""",
                {"name": None if name is None else _spelled(name)},
            )
            return [Token(*row) for row in await rows.fetchall()]

    async def revoke(self, number: int, name: str | None = None) -> bool:
        """End a token, if there is one of that id; with `name` only if it is that account's."""
        async with self._pool.connection() as connection:
            gone = await connection.execute(
                """DELETE FROM api_token t USING app_user u WHERE t.id = %(id)s AND u.id = t.app_user
                   AND (%(name)s::text IS NULL OR lower(u.name) = lower(%(name)s))""",
                {"id": number, "name": None if name is None else _spelled(name)},
            )
            return bool(gone.rowcount == 1)

    async def verify(self, name: str, password: str) -> Verified | None:
        """Whose password this is, or None: which of the two was wrong is not told.

        Raises
        ------
        BusyError
            If too many logins wait already.
        """
        found = await self._one(
            _USER + " WHERE lower(u.name) = lower(%s) AND u.active",
            (_spelled(name),),
        )
        if not await self._passwords.verify(found["password"] if found else None, password) or found is None:
            return None
        return Verified(_user(found), found["password"], found["totp"] is not None)

    async def verified(self, number: int, mark: bytes) -> Verified | None:
        """The account of that id, if its password is still the one whose `Verified.mark` this is."""
        found = await self._one(_USER + " WHERE u.id = %s AND u.active", (number,))
        if found is None:
            return None
        again = Verified(_user(found), found["password"], found["totp"] is not None)
        return again if again.mark == mark else None

    async def open_session(self, who: Verified, address: str) -> str | None:
        """A new session's token; None if the password was changed meanwhile, which ended all sessions."""
        token = secrets.token_urlsafe(32)
        now = self._now()
        opened = await self._one(
            """WITH ended AS (DELETE FROM session WHERE used_at < %(idle)s OR opened_at < %(life)s)
               INSERT INTO session (digest, app_user, opened_at, used_at, address)
               SELECT %(digest)s, id, %(now)s, %(now)s, %(address)s FROM app_user
               WHERE id = %(id)s AND password = %(password)s AND active FOR SHARE RETURNING app_user""",
            {
                "idle": now - self._idle,
                "life": now - self._lifetime,
                "digest": digest(token),
                "now": now,
                "address": address[:64],
                "id": who.user.id,
                "password": who.encoded,
            },
        )
        return None if opened is None else token

    async def sign_out(self, token: str) -> None:
        """End one session."""
        await self._execute("DELETE FROM session WHERE digest = %s", (digest(token),))

    async def by_session(self, token: str) -> User | None:
        """Whose session this is, if it still runs."""
        now = self._now()
        found = await self._one(
            _BY_SESSION + " WHERE s.digest = %s AND s.used_at > %s AND s.opened_at > %s AND u.active",
            (digest(token), now - self._idle, now - self._lifetime),
        )
        if found is None:
            return None
        if now - found["used_at"] > TOUCH_EVERY:
            await self._execute("UPDATE session SET used_at = %s WHERE digest = %s", (now, digest(token)))
        return _user(found)

    async def by_token(self, token: str) -> User | None:
        """Whose API token this is."""
        now = self._now()
        found = await self._one(
            _BY_API + " WHERE t.digest = %s AND u.active AND (t.expires_at IS NULL OR t.expires_at > %s)",
            (digest(token), now),
        )
        if found is None:
            return None
        if found["used_at"] is None or now - found["used_at"] > TOUCH_EVERY:
            await self._execute("UPDATE api_token SET used_at = %s WHERE digest = %s", (now, digest(token)))
        return _user(found, found["scope"])

    async def _one(self, query: LiteralString, values: Any) -> dict[str, Any] | None:
        async with self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            found: dict[str, Any] | None = await (await cursor.execute(query, values)).fetchone()
            return found

    async def _execute(self, query: LiteralString, values: Any) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(query, values)
