"""Which terminals a list shows and in which order, as SQL.

Verdicts live in the watch's arrays, not in the store: they come along as one byte per terminal id, so that the store
filters, counts and sorts by them like by a column, at a megabyte for a million terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from psycopg.sql import SQL, Composable, Composed, Identifier

from detectors.silence import Silence
from detectors.verdicts import Verdict
from ticketing.core.paging import cursor_of, read_cursor
from ticketing.kit.ports import TerminalQuery

# What stands in a cursor: anybody may have made it up.
_Identity = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]
_Text = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*$")]
_Rank = Annotated[int, msgspec.Meta(ge=0, le=255)]

RANKS = {verdict.label: int(verdict) for verdict in Verdict}
# What the fleet overview groups by, and what its figures lead to, is one expression.
GROUPED = {
    "protocol": SQL("coalesce(t.protocol, 'unknown')"),
    "model": SQL("coalesce(t.model_told, t.model, 'protocol:' || t.protocol, 'unknown')"),
    "firmware": SQL("coalesce(t.firmware, 'unknown')"),
    "operator": SQL("coalesce(t.operator, 'unknown')"),
    "customer": SQL("coalesce(t.customer, 'unknown')"),
    "site": SQL("coalesce(t.site, 'unknown')"),
    "region": SQL("coalesce(t.region, 'unknown')"),
    "stage": SQL("CASE WHEN t.stage_until <= now() THEN 'in_use' ELSE t.stage END"),
}
SORTED = ("protocol", "model", "firmware")
CONNECTED = SQL("(t.identity IN (SELECT terminal FROM connection WHERE closed_at IS NULL))")
RANK = SQL("(CASE WHEN t.id < octet_length(%(ranks)s::bytea) THEN get_byte(%(ranks)s::bytea, t.id) ELSE 0 END)")
OVERDUE = SQL(
    "(CASE WHEN t.id < octet_length(%(silence)s::bytea) THEN get_byte(%(silence)s::bytea, t.id) ELSE 0 END"
    " >= {suspect})"
).format(suspect=int(Verdict.SUSPECT))
SEARCH = SQL("(strpos(lower(t.identity), lower(%(search)s)) > 0 OR strpos(lower(t.name), lower(%(search)s)) > 0)")
KEYS = {
    "terminal": SQL("t.identity"),
    "name": SQL("left(coalesce(t.name, ''), 64)"),  # a cursor has to hold it
    **{name: SQL("left({}, 64)").format(GROUPED[name]) for name in SORTED},
    "connected": CONNECTED,
    "verdict": RANK,
}


def statement(
    wanted: TerminalQuery, ranks: Callable[[str | None], bytes]
) -> tuple[Composable, Composable, dict[str, Any]]:
    """The condition, the key that sorts, and the values of both, over ``terminal t``."""
    values: dict[str, Any] = {}
    conditions: list[Composable] = [SQL("true")]
    if wanted.search:
        conditions.append(SEARCH)
        values["search"] = wanted.search  # made small by the store, which may know no letters but ASCII
    for name, column in GROUPED.items():
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(SQL("{column} = {value}").format(column=column, value=_named(name)))
            values[name] = value
    if wanted.connected is not None:
        conditions.append(CONNECTED if wanted.connected else SQL("NOT {}").format(CONNECTED))
    if wanted.overdue is not None:
        conditions.append(OVERDUE if wanted.overdue else SQL("NOT {}").format(OVERDUE))
        values["silence"] = ranks(Silence.kind)
    if wanted.verdict is not None:
        conditions.append(SQL("{rank} = %(rank)s").format(rank=RANK))
        values["rank"] = RANKS[wanted.verdict]
    key = wanted.sort.removeprefix("-")
    if wanted.verdict is not None or key == "verdict":
        values["ranks"] = ranks(wanted.kind)
    return SQL(" AND ").join(conditions), KEYS[key], values


def position(wanted: TerminalQuery, cursor: str) -> dict[str, Any]:
    """The values of `behind` in a cursor."""
    if wanted.sort.removeprefix("-") == "terminal":
        identity = read_cursor(cursor, _Identity)
        return {"key": identity, "after": identity}
    kind = {"connected": bool, "verdict": _Rank}.get(wanted.sort.removeprefix("-"), _Text)
    key, identity = read_cursor(cursor, tuple[kind, _Identity])  # type: ignore[valid-type]
    return {"key": key, "after": identity}


def cursor_behind(wanted: TerminalQuery, key: Any, identity: str) -> str:
    """The cursor behind this row."""
    return cursor_of(identity if wanted.sort.removeprefix("-") == "terminal" else (key, identity))


def behind(wanted: TerminalQuery, key: Composable) -> Composed:
    """The condition for what comes after a position: as the row stood when it was shown, for it may stand elsewhere."""
    than = SQL("<" if wanted.sort.startswith("-") else ">")
    return SQL("({key}, t.identity) {than} (%(key)s, %(after)s)").format(key=key, than=than)


def groups(names: Sequence[str]) -> Composed:
    """Terminals counted by what they share, the most first, ``%(groups)s`` rows."""
    return SQL(
        "SELECT {columns}, count(*) AS terminals FROM terminal t "
        "GROUP BY {keys} ORDER BY {last} DESC, {keys} LIMIT %(groups)s"
    ).format(
        columns=SQL(", ").join(SQL("{} AS {}").format(GROUPED[name], Identifier(name)) for name in names),
        keys=SQL(", ").join(SQL(str(n + 1)) for n in range(len(names))),
        last=SQL(str(len(names) + 1)),
    )


def _named(name: str) -> Composable:
    return SQL(f"%({name})s")
