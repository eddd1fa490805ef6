"""What organisations, contacts and vehicles have in common: rows are listed by sight, added, and changed by version.

A row is never deleted, but made inactive. A change names the version it is made on, or takes the row as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, LiteralString, TypeVar

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from ticketing.core.db import Connection, Pool, where_all
from ticketing.core.errors import ConflictError, NotFoundError
from ticketing.core.idempotency import done
from ticketing.core.moments import utc_now
from ticketing.core.paging import Page, RowId, cursor_of, read_cursor
from ticketing.people.scope import Kind, condition
from ticketing.people.users import User

R = TypeVar("R")
Values = dict[str, Any]
# Names, plates and addresses are unique among rows that may be written at the same moment: one writer at a time.
# People change these some times an hour.
WRITER = sql.SQL("SELECT pg_advisory_xact_lock(hashtext('dozor people'))")


@dataclass(frozen=True, slots=True)
class Table(Generic[R]):
    """One table: `source` is its FROM with the row as `x`, `columns` what is read of it, `read` makes an object."""

    name: LiteralString
    kind: Kind
    source: LiteralString
    columns: LiteralString
    read: Callable[[Mapping[str, Any]], R]
    called: str


class Records(Generic[R]):
    """The rows of one table."""

    def __init__(self, pool: Pool, table: Table[R], *, now: Callable[[], datetime] = utc_now) -> None:
        self.pool = pool
        self.table = table
        self.now = now

    async def page(
        self,
        user: User,
        where: Sequence[tuple[LiteralString, Any]] = (),
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[R]:
        """Those that `user` sees, in the order they were added; `where` are conditions on `x`, each with its
        value, which goes by `%(v)s` there."""
        seen: list[sql.Composable] = [condition(user, self.table.kind, "x")]
        seen += [sql.SQL(text.replace("%(v)s", f"%(v{n})s")) for n, (text, _) in enumerate(where)]
        values: Values = {f"v{n}": value for n, (_, value) in enumerate(where)}
        values |= {"limit": limit + 1, "last": read_cursor(cursor, RowId) if cursor else 0}
        source = sql.SQL(self.table.source)
        async with self.pool.connection() as connection:
            found = await connection.execute(
                sql.SQL("SELECT count(*) FROM {} {}").format(source, where_all(seen)), values
            )
            total = await found.fetchone()
            rows = await connection.cursor(row_factory=dict_row).execute(
                sql.SQL("SELECT {} FROM {} {} ORDER BY x.id LIMIT %(limit)s").format(
                    sql.SQL(self.table.columns), source, where_all([*seen, sql.SQL("x.id > %(last)s")])
                ),
                values,
            )
            items = await rows.fetchall()
        more = len(items) > limit
        return Page(
            [self.table.read(row) for row in items[:limit]],
            total[0] if total else 0,
            cursor_of(items[limit - 1]["id"]) if more else None,
        )

    async def get(self, user: User, number: int) -> R:
        """One of them.

        Raises
        ------
        NotFoundError
            If there is none, or `user` does not see it.
        """
        async with self.pool.connection() as connection:
            return self.table.read(await self._row(connection, number, condition(user, self.table.kind, "x")))

    async def add(self, user: User, new: msgspec.Struct) -> R:
        """A new row, as `user` asks for it.

        Raises
        ------
        WrongInputError
            With all that is wrong; nothing was written.
        """
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute(WRITER)
            values = await self.checked(connection, user, msgspec.structs.asdict(new), None)
            number = await self._insert(connection, values)
            await self.written(connection, number, None)
            await done(connection)
        return await self.get(user, number)

    async def change(self, user: User, number: int, changed: msgspec.Struct, version: int | None = None) -> R:
        """The row with what `user` changes; fields that are UNSET stay. `version`: the one that was read, if told.

        Raises
        ------
        NotFoundError
            If there is none, or `user` does not see it.
        ConflictError
            If it is not that version any more.
        WrongInputError
            With all that is wrong; nothing was written.
        """
        given = {name: value for name, value in msgspec.structs.asdict(changed).items() if value is not msgspec.UNSET}
        told = given.pop("row_version", None)
        version = told if version is None else version
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute(WRITER)
            row = await self._row(connection, number, condition(user, self.table.kind, "x"))
            if version is not None and row["row_version"] != version:
                raise ConflictError(
                    f"{self.table.called} {number} was changed meanwhile: it is version {row['row_version']}, "
                    f"not {version}; read it again"
                )
            before = self.table.read(row)
            await self._update(connection, number, await self.checked(connection, user, given, before))
            await self.written(connection, number, before)
            await done(connection)
        return await self.get(user, number)

    async def checked(self, connection: Connection, user: User, given: Values, before: R | None) -> Values:
        """The columns that `given` fields become, in their normal forms; `before` is None of a new row.

        Raises
        ------
        WrongInputError
            With all that is wrong.
        """
        raise NotImplementedError

    async def written(self, connection: Connection, number: int, before: R | None) -> None:
        """What else follows in the same transaction; nothing by itself."""

    async def _insert(self, connection: Connection, values: Values) -> int:
        columns = {**values, "created_at": self.now()}
        rows = await connection.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
                sql.Identifier(self.table.name),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
            ),
            list(columns.values()),
        )
        row = await rows.fetchone()
        return int(row[0]) if row else 0

    async def _update(self, connection: Connection, number: int, values: Values) -> None:
        sets: list[sql.Composable] = [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values]
        sets.append(sql.SQL("row_version = row_version + 1"))
        await connection.execute(
            sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(self.table.name), sql.SQL(", ").join(sets)),
            [*values.values(), number],
        )

    async def _row(self, connection: Connection, number: int, where: sql.Composable) -> dict[str, Any]:
        rows = await connection.cursor(row_factory=dict_row).execute(
            sql.SQL("SELECT {} FROM {} WHERE x.id = %s AND {}").format(
                sql.SQL(self.table.columns), sql.SQL(self.table.source), where
            ),
            [number],
        )
        row = await rows.fetchone()
        if row is None:
            raise NotFoundError(f"no such {self.table.called}")
        return row
