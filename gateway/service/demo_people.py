"""The demo's people: an account of each role, and a client whose vehicles carry the simulated fleet."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg_pool import AsyncConnectionPool

from ticketing.core.moments import utc_now
from ticketing.people.normal import plate_key
from ticketing.people.users import ROLES, UserExistsError, Users

ORGANISATION = "Demo Transport"
CONTACTS = (
    ("Anna Petrova", "anna@demo.example", "+74951234567", "ru", ["duty", "reporter"]),
    ("Boris Lang", "boris@demo.example", "+4930123456", "en", ["outage", "finance"]),
    ("王伟", "wangwei@demo.example", "+861012345678", "zh", ["reporter"]),
)
TEAMS = {"engineer": ["support"], "crew": ["field"]}
LETTERS = "ABEKMHOPCTYX"  # of Russian number plates


class DemoPeople:
    """Accounts of this run and the client they look after; all of it out of use afterwards."""

    def __init__(self, pool: AsyncConnectionPool[Any], users: Users) -> None:
        self._pool = pool
        self._users = users
        self._organisation = 0
        self.accounts: list[dict[str, str]] = []

    def of(self, role: str) -> dict[str, str]:
        """The account of a role."""
        return next(account for account in self.accounts if account["role"] == role)

    @asynccontextmanager
    async def present(self) -> AsyncIterator[DemoPeople]:
        """They are there within the block; a store that goes on without the demo keeps none of the accounts."""
        try:
            await self._make()
            yield self
        finally:
            await self._leave()
            self._users.close()

    async def _make(self) -> None:
        suffix = ""
        if await self._users.anybody():  # somebody's own store: no name of theirs is touched
            suffix = f"-{secrets.token_hex(3)}"
        for role in ROLES:
            name = ("demo" if role == "manager" else f"demo-{role}") + suffix
            password = secrets.token_urlsafe(12)
            try:
                await self._users.add(name, role, password)
            except UserExistsError:
                name += f"-{secrets.token_hex(3)}"
                await self._users.add(name, role, password)
            self.accounts.append({"role": role, "username": name, "password": password})
        now = utc_now()
        async with self._pool.connection() as connection, connection.transaction():
            rows = await connection.execute(
                """INSERT INTO organisation (name, language, contract, project_manager, engineers, created_at)
                   VALUES (%s, 'en', '{"number": "DEMO-1", "consent": "explicit"}', %s, %s, %s) RETURNING id""",
                (ORGANISATION + suffix, self.of("manager")["username"], [self.of("engineer")["username"]], now),
            )
            row = await rows.fetchone()
            self._organisation = row[0] if row else 0
            for name, email, phone, language, roles in CONTACTS:
                await connection.execute(
                    """INSERT INTO contact (organisation, name, emails, phones, language, roles, created_at)
                       VALUES (%s, %s, %s, %s, %s, %s, %s)""",
                    (self._organisation, name, [email], [phone], language, roles, now),
                )
            await connection.execute(
                "UPDATE app_user SET organisations = %s WHERE name = %s",
                ([self._organisation], self.of("client")["username"]),
            )
            for role, teams in TEAMS.items():
                await connection.execute(
                    "UPDATE app_user SET teams = %s, tier = 1 WHERE name = %s", (teams, self.of(role)["username"])
                )

    async def vehicles(self) -> int:
        """A vehicle for each terminal that has none yet; how many there were."""
        async with self._pool.connection() as connection, connection.transaction():
            rows = await connection.execute(
                """SELECT e.id, e.identity FROM terminal e LEFT JOIN vehicle v ON v.terminal = e.id
                   WHERE v.id IS NULL ORDER BY e.id LIMIT 500"""
            )
            found = await rows.fetchall()
            now = utc_now()
            values = []
            for terminal, _ in found:
                a, b, c = (LETTERS[terminal // 12**n % 12] for n in range(3))
                plate = f"{a}{terminal % 1000:03}{b}{c} {77 + terminal // 1000 % 20}"
                values.append((self._organisation, f"Truck {terminal}", plate, plate_key(plate), terminal, now))
            async with connection.cursor() as cursor:  # all of them in one round: the demo's loop waits for it
                await cursor.executemany(
                    """INSERT INTO vehicle (organisation, name, plate, plate_key, terminal, created_at)
                       VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (terminal) DO NOTHING""",
                    values,
                )
        return len(found)

    async def _leave(self) -> None:
        names = [account["username"] for account in self.accounts]
        async with self._pool.connection() as connection, connection.transaction():
            # By statement: that the last admin stays does not hold for an admin of the demo's.
            await connection.execute("DELETE FROM app_user WHERE name = ANY(%s)", (names,))
            for statement in (
                "UPDATE vehicle SET active = false, terminal = NULL WHERE organisation = %s",
                "UPDATE contact SET active = false WHERE organisation = %s",
                "UPDATE organisation SET active = false WHERE id = %s",
            ):
                await connection.execute(statement, (self._organisation,))
