"""What every statement of the desk shares: the pool, instants in UTC, texts and filters that PostgreSQL can take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

Connection: TypeAlias = AsyncConnection[TupleRow]
Pool: TypeAlias = AsyncConnectionPool[Connection]


def utc(value: datetime) -> datetime:
    """The same instant in UTC: PostgreSQL answers in the session's zone."""
    return value.astimezone(UTC)


def utc_or_none(value: datetime | None) -> datetime | None:
    """`utc`, of what may be missing."""
    return None if value is None else value.astimezone(UTC)


def where_all(conditions: Sequence[sql.Composable]) -> sql.Composable:
    """A WHERE clause of all of them; empty without any."""
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")


def escaped(text: str) -> str:
    """A text that LIKE takes for itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def storable(text: str) -> str:
    """A text that PostgreSQL can take; a NUL or a lone surrogate becomes U+FFFD, and as a filter matches nothing."""
    return "".join("\ufffd" if c == "\x00" or "\ud800" <= c <= "\udfff" else c for c in text)
