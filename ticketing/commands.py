"""Commands to terminals: who wants what sent, until when, and what became of it.

    queued ──claim──→ sent ──answer──→ done | failed
      │                └── its time is over: failed (it may have been carried out)
      └── its time is over: expired (it was never sent)

Here commands are asked for and shown. Receiving processes send them: what they may send, when, and what an answer
answers is theirs to say (handed in, since the wire is not known here).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from ticketing.core.db import Connection
from ticketing.core.errors import ConflictError, InvalidTextError, NotFoundError
from ticketing.core.journal import append_journal
from ticketing.core.moments import utc_now
from ticketing.core.paging import PAGE_LIMIT, Page, RowId, cursor_of, read_cursor
from ticketing.model.states import Action

STATES = ("queued", "sent", "done", "failed", "expired")
OPEN = ("queued", "sent")

EXPIRES_IN = 600.0  # s
LONGEST = timedelta(days=30)
MAX_OPEN = 20  # of one terminal: each waits for the answer to the one before
MAX_KEY = 100  # characters

_LOCK = 0x646F7A63  # class of the locks on a terminal's queue
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[smhd])+", re.ASCII)
_PART = re.compile(r"([0-9.]+)([smhd])", re.ASCII)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

_ALL = sql.SQL("TRUE")
# Of a terminal's open tickets, or of one of them, the permission that lasts longest.
_PERMITTED: LiteralString = (
    "SELECT p.id, p.ticket, t.state FROM remote_permission p JOIN ticket t ON t.id = p.ticket"
    " WHERE (t.terminal = (SELECT id FROM terminal WHERE identity = %s) OR t.vehicle = (SELECT v.id FROM vehicle v"
    " JOIN terminal e ON e.id = v.terminal WHERE e.identity = %s)) AND p.ticket = coalesce(%s, p.ticket)"
    " AND t.state <> 'closed' AND p.withdrawn_at IS NULL AND p.at <= %s AND p.until > %s"
    " ORDER BY p.until DESC, p.id LIMIT 1"
)
_CLIENT: LiteralString = (
    "SELECT policy FROM organisation WHERE id = coalesce((SELECT organisation FROM ticket WHERE id = %s),"
    " (SELECT v.organisation FROM vehicle v JOIN terminal e ON e.id = v.terminal WHERE e.identity = %s))"
)
_FIND = sql.SQL("SELECT {} FROM command c JOIN terminal t ON t.id = c.terminal WHERE t.identity = %s AND {} = %s")


def _columns(seen: sql.Composable) -> sql.Composed:
    """Of a command `c`; the ticket it was sent from by its number, where it is `seen`."""
    return sql.SQL(
        "c.id, c.state, c.text, c.created_at, c.created_by, c.expires_at, c.sent_at, c.finished_at, c.result, c.reason,"
        " c.key, c.repeat, (SELECT t.number FROM ticket t WHERE t.id = c.ticket AND {}) AS ticket, c.permission"
    ).format(seen)


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `repeat`: it may be sent again, on a later connection, while it is not answered.

    `ticket` is the number of the one that it was sent from, None to who does not see that one; `permission` the id of
    the client's, on that ticket.
    """

    id: int
    state: str
    text: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    sent_at: datetime | None = None
    finished_at: datetime | None = None
    result: str | None = None
    reason: str | None = None
    key: str | None = None
    repeat: bool = False
    ticket: str | None = None
    permission: int | None = None


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """A command that is asked for, as in the API. With a `key` it is asked for once, however often that is said."""

    text: str
    expires_in: str | float = EXPIRES_IN
    key: str | None = None
    repeat: bool = False


class Commands:
    """Commands in the store, as people ask for them and look at them.

    `seen` is the reader's condition on tickets, `t` (`people.scope`): the number of any other is left out.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[AsyncConnection[Any]],
        *,
        none: Callable[[str | None], str],
        problem: Callable[[str | None, str], str],
        needs_permission: Callable[[str | None], bool] = lambda _policy: False,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`none(protocol)` says why it has no commands, `problem(protocol, text)` why that is none; empty: fine.

        `needs_permission(policy)`: whether an organisation's policy, None: the desk's own, wants the client's
        permission to work from afar.
        """
        self._pool = pool
        self._none = none
        self._problem = problem
        self._needs_permission = needs_permission
        self._now = now

    async def send(
        self, terminal: str, by: str, wanted: Wanted, *, seen: sql.Composable = _ALL
    ) -> tuple[Command, bool]:
        """Queue a command, or find the one of the same key; whether it is new.

        Raises
        ------
        NotFoundError, InvalidTextError
        ConflictError
            If its protocol has no commands, the client's permission is missing, or too many wait already.
        """
        async with self._pool.connection() as link, link.transaction():
            now = self._now()
            # The ticket's row is locked before the terminal's queue, as by who sends from a ticket.
            ticket = await _one(link, _PERMITTED + " FOR UPDATE OF t", (*[terminal] * 2, None, now, now))
            command, new = await self.queue(
                link, terminal, by, wanted, now, None if ticket is None else ticket["ticket"], seen=seen
            )
            if new and ticket is not None:
                data = {"command": command.id, "terminal": terminal, "permission": command.permission}
                await append_journal(
                    link, ticket["ticket"], now, by, Action.COMMAND, wanted.text, ticket["state"], data
                )
        return command, new

    async def queue(
        self,
        link: Connection,
        terminal: str,
        by: str,
        wanted: Wanted,
        now: datetime,
        ticket: int | None,
        *,
        seen: sql.Composable = _ALL,
    ) -> tuple[Command, bool]:
        """The same inside the caller's transaction, from a ticket whose row is locked, if it is from one."""
        seconds = checked(wanted)
        row = await _one(link, "SELECT id, protocol FROM terminal WHERE identity = %s FOR KEY SHARE", (terminal,))
        if row is None:
            raise NotFoundError("no such terminal")
        await link.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK, row["id"]))
        if wanted.key is not None:
            found = await _one(link, _FIND.format(_columns(seen), sql.SQL("c.key")), (terminal, wanted.key))
            if found is not None:
                if found["text"] != wanted.text:
                    raise ConflictError("this key is that of another command")
                return Command(**found), False
        protocol, permission = await self.check(link, terminal, wanted.text, now, ticket)
        count = await _one(
            link,
            "SELECT count(*) FROM command WHERE terminal = %s AND state IN ('queued', 'sent')",
            (row["id"],),
        )
        if count is not None and count["count"] >= MAX_OPEN:
            raise ConflictError(f"{MAX_OPEN} commands wait for this terminal: let them be answered or expire")
        made = await _one(
            link,
            sql.SQL(
                "INSERT INTO command AS c (terminal, protocol, key, text, repeat, created_by, created_at, expires_at,"
                " ticket, permission) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {}"
            ).format(_columns(seen)),
            (
                row["id"], protocol or "", wanted.key, wanted.text, wanted.repeat, by, now,
                now + timedelta(seconds=seconds), ticket, permission,
            ),
        )  # fmt: skip
        if made is None:
            raise NotFoundError("no such terminal")
        return Command(**made), True

    async def check(
        self, link: Connection, terminal: str, text: str, now: datetime, ticket: int | None
    ) -> tuple[str | None, int | None]:
        """What it would be sent by and under which permission, were it sent now. Raises as `queue` does."""
        row = await _one(link, "SELECT protocol FROM terminal WHERE identity = %s", (terminal,))
        protocol, none = await self._spoken(link, terminal, None if row is None else row["protocol"])
        if none:
            raise ConflictError(none)
        permission, missing = await self._permission(link, terminal, now, ticket)
        if missing:
            raise ConflictError(missing)
        if problem := self._problem(protocol, text):
            raise InvalidTextError(problem)
        return protocol, permission

    async def refusal(self, terminal: str) -> str:
        """Why nothing can be sent to a terminal now; empty: it can be tried."""
        async with self._pool.connection() as link:
            row = await _one(link, "SELECT id, protocol FROM terminal WHERE identity = %s", (terminal,))
            if row is None:
                return "no such terminal"
            none = (await self._spoken(link, terminal, row["protocol"]))[1]
            return none or (await self._permission(link, terminal, self._now(), None))[1]

    async def _spoken(self, link: Connection, terminal: str, protocol: str | None) -> tuple[str | None, str]:
        """What it would be sent by, and why that has no commands."""
        if none := self._none(protocol):  # perhaps a sensor's line spoke last, and it is connected besides
            rows = await _all(
                link, "SELECT protocol FROM connection WHERE terminal = %s AND closed_at IS NULL", (terminal,)
            )
            protocol = next((row["protocol"] for row in rows if not self._none(row["protocol"])), protocol)
            if self._none(protocol):
                return protocol, none
        return protocol, ""

    async def _permission(
        self, link: Connection, terminal: str, now: datetime, ticket: int | None
    ) -> tuple[int | None, str]:
        """The client's permission that counts now, on that ticket or on any open one; else why there must be one."""
        live = await _one(link, _PERMITTED, (*[terminal] * 2, ticket, now, now))
        if live is not None:
            return live["id"], ""
        client = await _one(link, _CLIENT, (ticket, terminal))
        if not self._needs_permission(None if client is None else client["policy"]):
            return None, ""
        where = "this ticket has none" if ticket is not None else "no open ticket of this terminal has one"
        return None, (
            f"the policy asks for the client's permission to work from afar, and {where} that counts now: "
            "record it on the ticket (permit), with its end"
        )

    async def list(
        self, terminal: str, cursor: str | None = None, limit: int = 50, *, seen: sql.Composable = _ALL
    ) -> Page[Command]:
        """A terminal's commands, newest first."""
        before = None if cursor is None else read_cursor(cursor, RowId)
        limit = max(1, min(limit, PAGE_LIMIT))
        async with self._pool.connection() as link:
            total = await _one(
                link,
                "SELECT count(*) FROM command c JOIN terminal t ON t.id = c.terminal WHERE t.identity = %s",
                (terminal,),
            )
            rows = await _all(
                link,
                sql.SQL(
                    "SELECT {} FROM command c WHERE c.terminal = (SELECT id FROM terminal WHERE identity = %s)"
                    " AND (%s::int8 IS NULL OR c.id < %s) ORDER BY c.id DESC LIMIT %s"
                ).format(_columns(seen)),
                (terminal, before, before, limit + 1),
            )
        items = [Command(**row) for row in rows[:limit]]
        following = cursor_of(items[-1].id) if len(rows) > limit else None
        return Page(items, total["count"] if total else 0, following)

    async def get(self, terminal: str, number: int, *, seen: sql.Composable = _ALL) -> Command | None:
        """One of a terminal's commands."""
        async with self._pool.connection() as link:
            row = await _one(link, _FIND.format(_columns(seen), sql.SQL("c.id")), (terminal, number))
        return None if row is None else Command(**row)


async def count_commands(pool: AsyncConnectionPool[AsyncConnection[Any]]) -> Mapping[tuple[str, str], int]:
    """How many ever came into each state, by protocol and state."""
    async with pool.connection() as link:
        rows = await _all(link, "SELECT protocol, state, count FROM command_count", ())
    return {(row["protocol"], row["state"]): row["count"] for row in rows}


def seconds_of(duration: str | float) -> float:
    """Seconds of a number or of a text such as "90s" or "1h30m".

    Raises
    ------
    InvalidTextError
        If it is neither, or nothing a command may be given.
    """
    seconds = duration if isinstance(duration, int | float) else 0.0
    if isinstance(duration, str) and len(duration) <= 32 and _DURATION.fullmatch(duration):
        seconds = sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(duration))
    if not 0 < seconds <= LONGEST.total_seconds():
        raise InvalidTextError(f'expires_in: seconds, or text such as "90s", "10m", "24h"; at most {LONGEST.days} days')
    return seconds


def checked(wanted: Wanted) -> float:
    """For how many seconds it is asked for.

    Raises
    ------
    InvalidTextError
        If something besides its text, which its protocol judges, cannot be.
    """
    if wanted.key is not None and not (0 < len(wanted.key) <= MAX_KEY and wanted.key.isprintable()):
        raise InvalidTextError(f"key: 1 to {MAX_KEY} printable characters")
    return seconds_of(wanted.expires_in)


def visible(text: str) -> str:
    """A text of a terminal's for people: what is not printable is shown by its escape, and moves no cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


async def _all(
    link: AsyncConnection[Any], query: LiteralString | sql.Composed, values: Sequence[Any]
) -> Sequence[DictRow]:
    return await (await link.cursor(row_factory=dict_row).execute(query, values)).fetchall()


async def _one(
    link: AsyncConnection[Any], query: LiteralString | sql.Composed, values: Sequence[Any]
) -> DictRow | None:
    return next(iter(await _all(link, query, values)), None)
